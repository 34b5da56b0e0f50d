# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A real ACME authority (Pebble) and an HTTP proxy on a lab's mirror host: `python -m lab.acme NAME`."""
