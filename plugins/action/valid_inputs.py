# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Collects inputs on the controller, or has them checked on the host. See modules/valid_inputs.py."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

KEPT = ("component", "inputs", "secret", "versions", "allow_untested")


class ActionModule(ActionBase):  # type: ignore[misc]
    """A call of a module costs half a second on a small host; a site has eight components to check."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the inputs, which nobody is shown, or what the module says of them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        if boolean(arguments.get("collect", False), strict=False):
            kept = {key: arguments[key] for key in KEPT if key in arguments}
            return {**result, "changed": False, "collected": kept, "_ansible_no_log": True}
        return {**result, **self._execute_module(task_vars=task_vars)}
