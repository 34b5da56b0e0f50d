# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Behind the homeserver (MSC4195 over MSC4512 and MSC4502): what it forwards, and what it is asked back.

The homeserver has authenticated who asks and says so in a header; our own part is whether that user is in the
room. Users of our homeserver have full access whatever the access list says, those of others may subscribe.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import httpx
from starlette.requests import Request
from starlette.responses import Response

from . import tokens
from .answers import CORS, RefusedError, parsed
from .bodies import Delay, document, mandatory, one_segment
from .config import Config
from .csapi import DELAYED_EVENTS_PATH, ClientApi, NoClientApiError
from .delegation import Delegation
from .rooms import RoomService, RoomServiceError

PING = "/_matrix/app/v1/ping"
CLIENT = "/_matrix/client/unstable/io.element.msc4195/rtc/livekit"
FEDERATION = "/_matrix/federation/unstable/io.element.msc4195/rtc/livekit/get_token"
IS_JOINED = "/_matrix/client/unstable/io.element.msc4502/rooms/{}/is_joined"
FED_PROXY = "/_matrix/client/unstable/io.element.msc4512/appservice/fed_proxy"
USER, ORIGIN = "X-Matrix-User-Identifier", "X-Matrix-Origin"
_USER_ID = re.compile(r"@[^:\s]+:(?P<server>\S+)")
_SEAT: dict[str, Any] = {"url": str, "room_id": str, "slot_id": str, "member_id": str}
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, ValueError)
_log = logging.getLogger("token_service.appservice")


@dataclass(frozen=True)
class Seat:
    """Whose place in which LiveKit room, on which SFU, is asked for. `server_name` is empty for our own."""

    url: str
    room_id: str
    slot_id: str
    member_id: str
    user_id: str = ""
    server_name: str = ""
    delay_id: str = ""

    @property
    def room(self) -> str:
        return tokens.room_name(self.room_id, self.slot_id)

    @property
    def identity(self) -> str:
        return tokens.app_service_identity(self.user_id, self.member_id)


def client_get_token(body: bytes) -> Seat:
    """What a client asks its homeserver for."""
    fields = document(body, {**_SEAT, "server_name": str})
    return replace(_seat(fields), server_name=fields.get("server_name", ""))


def federation_get_token(body: bytes) -> Seat:
    """What another homeserver asks for one of its users."""
    fields = document(body, {**_SEAT, "user_id": str})
    return replace(_seat(fields), user_id=mandatory(fields, "user_id"))


def client_delegate(body: bytes) -> Seat:
    """A delayed leave; how long the delay is, the homeserver knows."""
    fields = document(body, {**_SEAT, "delay_id": str})
    return replace(_seat(fields), delay_id=one_segment(mandatory(fields, "delay_id")))


def _seat(fields: dict[str, Any]) -> Seat:
    return Seat(**{name: mandatory(fields, name) for name in _SEAT})


