# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Call memberships in a room's state: whose they are, whether they still say "in the call", until when.

Shapes that clients have written: a key for each device with an underscore in front
(`_@user:server_DEVICE_m.call`, in 2024 without the application), the same without the underscore in rooms
where users own such keys (MSC3757, MSC3779), and one key for each user (`@user:server`) with a list.
The contents follow matrix-js-sdk src/matrixrtc/CallMembership.ts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .call_membership import APPLICATION, EXPIRY, MEMBER_TYPE, is_joined

LEGACY_CALL_TYPE = "org.matrix.msc3401.call"
STICKY_TYPES = ("org.matrix.msc4143.rtc.member", "m.rtc.member")

# A local part has no colon, a server name no underscore: the device begins at the first one after the colon.
KEY = re.compile(
    r"(?P<mark>_?)(?P<user>@[^:]*:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?)(?:_(?P<rest>.+))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Key:
    """Whose a state key is. `marked`: it begins with an underscore, so that others may write it as well."""

    user_id: str
    device_id: str = ""
    marked: bool = False


@dataclass(frozen=True)
class Entry:
    """One device in a call. Times are milliseconds since the epoch; `created` is when it joined."""

    user_id: str
    device_id: str
    created: int
    expires: int
    service_url: str = ""
    own_sfu: bool = False  # publishes on its own transport, wherever the others are
    member_id: str = ""


@dataclass(frozen=True)
class StateEvent:
    """A membership event as it stands in a room's state; without entries it says that the user has left."""

    room_id: str
    type: str
    state_key: str
    event_id: str
    sender: str
    sent: int
    entries: tuple[Entry, ...] = ()

    @property
    def key(self) -> Key | None:
        """Whose key it is; None when it is nobody's."""
        return parse_key(self.state_key)

    @property
    def expires(self) -> int:
        """When the last of its entries expires."""
        return max((entry.expires for entry in self.entries), default=0)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value)


def parse_key(state_key: str, device_id: str = "") -> Key | None:
    """The user and the device of a state key, None when it is no user's.

    device_id: as the content names it.
    """
    match = KEY.fullmatch(state_key)
    if not match:
        return None
    rest = match["rest"] or ""
    if device_id and (rest == device_id or rest.startswith(f"{device_id}_")):
        device = device_id
    else:
        device = re.sub(rf"_{re.escape(APPLICATION)}[^_]*\Z", "", rest)
    return Key(match["user"], device, bool(match["mark"]))


def _service_url(transports: object) -> str:
    first = transports[0] if isinstance(transports, list) and transports else None
    return _text(first.get("livekit_service_url")).rstrip("/") if isinstance(first, Mapping) else ""


def _entry(user_id: str, sent: int, content: Mapping[str, object]) -> Entry | None:
    device = _text(content.get("device_id"))
    if not (is_joined(content) and device):
        return None
    created = _number(content.get("created_ts"))
    # A time in the future is a client whose clock is wrong: it cannot have joined after it said so.
    created = sent if created is None or created <= 0 or created > sent else created
    lasts = _number(content.get("expires"))
    until = _number(content.get("expires_ts"))
    if until is None or until <= 0:
        until = created + (lasts if lasts is not None and lasts > 0 else EXPIRY)
    active = content.get("focus_active")
    selection = active.get("focus_selection") if isinstance(active, Mapping) else None
    return Entry(
        user_id,
        device,
        created,
        until,
        _service_url(content.get("foci_preferred") or content.get("foci_active")),
        selection == "multi_sfu",
        _text(content.get("membershipID")),
    )


def entries_of(user_id: str, sent: int, content: Mapping[str, object]) -> tuple[Entry, ...]:
    """The devices that a content says are in the call; none for `{}` and for what is no membership."""
    listed = content.get("memberships")
    parts = listed if isinstance(listed, list) else [content]
    found = [_entry(user_id, sent, part) for part in parts if isinstance(part, Mapping)]
    return tuple(entry for entry in found if entry)


def from_event(room_id: str, event: Mapping[str, object]) -> StateEvent | None:
    """A membership from an event of a room's state; None when it is another kind of event."""
    content, kind, state_key = event.get("content"), event.get("type"), event.get("state_key")
    if kind not in (MEMBER_TYPE, LEGACY_CALL_TYPE) or not isinstance(state_key, str):
        return None
    sent = _number(event.get("origin_server_ts")) or 0
    sender = _text(event.get("sender"))
    body = content if isinstance(content, Mapping) else {}
    if kind == LEGACY_CALL_TYPE:
        going = bool(body) and not body.get("m.terminated")
        entries: tuple[Entry, ...] = (Entry(sender, "", sent, sent + EXPIRY),) if going else ()
    else:
        # Clients go by the sender: a key that another has written for a user is not that user's membership.
        entries = entries_of(sender, sent, body)
    return StateEvent(room_id, kind, state_key, _text(event.get("event_id")), sender, sent, entries)
