"""Services of more than one unit, or none: workers that follow, and containers restarted by a command."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_service import (
    Health,
    RollbackFile,
    ServiceError,
    Wanted,
    apply,
    forget,
    predict,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.running_calls import Calls, Source
from ansible_collections.matrixrtc.backend.plugins.module_utils.service_host import Answer, Ran

MAIN, ONE, TWO = "matrix-synapse.service", "worker@1.service", "worker@2.service"
HEALTH_URL = "http://127.0.0.1:8008/health"
UNHEALTHY = f"{HEALTH_URL} should answer status 200 within 5 s, found: Connection refused"
COMMAND = ("docker", "restart", "synapse")


@dataclass
class Unit:
    """A unit of the fake systemd; `running` is the configuration that its process read."""

    load: str = "loaded"
    active: str = "active"
    sub: str = "running"
    invocation: str = "boot"
    running: str = "good 1"


class FakeHost:
    """A homeserver of several units, or in a container; a configuration names the units that die of it."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.now = 1000.0
        self.numbers = itertools.count(1)
        self.units = {name: Unit() for name in (MAIN, ONE, TWO)}
        self.part_of_main = False
        self.answers = True
        self.restarted: list[str] = []
        self.journals: list[str] = []
        self.killed_at = ""

    def run(self, argv: Sequence[str], timeout: float | None = None, user: str = "") -> Ran:
        if tuple(argv) == COMMAND:
            return self._restart_container()
        if argv[0] == "journalctl":
            name = next((word.partition("=")[2] for word in argv if word.startswith("--unit=")), "")
            self.journals += [name] if name else []
            return Ran(0, f"words of {name}")
        if argv[1] == "show":
            return Ran(0, self._shown(self.units.get(argv[-1]) or Unit(load="not-found", active="inactive")))
        if argv[1] == "restart":
            return self._restart(argv[2])
        return Ran(0, "")

    def _shown(self, unit: Unit) -> str:
        facts = {
            "LoadState": unit.load,
            "ActiveState": unit.active,
            "SubState": unit.sub,
            "UnitFileState": "static",
            "InvocationID": unit.invocation,
        }
        return "".join(f"{key}={value}\n" for key, value in facts.items())

    def _restart(self, name: str) -> Ran:
        if name == self.killed_at:
            raise KeyboardInterrupt
        self.restarted.append(name)
        unit = self.units[name]
        unit.invocation = f"invocation {next(self.numbers)}"
        unit.running = self.config.read_text()
        unit.active, unit.sub = "active", "running"
        if f"{name} refuses" in unit.running:
            unit.active = "failed"
            return Ran(1, "Job failed")
        if f"{name} dies" in unit.running:
            unit.active, unit.sub = "activating", "auto-restart"
        if self.part_of_main and name == MAIN:
            for other in (ONE, TWO):
                self.units[other].invocation = unit.invocation
                self.units[other].running = unit.running
        return Ran(0, "")

    def _restart_container(self) -> Ran:
        self.restarted.append("container")
        text = self.config.read_text()
        self.answers = "container dies" not in text
        return Ran(1, "Error response from daemon") if "no such container" in text else Ran(0, "synapse")

    def get(self, url: str) -> Answer:
        return Answer(200) if self.answers else Answer(0, "Connection refused")

    def in_calls(self, source: Source, kept_keys: bytes) -> Calls:
        return Calls()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if "dies late" in self.config.read_text():
            self.answers = False

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "homeserver.yaml"
    path.write_text("good 1")
    return path


@pytest.fixture
def host(config: Path) -> FakeHost:
    return FakeHost(config)


@pytest.fixture
def wanted(tmp_path: Path, config: Path) -> Wanted:
    """Workers on good settings; the way back is what the homeserver's file was before."""
    (tmp_path / "backup").write_text("good 1")
    return Wanted(
        name="matrix-synapse",
        state_dir=str(tmp_path / "applied"),
        fingerprint="1",
        health=Health(HEALTH_URL, timeout=5),
        rollback_files=(RollbackFile(str(config), str(tmp_path / "backup")),),
        followers=("worker@1", "worker@2"),
    )


def changed(wanted: Wanted, config: Path, text: str) -> Wanted:
    config.write_text(text)
    return replace(wanted, fingerprint=text)


def fails(wanted: Wanted, host: FakeHost) -> str:
    with pytest.raises(ServiceError) as caught:
        apply(wanted, host)
    return str(caught.value)


# workers -------------------------------------------------------------------------------------------------


def test_main_first_then_each_worker_in_order(wanted: Wanted, host: FakeHost, config: Path) -> None:
    assert apply(wanted, host).action == "restarted"
    assert host.restarted == [MAIN, ONE, TWO]
    host.restarted.clear()
    assert apply(wanted, host).action == "none"
    assert host.restarted == []
    assert predict(changed(wanted, config, "good 2"), host).action == "restarted"
    assert apply(replace(wanted, fingerprint="good 2"), host).restarts == 3
    assert {unit.running for unit in host.units.values()} == {"good 2"}


