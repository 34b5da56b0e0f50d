# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what is asked of rotate_secrets.yml. Whether it can be done now, the rotation itself tells."""

from __future__ import annotations

from .inputs_report import Inputs
from .inputs_values import at_least, boolean, one_of

REQUESTS = ("start", "resume", "abort", "emergency")


def check_rotation(inputs: Inputs, _secret: str) -> None:
    """What is to be done, how long to wait, and for whom."""
    said = "Set it to start, resume, abort or emergency, or leave it out to go on, or else to start."
    inputs.read("request", one_of(REQUESTS), said, required=False)
    inputs.read(
        "wait", at_least(0), "Set it to seconds, or leave it out to wait for nothing.", required=False
    )
    inputs.read("token_life", at_least(1), "Set it to the seconds that a token is valid, 3600 by default.")
    inputs.read(
        "disconnect", boolean, "Set it to true to let go of the old key although people are connected."
    )
