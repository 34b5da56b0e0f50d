"""A restart waits for calls to end, within its limit, and an upgrade's old set is there to return to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_service import Wanted, apply, predict
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_state import State, put_back
from ansible_collections.matrixrtc.backend.plugins.module_utils.idle_wait import Idle
from ansible_collections.matrixrtc.backend.plugins.module_utils.running_calls import Calls, Source
from test_applied_service import (  # the fixtures of a unit, its configuration and what is asked of it
    FakeSystemd,
    KilledError,
    config,
    fails,
    host,
    summary,
    wanted,
)

__all__ = ["config", "host", "wanted"]
BUSY = Calls(participants=3, rooms=1)
UNKNOWN = Calls(fault="LiveKit does not answer")


@pytest.fixture
def idle(config: Path) -> Idle:
    return Idle(Source("http://127.0.0.1:7880", str(config)), limit=600)


@pytest.fixture
def patient(wanted: Wanted, idle: Idle, host: FakeSystemd, config: Path) -> Wanted:
    """A service that runs on old inputs and may be restarted when nobody is in a call."""
    asked = replace(wanted, restart="when_idle", idle=idle)
    apply(asked, host)
    config.write_text("good 2")
    return asked


def until(moment: float, calls: Calls = BUSY) -> Callable[[float], Calls]:
    return lambda now: calls if now < moment else Calls()


def test_nobody_in_a_call_means_a_restart_at_once(patient: Wanted, host: FakeSystemd) -> None:
    began = host.now
    done = apply(patient, host)
    assert summary(done) == (True, "restarted", 1)
    assert done.waited == 0
    assert host.now - began < 5


def test_the_last_participant_is_waited_for(patient: Wanted, host: FakeSystemd) -> None:
    host.people = until(host.now + 100)
    seen = host.restarts
    done = apply(patient, host)
    assert summary(done) == (True, "restarted", 1)
    assert 100 <= done.waited < 106
    assert host.started >= 1100
    assert host.restarts == seen + 1
    assert done.warnings == []
    assert summary(apply(patient, host)) == (False, "none", 0)


def test_after_the_limit_it_is_deferred_and_told_in_each_run(patient: Wanted, host: FakeSystemd) -> None:
    host.people = lambda now: BUSY
    for _run in range(2):
        began = host.now
        done = apply(patient, host)
        assert summary(done) == (False, "deferred", 0)
        assert 600 <= host.now - began < 610
        assert "3 participants in 1 room after 600 s of waiting" in done.warnings[0]
    assert host.running == "good 1"
    host.people = until(0)
    assert summary(apply(patient, host)) == (True, "restarted", 1)


def test_after_the_limit_it_may_be_forced_and_that_is_told(
    patient: Wanted, idle: Idle, host: FakeSystemd
) -> None:
    host.people = lambda now: BUSY
    done = apply(replace(patient, idle=replace(idle, after="force")), host)
    assert summary(done) == (True, "restarted", 1)
    assert "although there were still 3 participants in 1 room after 600 s" in done.warnings[0]


def test_a_count_that_cannot_be_read_is_not_idle(patient: Wanted, host: FakeSystemd) -> None:
    host.people = lambda now: UNKNOWN
    done = apply(patient, host)
    assert done.action == "deferred"
    assert "nobody can tell how many people are in calls (LiveKit does not answer)" in done.warnings[0]
    assert host.running == "good 1"


def test_a_refused_configuration_is_not_waited_with(patient: Wanted, host: FakeSystemd) -> None:
    host.people = lambda now: BUSY
    host.check_output = "could not parse config"
    began = host.now
    assert "keeps running as it was" in str(fails(patient, host))
    assert host.now == began


def test_a_service_that_does_not_run_is_started_whoever_is_in_calls(
    patient: Wanted, host: FakeSystemd
) -> None:
    host.people = lambda now: UNKNOWN
    host.active = "inactive"
    assert apply(patient, host).action == "started"


def test_a_service_that_ends_while_it_is_waited_for_is_started(patient: Wanted, host: FakeSystemd) -> None:
    def people(now: float) -> Calls:
        host.active = "inactive" if now > 1050 else host.active
        return BUSY if now < 1060 else Calls()

    host.people = people
    assert apply(patient, host).action == "started"


def test_a_pause_returns_to_tell_and_the_limit_is_one_of_all_pieces(
    patient: Wanted, idle: Idle, host: FakeSystemd
) -> None:
    host.people = lambda now: BUSY
    pieces, waited = [], 0.0
    while not pieces or pieces[-1] == "waiting":
        done = apply(replace(patient, idle=replace(idle, pause=20, waited=waited)), host)
        pieces.append(done.action)
        waited = done.waited
        assert done.changed is False
    assert pieces == ["waiting"] * 29 + ["deferred"]


def test_a_run_that_is_killed_while_it_waits_is_finished_by_the_next(
    patient: Wanted, host: FakeSystemd
) -> None:
    def killed(now: float) -> Calls:
        if now > 1050:
            raise KilledError("waiting")
        return BUSY

    host.people = killed
    with pytest.raises(KilledError):
        apply(patient, host)
    host.people = until(0)
    assert summary(apply(patient, host)) == (True, "restarted", 1)
    assert summary(apply(patient, host)) == (False, "none", 0)


def test_it_is_asked_with_the_keys_that_it_was_started_with(patient: Wanted, host: FakeSystemd) -> None:
    apply(patient, host)
    assert host.asked_with == b"good 1"


def test_check_mode_tells_who_is_in_calls_and_waits_for_nobody(
    patient: Wanted, idle: Idle, host: FakeSystemd
) -> None:
    host.people = lambda now: BUSY
    began = host.now
    told = predict(patient, host)
    assert (told.changed, told.action) == (True, "waiting")
    assert "there are now 3 participants in 1 room" in told.warnings[0]
    assert "600 s at most for the last one, then leave it running as it was" in told.warnings[0]
    forced = predict(replace(patient, idle=replace(idle, after="force")), host)
    assert "then restart it all the same" in forced.warnings[0]
    assert host.now == began
    assert host.running == "good 1"
    host.people = until(0)
    assert predict(patient, host).action == "restarted"


# the set that an upgrade replaces ------------------------------------------------------------------


def contents(state: State) -> list[bytes]:
    return [item.content for item in state.kept_set() if item.kind == "file"]


def test_an_upgrade_keeps_what_it_replaces_until_it_is_dropped(
    wanted: Wanted, host: FakeSystemd, config: Path
) -> None:
    state = State(wanted.state_dir, wanted.name)
    apply(wanted, host)
    config.write_text("good 2")
    upgrade = replace(wanted, keep=True)
    apply(upgrade, host)
    assert contents(state) == [b"good 1"]
    config.write_text("good 3")  # the upgrade was cut short before its calls, and is run again
    apply(upgrade, host)
    assert contents(state) == [b"good 1"]
    assert [put_back(item) for item in state.kept_set()] == [True, False]
    assert summary(apply(wanted, host)) == (True, "restarted", 1)
    assert host.running == "good 1"
    assert not state.release()


def test_a_restart_outside_of_an_upgrade_drops_what_an_unfinished_one_kept(
    wanted: Wanted, host: FakeSystemd, config: Path
) -> None:
    apply(wanted, host)
    config.write_text("good 2")
    apply(replace(wanted, keep=True), host)
    config.write_text("good 3")
    apply(wanted, host)
    assert State(wanted.state_dir, wanted.name).kept_set() == []


def test_the_first_start_has_nothing_to_keep(wanted: Wanted, host: FakeSystemd) -> None:
    apply(replace(wanted, keep=True), host)
    assert State(wanted.state_dir, wanted.name).kept_set() == []
