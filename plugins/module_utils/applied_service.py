# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Make a service enabled, running, healthy and running on the inputs that are on disk.

What a unit was started with is recorded, not guessed from handlers: a handler is lost for good when a later
task of its play fails, and nobody restarts the service after that. The record is written only after the
service answered.

The steps when the inputs are not the recorded ones, each safe to be killed in:

1. the candidate check runs (LiveKit ends with status 0 on a bad configuration, so only its output counts);
   with policy `when_idle` the last participant is then waited for, and nothing is noted of that;
2. the attempt is noted, systemd re-reads unit files that are ours, and the unit is restarted;
3. the health page must answer while the unit stays on one and the same invocation;
4. the unit is enabled, the inputs become the last good set, the record names them.

When 1 or 3 fails the last good set is put back, the unit is restarted on it if it had been touched, and the
caller gets a ServiceError that says so, with the journal's own words.

A service may have followers, units that read the same inputs: they are restarted one after the other once it
is healthy, and belong to it in all of this. A service without a unit, such as one in a container, is
restarted by a command; whether it runs is then told by its health page alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .applied_state import Input, State, StateError, hash_of, put_back, read_input, read_inputs
from .files import read_bytes
from .idle_wait import LATER, NOT_YET, Idle, Wait, prediction, wait_until_idle
from .running_calls import Calls
from .service_host import CANNOT_RUN, Host, UnitState, journal, page_state, redact, unit_state

POLL_SECONDS = 0.25
SETTLE_SECONDS = 1.0  # another process may answer the health page while ours still dies of "address in use"
RECENT_SECONDS = 600  # how far back the journal is read when an old start has gone wrong since
SHORTEST_SECRET = 8
IMMEDIATE = "immediate"
DEFER = "defer"
WHEN_IDLE = "when_idle"


class ServiceError(Exception):
    """The unit is not what was asked for. The text is for the operator and holds no secret."""

    def __init__(self, message: str, restarts: int = 0, rolled_back: bool = False) -> None:
        super().__init__(message)
        self.restarts = restarts
        self.rolled_back = rolled_back


@dataclass(frozen=True)
class CandidateCheck:
    """A command that reads the new inputs; its output must match `expect`, its exit status is ignored."""

    argv: tuple[str, ...]
    expect: str
    timeout: float = 15.0
    user: str = ""


@dataclass(frozen=True)
class Health:
    """A page that answers one of `status` once the service is ready; `timeout` in seconds from its start."""

    url: str
    status: tuple[int, ...] = (200,)
    timeout: float = 20.0


