# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""End call memberships in one room, with the least power that works, and see whether they stay ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from .matrix_client import CLIENT, MatrixError
from .stuck_homeserver import ADMIN, LEVELS, Homeserver, Room
from .stuck_memberships import StateEvent
from .stuck_power import WRITE, Way, way_for
from .stuck_verdicts import ACTIVE, LEFT, Verdict

KEPT, WOULD_END, ENDED, CHANGED, REFUSED, CAME_BACK, HELD = (
    "kept",
    "would_end",
    "ended",
    "changed_meanwhile",
    "refused",
    "came_back",
    "still_there",
)
WORDS = {"write": "writing it empty", "redact": "redacting it"}
LATER = "Run it again later for the rest, or set a longer patience"
COMING_IN = "coming in as an administrator"


@dataclass(frozen=True)
class Outcome:
    """What became of a membership, and why, with the way out where it was refused."""

    event: StateEvent
    verdict: Verdict
    outcome: str = KEPT
    said: str = ""


def planned(room: Room, event: StateEvent, me: str, join_as_admin: bool) -> Way:
    """How this user would end a membership, without doing it."""
    way = way_for(event, me, room.powers) if me in room.joined else Way("", f"{me} is not in the room")
    if way.action:
        return way
    return Way(COMING_IN) if join_as_admin else Way("", f"{way.refusal}. {way_out(event)}")


def way_out(event: StateEvent) -> str:
    """Who could do what this user cannot."""
    owner = event.key.user_id if event.key else event.sender
    return (
        f"Use the token of {owner} or of an administrator of the room. Where that is a user of this server, a"
        " server administrator can set join_as_admin"
    )


@dataclass(frozen=True)
class Ending:
    """Ends memberships as the user `me`. `judge` says what a membership is at this moment."""

    server: Homeserver
    me: str
    judge: Callable[[Room, StateEvent], Verdict]

    def end(self, room: Room, one: Outcome) -> Outcome:
        """End one membership, if it still is the one that was judged, still stuck, and this user may."""
        way = planned(room, one.event, self.me, False)
        if not way.action:
            return replace(one, outcome=REFUSED, said=way.refusal)
        if self.server.client.exhausted:
            return replace(one, outcome=REFUSED, said=f"the homeserver's rate limit is used up. {LATER}")
        try:
            current = self.server.current(one.event)
            if current is None or not current.entries:
                return replace(one, outcome=CHANGED, said="it ended by itself meanwhile")
            if current.event_id != one.event.event_id:
                return replace(one, outcome=CHANGED, said="its client wrote it anew meanwhile: left alone")
            verdict = self.judge(room, current)
            if verdict.state in (ACTIVE, LEFT):
                return replace(one, verdict=verdict, outcome=CHANGED, said="in a call by now: left alone")
            (self.server.write_left if way.action == WRITE else self.server.redact)(current)
        except MatrixError as error:
            later = f". {LATER}" if error.status == 429 else ""
            return replace(one, outcome=REFUSED, said=f"{error}{later}")
        return replace(one, outcome=ENDED, said=f"by {WORDS[way.action]}")

    def check(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Read the rooms again: a client that is alive writes its membership anew."""
        rooms = {one.event.room_id for one in outcomes if one.outcome == ENDED}
        now = {
            (event.room_id, event.type, event.state_key): event
            for room_id in rooms
            for event in self.server.calls(room_id)
        }
        return [self._checked(one, now) if one.outcome == ENDED else one for one in outcomes]

    @staticmethod
    def _checked(one: Outcome, now: dict[tuple[str, str, str], StateEvent]) -> Outcome:
        event = now.get((one.event.room_id, one.event.type, one.event.state_key))
        if event is None or not event.entries:
            return one
        if event.event_id == one.event.event_id:
            return replace(
                one, outcome=HELD, said="the homeserver took the request, and it is there all the same"
            )
        return replace(one, outcome=CAME_BACK, said="its client is alive and wrote it again")


@dataclass
class Visit:
    """A server administrator's stay in a room: let in, given power, and gone again as before."""

    server: Homeserver
    me: str
    room: Room
    leftovers: list[str] = field(default_factory=list)

    def __enter__(self) -> Room:
        """Be made an administrator of the room by a local one, and join. Raises MatrixError."""
        client, room_id = self.server.client, quote(self.room.room_id, safe="")
        path = f"{ADMIN}/v1/rooms/{room_id}/make_room_admin"
        try:
            client.call(f"becoming administrator of {self.room.room_id}", "POST", path, {"user_id": self.me})
            if self.me not in self.room.joined:
                client.call(f"joining {self.room.room_id}", "POST", f"{CLIENT}/join/{room_id}", {})
            return self.server.room(self.room.room_id)
        except MatrixError:
            self.undo()  # what came before the step that failed has been done
            raise

    def __exit__(self, *_error: object) -> None:
        """Put everything back."""
        self.undo()

    def undo(self) -> None:
        """Put the power levels back and leave; what did not work is in `leftovers`."""
        for step in (self._restore_levels, self._leave):
            try:
                step()
            except MatrixError as error:
                self.leftovers.append(f"{self.room.room_id} is not as it was: {error}")

    def _restore_levels(self) -> None:
        before = self.room.powers.levels
        if before is not None and self.server.room(self.room.room_id).powers.levels != before:
            self.server.client.put_state(self.room.room_id, LEVELS, "", before)

    def _leave(self) -> None:
        """Leave, or decline the invitation; who was there before stays."""
        if self.me in self.room.joined:
            return
        try:
            self.server.client.leave(self.room.room_id)
        except MatrixError as error:
            if error.status not in (403, 404):  # never came in
                raise
