# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A gate on loopback through which a participant reaches the SFU and learns of IPv6 addresses alone.

The SDK takes whatever way it finds first. Behind the gate there is one: neither side is told an address of
the other family, so all media goes over IPv6, or none does. The messages are those of call_signal.py.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from .call_loopback import HERE, PIECE, Loopback
from .call_signal import (
    BINARY,
    DESCRIPTION_SDP,
    REQUEST_ANSWER,
    RESPONSE_OFFER,
    RESPONSE_TRICKLE,
    TRICKLE_CANDIDATE,
    TRICKLE_FINAL,
    SignalError,
    fields_of,
    message,
    parse_candidate,
    texts,
    websocket_frame,
)
from .http_client import port_of

REQUEST_OFFER, REQUEST_TRICKLE, RESPONSE_ANSWER = 1, 3, 2
HEAD_END = b"\r\n\r\n"


def is_ipv6(line: str) -> bool:
    """Whether a candidate is one that may be known; what is none may."""
    candidate = parse_candidate(line)
    return candidate is None or ":" in candidate.address


def thinned_description(data: bytes) -> bytes:
    """A SessionDescription without candidates of the other family."""

    def thin(value: bytes) -> bytes:
        lines = value.decode("utf-8", "replace").splitlines(keepends=True)
        return "".join(line for line in lines if is_ipv6(line)).encode()

    return message(
        *[
            (number, thin(value) if number == DESCRIPTION_SDP and isinstance(value, bytes) else value)
            for number, value in fields_of(data)
        ]
    )


def may_pass(data: bytes) -> bool:
    """Whether a TrickleRequest names an address that may be known, or is the last one."""
    if (TRICKLE_FINAL, 1) in list(fields_of(data)):
        return True
    for text in texts(data, TRICKLE_CANDIDATE):
        with suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict) and not is_ipv6(str(found.get("candidate", ""))):
                return False
    return True


def thinned(data: bytes, descriptions: Sequence[int], trickle: int) -> bytes:
    """A message of the signalling with IPv6 addresses alone; empty if nothing is left of it."""
    kept: list[tuple[int, int | bytes]] = []
    for number, value in fields_of(data):
        if isinstance(value, bytes) and number in descriptions:
            kept.append((number, thinned_description(value)))
        elif number != trickle or not isinstance(value, bytes) or may_pass(value):
            kept.append((number, value))
    return message(*kept)


def from_sfu(data: bytes) -> bytes:
    """What the participant may know of a SignalResponse."""
    return thinned(data, (RESPONSE_ANSWER, RESPONSE_OFFER), RESPONSE_TRICKLE)


def from_participant(data: bytes) -> bytes:
    """What the SFU may know of a SignalRequest."""
    return thinned(data, (REQUEST_OFFER, REQUEST_ANSWER), REQUEST_TRICKLE)


@dataclass
class Gate(Loopback):
    """Connections to `url` go to the SFU, by `address` if its name is not to be resolved.

    `fault` is why one did not get there.
    """

    sfu_url: str
    context: ssl.SSLContext
    address: str = ""

    @property
    def url(self) -> str:
        """Where a participant connects to instead of the SFU."""
        return f"ws://{HERE}:{self.port}{urlsplit(self.sfu_url).path}"

    async def reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the SFU, with TLS if its URL says so."""
        parts = urlsplit(self.sfu_url)
        host, secure = parts.hostname or "", parts.scheme == "wss"
        return await asyncio.open_connection(
            self.address or host,
            port_of(parts),
            ssl=self.context if secure else None,
            server_hostname=host if secure else None,
        )

    async def exchange(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass the handshake on, and then what either side may know of the other's messages."""
        far[1].write(with_host(await near[0].readuntil(HEAD_END), urlsplit(self.sfu_url).netloc))
        head = await far[0].readuntil(HEAD_END)
        near[1].write(head)
        upgraded = b" 101 " in head.partition(b"\r\n")[0] + b" "
        await asyncio.gather(
            pass_on(near[0], far[1], from_participant if upgraded else None, masked=True),
            pass_on(far[0], near[1], from_sfu if upgraded else None, masked=False),
        )


def with_host(head: bytes, host: str) -> bytes:
    """The head of a request as it is for the SFU's host."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(
        b"Host: " + host.encode() if line.lower().startswith(b"host:") else line for line in lines
    )


async def pass_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    thin: Callable[[bytes], bytes] | None,
    masked: bool,
) -> None:
    """Pass everything on until one side is gone; of websocket messages what is left of them."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            data = await reader.read(PIECE) if thin is None else await next_frame(reader, thin, masked)
            if not data and thin is None:
                break
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


async def next_frame(reader: asyncio.StreamReader, thin: Callable[[bytes], bytes], masked: bool) -> bytes:
    """One frame as it is to be passed on, empty if it is not to be.

    A message in several frames passes as it is: neither LiveKit nor its SDK sends any.
    """
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length > 125:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
    data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(length)))
    if first == 0x80 | BINARY:
        with suppress(SignalError):  # what is no such message is none of our business
            data = thin(data)
            if not data:
                return b""
    return websocket_frame(first, data, masked)
