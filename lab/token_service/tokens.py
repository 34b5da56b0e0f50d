# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Names and signatures: LiveKit room names and identities (MSC4195), access tokens, webhook check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence

import jwt

from .config import Config

LEGACY_SLOT = "m.call#ROOM"
"""The slot `/sfu/get` stands for: Element Call sends it to `/get_token`, so both name one LiveKit room."""
TOKEN_SECONDS = 3600
ADMIN_TOKEN_SECONDS = 600
CLOCK_LEEWAY_SECONDS = 60
_GO_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


class WebhookError(Exception):
    """The webhook was not signed by us; the message tells why."""


def go_json(items: Sequence[str]) -> bytes:
    """A JSON array of strings as Go's encoding/json writes it: compact, and HTML-escaped."""
    text = json.dumps(list(items), ensure_ascii=False, separators=(",", ":"))
    return text.translate(_GO_ESCAPES).encode()


def digest(*items: str) -> str:
    """The unpadded standard base64 of the SHA-256 of the array (MSC4195)."""
    return base64.b64encode(hashlib.sha256(go_json(items)).digest()).decode().rstrip("=")


def room_name(room_id: str, slot_id: str) -> str:
    """The LiveKit room of a slot in a Matrix room."""
    return digest(room_id, slot_id)


def identity(user_id: str, device_id: str, member_id: str) -> str:
    """The participant identity of `/get_token`."""
    return digest(user_id, device_id, member_id)


def app_service_identity(user_id: str, member_id: str) -> str:
    """The participant identity behind the homeserver, which has no device in it (MSC4195)."""
    return digest(user_id, member_id)


def legacy_identity(user_id: str, device_id: str) -> str:
    """The participant identity of `/sfu/get`, in clear; without a device it ends in a colon."""
    return f"{user_id}:{device_id}"


def access_token(config: Config, room: str, participant: str, *, full_access: bool) -> str:
    """The client's token for one hour. Never roomCreate; from 0.7 on restricted users are subscribe-only."""
    grants: dict[str, object] = {
        "room": room,
        "roomJoin": True,
        "canPublish": full_access,  # LiveKit takes a missing one for true
        "canSubscribe": True,
    }
    if config.can_update_own_metadata:
        grants["canUpdateOwnMetadata"] = True
    return _sign(config, {"sub": participant, "video": grants}, TOKEN_SECONDS)


def admin_token(config: Config, grants: Mapping[str, object]) -> str:
    """A token for our own RoomService calls."""
    return _sign(config, {"video": dict(grants)}, ADMIN_TOKEN_SECONDS)


def _sign(config: Config, claims: dict[str, object], seconds: int) -> str:
    now = int(time.time())
    return jwt.encode({**claims, "iss": config.key, "nbf": now, "exp": now + seconds}, config.secret, "HS256")


def check_webhook(config: Config, authorization: str, body: bytes) -> None:
    """LiveKit signs a JWT with our key, whose `sha256` claim is that of the body; raises WebhookError."""
    try:
        claims = jwt.decode(
            authorization,
            config.secret,
            algorithms=["HS256"],
            issuer=config.key,
            leeway=CLOCK_LEEWAY_SECONDS,
            options={"require": ["exp", "iss"]},
        )
    except jwt.PyJWTError as error:
        raise WebhookError(str(error)) from error
    expected = base64.b64encode(hashlib.sha256(body).digest()).decode()
    if not hmac.compare_digest(str(claims.get("sha256", "")).encode(), expected.encode()):
        raise WebhookError("the body is not the signed one")
