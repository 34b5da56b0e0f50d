"""Homeservers that federate, each with a token service and an SFU, and connections to what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_attendee import Home
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import Report, Seat, View
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import SignalError
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import (
    decode_token,
    homeserver_identity,
    legacy_identity,
    livekit_room,
    member_identity,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient, Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import DELAYED, TRANSPORTS
from endpoint_support import answer, jwt, refusal

ALPHA, BETA = "alpha.example", "beta.example"
ROOM = "!room"
VERIFIES = {401: "M_UNAUTHORIZED", 500: "M_UNKNOWN"}


@dataclass
class Server:
    """One site. `token_status`: what its token service answers instead of giving tokens to its own users.

    `wired`: it stands behind the homeserver, which answers `wiring`; `lends_seats`: others may publish there.
    """

    name: str
    announces: bool = True
    sticky: bool = False
    federates: bool = True
    legacy_only: bool = False
    webhook: bool = True
    token_status: int = 200
    strangers_status: int = 200
    full_access: tuple[str, ...] = ()
    auto_create: bool = False
    wired: bool = False
    wiring: tuple[int, str] = (200, "")
    lends_seats: bool = False

    @property
    def service(self) -> str:
        return f"https://rtc.{self.name}/livekit/jwt"


@dataclass
class FakeFederation(HttpClient):
    """All servers behind one client. `events` is the room as everybody has it."""

    servers: dict[str, Server] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    inside: set[str] = field(default_factory=set)
    scheduled: dict[str, dict[str, Any]] = field(default_factory=dict)
    delegated: dict[str, str] = field(default_factory=dict)
    livekit_rooms: set[tuple[str, str]] = field(default_factory=set)
    sent: dict[tuple[str, str], tuple[str, int, float]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing is connected to, so no certificates are read."""
        self.servers = self.servers or {name: Server(name, full_access=(name,)) for name in (ALPHA, BETA)}

    def request(
        self,
        method: str,
        url: str,
        body: object = None,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        parts = urlsplit(url)
        kind, _dot, name = (parts.hostname or "").partition(".")
        content = body if isinstance(body, dict) else {}
        path = unquote(parts.path)
        self.asked.append((method, str(parts.hostname), path))
        if path.startswith("/.well-known/"):
            return answer(200, {"m.homeserver": {"base_url": f"https://matrix.{parts.hostname}"}})
        if kind == "rtc":
            return self.give(self.servers[name], path.rpartition("/jwt")[2], content)
        return self.serve(self.servers[name], method, path, parse_qs(parts.query), content, token)

    def serve(
        self,
        server: Server,
        method: str,
        path: str,
        query: dict[str, list[str]],
        body: dict[str, Any],
        user: str,
    ) -> Response:
        if path.endswith("/whoami"):
            return answer(200, {"user_id": user, "device_id": "PHONE"})
        if path == TRANSPORTS:
            focus = {"type": "livekit", "livekit_service_url": server.service}
            focus.update({"url": sfu(server.name)} if server.wired else {})
            return answer(200, {"rtc_transports": [focus]} if server.announces else {})
        if path.endswith("/versions"):
            return answer(200, {"unstable_features": {"org.matrix.msc4354": server.sticky}})
        if path.endswith("/capabilities"):
            longest = {"org.matrix.msc4140.delayed_events": {"max_delay_ms": 86_400_000}}
            return answer(200, {"capabilities": longest})
        if path.endswith("/request_token"):
            return answer(200, {"access_token": user, "matrix_server_name": server.name})
        if path.endswith(("/leave", "/forget", "/createRoom")) or "/join/" in path:
            return self.move(server, path, bool(query.get("via")), user)
        if "/rtc/livekit/" in path:
            return self.ask_behind(server, path, body, user)
        if path.startswith(DELAYED):
            return (
                answer(200, {})
                if self.scheduled.pop(path.split("/")[-2], None)
                else refusal(404, "M_NOT_FOUND")
            )
        if path.endswith("/sync"):
            return self.sync(server, int(query.get("since", ["0"])[0]))
        return self.write(path, query, body, user)

    def move(self, server: Server, path: str, over_federation: bool, user: str) -> Response:
        """Somebody comes into the room or leaves it; a new room is empty."""
        if path.endswith(("/leave", "/forget")):
            self.inside.discard(user)
            return answer(200, {})
        if over_federation and not server.federates:
            return refusal(502, "M_UNKNOWN")
        if path.endswith("/createRoom"):
            self.events.clear()
            self.livekit_rooms.clear()
        self.inside.add(user)
        return answer(200, {"room_id": ROOM})

    def sync(self, server: Server, since: int) -> Response:
        """State in `state_after`, sticky events in a part of their own; others' only when they federate."""
        news = [
            event
            for event in self.events[since:]
            if server.federates or event["sender"].endswith(server.name)
        ]
        parts = {
            "org.matrix.msc4222.state_after": [event for event in news if "state_key" in event],
            "msc4354_sticky": [event for event in news if "state_key" not in event],
        }
        room = {name: {"events": found} for name, found in parts.items()}
        return answer(200, {"next_batch": str(len(self.events)), "rooms": {"join": {ROOM: room}}})

    def write(self, path: str, query: dict[str, list[str]], body: dict[str, Any], user: str) -> Response:
        _before, _room, kind, key = path.rsplit("/", 3)
        event = {
            "type": kind,
            "sender": user,
            "content": body,
            **({"state_key": key} if "/state/" in path else {}),
        }
        if "org.matrix.msc4140.delay" in query:
            delay_id = f"delay{len(self.scheduled)}-{user}"
            self.scheduled[delay_id] = event
            return answer(200, {"delay_id": delay_id})
        self.events.append(event)
        return answer(200, {"event_id": "$e"})

    def give(self, server: Server, path: str, body: dict[str, Any]) -> Response:
        """The token service: full access makes the room and may publish."""
        user, home = (
            str(body["openid_token"]["access_token"]),
            str(body["openid_token"]["matrix_server_name"]),
        )
        status = server.token_status if home == server.name else server.strangers_status
        if status != 200:
            return refusal(status, VERIFIES[status])
        if path == "/get_token" and server.legacy_only:
            return answer(404, "404 page not found")
        member = body.get("member") or {}
        room = livekit_room(str(body.get("room_id") or body["room"]))
        identity = (
            member_identity(user, member["claimed_device_id"], member["id"])
            if member
            else legacy_identity(user, body["device_id"])
        )
        if "delay_id" in body:
            self.delegated[identity] = body["delay_id"]
        trusted = server.full_access == ("*",) or home in server.full_access
        if trusted or server.auto_create:
            self.livekit_rooms.add((sfu(server.name), room))
        return answer(200, {"url": sfu(server.name), "jwt": jwt(identity, room, publish=trusted)})

    def ask_behind(self, server: Server, path: str, body: dict[str, Any], user: str) -> Response:
        """The homeserver asks its token service, and that asks others'."""
        there = self.servers[body.get("server_name", server.name)]
        if server.wiring[0] != 200 or not there.wired:
            return refusal(*server.wiring) if server.wiring[0] != 200 else refusal(502, "M_UNKNOWN")
        assert body["url"] == sfu(there.name)
        identity = homeserver_identity(user, body["member_id"])
        if path.endswith("/delegate_delayed_leave"):
            self.delegated[identity] = body["delay_id"]
            return answer(200, {})
        room = livekit_room(body["room_id"])
        self.livekit_rooms.add((sfu(there.name), room))
        return answer(200, {"jwt": jwt(identity, room, publish=there is server or there.lends_seats)})

    def gone(self, identity: str, server: Server) -> None:
        """The SFU told the token service, which sends the leave."""
        event = self.scheduled.pop(self.delegated.pop(identity, ""), None)
        if event and server.webhook:
            self.events.append(event)


def sfu(name: str) -> str:
    return f"wss://rtc.{name}/livekit/sfu"


class FakeConnection:
    """Sees what others send on the same SFU, with the right keys."""

    federation: ClassVar[FakeFederation]
    all: ClassVar[list[FakeConnection]] = []

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.report = Report(seat.name)
        self.all.append(self)

    async def connect(self, _timeout: float) -> None:
        assert self.seat.identity == decode_token(self.seat.jwt).identity

    async def publish(self) -> None:
        self.federation.sent[self.seat.url, self.seat.identity] = (
            self.seat.key,
            self.seat.nonce,
            self.seat.tone,
        )

    def expect(self, identity: str, key: str, nonce: int, tone: float) -> None:
        if self.federation.sent.get((self.seat.url, identity)) == (key, nonce, tone):
            self.report.views[identity] = View(0.01, 0.01, 30, 2.0)

    async def try_to_publish(self, _timeout: float) -> str:
        return "" if decode_token(self.seat.jwt).can_publish else "no answer"

    def sees_tracks_of(self, identity: str) -> bool:
        return (self.seat.url, identity) in self.federation.sent

    async def leave(self) -> None:
        name = self.seat.url.partition("rtc.")[2].partition("/")[0]
        self.federation.sent.pop((self.seat.url, self.seat.identity), None)
        self.federation.gone(self.seat.identity, self.federation.servers[name])


class FakeListener:
    """Gets in when the room is there."""

    def __init__(self, federation: HttpClient, url: str, token: str, _timeout: float) -> None:
        assert isinstance(federation, FakeFederation)
        if (url, decode_token(token).room) not in federation.livekit_rooms:
            raise SignalError("the SFU did not open a websocket: HTTP/1.1 404 Not Found")

    def close(self) -> None:
        return


def homes(federation: FakeFederation, users: int = 2) -> tuple[Home, ...]:
    """The sites as a plan has them; a user's token is their Matrix ID."""
    names = ("anna", "bert")[:users]
    return tuple(
        Home(
            server.name,
            tuple(f"@{name}:{server.name}" for name in names),
            full_access=(server.name,),
        )
        for server in federation.servers.values()
    )
