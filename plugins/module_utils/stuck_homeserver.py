# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a homeserver tells about calls: to a member of a room, or to an administrator about all rooms.

Synapse's admin API: docs/admin_api/rooms.md and user_admin_api.md. It needs an access token of a server
administrator, works without being in a room, and stands above no rule of a room.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode

from .call_membership import MEMBER_TYPE, left
from .http_client import Response
from .matrix_client import CLIENT, DELAYED, MatrixClient, MatrixError, rate_limit_pause
from .stuck_memberships import LEGACY_CALL_TYPE, STICKY_TYPES, StateEvent, from_event
from .stuck_power import Powers, powers_of

ADMIN = "/_synapse/admin"
PAGE = 100
CREATE, LEVELS, MEMBER = "m.room.create", "m.room.power_levels", "m.room.member"
MARGIN = 0.05  # seconds on top of what a rate limit asks for, for clocks that are rounded
STICKY = "msc4354_sticky"


@dataclass
class PatientClient(MatrixClient):
    """Waits as long as a rate limit asks, `patience` seconds in all, counted in `waited`."""

    longest_pause: float = -1.0  # all waiting is done and counted here
    patience: float = 600.0
    sleep: Callable[[float], None] = time.sleep
    waited: float = 0.0
    exhausted: bool = False  # a rate limit asked for more than the patience there is
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, what: str, method: str, path: str, body: object = None) -> Response:
        """One request, repeated after each rate limit. An answer that is cut off is an error."""
        while True:
            try:
                response = super().ask(what, method, path, body)
            except MatrixError as error:
                pause = max(0.0, rate_limit_pause(error.response)) + MARGIN
                with self.lock:
                    self.exhausted |= error.status == 429 and self.waited + pause > self.patience
                    if error.status != 429 or self.exhausted:
                        raise
                    self.waited += pause
                self.sleep(pause)
                continue
            if response.json() is None:
                raise MatrixError(f"{what}: the answer is not JSON, or too long", response)
            return response


@dataclass(frozen=True)
class Room:
    """What a room's state says of calls and of who may write them."""

    room_id: str
    events: tuple[StateEvent, ...]
    joined: frozenset[str]
    powers: Powers


def _path(text: str) -> str:
    return quote(text, safe="")


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _joined(events: list[Mapping[str, object]]) -> frozenset[str]:
    found = set()
    for event in events:
        content = event.get("content")
        if (
            event.get("type") == MEMBER
            and isinstance(content, Mapping)
            and content.get("membership") == "join"
        ):
            found.add(str(event.get("state_key")))
    return frozenset(found)


