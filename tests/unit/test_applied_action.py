"""While a restart waits for calls to end, people see how it stands, and the limit is one of all pieces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.matrixrtc.backend.plugins.action import applied_service

ARGUMENTS = {"name": "livekit", "idle": {"livekit_url": "http://127.0.0.1:7880", "limit": 600}}


class Module:
    """What the module on the host answers, one answer after the other, each 20 s later."""

    def __init__(self, *actions: str) -> None:
        self.actions = list(actions)
        self.asked: list[dict[str, Any] | None] = []
        self.shown: list[str] = []
        self.now = 0.0

    def answer(self, module_args: dict[str, Any] | None = None, **_others: Any) -> dict[str, Any]:
        self.asked.append(module_args)
        self.now += 20
        return {"action": self.actions.pop(0), "found": "3 participants in 1 room"}


def run(
    monkeypatch: pytest.MonkeyPatch, module: Module, arguments: dict[str, Any], check: bool
) -> dict[str, Any]:
    """Run the task with these arguments against the module."""
    monkeypatch.setattr(ActionBase, "run", lambda *_given: {})
    monkeypatch.setattr(applied_service.time, "monotonic", lambda: module.now)
    monkeypatch.setattr(applied_service, "Display", lambda: SimpleNamespace(display=module.shown.append))
    action = applied_service.ActionModule.__new__(applied_service.ActionModule)
    action._task = SimpleNamespace(args=arguments, check_mode=check)
    monkeypatch.setattr(action, "_execute_module", module.answer)
    return dict(action.run(task_vars={"inventory_hostname": "matrix"}))


def test_each_piece_is_shown_and_knows_what_was_waited_before(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module("waiting", "waiting", "restarted")
    assert run(monkeypatch, module, ARGUMENTS, check=False)["action"] == "restarted"
    assert [asked["idle"]["waited"] for asked in module.asked if asked] == [0, 20, 40]
    assert {asked["idle"]["pause"] for asked in module.asked if asked} == {applied_service.PAUSE}
    waits = "  matrix: livekit waits for calls to end: 3 participants in 1 room"
    assert module.shown == [f"{waits}, waited {waited} s of 600 s at most" for waited in (20, 40)]


@pytest.mark.parametrize(("arguments", "check"), [(ARGUMENTS, True), ({"name": "synapse"}, False)])
def test_check_mode_and_services_without_calls_wait_for_nobody(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], check: bool
) -> None:
    module = Module("waiting")
    assert run(monkeypatch, module, arguments, check)["action"] == "waiting"
    assert module.asked == [None]
    assert module.shown == []
