# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a probe says about one thing: as it should be or not, and then why that is and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

OK = "ok"
FAIL = "fail"
WARN = "warn"
SKIP = "skip"
STATUSES = (OK, FAIL, WARN, SKIP)
LEGS = {
    "announcement": "how clients find the SFU: the homeserver's transports endpoint, the client well-known",
    "entrance": "client to nginx: names, certificates, closed doors",
    "token": "client through nginx to the token service",
    "identity": "token service to homeserver: whose OpenID token is it",
    "signalling": "client through nginx to the SFU: the websocket",
    "media": "client to the SFU: UDP and TCP",
    "leave": "SFU to token service to homeserver: who leaves is out of the call",
    "host": "the RTC host itself: units, files, firewall, clock",
}  # the way of a call, in the order in which a client walks it
WORKERS = 16  # checks wait for the network nearly all the time


@dataclass(frozen=True)
class Check:
    """The outcome of one check. `cause` and `fix` are filled for everything that is not as it should be.

    `shows`: what a user then sees in Element Call, '' for nothing. `leg`: the part of the way, one of LEGS.
    """

    id: str
    title: str
    status: str
    expected: str = ""
    seen: str = ""
    cause: str = ""
    fix: str = ""
    seconds: float = 0.0
    shows: str = ""
    leg: str = ""


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong: why it is, and what to do about it, with fields as str.format fills them.

    `shows`: what a user then sees in Element Call, if that is not what the check says for all its faults.
    """

    cause: str
    fix: str
    shows: str | None = None


@dataclass(frozen=True)
class Outline:
    """A check before it is made: what it is called, what is expected, and everything that can be wrong.

    `leg`: the part of a call's way, one of LEGS. `shows`: what a user sees when it fails, '' for nothing.
    """

    id: str
    title: str
    expected: str
    leg: str
    shows: str = ""
    faults: tuple[Fault, ...] = ()

    def ok(self, seen: str) -> Check:
        """It is as it should be."""
        return self._made(OK, seen)

    def fail(self, seen: str, *faults: Fault, **fields: object) -> Check:
        """Calls do not work, or not for everybody, as long as this is so."""
        return self._faulty(FAIL, seen, faults, fields)

    def warn(self, seen: str, *faults: Fault, **fields: object) -> Check:
        """Calls work, but something is going to trouble somebody."""
        return self._faulty(WARN, seen, faults, fields)

    def skip(self, why: str) -> Check:
        """It could not be tried, and says why not."""
        return self._made(SKIP, why)

    def because(self, check: Check, seen: str) -> Check:
        """It is as another check is, for the same reason."""
        made = self._made(check.status, seen)
        return replace(made, cause=check.cause, fix=check.fix, shows=check.shows)

    def shown(self, fault: Fault) -> str:
        """What a user sees of a fault that this check found."""
        return self.shows if fault.shows is None else fault.shows

    def _made(self, status: str, seen: str) -> Check:
        return Check(self.id, self.title, status, self.expected, seen, leg=self.leg)

    def _faulty(self, status: str, seen: str, faults: Sequence[Fault], fields: Mapping[str, object]) -> Check:
        """Several faults at once are told in one breath; users see the first that can be seen."""
        return replace(
            self._made(status, seen),
            cause=". ".join(dict.fromkeys(fault.cause.format(**fields) for fault in faults)),
            fix="; ".join(dict.fromkeys(fault.fix.format(**fields) for fault in faults)),
            shows=next(filter(None, map(self.shown, faults)), ""),
        )


Job = Callable[[], Sequence[Check]]


def timed(job: Job) -> list[Check]:
    """Run a job; the checks that took no time of their own get the job's, divided by their number."""
    start = time.monotonic()
    done = list(job())
    share = (time.monotonic() - start) / max(1, len(done))
    return [check if check.seconds else replace(check, seconds=round(share, 3)) for check in done]


def run_jobs(jobs: Iterable[Job]) -> list[Check]:
    """Run all jobs at once in threads; their checks come back in the order of the jobs."""
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        return [check for done in pool.map(timed, jobs) for check in done]


def in_turn(steps: Sequence[tuple[Outline, Callable[[], Check]]]) -> list[Check]:
    """Steps that build on each other: after one that fails, the rest are skipped and point to it."""
    done: list[Check] = []
    broken = ""
    for outline, step in steps:
        if broken:
            done.append(outline.skip(f"not tried, because {broken} failed"))
            continue
        check = timed(lambda step=step: [step()])[0]  # type: ignore[misc]
        done.append(check)
        broken = check.id if check.status == FAIL else ""
    return done


def as_dicts(checks: Iterable[Check]) -> list[dict[str, object]]:
    """The form in which modules return checks."""
    return [asdict(check) for check in checks]


def failed_ids(checks: Iterable[Check]) -> list[str]:
    """The ids of the checks that failed."""
    return [check.id for check in checks if check.status == FAIL]
