"""A site that answers from a table: healthy as it is, and broken by changing one entry."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from urllib.parse import urlsplit

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import (
    livekit_room,
    member_identity,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient, Peer, Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import DELAYED, TRANSPORTS

SERVER_NAME = "example.org"
DOMAIN = "rtc.example.org"
HOMESERVER = "https://matrix.example.org"
SERVICE = "https://rtc.example.org/livekit/jwt"
LIVEKIT = "wss://rtc.example.org/livekit/sfu"
SFU = "https://rtc.example.org/livekit/sfu"
CORS = (("Access-Control-Allow-Origin", "*"),)
JSON = (("Content-Type", "application/json"),)
ACCESS_TOKEN = "a token"
ALICE, DEVICE = "@alice:example.org", "PHONE"


def answer(status: int, body: object = None, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An answer; text is sent as it is, anything else as JSON."""
    data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response("", status, headers, data)


def refusal(status: int, code: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A Matrix error."""
    return answer(status, {"errcode": code, "error": "no"}, headers)


def jwt(identity: str, room: str, publish: bool = True, lifetime: int = 3600) -> str:
    """A LiveKit token without a valid signature."""
    grants = {"room": room, "roomJoin": True, "canPublish": publish, "canSubscribe": True}
    claims = {"iss": "matrixrtc", "sub": identity, "nbf": 1000, "exp": 1000 + lifetime, "video": grants}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256"}, claims)
    ]
    return ".".join([*parts, "c2ln"])


def give_token(body: Mapping[str, object]) -> Response:
    """What a healthy token service answers."""
    member = body.get("member")
    if isinstance(member, Mapping):
        identity = member_identity(
            str(member["claimed_user_id"]), str(member["claimed_device_id"]), str(member["id"])
        )
        room = livekit_room(str(body["room_id"]))
    elif "room" in body:
        identity, room = f"{ALICE}:{body['device_id']}", livekit_room(str(body["room"]))
    else:
        return refusal(400, "M_BAD_JSON", CORS)
    return answer(200, {"url": LIVEKIT, "jwt": jwt(identity, room)}, CORS)


def healthy_answers() -> dict[tuple[str, str], object]:
    """Every request of the checks and its answer, by method and URL."""
    focus = {"type": "livekit", "livekit_service_url": SERVICE}
    well_known = {"m.homeserver": {"base_url": HOMESERVER}, "org.matrix.msc4143.rtc_foci": [focus]}
    userinfo = f"{HOMESERVER}/_matrix/federation/v1/openid/userinfo?access_token=matrixrtc-probe"
    table: dict[tuple[str, str], object] = {
        ("GET", f"https://{SERVER_NAME}/.well-known/matrix/client"): answer(200, well_known, CORS + JSON),
        ("GET", f"https://{SERVER_NAME}/.well-known/matrix/server"): answer(
            200, {"m.server": "matrix.example.org:443"}
        ),
        ("GET", f"{HOMESERVER}/_matrix/client/versions"): answer(
            200, {"unstable_features": {"org.matrix.msc4140": True}}
        ),
        ("GET", HOMESERVER + TRANSPORTS): refusal(401, "M_MISSING_TOKEN"),
        ("GET+", HOMESERVER + TRANSPORTS): answer(200, {"rtc_transports": [focus]}),
        ("GET", userinfo.replace(HOMESERVER, f"{HOMESERVER}:443")): refusal(401, "M_UNKNOWN_TOKEN"),
        ("POST", f"{HOMESERVER}{DELAYED}/matrixrtc-probe/restart"): refusal(404, "M_NOT_FOUND"),
        ("GET+", f"{HOMESERVER}/_matrix/client/v3/account/whoami"): answer(
            200, {"user_id": ALICE, "device_id": DEVICE}
        ),
        ("POST+", f"{HOMESERVER}/_matrix/client/v3/user/%40alice%3Aexample.org/openid/request_token"): answer(
            200,
            {
                "access_token": "o",
                "token_type": "Bearer",
                "matrix_server_name": SERVER_NAME,
                "expires_in": 3600,
            },
        ),
        ("GET", f"{SERVICE}/healthz"): answer(200),
        ("GET", f"{SFU}/rtc/validate"): answer(401, "no permissions"),
        ("GET", f"{SFU}/rtc/v1"): answer(401),
        ("GET", f"{SFU}/rtc"): answer(401),
        ("POST", f"{SFU}/twirp/livekit.RoomService/ListRooms"): answer(403),
    }
    for path in ("/sfu/get", "/get_token"):
        table[("GET", SERVICE + path)] = answer(405, headers=CORS)
        table[("OPTIONS", SERVICE + path)] = answer(200, headers=CORS)
        table[("POST", SERVICE + path)] = give_token
    path = "/delegate_delayed_leave"
    table[("GET", SERVICE + path)] = answer(405, headers=CORS)
    table[("OPTIONS", SERVICE + path)] = answer(200, headers=CORS)
    table[("POST", SERVICE + path)] = refusal(400, "M_BAD_JSON", CORS)
    return table


@dataclass
class FakeHttp(HttpClient):
    """Answers from a table; requests with a token are looked up as METHOD+. `asked` keeps the requests.

    `clocks`: how many seconds the clock of a host is ahead.
    """

    answers: dict[tuple[str, str], object] = field(default_factory=healthy_answers)
    peers: dict[str, Peer] = field(default_factory=dict)
    open_ports: dict[int, Peer] = field(default_factory=lambda: {7881: Peer("203.0.113.5")})
    asked: list[tuple[str, str]] = field(default_factory=list)
    clocks: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is connected to, so no certificates are read."""

    def request(
        self,
        method: str,
        url: str,
        body: object = None,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        key = (method + ("+" if token else ""), url)
        self.asked.append(key)
        found = self.answers.get(key, answer(404, "not found"))
        if callable(found):
            found = found(body if isinstance(body, Mapping) else {})
        assert isinstance(found, Response)
        told = formatdate(time.time() + self.clocks.get(urlsplit(url).netloc, 0), usegmt=True)
        date = () if found.error else (("Date", told),)
        return replace(found, url=url, headers=found.headers + date)

    def handshake(self, host: str, port: int = 443) -> Peer:
        return self.peers.get(host, Peer("203.0.113.5", days_left=60))

    def opens(self, host: str, port: int) -> Peer:
        return self.open_ports.get(port, Peer(error="timeout", detail="timed out"))


def site(http: FakeHttp | None = None, token: str = "", addresses: tuple[str, ...] = ()) -> Site:
    """The site, with a table of answers of its own unless one is given."""
    return Site(SERVER_NAME, DOMAIN, SERVICE, LIVEKIT, http or FakeHttp(), token, addresses)


def broken(*changes: tuple[str, str, object]) -> FakeHttp:
    """A site in which some requests are answered differently: method, URL, answer."""
    http = FakeHttp()
    for method, url, changed in changes:
        assert (method, url) in http.answers, f"nobody asks {method} {url}"
        http.answers[(method, url)] = changed
    return http