@dataclass(frozen=True)
class RollbackFile:
    """A file changed before this call: `backup` holds what it was, None when it did not exist."""

    path: str
    backup: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What is asked for. `daemon_reload` says that the unit file is ours (and one of the inputs).

    `restart_command`: restarts a service that has no unit; returns when the old process has ended. It needs
    `health`. `followers`: names of units, without `.service`, that are restarted after it. `idle` belongs to
    restart WHEN_IDLE. `keep`: an upgrade is going on, so the good set that a restart replaces is kept.
    """

    name: str
    state_dir: str
    inputs: tuple[str, ...] = ()
    fingerprint: str = ""
    enabled: bool = True
    daemon_reload: bool = False
    check: CandidateCheck | None = None
    health: Health | None = None
    restart: str = IMMEDIATE
    rollback_files: tuple[RollbackFile, ...] = ()
    secret_files: tuple[str, ...] = ()
    log_namespace: str = ""
    restart_command: tuple[str, ...] = ()
    followers: tuple[str, ...] = ()
    idle: Idle | None = None
    keep: bool = False

    @property
    def unit(self) -> str:
        """What to call it: its unit, if it has one."""
        return self.name if self.restart_command else f"{self.name}.service"

    @property
    def follower_units(self) -> tuple[str, ...]:
        return tuple(f"{name}.service" for name in self.followers)


@dataclass
class Outcome:
    """What was done: `action` is none, started, restarted, deferred, waiting or stopped; `reason`: why."""

    changed: bool = False
    action: str = "none"
    reason: str = ""
    hash: str = ""
    previous_hash: str = ""
    restarts: int = 0
    switched: bool = False  # enabled or disabled
    calls: Calls | None = None  # who was in calls when they were last counted
    waited: float = 0.0
    warnings: list[str] = field(default_factory=list)


def predict(wanted: Wanted, host: Host, pending: bool = False) -> Outcome:
    """What `apply` would do, as far as it can be known; `pending`: earlier tasks would change inputs."""
    plan = _Plan(wanted, host)
    if pending:
        plan.outcome.reason = "its inputs would change"
        plan.outcome.action = plan.action()
        plan.outcome.hash = ""  # nobody knows it before the inputs are there
    outcome = plan.outcome
    if outcome.action == "restarted" and wanted.idle and wanted.restart == WHEN_IDLE:
        outcome.calls = host.in_calls(wanted.idle.source, plan.kept_keys())
        wait = prediction(wanted.idle, outcome.calls)
        if wait:
            outcome.action = "waiting"
            outcome.warnings.append(f"{wanted.unit} is to be restarted when nobody is in a call: {wait}.")
    outcome.switched = plan.unit.must_be_switched(wanted.enabled)
    outcome.changed = outcome.action in ("started", "restarted", "waiting") or outcome.switched
    if outcome.action == "deferred":
        outcome.warnings.append(_deferred(wanted, outcome.reason))
    return outcome


def apply(wanted: Wanted, host: Host) -> Outcome:
    """Bring the unit to what is wanted.

    Raises ServiceError when it does not come up, StateError for an input that is no file or a second run.
    """
    with State(wanted.state_dir, wanted.name).locked():
        return _Run(wanted, host).apply()


def forget(wanted: Wanted, host: Host, dry: bool = False) -> Outcome:
    """Stop and disable the unit and drop the records about it. The unit file is the caller's to remove.

    Followers, and a service without a unit, are somebody else's: they run on.
    """
    state = State(wanted.state_dir, wanted.name)
    if wanted.restart_command:
        return Outcome(changed=os.path.isdir(state.folder) if dry else state.forget())
    unit = unit_state(host, wanted.unit)
    known = unit.load not in ("", "not-found")
    busy = known and (unit.active not in ("inactive", "failed") or unit.must_be_switched(False))
    outcome = Outcome(changed=busy or os.path.isdir(state.folder), action="stopped" if busy else "none")
    if dry:
        return outcome
    if busy:
        _systemctl(host, "disable", "--now", wanted.unit)
    if known:
        host.run(["systemctl", "reset-failed", wanted.unit])  # so that no failed unit stays listed
    state.forget()
    return outcome


class _Plan:
    """What is on disk, what systemd says, and what follows from both."""

    def __init__(self, wanted: Wanted, host: Host) -> None:
        self.wanted = wanted
        self.host = host
        self.state = State(wanted.state_dir, wanted.name)
        self.unit = self._state()
        self.down = [unit for unit in wanted.follower_units if not unit_state(host, unit).up]
        self.inputs = read_inputs(wanted.inputs)
        self.wait: Wait | None = None
        record = self.state.record()
        fingerprint = "\n".join(
            [wanted.fingerprint, *wanted.followers]
        )  # a new one has to read the inputs, too
        self.outcome = Outcome(hash=hash_of(self.inputs, fingerprint))
        self.outcome.previous_hash = record.hash if record else ""
        self.outcome.reason = self._why_restart()
        self.outcome.action = self.action()

    def action(self) -> str:
        """What is to be done with the service and its followers."""
        own = self._own_action()
        return "started" if own == "none" and self.down else own

    def _own_action(self) -> str:
        """What is to be done with the service itself."""
        if not self.unit.up:
            return "started"
        if not self.outcome.reason:
            return "none"
        if self.wanted.restart == DEFER:
            return "deferred"
        waiting = {LATER: "deferred", NOT_YET: "waiting"}
        return waiting.get(self.wait.verdict, "restarted") if self.wait else "restarted"

    def kept_keys(self) -> bytes:
        """The key file that the service was started with: the one on disk may have other keys by now."""
        idle = self.wanted.idle
        found = [item.content for item in self.state.good_set() if idle and item.path == idle.source.key_file]
        return found[0] if found else b""

    def _state(self) -> UnitState:
        if self.wanted.restart_command:
            return page_state(self.host, self.wanted.health.url if self.wanted.health else "")
        return unit_state(self.host, self.wanted.unit)

    def _why_restart(self) -> str:
        """Why the unit has to be (re)started to run on the inputs; '' when it does already."""
        record = self.state.record()
        if record is None or not record.hash:
            return "nothing is recorded about what it was started with"
        if record.attempt:
            return "an earlier run was cut short while it restarted it"
        if record.hash != self.outcome.hash:
            return "its inputs changed since it was last started"
        if not self.unit.up:
            return ""
        if record.invocation != self.unit.invocation and self._changed_after_start(self.inputs):
            return "it was started before its inputs got their present content"
        edited = [read_input(file.path) for file in self.wanted.rollback_files]
        return "its files were edited after it was started" if self._changed_after_start(edited) else ""

    def _changed_after_start(self, files: Sequence[Input]) -> bool:
        """Some file was touched after the process began: somebody may have started it on other content.

        When a container's process began is not known, and then nothing is made of it.
        """
        started = self.host.wall() - (self.host.monotonic() - self.unit.started)
        return self.unit.started > 0 and any(file.changed_at > started for file in files)


def _deferred(wanted: Wanted, reason: str, wait: Wait | None = None) -> str:
    why = f"there were still {wait.found}" if wait else f"restart is set to '{DEFER}'"
    return f"{wanted.unit} keeps running as it was although {reason}: {why}"


def _systemctl(host: Host, *words: str) -> None:
    # No time limit of ours: systemd bounds it by the unit's own start and stop limits; a drain may be long.
    ran = host.run(["systemctl", *words])
    if ran.status != 0:
        raise ServiceError(f"'systemctl {' '.join(words)}' failed: {ran.output.strip()}")


def _ended(unit: UnitState, invocation: str) -> str:
    """'' while a unit runs as it was begun, else what has become of it."""
    if unit.active in ("failed", "inactive"):
        return f"its process ended (systemd calls the unit {unit.active})"
    if unit.invocation != invocation or "auto-restart" in unit.sub:
        return "its process ended right after the start (systemd starts it again and again)"
    return ""


class _Run(_Plan):
    """One call of `apply`, holding what its steps share."""

    def __init__(self, wanted: Wanted, host: Host) -> None:
        super().__init__(wanted, host)
        self.troubled = wanted.unit  # whose journal tells what went wrong
        self.printed = ""

    def apply(self) -> Outcome:
        self._require_usable_unit()
        if self.outcome.reason:
            self._check_candidate()
            self._wait_for_calls()
        if self.outcome.action == "waiting":
            return self.outcome
        if self._own_action() in ("started", "restarted"):
            invocation = self._bring_up()
        else:
            invocation = self.unit.invocation
            self._require_health()
            self._require_followers()
        self._switch()
        self._remember(invocation)
        self.outcome.changed = self.outcome.restarts > 0 or self.outcome.switched
        return self.outcome

    def _wait_for_calls(self) -> None:
        """With policy WHEN_IDLE, let calls end before a restart, and tell what that came to."""
        idle = self.wanted.idle
        if self._own_action() != "restarted" or self.wanted.restart != WHEN_IDLE or idle is None:
            return
        self.wait = wait_until_idle(idle, self.host, self.kept_keys())
        self.unit = self._state()  # it may have ended meanwhile
        self.outcome.calls, self.outcome.waited = self.wait.calls, self.wait.waited
        self.outcome.action = self.action()
        if self.outcome.action == "restarted" and self.wait.calls.busy:
            self.outcome.warnings.append(
                f"{self.wanted.unit} was restarted although there were still {self.wait.found}: "
                f"after that it was to be forced"
            )

    def _require_usable_unit(self) -> None:
        if self.unit.load == "masked":
            unit = self.wanted.unit
            raise ServiceError(f"{unit} is masked and cannot be started: 'systemctl unmask {unit}' first")
        if not self.unit.load:
            said = self.host.run(["systemctl", "is-system-running"]).output.strip()
            raise ServiceError(f"systemd does not answer here ('systemctl is-system-running' says: {said})")
        for unit in self.down:
            if unit_state(self.host, unit).load == "not-found":
                raise ServiceError(f"systemd knows no unit {unit}, which is to follow {self.wanted.unit}")

    def _remember(self, invocation: str) -> None:
        if self.outcome.action == "deferred":
            self.outcome.warnings.append(_deferred(self.wanted, self.outcome.reason, self.wait))
        elif self.outcome.reason:
            self.state.commit(self.outcome.hash, invocation, self.inputs)
            if not self.wanted.keep:
                self.state.release()  # of an upgrade that nobody finished: what runs since is wanted
        elif self.outcome.action == "started":
            self.state.settle(invocation)

    def _check_candidate(self) -> None:
        """Let the candidate check read the new inputs; when it refuses them they are taken back, unused."""
        check = self.wanted.check
        if check is None:
            return
        ran = self.host.run(check.argv, check.timeout, check.user)
        if re.search(check.expect, ran.output):
            return
        problem = "could not be checked" if ran.status in CANNOT_RUN else "is refused"
        told = [
            f"The new configuration of {self.wanted.unit} {problem} by '{' '.join(check.argv)}'.",
            f"Expected in its output: {check.expect}",
            f"Found: {ran.output.strip() or f'nothing (exit status {ran.status})'}",
        ]
        restored = self._restore()
        if restored:
            told.append(f"The last good files were put back: {', '.join(restored)}.")
        if self.unit.up:
            told.append(f"{self.wanted.unit} was not restarted and keeps running as it was.")
        elif restored:
            told.append(self._return_to_last_good())
        raise self._error(told, rolled_back=bool(restored))

    def _bring_up(self) -> str:
        """(Re)start the unit, wait until it is up, return its invocation. Takes all back if it is not."""
        since = self.host.wall()
        if self.outcome.reason:
            if self.wanted.keep:
                self.state.keep()
            self.state.note_attempt(self.outcome.hash)
        fault, invocation = self._restart()
        if not fault:
            return invocation
        told = [f"{self.troubled} did not come up: {fault}.", self._log(since)]
        restored = self._restore() if self.outcome.reason else []
        if restored:
            told.append(f"The last good files were put back: {', '.join(restored)}.")
            told.append(self._return_to_last_good())
        elif self.wanted.daemon_reload and self.outcome.reason:
            self.host.run(["systemctl", "stop", self.wanted.unit])
            told.append("There is no last good configuration to return to, so the unit was stopped.")
        else:
            told.append("There is nothing to put back; the unit is left as it is.")
        raise self._error(told, rolled_back=bool(restored))

    def _restart(self) -> tuple[str, str]:
        """Restart the service, then its followers; returns ('' or what is wrong, its invocation)."""
        self.troubled = self.wanted.unit
        before = {unit: unit_state(self.host, unit) for unit in self.wanted.follower_units}
        fault, invocation = (
            self._restart_by_command() if self.wanted.restart_command else self._restart_unit()
        )
        return fault or self._restart_followers(before), invocation

    def _restart_by_command(self) -> tuple[str, str]:
        self.outcome.restarts += 1
        ran = self.host.run(self.wanted.restart_command)
        self.printed = ran.output.strip()
        if ran.status != 0:
            return f"'{' '.join(self.wanted.restart_command)}' ended with status {ran.status}", ""
        return self._wait(""), ""

    def _restart_followers(self, before: Mapping[str, UnitState]) -> str:
        """Restart what runs on the same inputs, except what systemd restarted with the service itself."""
        begun = {}
        for unit, state in before.items():
            now = unit_state(self.host, unit)
            stale = now.invocation == state.invocation and bool(self.outcome.reason)
            if stale or not now.up:
                fault = self._restart_follower(unit)
                if fault:
                    return fault
            begun[unit] = unit_state(self.host, unit).invocation
        return self._settled(begun)

    def _restart_follower(self, unit: str) -> str:
        self.host.run(["systemctl", "reset-failed", unit])
        self.outcome.restarts += 1
        ran = self.host.run(["systemctl", "restart", unit])
        if ran.status == 0:
            return ""
        self.troubled = unit
        return f"systemd said: {ran.output.strip()}"

    def _settled(self, begun: Mapping[str, str]) -> str:
        """'' when all these followers still run a moment later as they were begun, else what is wrong."""
        if begun:
            self.host.sleep(SETTLE_SECONDS)
        for unit, invocation in begun.items():
            fault = _ended(unit_state(self.host, unit), invocation)
            if fault:
                self.troubled = unit
                return fault
        return ""

    def _require_followers(self) -> None:
        """Start the followers that do not run; those that do are left alone."""
        since = self.host.wall()
        fault = next(filter(None, map(self._restart_follower, self.down)), "")
        fault = fault or self._settled({unit: unit_state(self.host, unit).invocation for unit in self.down})
        if fault:
            raise self._error([f"{self.troubled} did not come up: {fault}.", self._log(since)])

    def _restart_unit(self) -> tuple[str, str]:
        if self.wanted.daemon_reload:
            _systemctl(self.host, "daemon-reload")
        self.host.run(["systemctl", "reset-failed", self.wanted.unit])  # else a start limit refuses the start
        self.outcome.restarts += 1
        ran = self.host.run(["systemctl", "restart", self.wanted.unit])
        if ran.status != 0:
            return f"systemd said: {ran.output.strip()}", ""
        invocation = unit_state(self.host, self.wanted.unit).invocation
        return self._wait(invocation), invocation

    def _wait(self, invocation: str) -> str:
        """'' once the unit is healthy and stays on `invocation`, else what is wrong. Ends early on death."""
        deadline = self.host.monotonic() + (self.wanted.health.timeout if self.wanted.health else 0)
        while True:
            dead = self._died(invocation)
            if dead:
                return dead
            unhealthy = self._unhealthy()
            if not unhealthy:
                self.host.sleep(SETTLE_SECONDS)
                # without a unit only the page can tell that the process has ended since
                return self._unhealthy() if self.wanted.restart_command else self._died(invocation)
            if self.host.monotonic() >= deadline:
                return unhealthy
            self.host.sleep(POLL_SECONDS)

    def _died(self, invocation: str) -> str:
        if self.wanted.restart_command:
            return ""
        return _ended(unit_state(self.host, self.wanted.unit), invocation)

    def _unhealthy(self) -> str:
        """'' when the health page answers as it should or there is none, else what it does instead."""
        health = self.wanted.health
        if health is None:
            return ""
        answer = self.host.get(health.url)
        if answer.status in health.status:
            return ""
        expected = " or ".join(str(status) for status in health.status)
        return f"{health.url} should answer status {expected} within {health.timeout:g} s, found: {answer}"

    def _require_health(self) -> None:
        """A unit that needs no restart must be healthy all the same; it is not restarted for that.

        A health page may complain about something else (LiveKit's does when Redis is away), and a restart
        would end calls without mending it.
        """
        wrong = self._wait(self.unit.invocation) if self._unhealthy() else ""
        if wrong:
            by_hand = self.wanted.restart_command or ("systemctl", "restart", self.wanted.unit)
            raise self._error(
                [
                    f"{self.wanted.unit} runs on its present configuration but is not healthy: {wrong}.",
                    self._log(self.host.wall() - RECENT_SECONDS, " of the last ten minutes"),
                    f"Nothing was changed. '{' '.join(by_hand)}' restarts it by hand.",
                ]
            )

    def _switch(self) -> None:
        if self._state().must_be_switched(self.wanted.enabled):
            _systemctl(self.host, "enable" if self.wanted.enabled else "disable", self.wanted.unit)
            self.outcome.switched = True

    def _restore(self) -> list[str]:
        """Put the last good set back, and the caller's backups of files that the set does not know."""
        good = self.state.good_set()
        known = {item.path for item in good}
        backups = [_as_it_was(file) for file in self.wanted.rollback_files if file.path not in known]
        restored = [item.path for item in [*good, *backups] if put_back(item)]
        if restored and self.wanted.daemon_reload:
            self.host.run(["systemctl", "daemon-reload"])
        return restored

    def _return_to_last_good(self) -> str:
        fault, invocation = self._restart()
        if fault:
            return f"{self.wanted.unit} was restarted on them but does not come up either: {fault}."
        self.state.settle(invocation)
        return f"{self.wanted.unit} was restarted on them and is healthy again."

    def _log(self, since: float, period: str = "") -> str:
        """What the journal says of the unit in trouble, or what the command printed if there is no unit."""
        if self.troubled == self.wanted.unit and self.wanted.restart_command:
            return (
                f"Its own log says why. The command that restarts it printed:\n{self.printed or '(nothing)'}"
            )
        namespace = self.wanted.log_namespace if self.troubled == self.wanted.unit else ""
        said = journal(self.host, self.troubled, since, namespace) or "(nothing)"
        return f"Its journal{period} says:\n{said}"

    def _error(self, told: Sequence[str], rolled_back: bool = False) -> ServiceError:
        text = redact("\n".join(told), _secrets(self.wanted))
        return ServiceError(text, self.outcome.restarts, rolled_back)


def _as_it_was(file: RollbackFile) -> Input:
    """A backed up file as an input to put back: the backup's content, the file's present mode and owner."""
    if file.backup is None:
        return Input(file.path, "absent")
    kept = read_input(file.backup)
    if kept.kind == "absent":
        raise StateError(f"{file.path} cannot be put back: its backup {file.backup} is gone")
    now = read_input(file.path)
    facts = now if now.kind == "file" else kept
    return Input(file.path, "file", kept.content, "", facts.mode, facts.uid, facts.gid)


def _secrets(wanted: Wanted) -> list[str]:
    """The words of the secret files, so that none of them stays in a message."""
    words: set[str] = set()
    for path in wanted.secret_files:
        text = (read_bytes(path) or b"").decode("utf-8", "replace")
        words.update(word for word in re.split(r"[\s:\"']+", text) if len(word) >= SHORTEST_SECRET)
    return sorted(words)
