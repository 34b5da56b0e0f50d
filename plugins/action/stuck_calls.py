# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the module of the same name on the host and shows its table. Documented in modules/stuck_calls.py."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_calls import WORDS, WORSE
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_membership import ACTIVE, STUCK

COLOURS = {
    ACTIVE: "COLOR_OK",
    **dict.fromkeys(STUCK, "COLOR_CHANGED"),
    **{WORDS[outcome]: "COLOR_ERROR" for outcome in WORSE},
}


def coloured(line: str) -> str:
    """The line with its first word in colour; Ansible adds none when its output is not a terminal."""
    word = next((word for word in COLOURS if line.lstrip().startswith(word)), "")
    return line.replace(word, stringc(word, getattr(constants, COLOURS[word])), 1) if word else line


class ActionModule(ActionBase):  # type: ignore[misc]
    """YAML would break the lines of a table."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and print what it found."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result |= self._execute_module(task_vars=task_vars)
        if "table" in result:
            Display().display("\n".join(coloured(line) for line in result["table"]))
        return result
