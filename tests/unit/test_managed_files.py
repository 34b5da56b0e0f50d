"""Files that are wholly ours: written once, compared afterwards, shown in diffs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.managed_files import ManagedFile, manage

ME = os.geteuid()
MINE = os.getegid()


@pytest.fixture
def unit(tmp_path: Path) -> ManagedFile:
    return ManagedFile(str(tmp_path / "etc" / "systemd" / "livekit.service"), ME, MINE)


@pytest.fixture
def config(tmp_path: Path) -> ManagedFile:
    return ManagedFile(str(tmp_path / "etc" / "livekit.yaml"), ME, MINE, 0o640)


def test_written_once(unit: ManagedFile, config: ManagedFile, tmp_path: Path) -> None:
    wanted = [(unit, "[Unit]\n"), (config, "port: 7880\nü: é\n")]
    first = manage(wanted)
    assert first.files == [unit.path, config.path]
    assert first.folders == [str(tmp_path / "etc"), str(tmp_path / "etc" / "systemd")]
    assert Path(config.path).read_text(encoding="utf-8") == "port: 7880\nü: é\n"
    assert stat.S_IMODE(os.stat(config.path).st_mode) == 0o640
    again = manage(wanted)
    assert (again.changed, again.files, again.folders, again.diff) == (False, [], [], [])


def test_diff_shows_text_and_not_modes(config: ManagedFile) -> None:
    manage([(config, "port: 7880\n")])
    changed = manage([(config, "port: 7881\n")])
    assert [(entry["before"], entry["after"]) for entry in changed.diff] == [("port: 7880\n", "port: 7881\n")]
    os.chmod(config.path, stat.S_IRUSR)
    reopened = manage([(config, "port: 7881\n")])
    assert (reopened.files, reopened.diff) == ([config.path], [])


def test_file_that_is_no_text_can_be_replaced(config: ManagedFile) -> None:
    Path(config.path).parent.mkdir()
    Path(config.path).write_bytes(b"\xff\xfe")
    assert manage([(config, "port: 7880\n")]).changed is True


def test_check_mode_on_a_bare_host_and_afterwards(unit: ManagedFile, config: ManagedFile) -> None:
    stranger = ManagedFile(config.path, ME, "livekit-to-be", 0o640)
    outcome = manage([(unit, "a"), (stranger, "b")], dry=True)
    assert outcome.files == [unit.path, config.path]
    assert len(outcome.diff) == 2
    assert not Path(unit.path).parent.exists()
    manage([(unit, "a"), (config, "b")])
    assert manage([(unit, "a"), (config, "b")], dry=True).changed is False
    assert manage([(unit, "a"), (config, "c")], dry=True).files == [config.path]
    assert manage([(stranger, "b")], dry=True).files == [config.path]


def test_unknown_group_is_an_error(config: ManagedFile) -> None:
    with pytest.raises(LookupError, match="livekit-to-be"):
        manage([(ManagedFile(config.path, ME, "livekit-to-be"), "b")])


def test_full_disk_leaves_the_old_file(config: ManagedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    manage([(config, "old")])

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        manage([(config, "new")])
    assert Path(config.path).read_text() == "old"
    assert os.listdir(os.path.dirname(config.path)) == ["livekit.yaml"]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_task_that_shows_no_diff_gets_none(config: ManagedFile, wanted: bool) -> None:
    """Ansible prints what a module returns, also of a task with `diff: false`."""
    file = {"path": config.path, "content": "password"}
    arguments = {"files": [file], "_ansible_diff": wanted, "_ansible_check_mode": True}
    done = subprocess.run(
        [sys.executable, "-m", "ansible_collections.matrixrtc.backend.plugins.modules.managed_files"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / ".ansible" / "collections")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ("diff" in json.loads(done.stdout)) is wanted
