# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The routes as one ASGI application: methods, status codes and CORS headers as measured."""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import bodies, openid, tokens
from .answers import CORS, RefusedError, body_of, parsed
from .appservice import ApplicationService
from .bodies import TokenRequest
from .config import Config
from .csapi import ClientApi, NoClientApiError
from .delegation import PARTICIPANT_EVENTS, Delegation
from .rooms import RoomService, RoomServiceError

WEBHOOK_BODY_LIMIT = 8 << 20
CLOSE_EXTENSION = "matrixrtc.close"
"""The key in scope["extensions"] of a function that closes the connection unanswered (see __main__.py)."""
_log = logging.getLogger("token_service.app")


class Service:
    """The application and what lives as long as it does."""

    def __init__(self, config: Config, client: httpx.AsyncClient) -> None:
        self._config = config
        self._client = client
        self._rooms = RoomService(config, client)
        self._client_api = ClientApi(config, client)
        self.delegation = Delegation(config, self._rooms, self._client_api)
        self._routes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/healthz": self._healthz,
            "/sfu/get": self._posted(bodies.sfu_get, self._token),
            "/get_token": self._posted(bodies.get_token, self._token),
            "/delegate_delayed_leave": self._posted(bodies.delegate_delayed_leave, self._delegate),
            "/sfu_webhook": self._webhook,
        }
        if config.is_application_service:
            behind = ApplicationService(config, client, self._rooms, self._client_api, self.delegation)
            self._routes |= behind.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["path"]
        handler = self._routes.get(path)
        if handler:
            response = await handler(request)
        elif _clean(path) != path:
            response = _redirect(request, _clean(path))
        else:
            response = Response("404 page not found\n", 404, media_type="text/plain")
        _log.debug("%s %s %d", request.method, path, response.status_code)
        await response(scope, receive, send)

    async def _healthz(self, request: Request) -> Response:
        return Response(status_code=200 if request.method in ("GET", "HEAD") else 405)

    def _posted(
        self,
        parse: Callable[[bytes], TokenRequest],
        act: Callable[[TokenRequest, str], Awaitable[dict[str, str]]],
    ) -> Callable[[Request], Awaitable[Response]]:
        """Make a POST endpoint; the order is method, JSON, fields, OpenID, then what `act` does."""

        async def handler(request: Request) -> Response:
            if request.method != "POST":
                status = 200 if request.method == "OPTIONS" else 405
                return Response(status_code=status, headers=CORS, media_type="application/json")
            try:
                asked = await parsed(request, parse)
                user_id = await self._verified_user(asked)
                return _json(await act(asked, user_id))
            except RefusedError as refused:
                _log.info("%s %d %s", request.url.path, refused.status, refused.errcode)
                return refused.response(CORS)

        return handler

    async def _verified_user(self, asked: TokenRequest) -> str:
        """The OpenID check; every failure is 401, and what the client claims must be true."""
        try:
            user_id = await openid.user_of(self._client, self._config, asked.server_name, asked.openid_token)
        except openid.OpenIDError as error:
            _log.error("Failed to look up user info err=%s", error)
            raise RefusedError(401, "M_UNAUTHORIZED", "The request could not be authorised.") from error
        if asked.claimed_user_id and asked.claimed_user_id != user_id:
            _log.warning("Claimed user %r is not %r", asked.claimed_user_id, user_id)
            raise RefusedError(401, "M_UNAUTHORIZED", "The request could not be authorised.")
        return user_id

    async def _token(self, asked: TokenRequest, user_id: str) -> dict[str, str]:
        """Access, client API, room, job, in this order: a failed room leaves no job behind."""
        full_access = self._config.has_full_access(asked.server_name)
        identity = asked.identity(user_id)
        base_url = ""
        if asked.delay:
            if not full_access:
                raise RefusedError(400, "M_BAD_JSON", "Delegating a delayed leave needs full access.")
            base_url = await self._client_api_of(asked)
        if full_access:
            await self._create_room(asked.room)
        if asked.delay:
            self.delegation.add(asked.room, identity, asked.delay, base_url)
        _log.info("Token for %s full_access=%s room=%s", user_id, full_access, asked.room)
        jwt = tokens.access_token(self._config, asked.room, identity, full_access=full_access)
        return {"url": self._config.livekit_url, "jwt": jwt}

    async def _delegate(self, asked: TokenRequest, user_id: str) -> dict[str, str]:
        """Needs full access; only ever meets participants with an identity of /get_token."""
        if not self._config.has_full_access(asked.server_name):
            raise RefusedError(403, "M_FORBIDDEN", "Delegating a delayed leave needs full access.")
        base_url = await self._client_api_of(asked)
        if asked.delay:  # always so here: the parser made sure
            self.delegation.add(asked.room, asked.identity(user_id), asked.delay, base_url)
        return {}

    async def _client_api_of(self, asked: TokenRequest) -> str:
        try:
            return await self._client_api.base_url(asked.server_name)
        except NoClientApiError as error:
            _log.error("Failed to look up the client API err=%s", error)
            raise RefusedError(400, "M_BAD_JSON", "The client API could not be found.") from error

    async def _create_room(self, room: str) -> None:
        try:
            await self._rooms.create(room)
        except RoomServiceError as error:
            _log.error("CreateLiveKitRoom: %s", error)
            raise RefusedError(500, "M_UNKNOWN", "Unable to create room on SFU") from error

    async def _webhook(self, request: Request) -> Response:
        """Always 200, also for a bad signature: a wrong webhook key is silent but for our log."""
        body = await body_of(request, WEBHOOK_BODY_LIMIT)
        if body is None:
            return Response(status_code=413)
        try:
            tokens.check_webhook(self._config, request.headers.get("Authorization", ""), body)
            event = json.loads(body)
            self._take(event.get("event"), event)
        except tokens.WebhookError as error:
            _log.error("Webhook refused: %s", error)
        except KeyError as error:
            _log.error("Webhook %s has no %s: the connection is closed", event.get("event"), error)
            await _close(request)
        except (ValueError, TypeError, AttributeError) as error:
            _log.error("Webhook not understood: %r", error)
        return Response(status_code=200)

    def _take(self, name: str, event: dict[str, Any]) -> None:
        """Raises KeyError for an event without room, or one of a participant without that participant."""
        room = event["room"].get("name", "")
        _log.debug("Webhook %s room=%s", name, room)
        if name in PARTICIPANT_EVENTS:
            participant = event["participant"]
            self.delegation.event(
                name, room, participant.get("identity", ""), participant.get("disconnectReason", "")
            )


async def _close(request: Request) -> None:
    """Close the connection without an answer, as the panicking handler of the real service does."""
    request.scope["extensions"][CLOSE_EXTENSION]()
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _clean(path: str) -> str:
    """The path as Go's router cleans it: no empty, `.` or `..` segments; a trailing slash stays."""
    cleaned = posixpath.normpath(f"/{path.lstrip('/')}")
    return f"{cleaned}/" if path.endswith("/") and cleaned != "/" else cleaned


def _redirect(request: Request, path: str) -> Response:
    """A `//sfu/get` is sent to `/sfu/get`: no CORS headers, and nothing known of the proxy's prefix."""
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(status_code=307, headers={"Location": f"{path}{query}"})


def _json(content: dict[str, str]) -> Response:
    return Response(json.dumps(content), 200, headers=CORS, media_type="application/json")
