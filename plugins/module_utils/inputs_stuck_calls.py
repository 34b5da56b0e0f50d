# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what is asked of clear_stuck_calls.yml."""

from __future__ import annotations

from .inputs_report import Inputs
from .inputs_values import InvalidValueError, boolean, matching, shown, url

ROOM_ID = matching(r"![^\s:]+(:[^\s]+)?", "a room's id")  # without a server from room version 12 on
USER_ID = matching(r"@[^\s:]*:[^\s]+", "a Matrix ID")
REMEDIES = {
    "end": "Set it to true to end what is stuck, or leave it out to list it.",
    "include_unknown": "Set it to true or false.",
    "join_as_admin": "Set it to true or false.",
}


def seconds(value: object) -> float:
    """A number of seconds, also as text."""
    try:
        found = float(str(value))
    except ValueError:
        found = -1.0
    if isinstance(value, bool) or not 0 <= found < float("inf"):
        raise InvalidValueError(f"{shown(value)} is not a number of seconds")
    return found


def check_stuck_calls(inputs: Inputs, _secret: str) -> None:
    """Where, with which token, which rooms, and how much may be done."""
    remedy = "Set it to the address of the homeserver's client API, such as https://matrix.example.org."
    inputs.read("homeserver_url", lambda value: url(value, ("https", "http")), remedy, required=False)
    for key, parse, what in (
        (
            "rooms",
            ROOM_ID,
            "room ids such as ['!meeting:example.org'] (not aliases), or leave it out for all rooms",
        ),
        ("users", USER_ID, "Matrix IDs such as ['@alice:example.org'], or leave it out for everybody"),
    ):
        inputs.read_list(key, parse, f"Set it to a list of {what}.", required=False)
    for key in ("older_than", "settled", "patience"):
        inputs.read(key, seconds, "Set it to a number of seconds, such as 600.")
    flags = {key: inputs.read(key, boolean, said) for key, said in REMEDIES.items()}
    admin, member = inputs.has("admin_token"), inputs.has("member_token")
    if not admin and not member:
        inputs.refuse(
            "admin_token",
            "is not set, nor is matrixrtc_stuck_token",
            "Set it, in a vault, to the token of a server administrator, or matrixrtc_stuck_token to that of a"
            " member of the rooms.",
        )
    elif admin and member:
        inputs.refuse("member_token", "is set, and matrixrtc_admin_token as well", "Leave one of them out.")
    if flags["join_as_admin"] and not admin:
        inputs.refuse(
            "join_as_admin",
            "only an administrator of the server can do that",
            "Set matrixrtc_admin_token, or leave it out.",
        )
