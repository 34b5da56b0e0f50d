# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a membership is somebody in a call or something left behind, by what is known of its device.

Whoever is known to be in the call is never called stuck. After that the rules go from proof to suspicion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .call_token import legacy_identity, livekit_room, member_identity
from .stuck_memberships import LEGACY_CALL_TYPE, Entry, StateEvent

ACTIVE, EXPIRED, SUSPECTED, LEFT = "active", "expired", "suspected", "left"
STATES = (ACTIVE, EXPIRED, SUSPECTED, LEFT)
RECENT = 300_000  # milliseconds in which a membership that was just sent is believed
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
GRACE = 300_000  # milliseconds that a client may be late with its renewal


@dataclass(frozen=True)
class Knowledge:
    """What is known beside the events of a room; None for what nobody could tell.

    `connected`: the participants of every LiveKit room. `service_url`: the SFU's, as memberships name it.
    `devices`: by user. `pending`: state keys whose leave the homeserver holds ready. `rooms`: the Matrix
    room of each name that a LiveKit room can have.
    """

    now: int
    older_than: int
    members: frozenset[str] | None = None
    connected: Mapping[str, frozenset[str]] | None = None
    service_url: str = ""
    devices: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    rooms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a membership is, and why."""

    state: str
    reason: str


def duration(milliseconds: float) -> str:
    """A time span as people say it: its largest unit, and the next smaller one if there is some of it."""
    seconds = max(0, int(milliseconds / 1000))
    for index, (unit, size) in enumerate(UNITS[:-1]):
        if seconds >= size:
            smaller, smaller_size = UNITS[index + 1]
            rest = seconds % size // smaller_size
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def identities(entry: Entry) -> frozenset[str]:
    """The names under which a device may be connected to the SFU."""
    plain = legacy_identity(entry.user_id, entry.device_id)
    members = {plain, entry.member_id or plain}
    hashed = {member_identity(entry.user_id, entry.device_id, member) for member in members}
    return frozenset({plain, *hashed})


def livekit_rooms(room_ids: Sequence[str]) -> dict[str, str]:
    """The Matrix room of each name that a LiveKit room can have for it."""
    return {name: room_id for room_id in room_ids for name in (livekit_room(room_id), room_id)}


def is_connected(entry: Entry, room_id: str, known: Knowledge) -> bool:
    """Whether the SFU has the device, in this room or in one that nobody can tell the Matrix room of."""
    return any(
        known.rooms.get(name, room_id) == room_id and participants & identities(entry)
        for name, participants in (known.connected or {}).items()
    )


def absence_counts(entry: Entry, others: Sequence[Entry], known: Knowledge) -> bool:
    """Whether somebody who is not on our SFU is in no call: it is where the device would have to be."""
    if known.connected is None or not known.service_url or entry.service_url != known.service_url:
        return False
    return entry.own_sfu or all(other.service_url == known.service_url for other in others)


def gone(entry: Entry, known: Knowledge) -> str:
    """The proof that a device cannot be in the call any more, '' without one."""
    if known.members is not None and entry.user_id not in known.members:
        return "the user is not in the room any more"
    devices = known.devices.get(entry.user_id)
    if devices is not None and entry.device_id not in devices:
        return "the device does not exist any more"
    return ""


def judge_entry(event: StateEvent, entry: Entry, others: Sequence[Entry], known: Knowledge) -> Verdict:
    """What one device's membership is."""
    if is_connected(entry, event.room_id, known):
        return Verdict(ACTIVE, "connected to the SFU")
    if event.state_key in known.pending:
        return Verdict(ACTIVE, "its leave is scheduled: it ends by itself when the client goes")
    if proof := gone(entry, known):
        return Verdict(SUSPECTED, proof)
    silent = known.now - event.sent
    if silent < RECENT:
        return Verdict(ACTIVE, f"sent {duration(silent)} ago")
    if known.now > entry.expires + GRACE:
        return Verdict(EXPIRED, f"expired {duration(known.now - entry.expires)} ago")
    if absence_counts(entry, others, known):
        return Verdict(SUSPECTED, "not connected to its SFU")
    if silent > known.older_than:
        return Verdict(SUSPECTED, f"older than {duration(known.older_than)} and never renewed")
    return Verdict(ACTIVE, f"not expired, sent {duration(silent)} ago")


def judge(event: StateEvent, others: Sequence[Entry], known: Knowledge) -> Verdict:
    """What an event is. One that holds several devices is as active as the most active of them.

    others: all entries of the room, of other events too.
    """
    if not event.entries:
        return Verdict(LEFT, "")
    if event.type == LEGACY_CALL_TYPE:
        return judge_legacy(event, others, known)
    verdicts = [judge_entry(event, entry, others, known) for entry in event.entries]
    return min(verdicts, key=lambda verdict: STATES.index(verdict.state))


def judge_legacy(event: StateEvent, others: Sequence[Entry], known: Knowledge) -> Verdict:
    """What an old call object is: nobody needs it, but its age has to show that."""
    silent = known.now - event.sent
    if any(known.now <= entry.expires for entry in others if entry.device_id) or silent < known.older_than:
        return Verdict(ACTIVE, "a call of the old kind, in a room with a call or not old enough")
    return Verdict(SUSPECTED, f"a call of the old kind, older than {duration(known.older_than)}")
