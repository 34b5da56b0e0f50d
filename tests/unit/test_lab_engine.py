# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The engine: who may install it, what is said to everybody else, and what containers are allowed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab import engine
from lab.errors import LabError
from lab.limits import within
from lab.progress import Progress

NO_SOCKET = Path("/nonexistent/docker.sock")


def os_release(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "os-release"
    file.write_text(text)
    return file


def test_only_root_on_debian_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian = os_release(tmp_path, 'PRETTY_NAME="Debian"\nID=debian\n')
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert engine.may_install(debian)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not engine.may_install(debian)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not engine.may_install(os_release(tmp_path, "ID=ubuntu\nID_LIKE=debian\n"))
    assert not engine.may_install(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("ID=debian\n", "sudo apt-get install -y docker.io mmdebstrap"),
        ("ID=ubuntu\nID_LIKE=debian\n", "sudo apt-get install -y docker.io mmdebstrap"),
        ('ID=rocky\nID_LIKE="rhel centos fedora"\n', "sudo dnf install -y moby-engine"),
        ("ID=nixos\n", "Docker Engine or Docker Desktop"),
    ],
)
def test_everybody_else_is_told_what_to_run(tmp_path: Path, text: str, command: str) -> None:
    assert command in engine.how_to_get_an_engine(os_release(tmp_path, text), NO_SOCKET)


def test_a_socket_that_may_not_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert "usermod -aG docker" in engine.how_to_get_an_engine(tmp_path / "none", tmp_path)


def test_without_an_engine_nothing_is_tried_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "connect", lambda: None)
    monkeypatch.setattr(engine, "may_install", lambda: False)
    with pytest.raises(LabError, match="none answers"):
        engine.ensure(Progress())


def test_systemd_on_cgroup_v1() -> None:
    found = engine.systemd_privileges("1", privileged_works=True)
    assert "privileged" not in found
    assert found["cap_add"] == ["SYS_ADMIN", "NET_ADMIN"]
    assert found["cgroupns"] == "host"
    assert found["volumes"] == {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}}


def test_systemd_on_cgroup_v2() -> None:
    found = engine.systemd_privileges("2", privileged_works=True)
    assert found["privileged"] is True
    assert found["cgroupns"] == "private"
    assert "volumes" not in found
    assert engine.systemd_privileges("2", privileged_works=False) == engine.systemd_privileges("1", False)


def test_architectures_have_the_names_of_releases() -> None:
    assert engine.go_architecture({"Architecture": "x86_64"}) == "amd64"
    assert engine.go_architecture({"Architecture": "aarch64"}) == "arm64"
    with pytest.raises(LabError, match="mips"):
        engine.go_architecture({"Architecture": "mips"})


@pytest.fixture
def pid_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "dockerd.pid"
    monkeypatch.setattr(engine, "DAEMON_PID", file)
    monkeypatch.setattr(Progress, "_print", lambda _self, _text: None)
    return file


def start(tmp_path: Path, name: str) -> subprocess.Popen[bytes]:
    """A process with this name. The kernel sets the name a moment after Popen returns."""
    program = tmp_path / name
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([str(program), "60"])
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != name:
        time.sleep(0.01)
    return process


def test_our_own_daemon_is_stopped(tmp_path: Path, pid_file: Path) -> None:
    with start(tmp_path, "dockerd") as daemon:
        pid_file.write_text(f"{daemon.pid}\n")
        assert engine.stop_own_daemon(Progress())
        assert daemon.wait(5) == -signal.SIGTERM
    assert not pid_file.exists()


def test_a_process_that_only_has_the_number_is_left_alone(tmp_path: Path, pid_file: Path) -> None:
    with start(tmp_path, "other") as stranger:
        pid_file.write_text(f"{stranger.pid}\n")
        engine.stop_own_daemon(Progress())
        assert stranger.poll() is None
        stranger.terminate()
    assert not pid_file.exists()


def test_a_daemon_we_did_not_start_is_not_ours(pid_file: Path) -> None:
    assert not engine.stop_own_daemon(Progress())
    assert not pid_file.exists()


def test_a_call_that_takes_too_long() -> None:
    assert within(5, lambda: 42) == 42
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        within(0.05, lambda: signal.sigtimedwait([], 1))
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(LabError, match="status 3:\nno such luck"):
        engine.run(["sh", "-c", "echo no such luck >&2; exit 3"])
