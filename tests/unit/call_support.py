"""A homeserver that remembers a room's state, and participants who see what they are told to see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ice import ANSWERED, Reach, Survey
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import Report, Seat
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import Advertisement, Candidate
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_stats import Path, Received
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import (
    legacy_identity,
    livekit_room,
    member_identity,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import TRANSPORTS
from endpoint_support import HOMESERVER, LIVEKIT, SERVICE, FakeHttp, answer, jwt, refusal

CLIENT = "/_matrix/client/v3"
DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
USERS = {"token-a": "@alice:example.org", "token-b": "@bob:example.org"}
PUBLIC = "203.0.113.5"


@dataclass
class FakeHomeserver(FakeHttp):
    """One homeserver, one token service. `refused` are paths (regular expressions) that get a 403.

    `webhook`: whether the token service learns of a leave and sends the delayed event.
    """

    state: dict[str, Any] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)
    scheduled: dict[str, tuple[str, Any]] = field(default_factory=dict)
    delegated: dict[str, str] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    refused: str = "$."
    longest_delay: int = 86_400_000
    state_after: bool = True
    has_transports: bool = True
    webhook: bool = True
    log: list[tuple[str, str]] = field(default_factory=list)

    def request(
        self,
        method: str,
        url: str,
        body: object = None,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        content = body if isinstance(body, dict) else {}
        if url.startswith(SERVICE) and method == "POST":
            return self.give(urlsplit(url).path, content)
        if not token:
            return super().request(method, url, body, token, headers)
        path = unquote(url[len(HOMESERVER) :])
        self.log.append((method, path))
        if re.search(self.refused, f"{method} {path}"):
            return refusal(403, "M_FORBIDDEN")
        return self.serve(method, path, content, USERS[token])

    def serve(self, method: str, path: str, content: dict[str, Any], user: str) -> Response:
        if path.endswith("/whoami"):
            return answer(200, {"user_id": user, "device_id": f"DEVICE{user[1].upper()}"})
        if path == TRANSPORTS:
            focus = {"type": "livekit", "livekit_service_url": SERVICE}
            return (
                answer(200, {"rtc_transports": [focus]})
                if self.has_transports
                else refusal(404, "M_UNRECOGNIZED")
            )
        if path.endswith("/capabilities"):
            return answer(
                200,
                {"capabilities": {"org.matrix.msc4140.delayed_events": {"max_delay_ms": self.longest_delay}}},
            )
        if path.endswith("/request_token"):
            return answer(200, {"access_token": user, "matrix_server_name": "example.org"})
        if path.endswith("/createRoom") or "/join/" in path:
            self.members.add(user)
            return answer(200, {"room_id": "!room"})
        if path.endswith("/leave"):
            self.members.discard(user)
            return answer(200, {})
        if path.endswith("/forget"):
            self.forgotten.add(user)
            return answer(200, {})
        if path.startswith(DELAYED):
            return self.update(*path[len(DELAYED) + 1 :].split("/"))
        return self.sync() if "/sync?" in path else self.serve_state(method, path, content)

    def sync(self) -> Response:
        state = {"state_after" if self.state_after else "state": {"events": []}}
        return answer(200, {"rooms": {"join": {"!room": state}}})

    def serve_state(self, method: str, path: str, content: dict[str, Any]) -> Response:
        key, _mark, query = path.partition("?")
        if method == "GET":
            return answer(200, self.state[key]) if key in self.state else refusal(404, "M_NOT_FOUND")
        if query:
            delay_id = f"delay{len(self.scheduled)}"
            self.scheduled[delay_id] = (key, content)
            return answer(200, {"delay_id": delay_id})
        self.state[key] = content
        return answer(200, {"event_id": "$e"})

    def update(self, delay_id: str, action: str) -> Response:
        if delay_id not in self.scheduled:
            return refusal(404, "M_NOT_FOUND")
        key, content = self.scheduled.pop(delay_id)
        if action == "send":
            self.state[key] = content
        return answer(200, {})

    def give(self, path: str, body: dict[str, Any]) -> Response:
        """A LiveKit token for whoever the OpenID token is of; a delegated leave is remembered by identity."""
        user = str(body["openid_token"]["access_token"])
        if path.endswith("/get_token"):
            member = body["member"]
            identity = member_identity(user, member["claimed_device_id"], member["id"])
            room = body["room_id"]
        else:
            identity, room = legacy_identity(user, body["device_id"]), body["room"]
        if "delay_id" in body:
            self.delegated[identity] = body["delay_id"]
        return answer(200, {"url": LIVEKIT, "jwt": jwt(identity, livekit_room(room))})

    def gone(self, identity: str) -> None:
        """LiveKit tells the token service that somebody left."""
        if self.webhook and identity in self.delegated:
            self.update(self.delegated.pop(identity), "send")

    def call_members(self) -> list[str]:
        """Users whose membership is active."""
        return [key for key, content in self.state.items() if content.get("application")]


class FakeParticipant:
    """Sees what `outcomes` says for its place: 0 and 1 are the callers, 2 listens in."""

    homeserver: ClassVar[FakeHomeserver]
    outcomes: ClassVar[dict[int, dict[str, Any]]] = {}
    seats: ClassVar[list[Seat]] = []

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.place = len(self.seats)
        self.seats.append(seat)
        way = Path("udp 192.0.2.1:5 (host)", f"udp {PUBLIC}:7882 (host)", PUBLIC, 7882, "host", "udp", 0.001)
        healthy = Report(
            seat.name,
            connected=0.2,
            first_frame=0.4,
            first_tone=0.5,
            frames=45,
            tone_seconds=3.0,
            encrypted_tracks=2,
            video=Received(60),
            audio=Received(150),
            paths=[way],
        )
        silent = Report(seat.name, video=Received(60))
        self.report = replace(healthy if seat.publishes else silent, **self.outcomes.get(self.place, {}))

    async def run(self, _seconds: float, _timeout: float) -> Report:
        return self.report

    async def measure(self) -> None:
        return

    async def leave(self) -> None:
        self.homeserver.gone(self.seat.identity)


def healthy_survey(*_arguments: object) -> Survey:
    """An SFU whose two addresses answer."""
    candidates = [Candidate(PUBLIC, 7882, "udp", "host"), Candidate(PUBLIC, 7881, "tcp", "host")]
    reaches = tuple(Reach(candidate, ANSWERED, 0.001) for candidate in candidates)
    return Survey(Advertisement("1.13.5", [], candidates), reaches)
