# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Who may end a membership in a room, and how: by writing it empty, or by redacting it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .call_membership import OWN_KEY_VERSIONS
from .stuck_memberships import StateEvent

WRITE, REDACT = "write", "redact"
CREATORS_ABOVE_ALL = 12  # the first room version in which no power level reaches the creators
REDACTION = "m.room.redaction"


def _level(value: object, default: float) -> float:
    if isinstance(value, bool):
        return default
    if isinstance(value, (int, float)):
        return value
    # Old rooms have levels as text.
    return int(value) if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", value) else default


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Powers:
    """The rules of one room. `levels` is None in a room without power levels."""

    version: str = "1"
    creators: frozenset[str] = frozenset()
    levels: Mapping[str, object] | None = field(default_factory=dict)

    @property
    def creators_above_all(self) -> bool:
        """Whether the creators' power has no limit."""
        return self.version.isdigit() and int(self.version) >= CREATORS_ABOVE_ALL

    def of(self, user_id: str) -> float:
        """A user's power."""
        if user_id in self.creators and (self.creators_above_all or self.levels is None):
            return math.inf if self.creators_above_all else 100
        levels = self.levels or {}
        return _level(_mapping(levels.get("users")).get(user_id), _level(levels.get("users_default"), 0))

    def for_state(self, kind: str) -> float:
        """The power that a state event of this type takes."""
        if self.levels is None:
            return 0
        default = _level(self.levels.get("state_default"), 50)
        return _level(_mapping(self.levels.get("events")).get(kind), default)

    @property
    def for_redacting(self) -> float:
        """The power that redacting others' events takes: to send a redaction, and to have it obeyed."""
        levels = self.levels or {}
        sending = _level(
            _mapping(levels.get("events")).get(REDACTION), _level(levels.get("events_default"), 0)
        )
        return max(sending, _level(levels.get("redact"), 50))


@dataclass(frozen=True)
class Way:
    """How somebody can end a membership; '' with the reason when they cannot."""

    action: str = ""
    refusal: str = ""


def _owns(event: StateEvent, user_id: str, version: str) -> bool:
    if event.state_key == user_id:
        return True
    key = event.key
    return bool(OWN_KEY_VERSIONS.match(version)) and key is not None and key.user_id == user_id


def way_for(event: StateEvent, user_id: str, powers: Powers) -> Way:
    """The way with the least power in which a member of the room can end a membership."""
    power, needed = powers.of(user_id), powers.for_state(event.type)
    reserved = event.state_key.startswith("@") and not _owns(event, user_id, powers.version)
    if not reserved:
        if power >= needed:
            return Way(WRITE)
        # One's own event can always be redacted, whatever the room asks for.
        if event.sender == user_id:
            return Way(REDACT)
        return Way("", f"{user_id} has power {power:g}, and {event.type} takes {needed:g} in this room")
    if power >= powers.for_redacting or event.sender == user_id:
        return Way(REDACT)
    return Way(
        "",
        f"only the user whose key it is may write it, and redacting it takes power {powers.for_redacting:g};"
        f" {user_id} has {power:g}",
    )


def powers_of(events: list[Mapping[str, object]]) -> Powers:
    """The rules of a room from its create event and its power levels."""
    state = {str(event.get("type")): event for event in events if event.get("state_key") == ""}
    create = state.get("m.room.create", {})
    content = _mapping(create.get("content"))
    version = content.get("room_version", "1")
    more = content.get("additional_creators")
    creators = {create.get("sender"), *(more if isinstance(more, list) else [])}
    levels = state.get("m.room.power_levels")
    return Powers(
        str(version),
        frozenset(str(creator) for creator in creators if creator),
        None if levels is None else _mapping(levels.get("content")),
    )
