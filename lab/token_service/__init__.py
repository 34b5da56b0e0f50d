# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The lab's strict stand-in for lk-jwt-service: what it is is said in README.md and in BANNER."""

from __future__ import annotations

CONTRACT = "0.8"
"""The lk-jwt-service version whose contract is kept."""

BANNER = (
    f"This is the lab's stand-in for lk-jwt-service (contract of {CONTRACT}), part of matrixrtc.backend. "
    "It is NOT the real service and must not run outside the lab."
)
SERVER_HEADER = f"lk-jwt-service-stand-in/{CONTRACT}"
"""Sent with every answer, so that a report can tell the stand-in from the real service."""
