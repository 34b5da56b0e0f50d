# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Look once whether this host's address has changed; the argument is the file with the settings."""

import sys

from parts.address_watch import main

sys.exit(main())
