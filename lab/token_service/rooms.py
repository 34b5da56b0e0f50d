# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The two RoomService calls (Twirp JSON), made over LIVEKIT_URL turned into http(s), path prefix kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from . import tokens
from .config import Config

EMPTY_TIMEOUT_SECONDS = 300
DEPARTURE_TIMEOUT_SECONDS = 20
LOOKUP_TIMEOUT_SECONDS = 10.0
_THERE = frozenset({"JOINED", "ACTIVE"})


class RoomServiceError(Exception):
    """The SFU refused or could not be asked; the message holds its status and answer."""


class RoomService:
    """Calls the SFU with the service's own key."""

    def __init__(self, config: Config, client: httpx.AsyncClient) -> None:
        self._config = config
        self._client = client
        # ws -> http, wss -> https; a trailing slash stays and gives `//twirp`, which LiveKit accepts
        self._base = f"http{config.livekit_url.removeprefix('ws')}/twirp/livekit.RoomService"

    async def create(self, room: str) -> None:
        """Create the room, or do nothing if it is there. No time limit and no retry, as measured."""
        body = {
            "name": room,
            "empty_timeout": EMPTY_TIMEOUT_SECONDS,
            "departure_timeout": DEPARTURE_TIMEOUT_SECONDS,
            "max_participants": 0,
        }
        answer = await self._call("CreateRoom", body, {"roomCreate": True}, None)
        if not answer.is_success:
            raise RoomServiceError(f"{answer.status_code} {answer.text[:200]!r}")

    async def is_present(self, room: str, participant: str) -> bool:
        """Is the participant connected? Raises RoomServiceError when the SFU does not say."""
        answer = await self._call(
            "GetParticipant",
            {"room": room, "identity": participant},
            {"room": room, "roomAdmin": True},
            LOOKUP_TIMEOUT_SECONDS,
        )
        if answer.status_code == 404:
            return False
        try:
            document = answer.json() if answer.is_success else None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise RoomServiceError(f"{answer.status_code} {answer.text[:200]!r}")
        return document.get("state") in _THERE

    async def _call(
        self, method: str, body: Mapping[str, Any], grants: Mapping[str, object], timeout: float | None
    ) -> httpx.Response:
        try:
            return await self._client.post(
                f"{self._base}/{method}",
                json=body,
                headers={"Authorization": f"Bearer {tokens.admin_token(self._config, grants)}"},
                timeout=timeout,
            )
        except httpx.HTTPError as error:
            raise RoomServiceError(f"{type(error).__name__}: {error}") from error
