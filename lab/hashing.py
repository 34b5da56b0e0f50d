# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Hashes that decide whether something built earlier can be used again."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def hash_of(value: Any) -> str:
    """A short stable hash of any JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def hash_of_bytes(content: bytes) -> str:
    """SHA-256 of some bytes, in full."""
    return hashlib.sha256(content).hexdigest()
