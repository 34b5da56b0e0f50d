"""A service runs on its present inputs whatever failed before, or on the last good ones if those fail."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_service import (
    CandidateCheck,
    Health,
    Outcome,
    RollbackFile,
    ServiceError,
    Wanted,
    apply,
    forget,
    predict,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_state import State, StateError
from ansible_collections.matrixrtc.backend.plugins.module_utils.running_calls import Calls, Source
from ansible_collections.matrixrtc.backend.plugins.module_utils.service_host import Answer, Ran

SECRET = "k7Wq2mZx9Lr4Tn8Vb3Yd6Hc1Pf5Sg0Ju"
HEALTH_URL = "http://127.0.0.1:7880/"


class KilledError(BaseException):
    """The run was killed here; nothing of it can catch this."""


class FakeSystemd:
    """One unit. What its process does is decided by the words in its configuration file at its start."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.now = 1000.0
        self.wall_offset = time.time() + 60 - self.now  # the unit is started after the files of a test
        self.numbers = itertools.count(1)
        self.load = "loaded"
        self.active = "inactive"
        self.sub = "dead"
        self.file_state = "disabled"
        self.invocation = ""
        self.started = 0.0
        self.running = ""  # the configuration of the process
        self.log: list[str] = []
        self.calls: list[str] = []
        self.kill: Callable[[str], bool] = lambda call: False
        self.kill_after: Callable[[str], bool] = lambda call: False
        self.people: Callable[[float], Calls] = lambda now: Calls()
        self.asked_with = b""
        self.check_output = "TCP Ports\n7880"

    # what the module sees

    def run(self, argv: Sequence[str], timeout: float | None = None, user: str = "") -> Ran:
        call = " ".join(argv)
        if self.kill(call):
            raise KilledError(call)
        ran = self._run(argv)
        if self.kill_after(call):
            raise KilledError(call)
        return ran

    def _run(self, argv: Sequence[str]) -> Ran:
        words = [word for word in argv if not word.startswith("-")]
        if words[:2] == ["systemctl", "show"]:
            return Ran(0, self._shown())
        self.calls.append(" ".join(argv))
        if words[0] == "journalctl":
            return Ran(0, "\n".join(self.log))
        if words[0] != "systemctl":
            return Ran(0, self.check_output)
        act: Callable[[], Ran] = getattr(self, f"_{words[1].replace('-', '_')}")
        return act()

    def get(self, url: str) -> Answer:
        if self.active == "active" and "mute" not in self.running:
            return Answer(200)
        return Answer(0, "Connection refused")

    def in_calls(self, source: Source, kept_keys: bytes) -> Calls:
        self.asked_with = kept_keys
        return self.people(self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if "dies late" in self.running and self.now > self.started + 0.5:
            self._end()

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_offset

    # what systemd does

    def _shown(self) -> str:
        values = {
            "LoadState": self.load,
            "ActiveState": self.active,
            "SubState": self.sub,
            "UnitFileState": self.file_state,
            "InvocationID": self.invocation,
            "ExecMainStartTimestampMonotonic": str(int(self.started * 1e6)),
            "NeedDaemonReload": "no",
        }
        return "".join(f"{key}={value}\n" for key, value in values.items())

    def _restart(self) -> Ran:
        self.running = self.config.read_text() if self.config.exists() else "unconfigured"
        self.started = self.now
        self.invocation = f"invocation-{next(self.numbers)}"
        self.active, self.sub = "active", "running"
        if "refused" in self.running:
            self.active = "failed"
            return Ran(1, "Job failed. See journalctl.")
        if "dies at once" in self.running:
            self._end()
        return Ran(0, "")

    def _end(self) -> None:
        self.log.append(f"could not parse config, the secret was {SECRET} and ?access_token=syt_abc")
        self.active, self.sub = "activating", "auto-restart"

    def _stop(self) -> Ran:
        self.active, self.sub = "inactive", "dead"
        return Ran(0, "")

    def _enable(self) -> Ran:
        self.file_state = "enabled"
        return Ran(0, "")

    def _disable(self) -> Ran:
        self.file_state = "disabled"
        return self._stop()

    def _daemon_reload(self) -> Ran:
        return Ran(0, "")

    def _reset_failed(self) -> Ran:
        return Ran(0, "")

    def _is_system_running(self) -> Ran:
        return Ran(1, "offline")

    def crash(self) -> None:
        """The process ends and systemd starts it again, on what is on disk now."""
        self.now += 100
        self._restart()

    @property
    def restarts(self) -> int:
        return self.calls.count("systemctl restart livekit.service")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "livekit.yaml"
    path.write_text("good 1")
    path.chmod(0o640)
    return path


@pytest.fixture
def host(config: Path) -> FakeSystemd:
    return FakeSystemd(config)


@pytest.fixture
def wanted(tmp_path: Path, config: Path) -> Wanted:
    secret = tmp_path / "livekit_secret"
    secret.write_text(SECRET + "\n")
    return Wanted(
        name="livekit",
        state_dir=str(tmp_path / "var" / "applied"),
        inputs=(str(config), str(tmp_path / "unit")),
        daemon_reload=True,
        check=CandidateCheck(("livekit-server", "ports"), "TCP Ports"),
        health=Health(HEALTH_URL, timeout=5),
        secret_files=(str(secret),),
    )


def fails(wanted: Wanted, host: FakeSystemd) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        apply(wanted, host)
    return caught.value


def summary(outcome: Outcome) -> tuple[bool, str, int]:
    return outcome.changed, outcome.action, outcome.restarts


def test_first_run_starts_and_second_run_does_nothing(wanted: Wanted, host: FakeSystemd) -> None:
    assert summary(apply(wanted, host)) == (True, "started", 1)
    assert host.file_state == "enabled"
    assert [call for call in host.calls if not call.startswith("systemctl reset")] == [
        "livekit-server ports",
        "systemctl daemon-reload",
        "systemctl restart livekit.service",
        "systemctl enable livekit.service",
    ]
    host.calls.clear()
    assert summary(apply(wanted, host)) == (False, "none", 0)
    assert host.calls == []


def test_changed_input_restarts_once(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    apply(wanted, host)
    config.write_text("good 2")
    assert summary(apply(wanted, host)) == (True, "restarted", 1)
    assert host.running == "good 2"
    assert summary(apply(wanted, host)) == (False, "none", 0)


def test_the_fingerprint_decides_for_a_service_that_is_not_ours(wanted: Wanted, host: FakeSystemd) -> None:
    foreign = replace(wanted, inputs=(), daemon_reload=False, check=None, fingerprint="a")
    apply(foreign, host)
    assert summary(apply(foreign, host)) == (False, "none", 0)
    assert summary(apply(replace(foreign, fingerprint="b"), host)) == (True, "restarted", 1)
    assert "systemctl daemon-reload" not in host.calls


def test_stopped_service_is_started_without_a_check(wanted: Wanted, host: FakeSystemd) -> None:
    apply(wanted, host)
    host.calls.clear()
    host.active = "inactive"
    assert summary(apply(wanted, host)) == (True, "started", 1)
    assert "livekit-server ports" not in host.calls
    assert summary(apply(wanted, host)) == (False, "none", 0)


def test_a_link_counts_with_its_target_and_comes_back_on_failure(
    wanted: Wanted, host: FakeSystemd, config: Path, tmp_path: Path
) -> None:
    for version in ("1.13.4", "1.13.5"):
        (tmp_path / version).mkdir()
    current = tmp_path / "current"
    current.symlink_to("1.13.4")
    both = replace(wanted, inputs=(*wanted.inputs, str(current)))
    apply(both, host)
    current.unlink()
    current.symlink_to("1.13.5")
    assert apply(both, host).action == "restarted"
    current.unlink()
    current.symlink_to("1.13.4")
    config.write_text("dies at once")
    assert fails(both, host).rolled_back
    assert os.readlink(current) == "1.13.5"
    assert config.read_text() == "good 1"


# failures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("dies at once", "ended right after the start"),
        ("dies late", "ended right after the start"),
        ("mute", f"{HEALTH_URL} should answer status 200 within 5 s, found: Connection refused"),
        ("refused", "systemd said: Job failed"),
    ],
)
def test_a_bad_input_is_taken_back_and_the_service_runs_on_the_last_good_one(
    wanted: Wanted, host: FakeSystemd, config: Path, content: str, why: str
) -> None:
    apply(wanted, host)
    config.write_text(content)
    error = fails(wanted, host)
    assert why in str(error)
    assert "healthy again" in str(error)
    assert error.rolled_back
    assert error.restarts == 2
    assert config.read_text() == "good 1"
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert host.running == "good 1"
    assert summary(apply(wanted, host)) == (False, "none", 0)


