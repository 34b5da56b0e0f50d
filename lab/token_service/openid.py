# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Whose OpenID token is this? Server-name resolution of 0.7 and later (no SRV), then the userinfo request."""

from __future__ import annotations

import asyncio
import re

import httpx

from .config import Config

USERINFO_PATH = "/_matrix/federation/v1/openid/userinfo"
FEDERATION_PORT = 8448
_SERVER_NAME = re.compile(r"(?P<host>[A-Za-z0-9.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, ValueError)
"""What a request can raise; ValueError covers names that cannot be encoded and answers that are not JSON."""


class OpenIDError(Exception):
    """The token could not be verified; the message never holds the token."""


async def user_of(client: httpx.AsyncClient, config: Config, server_name: str, token: str) -> str:
    """The user the server vouches for; one time budget for everything, all failures alike OpenIDError."""
    try:
        async with asyncio.timeout(config.openid_budget):
            base_url = await _resolve(client, server_name)
            user_id = await _userinfo(client, base_url, token)
    except TimeoutError as error:
        raise OpenIDError(f"{server_name!r} did not answer in {config.openid_budget:.0f} s") from error
    localpart, _, domain = user_id.partition(":")
    if domain != server_name or len(localpart) < 2 or localpart[0] != "@":
        raise OpenIDError(f"{server_name!r} vouches for a user that is not its own: {user_id!r}")
    return user_id


async def _resolve(client: httpx.AsyncClient, server_name: str) -> str:
    """A port in the name is used as is; else the well-known's m.server; else port 8448 of the name."""
    host, port = _split(server_name)
    if port is None:
        host, port = await _delegated(client, host) or (host, None)
    return f"https://{host}:{port or FEDERATION_PORT}"


def _split(server_name: str) -> tuple[str, int | None]:
    match = _SERVER_NAME.fullmatch(server_name)
    port = int(match["port"]) if match and match["port"] else None
    if not match or (port is not None and not 0 < port < 65536):
        raise OpenIDError(f"{server_name!r} is not a server name")
    return match["host"], port


async def _delegated(client: httpx.AsyncClient, host: str) -> tuple[str, int | None] | None:
    """What the well-known names; None if it is unusable. A silent one uses up the whole budget."""
    try:
        answer = await client.get(f"https://{host}/.well-known/matrix/server", follow_redirects=True)
        document = answer.json() if answer.status_code == 200 else None
        if isinstance(document, dict) and isinstance(document.get("m.server"), str):
            return _split(document["m.server"])
    except (*_FAILURES, OpenIDError):
        return None  # by rule the next step is port 8448, whose failure is the one reported
    return None


async def _userinfo(client: httpx.AsyncClient, base_url: str, token: str) -> str:
    try:
        answer = await client.get(f"{base_url}{USERINFO_PATH}", params={"access_token": token})
        if not answer.is_success:
            raise OpenIDError(f"HTTP {answer.status_code} from {base_url}")
        document = answer.json()
    except _FAILURES as error:
        raise OpenIDError(f"{type(error).__name__} from {base_url}: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("sub"), str):
        raise OpenIDError(f"{base_url} answered without a sub")
    sub: str = document["sub"]
    return sub
