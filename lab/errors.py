# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The one error a person running the lab is meant to read."""

from __future__ import annotations


class LabError(Exception):
    """Something the person can act on: it says what is wrong and what to do. Shown without a traceback."""