def test_workers_that_systemd_restarts_with_the_main_unit_are_not_restarted_twice(
    wanted: Wanted, host: FakeHost
) -> None:
    host.part_of_main = True
    apply(wanted, host)
    assert host.restarted == [MAIN]


@pytest.mark.parametrize("fault", ["refuses", "dies"])
@pytest.mark.parametrize("unit", [MAIN, ONE, TWO])
def test_whichever_does_not_come_up_all_go_back(
    wanted: Wanted, host: FakeHost, config: Path, unit: str, fault: str
) -> None:
    apply(wanted, host)
    told = fails(changed(wanted, config, f"{unit} {fault}"), host)
    assert told.startswith(f"{unit} did not come up")
    assert f"words of {unit}" in told
    assert "healthy again" in told
    assert config.read_text() == "good 1"
    assert {one.running for one in host.units.values()} == {"good 1"}
    host.restarted.clear()
    assert apply(wanted, host).action == "none"
    assert host.restarted == []


def test_a_worker_that_is_stopped_is_started_alone(wanted: Wanted, host: FakeHost) -> None:
    apply(wanted, host)
    host.restarted.clear()
    host.units[TWO].active = "inactive"
    assert predict(wanted, host).action == "started"
    assert (apply(wanted, host).action, host.restarted) == ("started", [TWO])
    assert apply(wanted, host).changed is False


def test_a_stopped_worker_that_does_not_start_is_told(wanted: Wanted, host: FakeHost, config: Path) -> None:
    apply(wanted, host)
    host.units[ONE].active = "failed"
    config.write_text(f"{ONE} dies")
    assert fails(wanted, host).startswith(f"{ONE} did not come up: its process ended right after the start")


def test_a_worker_that_does_not_exist_is_told_before_anything_is_restarted(
    wanted: Wanted, host: FakeHost
) -> None:
    unknown = replace(wanted, followers=("worker@3",))
    assert "no unit worker@3.service, which is to follow matrix-synapse.service" in fails(unknown, host)
    assert host.restarted == []


def test_a_new_worker_has_to_read_the_settings_too(wanted: Wanted, host: FakeHost) -> None:
    apply(replace(wanted, followers=("worker@1",)), host)
    assert apply(wanted, host).action == "restarted"


@pytest.mark.parametrize("killed_at", [MAIN, ONE, TWO])
def test_a_run_killed_between_the_restarts_is_finished_by_the_next(
    wanted: Wanted, host: FakeHost, config: Path, killed_at: str
) -> None:
    apply(wanted, host)
    second = changed(wanted, config, "good 2")
    host.killed_at = killed_at
    with pytest.raises(KeyboardInterrupt):
        apply(second, host)
    host.killed_at = ""
    apply(second, host)
    assert {unit.running for unit in host.units.values()} == {"good 2"}
    assert apply(second, host).changed is False


def test_deferred_workers_keep_running_as_they_were(wanted: Wanted, host: FakeHost, config: Path) -> None:
    apply(wanted, host)
    host.restarted.clear()
    outcome = apply(replace(changed(wanted, config, "good 2"), restart="defer"), host)
    assert (outcome.action, host.restarted) == ("deferred", [])


# containers ----------------------------------------------------------------------------------------------


@pytest.fixture
def contained(wanted: Wanted) -> Wanted:
    return replace(wanted, restart_command=COMMAND, followers=())


def test_a_container_is_restarted_by_its_command(contained: Wanted, host: FakeHost, config: Path) -> None:
    assert apply(contained, host).action == "restarted"
    assert apply(contained, host).action == "none"
    assert apply(changed(contained, config, "good 2"), host).action == "restarted"
    assert host.restarted == ["container", "container"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("container dies", UNHEALTHY),
        (
            "container dies late",
            UNHEALTHY,
        ),
        ("no such container", "'docker restart synapse' ended with status 1"),
    ],
)
def test_a_container_that_does_not_come_up_goes_back(
    contained: Wanted, host: FakeHost, config: Path, text: str, words: str
) -> None:
    apply(contained, host)
    told = fails(changed(contained, config, text), host)
    assert f"matrix-synapse did not come up: {words}" in told
    assert "The command that restarts it printed:" in told
    assert "healthy again" in told
    assert (config.read_text(), host.answers, host.journals) == ("good 1", True, [])
    assert apply(contained, host).action == "none"


def test_a_container_that_does_not_answer_is_started(contained: Wanted, host: FakeHost) -> None:
    apply(contained, host)
    host.answers = False
    assert predict(contained, host).action == "started"
    assert apply(contained, host).action == "started"
    assert apply(contained, host).action == "none"


def test_a_container_may_have_workers_with_units(wanted: Wanted, host: FakeHost) -> None:
    apply(replace(wanted, restart_command=COMMAND), host)
    assert host.restarted == ["container", ONE, TWO]


def test_forgetting_a_container_leaves_it_alone(contained: Wanted, host: FakeHost) -> None:
    apply(contained, host)
    host.restarted.clear()
    assert forget(contained, host, dry=True).changed
    assert forget(contained, host).changed
    assert not forget(contained, host).changed
    assert host.restarted == []