class ApplicationService:
    """The endpoints that only a homeserver with our hs_token reaches."""

    def __init__(
        self,
        config: Config,
        client: httpx.AsyncClient,
        rooms: RoomService,
        client_api: ClientApi,
        delegation: Delegation,
    ) -> None:
        self._config, self._client = config, client
        self._rooms, self._client_api, self._delegation = rooms, client_api, delegation
        self.routes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            PING: self._ping,
            f"{CLIENT}/get_token": self._posted(client_get_token, USER, self._token, CORS),
            f"{CLIENT}/delegate_delayed_leave": self._posted(client_delegate, USER, self._delegate, CORS),
            FEDERATION: self._posted(federation_get_token, ORIGIN, self._foreign_token, {}),
        }

    async def _ping(self, request: Request) -> Response:
        """Any method; says nothing but that the homeserver's token is right."""
        try:
            self._require_homeserver(request)
        except RefusedError as refused:
            return refused.response({})
        return Response("{}", 200, media_type="application/json")

    def _posted(
        self,
        parse: Callable[[bytes], Seat],
        header: str,
        act: Callable[[Seat, str], Awaitable[dict[str, str]]],
        cors: dict[str, str],
    ) -> Callable[[Request], Awaitable[Response]]:
        """Make a POST endpoint; the order is method, hs_token, JSON, fields, header, then what `act` does."""

        async def handler(request: Request) -> Response:
            if request.method != "POST":
                return Response(status_code=200 if request.method == "OPTIONS" else 405, headers=cors)
            try:
                self._require_homeserver(request)
                seat = await parsed(request, parse)
                caller = request.headers.get(header, "")
                if not caller:
                    raise RefusedError(401, "M_UNAUTHORIZED", f"The request has no {header}.")
                answer = await act(seat, caller)
            except RefusedError as refused:
                _log.info("%s %d %s", request.url.path, refused.status, refused.errcode)
                return refused.response(cors)
            return Response(json.dumps(answer), 200, headers=cors, media_type="application/json")

        return handler

    def _require_homeserver(self, request: Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            raise RefusedError(401, "M_MISSING_TOKEN", "The request has no homeserver token.")
        if not hmac.compare_digest(given.encode(), self._config.hs_token.encode()):
            _log.error("A request came with another hs_token than ours")
            raise RefusedError(401, "M_UNKNOWN_TOKEN", "This is not our homeserver's token.")

    async def _token(self, seat: Seat, user_id: str) -> dict[str, str]:
        """For a user of ours: on our own SFU, or through the homeserver on that of another server."""
        seat = replace(seat, user_id=user_id)
        is_local = seat.server_name in ("", self._config.hs_server_name)
        if is_local:
            self._require_our_sfu(seat)
        _server_of(user_id)
        base_url = await self._own_client_api()
        await self._require_joined(base_url, seat.room_id, {"mxid": user_id})
        if is_local:
            return await self._seated(seat, full_access=True)
        await self._require_joined(base_url, seat.room_id, {"server_name": seat.server_name})
        return {"jwt": await self._ask_other_server(base_url, seat)}

    async def _foreign_token(self, seat: Seat, origin: str) -> dict[str, str]:
        """For a user of another homeserver: subscribe-only, and the room is made all the same."""
        if _server_of(seat.user_id) != origin:
            raise RefusedError(403, "M_FORBIDDEN", "The user is not of the server that asks.")
        base_url = await self._own_client_api()
        await self._require_joined(base_url, seat.room_id, {"server_name": self._config.hs_server_name})
        await self._require_joined(base_url, seat.room_id, {"mxid": seat.user_id})
        self._require_our_sfu(seat)
        return await self._seated(seat, full_access=False)

    async def _delegate(self, seat: Seat, user_id: str) -> dict[str, str]:
        seat = replace(seat, user_id=user_id)
        self._require_our_sfu(seat)
        base_url = await self._own_client_api()
        seconds = await self._delay_of(base_url, seat)
        self._delegation.add(seat.room, seat.identity, Delay(seat.delay_id, seconds, user_id), base_url)
        return {}

    async def _seated(self, seat: Seat, *, full_access: bool) -> dict[str, str]:
        try:
            await self._rooms.create(seat.room)
        except RoomServiceError as error:
            _log.error("CreateLiveKitRoom: %s", error)
            raise RefusedError(500, "M_UNKNOWN", "Unable to create room on SFU") from error
        _log.info("Token for %s full_access=%s room=%s", seat.user_id, full_access, seat.room)
        jwt = tokens.access_token(self._config, seat.room, seat.identity, full_access=full_access)
        return {"jwt": jwt}

    def _require_our_sfu(self, seat: Seat) -> None:
        """Character by character, as upstream."""
        if seat.url != self._config.livekit_url:
            _log.warning("url %r is not LIVEKIT_URL %r", seat.url, self._config.livekit_url)
            raise RefusedError(400, "M_INVALID_PARAM", "The url is not that of this service's SFU.")

    async def _own_client_api(self) -> str:
        """Always that of LIVEKIT_HS_SERVER_NAME, so that the as_token goes nowhere else."""
        try:
            return await self._client_api.base_url(self._config.hs_server_name)
        except NoClientApiError as error:
            _log.error("Failed to look up the client API err=%s", error)
            raise RefusedError(400, "M_BAD_JSON", "The client API could not be found.") from error

    async def _require_joined(self, base_url: str, room_id: str, who: dict[str, str]) -> None:
        """MSC4502: 403 when the homeserver says no, 502 when it says nothing of the kind."""
        url = f"{base_url}{IS_JOINED.format(quote(room_id, safe=''))}"
        status, answer = await self._homeserver("GET", url, params=who)
        if status != 200 or not isinstance(answer.get("joined"), bool):
            _log.error("is_joined: HTTP %d %s from %s", status, answer.get("errcode", ""), base_url)
            raise RefusedError(502, "M_UNKNOWN", "The membership of the room could not be verified.")
        if not answer["joined"]:
            raise RefusedError(403, "M_FORBIDDEN", f"{next(iter(who.values()))} is not in the room.")

    async def _delay_of(self, base_url: str, seat: Seat) -> float:
        """Seconds of a delayed event of this user in this room (MSC4140), asked on the user's behalf."""
        url = f"{base_url}{DELAYED_EVENTS_PATH}/{quote(seat.delay_id, safe='')}"
        status, answer = await self._homeserver("GET", url, params={"user_id": seat.user_id})
        delay = answer.get("delay_ms")
        if status == 404 or (status == 200 and answer.get("room_id") != seat.room_id):
            raise RefusedError(400, "M_INVALID_PARAM", "There is no such delayed event of this user.")
        if status != 200 or not isinstance(delay, int):
            raise RefusedError(503, "M_UNKNOWN", "The delayed event could not be looked up.")
        return delay / 1000

    async def _ask_other_server(self, base_url: str, seat: Seat) -> str:
        """The other server's token, asked over federation in our homeserver's name (MSC4512)."""
        wanted = {name: getattr(seat, name) for name in (*_SEAT, "user_id")}
        request = {"destination": seat.server_name, "method": "POST", "path": FEDERATION, "body": wanted}
        status, answer = await self._homeserver("POST", f"{base_url}{FED_PROXY}", json=request)
        content = answer.get("content")
        content = content if isinstance(content, dict) else {}
        jwt, said = content.get("jwt"), (answer.get("status"), content.get("errcode"))
        if status == 200 and said[0] == 200 and isinstance(jwt, str):
            return jwt
        _log.error("%s: HTTP %d, there %s", seat.server_name, status, said)
        if status == 200 and said in ((403, "M_FORBIDDEN"), (400, "M_INVALID_PARAM")):
            raise RefusedError(said[0], said[1], "The other homeserver refused the request.")
        raise RefusedError(502, "M_UNKNOWN", "The other homeserver could not be asked.")

    async def _homeserver(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and document of our homeserver's answer; status 0 without one."""
        headers, timeout = self._config.as_authorization, self._config.homeserver_timeout
        try:
            answer = await self._client.request(method, url, headers=headers, timeout=timeout, **more)
            found = answer.json()
        except _FAILURES as error:
            _log.error("%s: %s", type(error).__name__, url)
            return 0, {}
        return answer.status_code, found if isinstance(found, dict) else {}


def _server_of(user_id: str) -> str:
    match = _USER_ID.fullmatch(user_id)
    if not match:
        raise RefusedError(400, "M_INVALID_PARAM", "The user is no Matrix ID.")
    return match["server"]
