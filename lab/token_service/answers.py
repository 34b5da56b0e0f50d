# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What all POST endpoints share: how a body is read, and how a request is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from . import bodies

BODY_LIMIT = 1 << 20
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token",
}
Asked = TypeVar("Asked")


class RefusedError(Exception):
    """An answer other than 200: status, Matrix error code, sentence."""

    def __init__(self, status: int, errcode: str, error: str) -> None:
        super().__init__(error)
        self.status, self.errcode, self.error = status, errcode, error

    def response(self, headers: Mapping[str, str]) -> Response:
        """The answer, as every Matrix error looks."""
        text = json.dumps({"errcode": self.errcode, "error": self.error})
        return Response(text, self.status, headers=dict(headers), media_type="application/json")


async def parsed(request: Request, parse: Callable[[bytes], Asked]) -> Asked:
    """What a request asks for. Raises RefusedError."""
    body = await body_of(request, BODY_LIMIT)
    if body is None:
        raise RefusedError(413, "M_TOO_LARGE", f"The body is larger than {BODY_LIMIT} bytes.")
    try:
        return parse(body)
    except bodies.NotJsonError as error:
        raise RefusedError(400, "M_NOT_JSON", str(error)) from error
    except bodies.BadJsonError as error:
        raise RefusedError(400, "M_BAD_JSON", str(error)) from error


async def body_of(request: Request, limit: int) -> bytes | None:
    """The whole body, or None if it is larger; the rest is read so that the client gets to the answer."""
    body = bytearray()
    async for chunk in request.stream():
        if len(body) <= limit:
            body += chunk
    return bytes(body) if len(body) <= limit else None
