# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Keep LiveKit's rooms over a restart; the arguments are those of parts.kept_rooms."""

import sys

from parts.kept_rooms import main

sys.exit(main(sys.argv[1:]))
