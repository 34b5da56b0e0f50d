# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The LiveKit token that the token service hands out: decoded, not verified, for the probe has no secret."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

SLOT = "m.call#ROOM"  # the one slot that Element Call uses
LIFETIME = 3600  # seconds; the token service's constant


class TokenError(ValueError):
    """The text is not a LiveKit token."""


@dataclass(frozen=True)
class Token:
    """What a LiveKit token grants. Times are seconds since the epoch."""

    identity: str
    room: str
    issuer: str
    can_publish: bool
    can_subscribe: bool
    room_join: bool
    not_before: int
    expires: int


def _part(text: str) -> dict[str, object]:
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError as error:
        raise TokenError("a part of the token is not base64 of JSON") from error
    if not isinstance(found, dict):
        raise TokenError("a part of the token is not a JSON object")
    return found


def _time(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def decode_token(text: str) -> Token:
    """Read a token. Raises TokenError when it is none."""
    parts = text.split(".")
    if len(parts) != 3:
        raise TokenError(f"the token has {len(parts)} parts instead of 3")
    claims = _part(parts[1])
    video = claims.get("video")
    grants = video if isinstance(video, dict) else {}
    return Token(
        identity=str(claims.get("sub", "")),
        room=str(grants.get("room", "")),
        issuer=str(claims.get("iss", "")),
        # LiveKit takes a missing canPublish or canSubscribe for true (livekit/protocol auth/grants.go)
        can_publish=grants.get("canPublish", True) is True,
        can_subscribe=grants.get("canSubscribe", True) is True,
        room_join=grants.get("roomJoin") is True,
        not_before=_time(claims.get("nbf")),
        expires=_time(claims.get("exp")),
    )


def go_json(values: Sequence[str]) -> str:
    """A JSON array as Go's encoding/json writes it; lk-jwt-service hashes this text."""
    text = json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def digest(values: Sequence[str]) -> str:
    """Unpadded base64 of the SHA-256 of a JSON array: how lk-jwt-service names rooms and participants."""
    return base64.b64encode(hashlib.sha256(go_json(values).encode()).digest()).decode().rstrip("=")


def livekit_room(room_id: str, slot: str = SLOT) -> str:
    """The name of the LiveKit room of a Matrix room."""
    return digest([room_id, slot])


def legacy_identity(user_id: str, device_id: str) -> str:
    """The participant that /sfu/get makes of a device."""
    return f"{user_id}:{device_id}"


def member_identity(user_id: str, device_id: str, member_id: str) -> str:
    """The participant that /get_token makes of a member."""
    return digest([user_id, device_id, member_id])


def homeserver_identity(user_id: str, member_id: str) -> str:
    """The participant that a token service behind the homeserver makes of a member (MSC4195)."""
    return digest([user_id, member_id])


def same_url(one: str, other: str) -> bool:
    """Two URLs lead to the same place: equal but for case of the host, default port and trailing slashes."""
    first, second = urlsplit(one), urlsplit(other)
    ports = {"wss": 443, "https": 443, "ws": 80, "http": 80}
    return (first.scheme, first.hostname, first.port or ports.get(first.scheme), first.path.rstrip("/")) == (
        second.scheme,
        second.hostname,
        second.port or ports.get(second.scheme),
        second.path.rstrip("/"),
    )


def token_problems(token: Token, room: str, identity: str, full_access: bool = True) -> list[str]:
    """What is wrong with a token for a room and an identity; full access includes the right to publish."""
    wrong = []
    if not token.room_join or not token.can_subscribe:
        wrong.append("it does not allow joining and receiving")
    if full_access and not token.can_publish:
        wrong.append("canPublish is false")
    if token.room != room:
        wrong.append(f"it is for the LiveKit room {token.room!r} instead of {room!r}")
    if token.identity != identity:
        wrong.append(f"its identity is {token.identity!r} instead of {identity!r}")
    if token.expires - token.not_before != LIFETIME:
        wrong.append(f"it is valid for {token.expires - token.not_before} s instead of {LIFETIME} s")
    return wrong
