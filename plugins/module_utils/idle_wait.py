# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Wait, within a limit, until a restart ends nobody's call."""

from __future__ import annotations

from dataclasses import dataclass

from .running_calls import Calls, Source
from .service_host import Host

IDLE_POLL_SECONDS = 5.0
FORCE = "force"
# What comes of waiting.
NOW = "now"
LATER = "later"
NOT_YET = "not yet"


@dataclass(frozen=True)
class Idle:
    """Where participants are counted, how long to wait for the last one at most (s), and what to do then.

    `waited`: seconds that earlier calls of the same task have waited. `pause`: return after that many, so
    that the caller can tell people how it stands; 0 waits to the end.
    """

    source: Source
    limit: float = 1800.0
    after: str = "defer"
    waited: float = 0.0
    pause: float = 0.0


@dataclass(frozen=True)
class Wait:
    """How waiting ended: NOW (restart), LATER (defer) or NOT_YET (the pause is over), and why."""

    verdict: str
    calls: Calls
    waited: float

    @property
    def found(self) -> str:
        return f"{self.calls} after {self.waited:.0f} s of waiting"


def wait_until_idle(idle: Idle, host: Host, kept_keys: bytes) -> Wait:
    """Poll until nobody is in a call, the limit is reached, or the pause is over."""
    called = host.monotonic()
    while True:
        calls = host.in_calls(idle.source, kept_keys)
        here = host.monotonic() - called
        waited = idle.waited + here
        if not calls.busy:
            return Wait(NOW, calls, waited)
        if waited >= idle.limit:
            return Wait(NOW if idle.after == FORCE else LATER, calls, waited)
        if idle.pause and here >= idle.pause:
            return Wait(NOT_YET, calls, waited)
        host.sleep(min(IDLE_POLL_SECONDS, idle.limit - waited))


def prediction(idle: Idle, calls: Calls) -> str:
    """What would come of the present calls, for check mode; '' if nothing would be waited for."""
    if not calls.busy:
        return ""
    then = "restart it all the same" if idle.after == FORCE else "leave it running as it was"
    return f"there are now {calls}; it would wait {idle.limit:g} s at most for the last one, then {then}"
