"""The module kept_set as Ansible runs it: the files that an upgrade replaced come back, or are let go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_state import State, read_inputs

REPOSITORY = Path(__file__).parents[2]
MODULE = "ansible_collections.matrixrtc.backend.plugins.modules.kept_set"


class Service:
    """A program behind a link, its configuration, and what an upgrade has made of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config, self.current = folder / "livekit.yaml", folder / "current"
        self.state = State(str(folder / "applied"), "livekit")
        self.config.write_text("old")
        self.config.chmod(0o640)
        self.current.symlink_to("1.13.4")
        with self.state.locked():
            self.state.commit("hash", "invocation", read_inputs([str(self.config), str(self.current)]))
            self.state.keep()
        self.config.write_text("new")
        self.config.chmod(0o600)
        self.current.unlink()
        self.current.symlink_to("1.13.5")

    @property
    def now(self) -> tuple[str, str, int]:
        return self.config.read_text(), os.readlink(self.current), self.config.stat().st_mode & 0o777

    def run(self, state: str, check: bool = False) -> dict[str, Any]:
        arguments = {
            "name": "livekit",
            "state": state,
            "state_dir": str(self.folder / "applied"),
            "_ansible_check_mode": check,
        }
        done = subprocess.run(
            [sys.executable, "-m", MODULE],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / ".ansible" / "collections")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return dict(json.loads(done.stdout))


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


OLD, NEW = ("old", "1.13.4", 0o640), ("new", "1.13.5", 0o600)


def test_what_was_replaced_comes_back_once(service: Service) -> None:
    told = service.run("returned", check=True)
    assert (told["changed"], len(told["paths"]), service.now) == (True, 2, NEW)
    back = service.run("returned")
    assert (back["changed"], back["paths"], service.now) == (True, told["paths"], OLD)
    assert service.run("returned")["changed"] is False


def test_what_was_replaced_is_let_go_once(service: Service) -> None:
    assert service.run("dropped", check=True)["changed"] is True
    assert service.run("dropped")["changed"] is True
    assert service.run("dropped")["changed"] is False
    assert service.run("returned")["paths"] == []
    assert service.now == NEW


def test_another_run_at_work_is_told(service: Service) -> None:
    with service.state.locked():
        told = service.run("returned")
    assert told["failed"] is True
    assert "another run is working on this service" in told["msg"]
    assert service.now == NEW
