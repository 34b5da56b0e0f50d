# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what verify.yml is asked for: the accounts it looks and calls with, and how many call."""

from __future__ import annotations

from .inputs_report import Inputs
from .inputs_values import InvalidValueError, integer, matching, shown

FEWEST, MOST = 2, 10  # participants of a call
USERS_REMEDY = (
    "Put user_id and access_token of one account of this server into it, or of two or more for a call, in a "
    "vault or a file that only you can read."
)
FOREIGN_REMEDY = (
    "Put user_id and access_token of one account of another homeserver into it, in a vault or a file that "
    "only you can read."
)
USER_ID = matching(r"@[^\s:]*:[^\s]+", "a Matrix ID")


def participants(value: object) -> int:
    """How many take part in the call."""
    number = integer(value)
    if not FEWEST <= number <= MOST:
        raise InvalidValueError(f"{number} participants are not {FEWEST} to {MOST}")
    return number


def check_verify(inputs: Inputs, _secret: str) -> None:
    """The names are checked with those of every component.

    `users`, `tokens`: how many there are of each. `foreign_given`, `foreign_token`: whether there is an
    account of another server, and a token for it; `foreign_user`: its Matrix ID.
    """
    inputs.read("participants", participants, f"Set it to a number of participants from {FEWEST} to {MOST}.")
    _check_foreign(inputs)
    users, tokens = (inputs.read(name, integer, USERS_REMEDY) for name in ("users", "tokens"))
    if users is None or tokens is None:
        return
    if users > MOST:
        inputs.refuse("users", f"has {users} entries", USERS_REMEDY)
    elif tokens < users:
        inputs.refuse(
            "users", f"has {users} entries, and {tokens} of them with an access_token", USERS_REMEDY
        )


def _check_foreign(inputs: Inputs) -> None:
    if not inputs.values.get("foreign_given"):
        return
    user = inputs.read("foreign_user", USER_ID, FOREIGN_REMEDY)
    if user and user.partition(":")[2] == inputs.values.get("server_name"):
        inputs.refuse("foreign_user", f"{shown(user)} is an account of this very server", FOREIGN_REMEDY)
    if not inputs.values.get("foreign_token"):
        inputs.refuse("foreign_user", "has no access_token", FOREIGN_REMEDY)
