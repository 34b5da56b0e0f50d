# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Who is in a call and where they publish, as one user learns it from their own homeserver through /sync."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .call_membership import MEMBER_TYPE, STICKY_KEY, STICKY_TYPE, Member, member_of
from .matrix_client import STATE_AFTER, MatrixClient

# Parts of a room in an answer to /sync, in the order in which they count: the later one is newer.
STICKY_PARTS = ("msc4354_sticky", "sticky")
PARTS = ("state", *STATE_AFTER, *STICKY_PARTS, "timeline")


def events_of(room: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Every event in a room's part of an answer to /sync, the newest last."""
    for name in PARTS:
        part = room.get(name)
        events = part.get("events") if isinstance(part, Mapping) else None
        yield from (event for event in events or [] if isinstance(event, Mapping))


class Roster:
    """The members of a call by the key of their event. `sticky`: go by sticky events, else by state."""

    def __init__(self, client: MatrixClient, room_id: str, sticky: bool) -> None:
        self.members: dict[str, Member] = {}
        self._client = client
        self._room_id = room_id
        self._sticky = sticky
        self._since = ""

    def update(self, timeout: float) -> None:
        """Ask what is new, and wait `timeout` seconds for it. Raises MatrixError."""
        self._since, room = self._client.sync(self._room_id, self._since, timeout if self._since else 0)
        for event in events_of(room or {}):
            self.take(event)

    def take(self, event: Mapping[str, object]) -> None:
        """Go by one event, if it is about a membership."""
        content = event.get("content")
        if event.get("type") != (STICKY_TYPE if self._sticky else MEMBER_TYPE) or not isinstance(
            content, dict
        ):
            return
        # MSC4354: a sticky key is the sender's own; with the state key nobody else can write it.
        key = (
            f"{event.get('sender')} {content.get(STICKY_KEY)}"
            if self._sticky
            else str(event.get("state_key"))
        )
        member = member_of(event)
        if member:
            self.members[key] = member
        else:
            self.members.pop(key, None)

    def of(self, user_id: str, device_id: str) -> Member | None:
        """The membership of a device. Others ask while events come in, so this goes through a copy."""
        members = list(self.members.values())
        return next((one for one in members if (one.user_id, one.device_id) == (user_id, device_id)), None)
