# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps what was read from a host to itself, and lets faults be seen. See modules/identity_files.py."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Secrets that a module returns would be shown, and `no_log` on the task would hide why it failed."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; what it has read is shown to nobody."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("entries") is not None:  # as one text, so that it alone is hidden, and no path in it
            arguments["entries"] = json.dumps(arguments["entries"])
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        result.pop("invocation", None)
        return {**result, "_ansible_no_log": True} if "entries" in result else result
