# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The homeserver's client API: where it is, and the unauthenticated delayed-event actions (MSC4140)."""

from __future__ import annotations

import time
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx

from .config import Config

Action = Literal["restart", "send"]
DELAYED_EVENTS_PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
CACHE_SECONDS = 4 * 3600.0


class NoClientApiError(Exception):
    """The client API of a server could not be found."""


class RetryError(Exception):
    """The action failed but may be tried again, after `seconds` if the homeserver said so (else 0)."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class ClientApi:
    """Finds client APIs (override, then four hours of cache, then well-known) and acts on delayed events."""

    def __init__(self, config: Config, client: httpx.AsyncClient) -> None:
        self._config = config
        self._client = client
        self._cache: dict[str, tuple[str, float]] = {}

    async def base_url(self, server_name: str) -> str:
        """Raises NoClientApiError; failures are not remembered."""
        if server_name in self._config.cs_api_overrides:
            return self._config.cs_api_overrides[server_name]
        base_url, valid_until = self._cache.get(server_name, ("", 0.0))
        if time.monotonic() >= valid_until:
            base_url = await self._ask_well_known(server_name)
            self._cache[server_name] = (base_url, time.monotonic() + CACHE_SECONDS)
        return base_url

    async def _ask_well_known(self, server_name: str) -> str:
        url = f"https://{server_name}/.well-known/matrix/client"
        try:
            answer = await self._client.get(
                url, follow_redirects=True, timeout=self._config.homeserver_timeout
            )
            base_url = answer.raise_for_status().json()["m.homeserver"]["base_url"]
            parts = urlsplit(base_url)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoClientApiError(f"{url}: {type(error).__name__}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NoClientApiError(f"{url}: m.homeserver.base_url is not a URL")
        return str(base_url).rstrip("/")

    async def act(self, base_url: str, delay_id: str, action: Action, owner: str = "") -> bool:
        """POST without credentials, or as an application service on behalf of `owner`.

        True: done. False: 404, final. Raises RetryError for everything else.
        """
        url = f"{base_url}{DELAYED_EVENTS_PATH}/{quote(delay_id, safe='')}/{action}"
        assertion: dict[str, Any] = {}
        if owner:
            assertion = {"params": {"user_id": owner}, "headers": self._config.as_authorization}
        try:
            answer = await self._client.post(
                url, json={}, timeout=self._config.homeserver_timeout, **assertion
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetryError(f"{type(error).__name__}: {error}") from error
        if answer.is_success:
            return True
        if answer.status_code == 404:
            return False
        wait = _retry_after(answer) if answer.status_code == 429 else 0.0
        raise RetryError(f"HTTP {answer.status_code}", wait)


def _retry_after(answer: httpx.Response) -> float:
    """The longer of Retry-After (seconds) and retry_after_ms, so that neither is broken."""
    header = answer.headers.get("Retry-After", "")
    seconds = float(header) if header.isascii() and header.isdigit() else 0.0
    try:
        milliseconds = answer.json().get("retry_after_ms")
    except (ValueError, AttributeError):  # a proxy's page, not the homeserver's JSON
        milliseconds = None
    return max(seconds, milliseconds / 1000 if isinstance(milliseconds, int) else 0.0)
