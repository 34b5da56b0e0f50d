# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps what was read from a host to itself, and lets faults be seen. See modules/identity_files.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Secrets that a module returns would be shown, and `no_log` on the task would hide why it failed."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; what it has read is shown to nobody."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        result.pop("invocation", None)
        return {**result, "_ansible_no_log": True} if "entries" in result else result
