# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of who is called from site to site."""

from __future__ import annotations

from .inputs_report import Inputs
from .inputs_values import server_name, shown

PARTNER_REMEDY = "Set server_name of each entry to the part after the colon in its users' Matrix IDs."


def check_federation(inputs: Inputs, _secret: str) -> None:
    """Sites outside the inventory, by their server names; `called`: all that are called, those included."""
    inputs.read_list("partners", server_name, PARTNER_REMEDY, required=False)
    given = inputs.values.get("called")
    called = [str(name) for name in given] if isinstance(given, (list, tuple)) else []
    for name in sorted({name for name in called if name and called.count(name) > 1}):
        inputs.refuse(
            "partners",
            f"{shown(name)} is called already",
            "Leave it out: sites of the inventory need no entry.",
        )
