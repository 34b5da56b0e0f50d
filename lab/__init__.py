# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Disposable hosts that behave like servers: for the demo and for every molecule scenario."""