def test_the_wait_ends_early_when_the_process_dies(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    config.write_text("dies at once")
    before = host.now
    fails(replace(wanted, health=Health(HEALTH_URL, timeout=600)), host)
    assert host.now - before < 5


def test_the_journal_is_told_without_secrets(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    config.write_text("dies at once")
    text = str(fails(wanted, host))
    assert "could not parse config, the secret was *** and ?access_token=***" in text
    assert SECRET not in text
    assert "syt_abc" not in text


def test_first_start_that_fails_leaves_it_stopped(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    config.write_text("mute")
    assert "no last good configuration" in str(fails(wanted, host))
    assert host.active == "inactive"
    assert host.file_state == "disabled"
    config.write_text("good 1")
    assert summary(apply(wanted, host)) == (True, "started", 1)


def test_refused_candidate_is_taken_back_and_nothing_is_restarted(
    wanted: Wanted, host: FakeSystemd, config: Path
) -> None:
    apply(wanted, host)
    host.calls.clear()
    config.write_text("good 2")
    host.check_output = "could not parse config: field rooom not found"
    error = fails(wanted, host)
    assert "Found: could not parse config: field rooom not found" in str(error)
    assert "keeps running as it was" in str(error)
    assert host.restarts == 0
    assert config.read_text() == "good 1"
    assert apply(wanted, host).action == "none"


def test_refused_candidate_of_a_stopped_service_starts_the_last_good_one(
    wanted: Wanted, host: FakeSystemd, config: Path
) -> None:
    apply(wanted, host)
    host.active = "inactive"
    config.write_text("good 2")
    host.check_output = "no"
    assert "healthy again" in str(fails(wanted, host))
    assert (host.active, host.running) == ("active", "good 1")


def test_callers_backups_are_put_back_when_no_good_set_knows_the_file(
    wanted: Wanted, host: FakeSystemd, tmp_path: Path
) -> None:
    homeserver, new = tmp_path / "homeserver.yaml", tmp_path / "zz.yaml"
    backup = tmp_path / "homeserver.yaml.backup"
    homeserver.write_text("dies at once")
    homeserver.chmod(0o644)
    new.write_text("ours")
    backup.write_text("operator's")
    host.config, host.active = homeserver, "active"
    foreign = replace(
        wanted,
        inputs=(),
        daemon_reload=False,
        check=None,
        fingerprint="new",
        rollback_files=(RollbackFile(str(homeserver), str(backup)), RollbackFile(str(new))),
    )
    assert fails(foreign, host).rolled_back
    assert (homeserver.read_text(), host.running, new.exists()) == ("operator's", "operator's", False)
    assert stat.S_IMODE(homeserver.stat().st_mode) == 0o644


def test_foreign_files_that_we_mended_after_a_start_by_somebody_else_restart_it(
    wanted: Wanted, host: FakeSystemd, tmp_path: Path
) -> None:
    """The settings are those of the last record again, but the process was started on others."""
    homeserver, backup = tmp_path / "homeserver.yaml", tmp_path / "backup"
    homeserver.write_text("ours")
    host.config = homeserver
    foreign = replace(wanted, inputs=(), daemon_reload=False, check=None, fingerprint="ours")
    apply(foreign, host)
    homeserver.write_text("without ours")
    host._restart()
    backup.write_text("without ours")
    homeserver.write_text("ours")
    host.wall_offset -= 120  # the inode's change time cannot be set: the start has to be the earlier one
    mended = replace(foreign, rollback_files=(RollbackFile(str(homeserver), str(backup)),))
    assert predict(mended, host).action == "restarted"
    assert apply(mended, host).restarts == 1
    assert host.running == "ours"
    assert apply(foreign, host).restarts == 0


def test_a_lost_backup_never_empties_a_file(
    wanted: Wanted, host: FakeSystemd, config: Path, tmp_path: Path
) -> None:
    config.write_text("dies at once")
    lost = replace(wanted, inputs=(), rollback_files=(RollbackFile(str(config), str(tmp_path / "gone")),))
    with pytest.raises(StateError, match="gone is gone"):
        apply(lost, host)
    assert config.read_text() == "dies at once"


def test_foreign_unit_that_fails_is_left_alone(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    config.write_text("mute")
    fails(replace(wanted, inputs=(), daemon_reload=False, check=None), host)
    assert not any(call.startswith("systemctl stop") for call in host.calls)


def test_unhealthy_service_on_its_present_inputs_is_reported_and_not_restarted(
    wanted: Wanted, host: FakeSystemd
) -> None:
    apply(wanted, host)
    host.calls.clear()
    host.running = "mute"
    assert "is not healthy" in str(fails(wanted, host))
    assert host.restarts == 0


def test_masked_unit_and_missing_systemd_are_named(wanted: Wanted, host: FakeSystemd) -> None:
    host.load = "masked"
    assert "systemctl unmask livekit.service" in str(fails(wanted, host))
    host.load = ""
    assert "systemd does not answer here" in str(fails(wanted, host))


# killed runs ---------------------------------------------------------------------------------------


def after_a_kill(wanted: Wanted, host: FakeSystemd, config: Path, content: str) -> None:
    """Whatever was killed: the next run ends up on what is on disk, and the one after does nothing."""
    config.write_text(content)
    restarts = host.restarts
    apply(wanted, host)
    assert host.running == content
    assert host.restarts - restarts <= 1
    assert summary(apply(wanted, host)) == (False, "none", 0)


COMMANDS = (
    "livekit-server ports",
    "systemctl daemon-reload",
    "systemctl restart",
    "systemctl enable",
    "systemctl show",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("when", ["kill", "kill_after"])
@pytest.mark.parametrize("content", ["good 2", "good 1"], ids=["wanted again", "reverted"])
@pytest.mark.parametrize("first", [True, False], ids=["first run", "later run"])
def test_a_killed_run_is_finished_by_the_next(
    wanted: Wanted, host: FakeSystemd, config: Path, command: str, when: str, content: str, first: bool
) -> None:
    if not first:
        apply(wanted, host)
        host.file_state = "disabled"
    config.write_text("good 2")
    setattr(host, when, lambda call: call.startswith(command))
    with pytest.raises(KilledError):
        apply(wanted, host)
    setattr(host, when, lambda call: False)
    after_a_kill(wanted, host, config, content)
    assert host.file_state == "enabled"


def test_killed_between_write_and_restart_restarts_exactly_once(
    wanted: Wanted, host: FakeSystemd, config: Path
) -> None:
    apply(wanted, host)
    config.write_text("good 2")  # and the run that wrote it is dead
    restarts = host.restarts
    assert apply(wanted, host).reason == "its inputs changed since it was last started"
    assert apply(wanted, host).changed is False
    assert host.restarts - restarts == 1


def test_a_crash_between_write_and_revert_is_noticed(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    """Written, killed, started by systemd on the new content, reverted: hash equal, process not."""
    apply(wanted, host)
    config.write_text("good 2")
    host.wall_offset -= 10000
    host.crash()
    host.wall_offset += 10000
    config.write_text("good 1")
    host.wall_offset = time.time() - host.now - 1  # the revert is newer than the process
    assert host.running == "good 2"
    assert apply(wanted, host).action == "restarted"
    assert host.running == "good 1"


def test_a_crash_or_reboot_alone_restarts_nothing(wanted: Wanted, host: FakeSystemd) -> None:
    apply(wanted, host)
    host.crash()
    assert summary(apply(wanted, host)) == (False, "none", 0)


def test_a_file_that_is_touched_or_rewritten_as_it_was_restarts_nothing(
    wanted: Wanted, host: FakeSystemd, config: Path
) -> None:
    apply(wanted, host)
    host.wall_offset = time.time() - host.now - 60  # the unit was started a minute ago
    config.write_text("good 1")
    assert summary(apply(wanted, host)) == (False, "none", 0)


def test_killed_while_the_good_set_is_saved(
    wanted: Wanted, host: FakeSystemd, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(wanted, host)
    config.write_text("good 2")

    def killed(state: State, *given: object) -> None:
        (Path(state.folder) / "good-half").mkdir()
        raise KilledError

    monkeypatch.setattr(State, "commit", killed)
    with pytest.raises(KilledError):
        apply(wanted, host)
    monkeypatch.undo()
    after_a_kill(wanted, host, config, "good 2")
    assert len(list((Path(wanted.state_dir) / "livekit").glob("good-*"))) == 1


def test_a_record_that_cannot_be_read_counts_as_none(wanted: Wanted, host: FakeSystemd) -> None:
    apply(wanted, host)
    (Path(wanted.state_dir) / "livekit" / "state.json").write_text("{")
    assert apply(wanted, host).action == "restarted"


def test_a_second_run_is_kept_off(wanted: Wanted, host: FakeSystemd) -> None:
    with State(wanted.state_dir, "livekit").locked(), pytest.raises(StateError, match="another run"):
        apply(wanted, host)


# policy, check mode, removal -----------------------------------------------------------------------


def test_deferred_restart_waits_for_an_immediate_run(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    apply(wanted, host)
    config.write_text("good 2")
    later = replace(wanted, restart="defer")
    for _ in range(2):
        outcome = apply(later, host)
        assert summary(outcome) == (False, "deferred", 0)
        assert "keeps running as it was" in outcome.warnings[0]
    assert host.running == "good 1"
    assert apply(wanted, host).action == "restarted"


def test_defer_still_starts_a_service_that_does_not_run(wanted: Wanted, host: FakeSystemd) -> None:
    assert apply(replace(wanted, restart="defer"), host).action == "started"


def test_disabled_on_request_and_static_units_left(wanted: Wanted, host: FakeSystemd) -> None:
    off = replace(wanted, enabled=False)
    apply(off, host)
    assert host.file_state == "disabled"
    host.file_state = "static"
    assert apply(off, host).changed is False


def test_check_mode_tells_what_a_run_would_do_and_changes_nothing(
    wanted: Wanted, host: FakeSystemd, config: Path
) -> None:
    host.load, host.file_state = "not-found", ""
    config.unlink()
    assert summary(predict(wanted, host)) == (True, "started", 0)
    host.load, host.file_state = "loaded", "disabled"
    config.write_text("good 1")
    apply(wanted, host)
    assert summary(predict(wanted, host)) == (False, "none", 0)
    assert summary(predict(wanted, host, pending=True)) == (True, "restarted", 0)
    assert summary(predict(replace(wanted, restart="defer"), host, pending=True)) == (False, "deferred", 0)
    config.write_text("good 2")
    calls = list(host.calls)
    assert summary(predict(wanted, host)) == (True, "restarted", 0)
    assert host.calls == calls
    assert host.running == "good 1"


def test_forget_stops_disables_and_leaves_nothing(wanted: Wanted, host: FakeSystemd) -> None:
    apply(wanted, host)
    assert forget(wanted, host, dry=True).changed is True
    assert host.active == "active"
    assert forget(wanted, host).action == "stopped"
    assert (host.active, host.file_state) == ("inactive", "disabled")
    assert not os.path.exists(wanted.state_dir)
    assert forget(wanted, host).changed is False


def test_the_state_is_private(wanted: Wanted, host: FakeSystemd) -> None:
    apply(wanted, host)
    top = Path(wanted.state_dir).parent
    for path in [top, *top.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_directory_is_no_input(wanted: Wanted, host: FakeSystemd, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="neither a file nor a link"):
        apply(replace(wanted, inputs=(str(tmp_path),)), host)
