# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what is asked of load_test.yml: bounded, confirmed, and with somebody to be in the call."""

from __future__ import annotations

from .inputs_report import Inputs
from .inputs_site import is_refused
from .inputs_values import InvalidValueError, boolean, integer, list_of_values, one_of, shown

MOST, LONGEST, SHORTEST, MOST_STEPS = 100, 300, 5, 12
SIZES = ("720p", "360p", "180p")


def step(value: object) -> tuple[int, int]:
    """How many are in the call and how many of them send."""
    pair = list_of_values(value)
    if len(pair) != 2:
        raise InvalidValueError(f"{shown(value)} is not a pair of numbers")
    participants, publishers = (integer(number) for number in pair)
    if not 2 <= participants <= MOST:
        raise InvalidValueError(f"{participants} participants are not 2 to {MOST}")
    if not 1 <= publishers <= participants:
        raise InvalidValueError(f"{publishers} of {participants} cannot send")
    return participants, publishers


def duration(value: object) -> int:
    """How long a step is steady, in seconds."""
    seconds = integer(value)
    if not SHORTEST <= seconds <= LONGEST:
        raise InvalidValueError(f"{seconds} s are not {SHORTEST} to {LONGEST} s")
    return seconds


def check_load_test(inputs: Inputs, _secret: str) -> None:
    """All inputs of the load test."""
    domain = inputs.values.get("domain")
    if "confirm" in inputs.values and inputs.values["confirm"] != domain and not is_refused(inputs, "domain"):
        inputs.refuse(
            "confirm",
            f"{shown(inputs.values.get('confirm'))} is not {shown(domain)}, the site that is to be loaded",
            "Set it to that host name, if the site is yours.",
        )
    remedy = "Set it to pairs of participants and how many of them send, such as [[4, 2], [8, 2]]."
    steps = inputs.read_list("steps", step, remedy)
    if steps and len(steps) > MOST_STEPS:
        inputs.refuse("steps", f"has {len(steps)} steps, and {MOST_STEPS} are the most", remedy)
    inputs.read("seconds", duration, f"Set it to {SHORTEST} to {LONGEST} seconds.")
    inputs.read("video", one_of(SIZES), f"Set it to {', '.join(SIZES)}.")
    inputs.read("during_calls", boolean, "Set it to true or false.")
    if inputs.values.get("accounts") == 0:
        inputs.refuse(
            "accounts",
            "has no account, and the participants are sessions of one",
            "Put user_id and access_token of an account of this site into it, in a vault.",
        )
