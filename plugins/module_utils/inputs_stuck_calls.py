# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what is asked of clear_stuck_calls.yml."""

from __future__ import annotations

import re

from .inputs_report import Inputs
from .inputs_values import InvalidValueError, boolean, matching, shown, url

ROOM_ID = matching(r"![^\s:]+(:[^\s]+)?", "a room's id")  # without a server from room version 12 on
USER_ID = matching(r"@[^\s:]*:[^\s]+", "a Matrix ID")
SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)?")
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
FLAGS = {
    "end": "Set it to true to end what is stuck, or leave it out to list it.",
    "join_as_admin": "Set it to true or false.",
    "legacy_calls": "Set it to true or false.",
}
TOKENS = (
    "Set it, in a vault, to the token of a server administrator, or matrixrtc_stuck_access_token to that of a"
    " member of the rooms."
)


def seconds(value: object) -> float:
    """A time span such as 12h, 30min or a number of seconds."""
    match = SPAN.fullmatch(str(value).strip())
    if isinstance(value, bool) or match is None:
        raise InvalidValueError(f"{shown(value)} is not a time such as 12h, 30min or a number of seconds")
    return float(match[1]) * UNITS[match[2] or "s"]


def check_stuck_calls(inputs: Inputs, _secret: str) -> None:
    """Where, with which token, which rooms, and how much may be done."""
    remedy = "Set it to the address of the homeserver's client API, such as https://matrix.example.org."
    inputs.read("homeserver_url", lambda value: url(value, ("https", "http")), remedy, required=False)
    if "site" in inputs.values and not inputs.has("homeserver_url") and not inputs.has("site"):
        inputs.refuse("homeserver_url", "is not set, nor is matrixrtc_server_name", remedy)
    for key, parse, what in (
        (
            "rooms",
            ROOM_ID,
            "room ids such as ['!meeting:example.org'] (not aliases), or leave it out for all",
        ),
        ("users", USER_ID, "Matrix IDs such as ['@alice:example.org'], or leave it out for everybody"),
    ):
        inputs.read_list(key, parse, f"Set it to a list of {what}.", required=False)
    for key in ("older_than", "patience"):
        inputs.read(key, seconds, "Set it to a time such as 12h.")
    flags = {key: inputs.read(key, boolean, said) for key, said in FLAGS.items()}
    _check_tokens(inputs, flags["join_as_admin"] is True)


def _check_tokens(inputs: Inputs, join_as_admin: bool) -> None:
    admin, member = inputs.has("admin_token"), inputs.has("access_token")
    if "admin_token" in inputs.values and not admin and not member:
        inputs.refuse("admin_token", "is not set, nor is matrixrtc_stuck_access_token", TOKENS)
    if join_as_admin and (member or not admin):
        inputs.refuse(
            "join_as_admin",
            "only an administrator of the server can do that",
            "Set matrixrtc_admin_token and not matrixrtc_stuck_access_token, or leave it out.",
        )
