# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what verify.yml is asked to look at when the site is not in the inventory."""

from __future__ import annotations

from .inputs_report import Inputs
from .inputs_values import integer

USERS_REMEDY = (
    "Put user_id and access_token of one account of this server into it, or of two for a call, in a vault or "
    "a file that only you can read."
)


def check_verify(inputs: Inputs, _secret: str) -> None:
    """The names are checked with those of every component. `users`, `tokens`: how many there are of each."""
    users, tokens = (inputs.read(name, integer, USERS_REMEDY) for name in ("users", "tokens"))
    if users is None or tokens is None:
        return
    if users > 2:
        inputs.refuse("users", f"has {users} entries", USERS_REMEDY)
    elif tokens < users:
        inputs.refuse(
            "users", f"has {users} entries, and {tokens} of them with an access_token", USERS_REMEDY
        )
