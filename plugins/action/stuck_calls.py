# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the module of the same name, some rooms at a time, and shows a table. See modules/stuck_calls.py."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_table import (
    WORDING,
    WORSE,
    diff,
    merged,
    rooms_to_clear,
    table,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_verdicts import (
    ACTIVE,
    EXPIRED,
    SUSPECTED,
)

BATCH = 10  # rooms in one round: after each of them one can see how far it is
COLOURS = {
    ACTIVE: "COLOR_OK",
    EXPIRED: "COLOR_CHANGED",
    SUSPECTED: "COLOR_CHANGED",
    "PROBLEM": "COLOR_ERROR",
    **{WORDING[outcome]: "COLOR_ERROR" for outcome in WORSE},
}


def coloured(line: str) -> str:
    """The line with its first word in colour; Ansible adds none when its output is not a terminal."""
    word = next((word for word in COLOURS if line.lstrip().startswith(word)), "")
    return line.replace(word, stringc(word, getattr(constants, COLOURS[word])), 1) if word else line


class ActionModule(ActionBase):  # type: ignore[misc]
    """Lists everything, then ends what is to be ended in batches of rooms."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and print what it found."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        end = boolean_of(options.pop("end", False)) and not self._task.check_mode
        result |= self._execute_module(module_args={**options, "end": False}, task_vars=task_vars)
        if "memberships" not in result:
            return result
        if end:
            result = self._end(result, options, task_vars)
        elif boolean_of(self._task.args.get("end", False)):
            result["changed"] = any(one["outcome"] == "would_end" for one in result["memberships"])
        Display().display("\n".join(coloured(line) for line in table(result)))
        result["diff"] = diff(result["memberships"])
        return result

    def _end(
        self, result: dict[str, Any], options: dict[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        rooms = rooms_to_clear(result["memberships"])
        for start in range(0, len(rooms), BATCH):
            batch = rooms[start : start + BATCH]
            Display().display(f"rooms {start + 1} to {start + len(batch)} of {len(rooms)}")
            done = self._execute_module(
                module_args={**options, "rooms": batch, "end": True}, task_vars=task_vars
            )
            result = merged(result, done)
            if done.get("failed"):
                result |= {"failed": True, "msg": done.get("msg", "")}
            if "memberships" not in done:
                break
        return result


def boolean_of(value: object) -> bool:
    """A flag as a task gives it; the module judges what is no flag."""
    return value is True or str(value).lower() in ("yes", "true", "on", "1", "y", "t")
