# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Prints what a load on an SFU says about it. Documented in modules/load_report.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.matrixrtc.backend.plugins.module_utils.load_figures import (
    Step,
    capacity,
    step_of,
    table,
)

LIMIT = "LIMIT:"


def coloured(line: str) -> str:
    """A limit in colour; Ansible adds none when its output is not a terminal."""
    return line.replace(LIMIT, stringc(LIMIT, constants.COLOR_CHANGED), 1)


def read(results: Sequence[Mapping[str, Any]]) -> tuple[list[Step], str]:
    """The steps, up to the first that failed, and why that one did."""
    steps: list[Step] = []
    for result in results:
        load, usage = result["load"], result["usage"]
        if "load" not in load or "samples" not in usage:
            return steps, str(usage.get("msg") or load.get("msg") or "a step was not measured")
        try:
            steps.append(step_of(load["load"], usage["samples"]))
        except ValueError as error:
            return steps, str(error)
    return steps, ""


class ActionModule(ActionBase):  # type: ignore[misc]
    """Shows the table, and fails if a step did."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset(("title", "steps", "file"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        steps, fault = read(self._task.args["steps"])
        found = capacity(steps)
        result["steps"] = [step.as_dict() for step in steps]
        result["capacity"] = asdict(found) if found else {}
        Display().display("\n".join([f"\nLoad on {self._task.args['title']}", *map(coloured, table(steps))]))
        path = self._task.args.get("file", "")
        if path and not self._task.check_mode:
            figures = {"steps": result["steps"], "capacity": result["capacity"]}
            Path(path).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        if fault:
            result.update(failed=True, msg=f"A step failed: {fault}")
        return result
