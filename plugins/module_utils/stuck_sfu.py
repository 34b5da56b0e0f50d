# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Who is connected to the SFU: LiveKit's own lists of rooms and participants (livekit_room.proto)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .endpoint_livekit import key_pairs
from .http_client import HttpClient

SERVICE = "/twirp/livekit.RoomService"
LIFETIME = 60  # seconds that a token of ours is good for
WORKERS = 8
GONE = ("DISCONNECTED", 3)
# What a room is made with again, of what LiveKit tells about it.
ROOM_SETTINGS = ("name", "empty_timeout", "departure_timeout", "max_participants", "metadata")


class SfuError(Exception):
    """The SFU did not answer as it should; the text is a sentence for the operator."""


def first_pair(path: str) -> tuple[str, str]:
    """The first API key and its secret in LiveKit's key file. Raises SfuError."""
    try:
        with open(path, encoding="utf-8") as source:
            pairs = key_pairs(source.read())
    except OSError as error:
        raise SfuError(f"{path} cannot be read: {error.strerror}.") from error
    if not pairs:
        raise SfuError(f"{path} has no line 'key: secret'.")
    return next(iter(pairs.items()))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed_token(key: str, secret: str, grants: Mapping[str, object]) -> str:
    """A LiveKit token (a JWT, RFC 7519, HS256) with video grants."""
    now = int(time.time())
    claims = {"iss": key, "nbf": now - 10, "exp": now + LIFETIME, "video": dict(grants)}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    text = ".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{text}.{_encoded(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


@dataclass(frozen=True)
class Sfu:
    """LiveKit at `url` (http, on its own host), with an API key and its secret."""

    url: str
    key: str
    secret: str
    http: HttpClient

    def _call(
        self, method: str, body: Mapping[str, object], grants: Mapping[str, object]
    ) -> dict[str, object]:
        token = signed_token(self.key, self.secret, grants)
        answer = self.http.request("POST", f"{self.url.rstrip('/')}{SERVICE}/{method}", body, token)
        if answer.status == 404 and answer.document().get("code") == "not_found":
            return {}  # the room ended since it was listed
        if answer.status != 200 or not isinstance(answer.json(), dict):
            raise SfuError(f"LiveKit at {self.url} does not answer {method}: {answer.summary()}")
        return answer.document()

    def participants(self, room: str) -> frozenset[str]:
        """Who is connected to one LiveKit room, by identity. Raises SfuError."""
        found = self._call("ListParticipants", {"room": room}, {"roomAdmin": True, "room": room})
        people = _mappings(found.get("participants"))
        return frozenset(str(one.get("identity")) for one in people if one.get("state") not in GONE)

    def connected(self) -> dict[str, frozenset[str]]:
        """Who is connected to each room of the SFU, on whichever node. Raises SfuError."""
        names = [str(room.get("name")) for room in self.rooms()]
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            return dict(pool.map(lambda name: (name, self.participants(name)), names))

    def rooms(self) -> list[dict[str, object]]:
        """The settings of each room, with people in it or without. Raises SfuError."""
        found = _mappings(self._call("ListRooms", {}, {"roomList": True}).get("rooms"))
        return [{name: room[name] for name in ROOM_SETTINGS if name in room} for room in found]

    def make(self, rooms: Iterable[Mapping[str, object]]) -> None:
        """Make rooms with these settings; those that are there stay as they are. Raises SfuError."""
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            list(pool.map(lambda room: self._call("CreateRoom", room, {"roomCreate": True}), rooms))
