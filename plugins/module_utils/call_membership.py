# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Call memberships as today's clients write and read them, with a leave that was scheduled beforehand.

Keys and contents follow matrix-js-sdk src/matrixrtc/MembershipManager.ts and CallMembership.ts: state events
in Element Call's mode `compatibility`, its default, and sticky events (MSC4354, of the form of MSC4143) in
`matrix_2_0`. Leaves are delayed events (MSC4140).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .call_token import SLOT, homeserver_identity, legacy_identity, member_identity

COMPATIBILITY, MATRIX_2_0 = MODES = ("compatibility", "matrix_2_0")
MEMBER_TYPE = "org.matrix.msc3401.call.member"
STICKY_TYPE = "org.matrix.msc4143.rtc.member"
STICKY_KEY = "msc4354_sticky_key"
STICKY_DURATION = 3_600_000  # milliseconds, matrix-js-sdk, and the most that MSC4354 allows
APPLICATION = "m.call"
EXPIRY = 14_400_000  # milliseconds, matrix-js-sdk DEFAULT_EXPIRE_DURATION
DELEGATED_DELAY = 3_600_000  # milliseconds, Element Call's delay when the token service sends the leave
OWN_KEY_VERSIONS = re.compile(r"org\.matrix\.msc(3757|3779)\b")


def state_key(user_id: str, device_id: str, room_version: str = "") -> str:
    """The state key of a device's membership.

    The underscore keeps others' user ids out of the key's first place.
    """
    key = f"{user_id}_{device_id}_{APPLICATION}"
    return key if OWN_KEY_VERSIONS.match(room_version) else f"_{key}"


def joined(user_id: str, device_id: str, transport: Mapping[str, object]) -> dict[str, object]:
    """The content of a membership that publishes on one transport."""
    return {
        "application": APPLICATION,
        "call_id": "",
        "scope": "m.room",
        "device_id": device_id,
        "membershipID": f"{user_id}:{device_id}",
        "expires": EXPIRY,
        "m.call.intent": "video",
        "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
        "foci_preferred": [dict(transport)],
    }


def left(reason: str = "") -> dict[str, object]:
    """The content that ends a membership."""
    return {"leave_reason": reason} if reason else {}


def is_joined(content: Mapping[str, object]) -> bool:
    """Clients take a membership for active when it names an application and a device."""
    return bool(content.get("application")) and bool(content.get("device_id"))


def joined_sticky(
    user_id: str, device_id: str, member_id: str, transport: Mapping[str, object]
) -> dict[str, object]:
    """The content of a sticky membership that publishes on one transport."""
    return {
        "application": {"type": APPLICATION, "m.call.intent": "video"},
        "slot_id": SLOT,
        "member": {"user_id": user_id, "device_id": device_id, "id": member_id},
        "transports": {"published": [dict(transport)], "can_subscribe": ["livekit"]},
        "versions": [],
        STICKY_KEY: member_id,
    }


def left_sticky(member_id: str) -> dict[str, object]:
    """The content that ends a sticky membership."""
    return {STICKY_KEY: member_id}


@dataclass(frozen=True)
class Member:
    """Somebody in the call, as their own event says; `member_id` is '' when that was a state event.

    `sfu_url`: the SFU's own address, if they got their token from their homeserver (MSC4195).
    """

    user_id: str
    device_id: str
    service_url: str
    member_id: str = ""
    sfu_url: str = ""

    @property
    def server_name(self) -> str:
        """The homeserver."""
        return self.user_id.partition(":")[2]

    @property
    def identity(self) -> str:
        """Who they are on the SFU on which they publish."""
        if self.sfu_url:
            return homeserver_identity(self.user_id, self.member_id)
        if self.member_id:
            return member_identity(self.user_id, self.device_id, self.member_id)
        return legacy_identity(self.user_id, self.device_id)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _transport(transports: object) -> str:
    """The service URL of the transport that somebody publishes on: the first one."""
    first = _mapping(transports[0]) if isinstance(transports, list) and transports else {}
    url = first.get("livekit_service_url") if first.get("type") == "livekit" else None
    return url.rstrip("/") if isinstance(url, str) else ""


def sfu_url(transports: object) -> str:
    """The SFU's address as clients have to repeat it to a homeserver, letter by letter."""
    first = _mapping(transports[0]) if isinstance(transports, list) and transports else {}
    url = first.get("url") if first.get("type") == "livekit" else None
    return url if isinstance(url, str) else ""


def member_of(event: Mapping[str, object]) -> Member | None:
    """Who an event says is in the call; None for a leave, and for what no client would take."""
    sender, content = str(event.get("sender", "")), _mapping(event.get("content"))
    if event.get("type") == MEMBER_TYPE and is_joined(content):
        return Member(sender, str(content["device_id"]), _transport(content.get("foci_preferred")))
    member = _mapping(content.get("member"))
    if event.get("type") != STICKY_TYPE or content.get("slot_id") != SLOT or member.get("user_id") != sender:
        return None
    published = _mapping(content.get("transports")).get("published")
    device_id, member_id = str(member.get("device_id", "")), str(member.get("id", ""))
    if not device_id or not member_id:
        return None
    return Member(sender, device_id, _transport(published), member_id, sfu_url(published))


def power_levels(member_level: int = 0) -> dict[str, object]:
    """Power levels that let everybody join a call; with the default of 50 only the room's creator can."""
    return {"events": {MEMBER_TYPE: member_level}}
