# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Shows how it stands while a restart waits for calls to end, which a module cannot."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

PAUSE = 20  # seconds between two lines about a wait


class ActionModule(ActionBase):  # type: ignore[misc]
    """Has the module wait in pieces. What was waited is counted here, so the limit is one of all pieces."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module until it no longer waits."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        if not isinstance(arguments.get("idle"), dict) or self._task.check_mode:
            return {**result, **self._execute_module(task_vars=task_vars)}
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            idle = {**arguments["idle"], "waited": waited, "pause": PAUSE}
            answer = self._execute_module(module_args={**arguments, "idle": idle}, task_vars=task_vars)
            if answer.get("action") != "waiting":
                return {**result, **answer}
            host = (task_vars or {}).get("inventory_hostname", "the host")
            limit = float(idle.get("limit", 1800))
            Display().display(
                f"  {host}: {arguments['name']} waits for calls to end: {answer['found']}, "
                f"waited {time.monotonic() - began:.0f} s of {limit:.0f} s at most"
            )
