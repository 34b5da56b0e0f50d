# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What clients POST: strict JSON, known keys only, then the mandatory fields.

Where Go's decoder was lenient (keys in any case, duplicate keys, data after the document) this one refuses:
the Rust versions are not known to accept it, and no client needs it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from . import tokens

ANY = object
_OPENID: dict[str, Any] = {
    "access_token": str,
    "matrix_server_name": str,
    "token_type": ANY,  # these two are never looked at
    "expires_in": ANY,
}
_DELAY: dict[str, Any] = {"delay_id": str, "delay_timeout": int, "delay_cs_api_url": str}
_MEMBER: dict[str, Any] = {"id": str, "claimed_user_id": str, "claimed_device_id": str}
_LEGACY: dict[str, Any] = {"room": str, "device_id": str, "openid_token": _OPENID, **_DELAY}
_SLOT: dict[str, Any] = {
    "room_id": str,
    "slot_id": str,
    "openid_token": _OPENID,
    "member": _MEMBER,
    **_DELAY,
}


class NotJsonError(Exception):
    """M_NOT_JSON: no JSON document, an unknown key or a value of the wrong type."""


class BadJsonError(Exception):
    """M_BAD_JSON: a field is missing; `null` and the empty string count as missing."""


@dataclass(frozen=True)
class Delay:
    """A delayed leave handed over to us; the delay in seconds.

    `owner`: the user on whose behalf the homeserver is asked, empty when it is asked without credentials.
    """

    id: str
    seconds: float
    owner: str = ""


@dataclass(frozen=True)
class TokenRequest:
    """One request of any of the three endpoints; `claimed_user_id` and `member_id` are empty on /sfu/get."""

    room: str
    server_name: str
    openid_token: str
    device_id: str
    delay: Delay | None
    claimed_user_id: str = ""
    member_id: str = ""

    def identity(self, user_id: str) -> str:
        """The LiveKit identity of the verified user."""
        if self.member_id:
            return tokens.identity(user_id, self.device_id, self.member_id)
        return tokens.legacy_identity(user_id, self.device_id)


def sfu_get(body: bytes) -> TokenRequest:
    """Read the body of the legacy endpoint; `device_id` may be missing."""
    fields = document(body, _LEGACY)
    openid = _openid(fields)
    return TokenRequest(
        room=tokens.room_name(mandatory(fields, "room"), tokens.LEGACY_SLOT),
        server_name=mandatory(openid, "matrix_server_name"),
        openid_token=mandatory(openid, "access_token"),
        device_id=fields.get("device_id", ""),
        delay=_delay(fields),
    )


def get_token(body: bytes) -> TokenRequest:
    """Read the body of the Matrix 2.0 endpoint."""
    return _slot_request(document(body, _SLOT))


def delegate_delayed_leave(body: bytes) -> TokenRequest:
    """As `get_token`, with mandatory delay fields."""
    request = _slot_request(document(body, _SLOT))
    if request.delay is None:
        raise BadJsonError("missing delay_id and delay_timeout")
    return request


def _slot_request(fields: dict[str, Any]) -> TokenRequest:
    openid, member = _openid(fields), fields.get("member", {})
    return TokenRequest(
        room=tokens.room_name(mandatory(fields, "room_id"), mandatory(fields, "slot_id")),
        server_name=mandatory(openid, "matrix_server_name"),
        openid_token=mandatory(openid, "access_token"),
        device_id=mandatory(member, "claimed_device_id"),
        delay=_delay(fields),
        claimed_user_id=mandatory(member, "claimed_user_id"),
        member_id=mandatory(member, "id"),
    )


def _openid(fields: dict[str, Any]) -> dict[str, Any]:
    openid: dict[str, Any] = fields.get("openid_token", {})
    return openid


def mandatory(fields: dict[str, Any], key: str) -> str:
    """A field that must be there. Raises BadJsonError."""
    value: str = fields.get(key, "")
    if not value:
        raise BadJsonError(f"missing {key}")
    return value


def _delay(fields: dict[str, Any]) -> Delay | None:
    """Both fields or none; the timeout is in milliseconds and must be positive."""
    delay_id, timeout = fields.get("delay_id", ""), fields.get("delay_timeout", 0)
    if not delay_id and not timeout:
        return None
    if not delay_id or timeout <= 0:
        raise BadJsonError("delay_id and delay_timeout (more than 0 ms) belong together")
    return Delay(one_segment(delay_id), timeout / 1000)


def one_segment(delay_id: str) -> str:
    """A delay id that stays in its path; the real service lets it climb. Raises BadJsonError."""
    if "/" in delay_id or delay_id in (".", ".."):
        raise BadJsonError("delay_id is not one segment of a path")
    return delay_id


def document(body: bytes, shape: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body: known keys with values of the right types. Raises NotJsonError."""
    try:
        text = body.decode()
        parsed = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        json.dumps(parsed, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise NotJsonError(f"the body is not JSON: {error}") from error
    return _checked(parsed, shape, "the body")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _checked(value: Any, shape: dict[str, Any], where: str) -> dict[str, Any]:
    """The object without its nulls; raises NotJsonError for unknown keys and wrong types, at any depth."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NotJsonError(f"{where} is not an object")
    checked: dict[str, Any] = {}
    for key, item in value.items():
        wanted = shape.get(key)
        if wanted is None:
            raise NotJsonError(f"unknown key {key!r} in {where}")
        if isinstance(wanted, dict):
            checked[key] = _checked(item, wanted, key)
        elif item is not None:
            if not isinstance(item, wanted) or (wanted is int and isinstance(item, bool)):
                raise NotJsonError(f"{key} has the wrong type")
            checked[key] = item
    return checked
