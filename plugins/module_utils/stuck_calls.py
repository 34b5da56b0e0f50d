# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""List the call memberships of rooms with what stands behind them; end those without anybody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from .matrix_client import Account, MatrixError
from .stuck_ending import ENDED, REFUSED, WORDS, WOULD_END, Ending, Outcome, Visit, planned
from .stuck_homeserver import Homeserver, Room
from .stuck_memberships import Entry, StateEvent
from .stuck_sfu import Sfu
from .stuck_verdicts import EXPIRED, SUSPECTED, Knowledge, Verdict, judge, livekit_rooms

WORKERS = 8  # requests wait for the homeserver nearly all the time
HOUR = 3600


@dataclass(frozen=True)
class Task:
    """What is to be done. Times in seconds.

    rooms: their ids, none for all. service_url: the token service that leads to `sfu`. reread: how long a
    living client is given to write again.
    """

    server: Homeserver
    me: Account
    rooms: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    end: bool = False
    join_as_admin: bool = False
    older_than: float = 12 * HOUR
    sfu: Sfu | None = None
    service_url: str = ""
    reread: float = 10
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Result:
    """`rooms`: how many were read, in `seconds`. `left`: events that say that their user has left.

    now: the homeserver's time. sticky: by room. problems: what could not be put back.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    rooms: int = 0
    seconds: float = 0.0
    left: int = 0
    now: int = 0
    sticky: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """Everything that is known about all rooms, and about one room of them on demand."""

    task: Task
    pending: frozenset[tuple[str, str]] = frozenset()
    devices: dict[str, frozenset[str]] = field(default_factory=dict)
    livekit: dict[str, str] = field(default_factory=dict)
    connected: Mapping[str, frozenset[str]] | None = None
    offset: int = 0

    def begin(self) -> None:
        """Ask what is the same for all rooms: the time, own delayed leaves, who is at the SFU."""
        self.offset = self.task.server.clock() - int(time.time() * 1000)
        self.ask_sfu()
        self.pending = self.task.server.pending()

    def ask_sfu(self) -> None:
        """Ask who is connected at this moment."""
        self.connected = self.task.sfu.connected() if self.task.sfu else None

    def learn(self, rooms: Iterable[Room]) -> None:
        """Ask for the devices of everybody who is said to be in a call."""
        rooms = list(rooms)
        self.livekit = livekit_rooms([room.room_id for room in rooms])
        users = {entry.user_id for room in rooms for event in room.events for entry in event.entries}
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            lists = pool.map(lambda user: (user, self.task.server.devices(user, self.task.me.user_id)), users)
            self.devices = {user: found for user, found in lists if found is not None}

    def verdict(self, room: Room, event: StateEvent) -> Verdict:
        """What a membership is, by what is known now."""
        others: list[Entry] = [entry for one in room.events for entry in one.entries]
        known = Knowledge(
            now=int(time.time() * 1000) + self.offset,
            older_than=int(self.task.older_than * 1000),
            members=room.joined,
            connected=self.connected,
            service_url=self.task.service_url,
            devices=self.devices,
            pending=frozenset(key for room_id, key in self.pending if room_id == room.room_id),
            rooms=self.livekit,
        )
        return judge(event, others, known)


def rooms_with_calls(task: Task, result: Result) -> list[Room]:
    """Every room with memberships that have not ended. Raises MatrixError."""
    start = time.monotonic()

    def look(room_id: str) -> Room | None:
        try:
            events = task.server.calls(room_id)
            return task.server.room(room_id) if any(event.entries for event in events) else None
        except MatrixError as error:
            if error.status == 404 and not task.rooms:
                return None  # deleted since it was listed
            raise

    ids = list(task.rooms or task.server.rooms())
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        found = [room for room in pool.map(look, ids) if room]
    result.rooms, result.seconds = len(ids), time.monotonic() - start
    return found


def wanted(task: Task, event: StateEvent, verdict: Verdict) -> bool:
    """Whether a membership is to be ended: nobody stands behind it, and it is of somebody who was named."""
    named = not task.users or any(entry.user_id in task.users for entry in event.entries)
    return named and verdict.state in (EXPIRED, SUSPECTED)


def clear(task: Task) -> Result:
    """List, and end what is to be ended. Raises MatrixError and SfuError when something cannot be read."""
    result, survey = Result(), Survey(task)
    survey.begin()
    result.now = int(time.time() * 1000) + survey.offset
    rooms = rooms_with_calls(task, result)
    survey.learn(rooms)
    ending = Ending(task.server, task.me.user_id, survey.verdict)
    for room in rooms:
        events = [event for event in room.events if event.entries]
        result.left += len(room.events) - len(events)
        judged = [Outcome(event, survey.verdict(room, event)) for event in events]
        chosen = [one for one in judged if wanted(task, one.event, one.verdict)]
        result.outcomes += [one for one in judged if one not in chosen]
        if not task.end:
            result.outcomes += [would(task, room, one) for one in chosen]
        elif chosen:
            survey.ask_sfu()
            result.outcomes += end_in(task, ending, room, chosen, result)
    if any(one.outcome == ENDED for one in result.outcomes):
        task.sleep(task.reread)
        result.outcomes = ending.check(result.outcomes)
    if not task.server.admin:
        counts = {room_id: task.server.sticky(room_id) for room_id in task.rooms}
        result.sticky = {room_id: count for room_id, count in counts.items() if count}
    return result


def would(task: Task, room: Room, one: Outcome) -> Outcome:
    """What would become of a membership."""
    way = planned(room, one.event, task.me.user_id, task.join_as_admin)
    if not way.action:
        return replace(one, outcome=REFUSED, said=way.refusal)
    return replace(one, outcome=WOULD_END, said=f"by {WORDS.get(way.action, way.action)}")


def end_in(task: Task, ending: Ending, room: Room, chosen: list[Outcome], result: Result) -> list[Outcome]:
    """End memberships of one room, as an administrator who comes in if that is allowed and needed."""
    outcomes = [ending.end(room, one) for one in chosen]
    refused = [index for index, one in enumerate(outcomes) if one.outcome == REFUSED]
    if not refused or not task.join_as_admin:
        return outcomes
    visit = Visit(task.server, task.me.user_id, room)
    try:
        with visit as inside:
            for index in refused:
                outcomes[index] = ending.end(inside, chosen[index])
    except MatrixError as error:
        for index in refused:
            outcomes[index] = replace(chosen[index], outcome=REFUSED, said=str(error))
    result.problems += visit.leftovers
    return outcomes


def as_dict(one: Outcome, now: int) -> dict[str, object]:
    """An outcome as the module returns it."""
    event = one.event
    return {
        "room_id": event.room_id,
        "type": event.type,
        "user_id": event.entries[0].user_id,
        "devices": [entry.device_id for entry in event.entries if entry.device_id],
        "state_key": event.state_key,
        "event_id": event.event_id,
        "state": one.verdict.state,
        "reason": one.verdict.reason,
        "age": max(0, round((now - event.sent) / 1000)),
        "outcome": one.outcome,
        "said": one.said,
    }
