# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Do the SFU's advertised addresses answer somebody who speaks first, as a client behind NAT does?

LiveKit is a full ICE agent: on one network it reaches the client's addresses itself, so a call works although
the SFU advertises a wrong address, and although a firewall drops what comes in (the answers to the SFU's own
packets pass). A binding request (RFC 8489) from a fresh socket, with the credentials of the signalling and
with none of our own candidates made known, has neither way around.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .call_signal import Advertisement, Candidate, Listener, SignalError, resolved_family
from .http_client import HttpClient

MAGIC = 0x2112A442  # RFC 8489, 5
BINDING_REQUEST, BINDING_SUCCESS = 0x0001, 0x0101
USERNAME, MESSAGE_INTEGRITY, PRIORITY, FINGERPRINT, ICE_CONTROLLED = 0x0006, 0x0008, 0x0024, 0x8028, 0x8029
FINGERPRINT_XOR = 0x5354554E
PEER_REFLEXIVE_PRIORITY = 1853824767
ATTEMPTS = 4
FIRST_PAUSE = 0.15  # seconds until a request is repeated, doubled each time: 2.25 s in all

ANSWERED, SILENT, REFUSED, NO_ROUTE = "answered", "silent", "refused", "no route"


@dataclass(frozen=True)
class Reach:
    """How one candidate took a binding request; `seconds` until the answer."""

    candidate: Candidate
    outcome: str
    seconds: float = 0.0

    def __str__(self) -> str:
        took = f" after {self.seconds * 1000:.1f} ms" if self.outcome == ANSWERED else ""
        return f"{self.candidate} {self.outcome}{took}"


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def binding_request(heard: Advertisement, transaction: bytes) -> bytes:
    """A binding request of the controlled side, as RFC 8445, 7.1 has it."""

    def header(length: int) -> bytes:
        return struct.pack(">HHI", BINDING_REQUEST, length, MAGIC) + transaction

    body = (
        _attribute(USERNAME, f"{heard.user}:{heard.own_user}".encode())
        + _attribute(PRIORITY, struct.pack(">I", PEER_REFLEXIVE_PRIORITY))
        + _attribute(ICE_CONTROLLED, os.urandom(8))
    )
    body += _attribute(
        MESSAGE_INTEGRITY, hmac.new(heard.password.encode(), header(len(body) + 24) + body, "sha1").digest()
    )
    checksum = zlib.crc32(header(len(body) + 8) + body) ^ FINGERPRINT_XOR
    body += _attribute(FINGERPRINT, struct.pack(">I", checksum))
    return header(len(body)) + body


def is_answer(data: bytes, transaction: bytes) -> bool:
    """A success response to our request."""
    return (
        len(data) >= 20 and struct.unpack(">H", data[:2])[0] == BINDING_SUCCESS and data[8:20] == transaction
    )


def _ask_udp(candidate: Candidate, request: bytes, transaction: bytes) -> bool:
    pause = FIRST_PAUSE
    with socket.socket(resolved_family(candidate.address), socket.SOCK_DGRAM) as link:
        link.connect((candidate.address, candidate.port))
        for _attempt in range(ATTEMPTS):
            link.send(request)
            link.settimeout(pause)
            try:
                if is_answer(link.recv(2048), transaction):
                    return True
            except OSError as error:
                if isinstance(error, ConnectionRefusedError):
                    raise
            pause *= 2
    return False


def _ask_tcp(candidate: Candidate, request: bytes, transaction: bytes) -> bool:
    limit = FIRST_PAUSE * (2**ATTEMPTS - 1)
    with socket.create_connection((candidate.address, candidate.port), limit) as link:
        link.sendall(struct.pack(">H", len(request)) + request)  # RFC 4571 framing
        link.settimeout(limit)
        return is_answer(link.recv(2048)[2:], transaction)


def try_candidate(heard: Advertisement, candidate: Candidate) -> Reach:
    """Send a binding request to one candidate."""
    transaction = os.urandom(12)
    request = binding_request(heard, transaction)
    start = time.monotonic()
    try:
        answered = (_ask_udp if candidate.protocol == "udp" else _ask_tcp)(candidate, request, transaction)
    except ConnectionRefusedError:
        return Reach(candidate, REFUSED)
    except OSError as error:
        late = isinstance(error, TimeoutError) or "timed out" in str(error)
        return Reach(candidate, SILENT if late else NO_ROUTE)
    return Reach(candidate, ANSWERED, time.monotonic() - start) if answered else Reach(candidate, SILENT)


def try_all(heard: Advertisement) -> list[Reach]:
    """Send a binding request to every advertised candidate, at once."""
    if not heard.candidates:
        return []
    with ThreadPoolExecutor(max_workers=len(heard.candidates)) as pool:
        return list(pool.map(lambda candidate: try_candidate(heard, candidate), heard.candidates))


def answering(reaches: Sequence[Reach], protocol: str) -> list[Reach]:
    """Those of one protocol that answered."""
    return [reach for reach in reaches if reach.candidate.protocol == protocol and reach.outcome == ANSWERED]


@dataclass(frozen=True)
class Survey:
    """What the SFU advertises and how that answers; `error` says why nothing is known."""

    heard: Advertisement = field(default_factory=Advertisement)
    reaches: tuple[Reach, ...] = ()
    error: str = ""


def survey(http: HttpClient, livekit_url: str, jwt: str, timeout: float) -> Survey:
    """Join silently, hear what the SFU advertises, try all of it, and leave. `timeout` is for the hearing."""
    try:
        listener = Listener(http, livekit_url, jwt, timeout)
    except SignalError as error:
        return Survey(error=str(error))
    try:
        heard = listener.listen()
        return Survey(heard, tuple(try_all(heard)))
    except SignalError as error:
        return Survey(error=str(error))
    finally:
        listener.close()
