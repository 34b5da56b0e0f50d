# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Call memberships as today's clients write them: state events, with a leave that was scheduled beforehand.

Keys and contents follow matrix-js-sdk src/matrixrtc/MembershipManager.ts (the session format that Element
Call uses in its default compatibility mode) with the delayed leave of MSC4140.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MEMBER_TYPE = "org.matrix.msc3401.call.member"
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


def power_levels(member_level: int = 0) -> dict[str, object]:
    """Power levels that let everybody join a call; with the default of 50 only the room's creator can."""
    return {"events": {MEMBER_TYPE: member_level}}