@dataclass
class Homeserver:
    """A homeserver, asked with one token; `admin`: an administrator's, through the admin API.

    kinds: the types of state events that count. without_us: rooms of which no user of the server is a member.
    """

    client: PatientClient
    admin: bool
    kinds: tuple[str, ...] = (MEMBER_TYPE,)
    without_us: int = 0

    def clock(self) -> int:
        """The homeserver's own time in milliseconds: times of events are told by it."""
        answer = self.client.ask("asking for the time", "GET", "/_matrix/client/versions")
        try:
            return int(parsedate_to_datetime(answer.header("Date")).timestamp() * 1000)
        except (TypeError, ValueError):
            return int(time.time() * 1000)

    def rooms(self) -> Iterator[str]:
        """The ids of all rooms with members of this homeserver; of the user's rooms without the admin API."""
        if not self.admin:
            joined = self.client.call("asking for the rooms", "GET", f"{CLIENT}/joined_rooms")
            listed = joined.get("joined_rooms")
            yield from (str(room) for room in listed) if isinstance(listed, list) else ()
            return
        start: object = 0
        seen: set[str] = set()  # a room that is made meanwhile moves others to the next page
        while start is not None:
            query = urlencode({"from": start, "limit": PAGE})
            page = self.client.call("listing all rooms", "GET", f"{ADMIN}/v1/rooms?{query}")
            for room in _mappings(page.get("rooms")):
                room_id = str(room.get("room_id"))
                if room.get("joined_local_members") == 0:
                    self.without_us += room_id not in seen
                elif room_id not in seen:
                    yield room_id
                seen.add(room_id)
            start = page.get("next_batch")

    def _state(self, room_id: str, kind: str = "") -> list[Mapping[str, object]]:
        what = f"reading the state of {room_id}"
        if self.admin:
            query = f"?{urlencode({'type': kind})}" if kind else ""
            path = f"{ADMIN}/v1/rooms/{_path(room_id)}/state{query}"
            return _mappings(self.client.call(what, "GET", path).get("state"))
        # the one answer of the API that is no object but a list
        return _mappings(self.client.ask(what, "GET", f"{CLIENT}/rooms/{_path(room_id)}/state").json())

    def _calls(self, room_id: str, events: list[Mapping[str, object]]) -> tuple[StateEvent, ...]:
        found = (from_event(room_id, event) for event in events if event.get("type") in self.kinds)
        return tuple(sorted((one for one in found if one), key=lambda one: (one.sent, one.state_key)))

    def calls(self, room_id: str) -> tuple[StateEvent, ...]:
        """The membership events of a room alone: what is asked of every room of a server."""
        if not self.admin:
            return self._calls(room_id, self._state(room_id))
        return self._calls(room_id, [event for kind in self.kinds for event in self._state(room_id, kind)])

    def room(self, room_id: str) -> Room:
        """Everything that has to be known about a room with memberships."""
        if not self.admin:
            events = self._state(room_id)
            return Room(room_id, self._calls(room_id, events), _joined(events), powers_of(events))
        members = self.client.call(
            f"asking who is in {room_id}", "GET", f"{ADMIN}/v1/rooms/{_path(room_id)}/members"
        ).get("members")
        joined = frozenset(str(user) for user in members) if isinstance(members, list) else frozenset()
        rules = [event for kind in (CREATE, LEVELS) for event in self._state(room_id, kind)]
        return Room(room_id, self.calls(room_id), joined, powers_of(rules))

    def current(self, event: StateEvent) -> StateEvent | None:
        """A membership as it is at this moment, read by a member of the room; None when it is not there."""
        path = (
            f"{CLIENT}/rooms/{_path(event.room_id)}/state/{_path(event.type)}/{_path(event.state_key)}"
            "?format=event"
        )
        try:
            found = self.client.call(f"reading {event.state_key} again", "GET", path)
        except MatrixError as error:
            if error.status != 404:
                raise
            return None
        return from_event(event.room_id, found)

    def write_left(self, event: StateEvent) -> None:
        """Write the empty membership."""
        self.client.put_state(event.room_id, event.type, event.state_key, left())

    def redact(self, event: StateEvent) -> None:
        """Redact a membership, which leaves an empty content."""
        room, target = _path(event.room_id), _path(event.event_id)
        path = f"{CLIENT}/rooms/{room}/redact/{target}/{uuid.uuid4().hex}"
        self.client.call("redacting a call membership", "PUT", path, {"reason": "stale call membership"})

    def devices(self, user_id: str, own: str) -> frozenset[str] | None:
        """The devices of a user, None where this token may not see them."""
        if user_id == own:
            path = f"{CLIENT}/devices"
        elif self.admin and user_id.partition(":")[2] == own.partition(":")[2]:
            path = f"{ADMIN}/v2/users/{_path(user_id)}/devices"
        else:
            return None
        try:
            listed = self.client.call(f"asking for the devices of {user_id}", "GET", path)
        except MatrixError as error:
            if error.status != 404:
                raise
            return frozenset()  # the homeserver has no such user any more
        return frozenset(str(device.get("device_id")) for device in _mappings(listed.get("devices")))

    def pending(self) -> frozenset[tuple[str, str]]:
        """Room and state key of the leaves that the homeserver holds ready for this very user (MSC4140)."""
        found: set[tuple[str, str]] = set()
        start = ""
        while True:
            query = f"?{urlencode({'from': start})}" if start else ""
            try:
                page = self.client.call("asking for delayed events", "GET", f"{DELAYED}{query}")
            except MatrixError as error:
                if error.status not in (400, 403, 404, 405):
                    raise
                return frozenset(found)  # a homeserver without delayed events
            for event in _mappings(page.get("delayed_events")):
                if event.get("type") == MEMBER_TYPE:
                    found.add((str(event.get("room_id")), str(event.get("state_key"))))
            following = page.get("next_batch")
            if not isinstance(following, str) or following == start:
                return frozenset(found)
            start = following

    def sticky(self, room_id: str) -> int:
        """How many sticky memberships (MSC4354) a member sees in a room; encrypted ones count as well."""
        wanted = {"room": {"rooms": [room_id], "timeline": {"limit": 1}, "state": {"types": []}}}
        options = urlencode({"timeout": "0", "filter": json.dumps({**wanted, "presence": {"types": []}})})
        found: object = self.client.call("syncing", "GET", f"{CLIENT}/sync?{options}")
        for key in ("rooms", "join", room_id):
            found = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            return 0
        kinds = (*STICKY_TYPES, "m.room.encrypted")
        parts = [found.get(key) for key in (STICKY, "timeline")]
        events = [
            event
            for part in parts
            if isinstance(part, Mapping)
            for event in _mappings(part.get("events"))
            if event.get("type") in kinds and STICKY in event
        ]
        return len({event.get("event_id") for event in events})


def kinds_of(legacy: bool) -> tuple[str, ...]:
    """The types of events that count, with those of the oldest calls on request."""
    return (MEMBER_TYPE, LEGACY_CALL_TYPE) if legacy else (MEMBER_TYPE,)
