# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Make a systemd unit enabled, running, healthy and running on the inputs that are on disk.

What a unit was started with is recorded, not guessed from handlers: a handler is lost for good when a later
task of its play fails, and nobody restarts the service after that. The record is written only after the
service answered.

The steps when the inputs are not the recorded ones, each safe to be killed in:

1. the candidate check runs (LiveKit ends with status 0 on a bad configuration, so only its output counts);
2. the attempt is noted, systemd re-reads unit files that are ours, and the unit is restarted;
3. the health page must answer while the unit stays on one and the same invocation;
4. the unit is enabled, the inputs become the last good set, the record names them.

When 1 or 3 fails the last good set is put back, the unit is restarted on it if it had been touched, and the
caller gets a ServiceError that says so, with the journal's own words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .applied_state import Input, State, StateError, hash_of, put_back, read_input, read_inputs
from .files import read_bytes
from .service_host import CANNOT_RUN, Host, UnitState, journal, redact, unit_state

POLL_SECONDS = 0.25
SETTLE_SECONDS = 1.0  # another process may answer the health page while ours still dies of "address in use"
RECENT_SECONDS = 600  # how far back the journal is read when an old start has gone wrong since
SHORTEST_SECRET = 8
IMMEDIATE = "immediate"
DEFER = "defer"


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
    """What is asked for. `daemon_reload` says that the unit file is ours (and one of the inputs)."""

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

    @property
    def unit(self) -> str:
        return f"{self.name}.service"


@dataclass
class Outcome:
    """What was done: `action` is none, started, restarted, deferred or stopped; `reason` says why."""

    changed: bool = False
    action: str = "none"
    reason: str = ""
    hash: str = ""
    previous_hash: str = ""
    restarts: int = 0
    switched: bool = False  # enabled or disabled
    warnings: list[str] = field(default_factory=list)


def predict(wanted: Wanted, host: Host, pending: bool = False) -> Outcome:
    """What `apply` would do, as far as it can be known; `pending`: earlier tasks would change inputs."""
    plan = _Plan(wanted, host)
    if pending:
        plan.outcome.reason = "its inputs would change"
        plan.outcome.action = _action(wanted, plan.unit, plan.outcome.reason)
        plan.outcome.hash = ""  # nobody knows it before the inputs are there
    outcome = plan.outcome
    outcome.switched = plan.unit.must_be_switched(wanted.enabled)
    outcome.changed = outcome.action in ("started", "restarted") or outcome.switched
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
    """Stop and disable the unit and drop the records about it. The unit file is the caller's to remove."""
    unit = unit_state(host, wanted.unit)
    state = State(wanted.state_dir, wanted.name)
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
        self.unit = unit_state(host, wanted.unit)
        self.inputs = read_inputs(wanted.inputs)
        record = self.state.record()
        self.outcome = Outcome(hash=hash_of(self.inputs, wanted.fingerprint))
        self.outcome.previous_hash = record.hash if record else ""
        self.outcome.reason = self._why_restart()
        self.outcome.action = _action(wanted, self.unit, self.outcome.reason)

    def _why_restart(self) -> str:
        """Why the unit has to be (re)started to run on the inputs; '' when it does already."""
        record = self.state.record()
        if record is None or not record.hash:
            return "nothing is recorded about what it was started with"
        if record.attempt:
            return "an earlier run was cut short while it restarted it"
        if record.hash != self.outcome.hash:
            return "its inputs changed since it was last started"
        if self.unit.up and record.invocation != self.unit.invocation and self._changed_after_start():
            return "it was started before its inputs got their present content"
        return ""

    def _changed_after_start(self) -> bool:
        """Some input was touched after the process began: systemd may have started it on other content."""
        started = self.host.wall() - (self.host.monotonic() - self.unit.started)
        return any(item.changed_at > started for item in self.inputs)


def _action(wanted: Wanted, unit: UnitState, reason: str) -> str:
    if not unit.up:
        return "started"
    if not reason:
        return "none"
    return "deferred" if wanted.restart == DEFER else "restarted"


def _deferred(wanted: Wanted, reason: str) -> str:
    return f"{wanted.unit} keeps running as it was although {reason}: restart is set to '{DEFER}'"


def _systemctl(host: Host, *words: str) -> None:
    # No time limit of ours: systemd bounds it by the unit's own start and stop limits; a drain may be long.
    ran = host.run(["systemctl", *words])
    if ran.status != 0:
        raise ServiceError(f"'systemctl {' '.join(words)}' failed: {ran.output.strip()}")


class _Run(_Plan):
    """One call of `apply`, holding what its steps share."""

    def apply(self) -> Outcome:
        self._require_usable_unit()
        if self.outcome.reason:
            self._check_candidate()
        if self.outcome.action in ("started", "restarted"):
            invocation = self._bring_up()
        else:
            invocation = self.unit.invocation
            self._require_health()
        self._switch()
        self._remember(invocation)
        self.outcome.changed = self.outcome.restarts > 0 or self.outcome.switched
        return self.outcome

    def _require_usable_unit(self) -> None:
        if self.unit.load == "masked":
            unit = self.wanted.unit
            raise ServiceError(f"{unit} is masked and cannot be started: 'systemctl unmask {unit}' first")
        if not self.unit.load:
            said = self.host.run(["systemctl", "is-system-running"]).output.strip()
            raise ServiceError(f"systemd does not answer here ('systemctl is-system-running' says: {said})")

    def _remember(self, invocation: str) -> None:
        if self.outcome.action == "deferred":
            self.outcome.warnings.append(_deferred(self.wanted, self.outcome.reason))
        elif self.outcome.reason:
            self.state.commit(self.outcome.hash, invocation, self.inputs)
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
            self.state.note_attempt(self.outcome.hash)
        fault, invocation = self._restart()
        if not fault:
            return invocation
        told = [f"{self.wanted.unit} did not come up: {fault}.", f"Its journal says:\n{self._journal(since)}"]
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
        """Restart the unit; returns ('' or what is wrong, the invocation that was waited for)."""
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
                return self._died(invocation)
            if self.host.monotonic() >= deadline:
                return unhealthy
            self.host.sleep(POLL_SECONDS)

    def _died(self, invocation: str) -> str:
        unit = unit_state(self.host, self.wanted.unit)
        if unit.active in ("failed", "inactive"):
            return f"its process ended (systemd calls the unit {unit.active})"
        if unit.invocation != invocation or "auto-restart" in unit.sub:
            return "its process ended right after the start (systemd starts it again and again)"
        return ""

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
            recent = self._journal(self.host.wall() - RECENT_SECONDS)
            raise self._error(
                [
                    f"{self.wanted.unit} runs on its present configuration but is not healthy: {wrong}.",
                    f"Its journal of the last ten minutes says:\n{recent}",
                    f"Nothing was changed. 'systemctl restart {self.wanted.unit}' restarts it by hand.",
                ]
            )

    def _switch(self) -> None:
        if unit_state(self.host, self.wanted.unit).must_be_switched(self.wanted.enabled):
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

    def _journal(self, since: float) -> str:
        return journal(self.host, self.wanted.unit, since, self.wanted.log_namespace) or "(nothing)"

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
