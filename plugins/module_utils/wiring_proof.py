# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The proof, without an account, that Synapse and the token service behind it know each other.

An application service may ask as the user that its registration names, so the as_token is enough for the
whole way: Synapse takes it, hands the request over with the hs_token, and is asked with the as_token who is
in the room. Nobody is in a room that is not there, so a sound wiring ends with 403.
"""

from __future__ import annotations

import time

from .credentials import CredentialsError
from .endpoint_wiring import GET_TOKEN, ask, error_code, fault, seat_body
from .files import read_bytes
from .http_client import HttpClient, Response

PAUSE = 1.0  # seconds between two attempts
NOBODYS = "!matrixrtc-proof"  # and a server name: a room that is not there
MEMBER = "MATRIXRTCPROOF"


class WiringError(Exception):
    """What was answered instead, the likely cause, and what to do."""


def prove(http: HttpClient, base_url: str, path_as: str, server_name: str, url: str, timeout: float) -> None:
    """Go the whole way until it is sound or the time is over. Raises WiringError and CredentialsError."""
    end = time.monotonic() + timeout
    while True:
        answer = knock(http, base_url, as_token(path_as), server_name, url)
        if answer.status == 403:
            return
        if time.monotonic() + PAUSE > end:
            raise WiringError(told(answer))
        time.sleep(PAUSE)


def as_token(path: str) -> str:
    """The token in root's file."""
    try:
        return (read_bytes(path) or b"").decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise CredentialsError(f"{path} has no token in it") from error


def knock(http: HttpClient, base_url: str, token: str, server_name: str, url: str) -> Response:
    """One request for a place in a room that is not there."""
    return ask(http, base_url, token, GET_TOKEN, seat_body(url, f"{NOBODYS}:{server_name}", MEMBER))


def told(answer: Response) -> str:
    """Why the wiring is not sound."""
    known = fault(answer.status, error_code(answer))
    cause, fix = (
        (known.cause, known.fix)
        if known
        else ("something else than the token service answers", "see that Synapse runs")
    )
    seen = f"{answer.summary()} {answer.text(80)}".strip()
    return f"Synapse and the token service do not know each other: {seen}. Likely {cause}. To do: {fix}."
