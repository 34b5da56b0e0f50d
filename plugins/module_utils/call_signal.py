# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""LiveKit's signalling, just enough to be told where the SFU wants to receive media.

A probe joins as a participant who neither sends nor receives, answers the SFU's offer without any candidate
of its own, and collects the candidates that the SFU advertises. The messages are those of livekit/protocol,
protobufs/livekit_rtc.proto, read and written field by field, because there is no library for it on a plain
host.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from .http_client import HttpClient

WEBSOCKET_SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
PROTOCOL_VERSION = 9  # the SFU offers its receiving connection at once, as to every client since 2021
CONTINUATION, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA
LARGEST_HEADER = 65536

# Fields of SignalResponse, JoinResponse, SessionDescription, TrickleRequest and SignalRequest.
RESPONSE_JOIN, RESPONSE_OFFER, RESPONSE_TRICKLE, RESPONSE_LEAVE = 1, 3, 4, 8
JOIN_SERVER_VERSION, JOIN_ICE_SERVERS = 4, 5
ICE_SERVER_URLS, ICE_SERVER_USERNAME, ICE_SERVER_CREDENTIAL = 1, 2, 3
DESCRIPTION_TYPE, DESCRIPTION_SDP, DESCRIPTION_ID = 1, 2, 3
TRICKLE_CANDIDATE, TRICKLE_FINAL = 1, 3
REQUEST_ANSWER, REQUEST_LEAVE = 2, 8


class SignalError(Exception):
    """The SFU did not take part in the conversation; the text is a sentence for the operator."""


@dataclass(frozen=True)
class Candidate:
    """One address at which the SFU says it can be reached. `kind`: host, srflx, prflx or relay."""

    address: str
    port: int
    protocol: str
    kind: str

    def __str__(self) -> str:
        return f"{self.protocol} {self.address}:{self.port} ({self.kind})"


@dataclass(frozen=True)
class Relay:
    """A TURN server that the SFU offers, such as turns:turn.example.org:443?transport=tcp."""

    url: str
    username: str
    credential: str = field(repr=False)


@dataclass
class Advertisement:
    """What the SFU told a participant. `user` and `password` are its ICE credentials, `own_user` is ours."""

    server_version: str = ""
    ice_servers: list[str] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    user: str = ""
    password: str = ""
    own_user: str = ""
    relays: list[Relay] = field(default_factory=list)


def varint(number: int) -> bytes:
    """A number in protobuf's variable length form."""
    coded = bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    coded.append(number)
    return bytes(coded)


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A protobuf message of numbers and byte strings."""
    coded = b""
    for number, value in fields:
        coded += (
            varint(number << 3) + varint(value)
            if isinstance(value, int)
            else varint(number << 3 | 2) + varint(len(value)) + value
        )
    return coded


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if start >= len(data):
            raise SignalError("the SFU sent a message that is cut off")
        value |= (data[start] & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if data[start - 1] < 0x80:
            return value, start


def fields_of(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: numbers, and everything else as byte strings."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            number, at = _read_varint(data, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            length, at = _read_varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise SignalError("the SFU sent a message of an unknown form")
        yield tag >> 3, data[at : at + length]
        at += length


def texts(data: bytes, number: int) -> list[str]:
    """The values of a text field."""
    return [
        value.decode("utf-8", "replace")
        for found, value in fields_of(data)
        if found == number and isinstance(value, bytes)
    ]


def parse_candidate(line: str) -> Candidate | None:
    """A candidate as it stands in an SDP (RFC 8839, 5.1), or None when the text is none."""
    match = re.match(r"(?:a=)?candidate:\S+ \d+ (\S+) \d+ (\S+) (\d+) typ (\S+)", line)
    return (
        Candidate(match.group(2), int(match.group(3)), match.group(1).lower(), match.group(4))
        if match
        else None
    )


def answer_to(offer: str, user: str, password: str) -> str:
    """An SDP that accepts an offer and names no candidate: the SFU then waits for our packets."""
    sections = re.split(r"(?=^m=)", offer.replace("\r\n", "\n"), flags=re.MULTILINE)[1:]
    mids = [
        match.group(1)
        for section in sections
        for match in re.finditer(r"^a=mid:(\S+)", section, re.MULTILINE)
    ]
    fingerprint = ":".join(f"{byte:02X}" for byte in os.urandom(32))  # never used: no DTLS follows
    lines = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(mids)}"]
    for section in sections:
        media = section.splitlines()[0]
        mid = re.search(r"^a=mid:(\S+)", section, re.MULTILINE)
        lines += [
            media,
            "c=IN IP4 0.0.0.0",
            f"a=ice-ufrag:{user}",
            f"a=ice-pwd:{password}",
            f"a=fingerprint:sha-256 {fingerprint}",
            "a=setup:active",
            f"a=mid:{mid.group(1) if mid else '0'}",
        ]
        lines += ["a=sctp-port:5000"] if "webrtc-datachannel" in media else ["a=inactive"]
    return "\r\n".join(lines) + "\r\n"


def websocket_frame(first: int, data: bytes, masked: bool) -> bytes:
    """A frame whose first byte has flags and kind; RFC 6455 wants those of clients to be masked."""
    mask = os.urandom(4) if masked else b""
    flag = 0x80 if masked else 0
    if len(data) < 126:
        length = bytes([flag | len(data)])
    elif len(data) < 1 << 16:
        length = bytes([flag | 126]) + struct.pack(">H", len(data))
    else:
        length = bytes([flag | 127]) + struct.pack(">Q", len(data))
    covered = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)) if masked else data
    return bytes([first]) + length + mask + covered


class Websocket:
    """A websocket client: text and fragments are joined, pings answered.

    `deadline` is of time.monotonic().
    """

    def __init__(self, http: HttpClient, url: str, deadline: float) -> None:
        self._deadline = deadline
        self._buffer = b""
        try:
            self._socket = http.connect(url)
        except OSError as error:
            raise SignalError(f"the SFU cannot be reached: {error}") from error
        try:
            self._open(url)
        except (OSError, SignalError) as error:
            self._socket.close()
            raise SignalError(str(error)) from error

    def _open(self, url: str) -> None:
        parts = urlsplit(url)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade:"
            f" websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version:"
            " 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer and len(self._buffer) < LARGEST_HEADER:
            self._receive()
        head, _end, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].decode("latin-1")
        digest = hashlib.sha1((key + WEBSOCKET_SALT).encode(), usedforsecurity=False).digest()
        if " 101 " not in status + " " or base64.b64encode(digest) not in head:
            raise SignalError(
                f"the SFU did not open a websocket: {status} {self._buffer[:80].decode('latin-1')}".strip()
            )

    def _receive(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SignalError("the SFU did not finish the conversation in time")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise SignalError(f"the SFU did not finish the conversation: {error}") from error
        if not data:
            raise SignalError("the SFU closed the connection")
        self._buffer += data

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._receive()
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._take(8))[0]
        return bool(first & 0x80), first & 0x0F, self._take(length)

    def receive(self) -> bytes:
        """The next message. Raises SignalError at the end of the conversation or of the time."""
        collected = b""
        while True:
            final, kind, data = self._frame()
            if kind == CLOSE:
                raise SignalError("the SFU closed the connection")
            if kind == PING:
                self.send(data, PONG)
            elif kind in (CONTINUATION, BINARY):
                collected += data
                if final:
                    return collected

    def send(self, data: bytes, kind: int = BINARY) -> None:
        """Send one message, masked as RFC 6455 wants it from clients.

        Raises SignalError when the other side is gone.
        """
        try:
            self._socket.sendall(websocket_frame(0x80 | kind, data, masked=True))
        except OSError as error:
            raise SignalError(f"the SFU closed the connection: {error}") from error

    def close(self) -> None:
        """Say goodbye and close; whatever the other side makes of it does not matter any more."""
        with suppress(SignalError):
            self.send(message((REQUEST_LEAVE, b"")))
            self.send(struct.pack(">H", 1000), CLOSE)
        self._socket.close()


class Listener:
    """The silent participant.

    Keep it open while its candidates are tried: the SFU forgets them afterwards.
    """

    def __init__(self, http: HttpClient, livekit_url: str, jwt: str, timeout: float) -> None:
        query = urlencode(
            {
                "access_token": jwt,
                "auto_subscribe": "0",
                "protocol": PROTOCOL_VERSION,
                "sdk": "python",
                "version": "1",
            }
        )
        self._socket = Websocket(http, f"{livekit_url}/rtc?{query}", time.monotonic() + timeout)
        self.heard = Advertisement()

    def listen(self) -> Advertisement:
        """Take part until the SFU has named its last candidate. Raises SignalError when it names none."""
        try:
            while not self._heard_the_last():
                pass
        except SignalError:
            if not self.heard.candidates:
                raise
        return self.heard

    def relays(self) -> list[Relay]:
        """The relays that the SFU names when one joins. Raises SignalError when it does not let us."""
        while not self.heard.server_version:
            self._heard_the_last()
        return self.heard.relays

    def _heard_the_last(self) -> bool:
        """Take one message; true after the last candidate."""
        last = False
        for number, value in fields_of(self._socket.receive()):
            if not isinstance(value, bytes):
                continue
            if number == RESPONSE_LEAVE:
                raise SignalError("the SFU sent the participant away")
            if number == RESPONSE_JOIN:
                self._joined(value)
            elif number == RESPONSE_OFFER:
                self._offered(value)
            elif number == RESPONSE_TRICKLE:
                last = self._trickled(value) or last
        return last

    def _joined(self, data: bytes) -> None:
        self.heard.server_version = next(iter(texts(data, JOIN_SERVER_VERSION)), "")
        servers = [
            value
            for number, value in fields_of(data)
            if number == JOIN_ICE_SERVERS and isinstance(value, bytes)
        ]
        self.heard.ice_servers = [url for server in servers for url in texts(server, ICE_SERVER_URLS)]
        for server in servers:
            user, word = texts(server, ICE_SERVER_USERNAME), texts(server, ICE_SERVER_CREDENTIAL)
            if user and word:
                self.heard.relays += [Relay(url, user[0], word[0]) for url in texts(server, ICE_SERVER_URLS)]

    def _offered(self, data: bytes) -> None:
        sdp = next(iter(texts(data, DESCRIPTION_SDP)), "")
        names = dict(re.findall(r"^a=(ice-ufrag|ice-pwd):(\S+)", sdp, re.MULTILINE))
        self.heard.user, self.heard.password = names.get("ice-ufrag", ""), names.get("ice-pwd", "")
        self.heard.own_user = os.urandom(4).hex()
        found = [parse_candidate(line) for line in sdp.splitlines()]
        self.heard.candidates += [candidate for candidate in found if candidate]
        answer = answer_to(sdp, self.heard.own_user, os.urandom(16).hex()).encode()
        numbers = [value for number, value in fields_of(data) if number == DESCRIPTION_ID]
        body = message(
            (DESCRIPTION_TYPE, b"answer"),
            (DESCRIPTION_SDP, answer),
            *[(DESCRIPTION_ID, value) for value in numbers],
        )
        self._socket.send(message((REQUEST_ANSWER, body)))

    def _trickled(self, data: bytes) -> bool:
        for text in texts(data, TRICKLE_CANDIDATE):
            try:
                found = json.loads(text)
            except ValueError as error:
                raise SignalError("the SFU named a candidate in an unknown form") from error
            candidate = parse_candidate(str(found.get("candidate", ""))) if isinstance(found, dict) else None
            if candidate and candidate not in self.heard.candidates:
                self.heard.candidates.append(candidate)
        return (TRICKLE_FINAL, 1) in list(fields_of(data))

    def close(self) -> None:
        """Leave the SFU."""
        self._socket.close()


def resolved_family(address: str) -> socket.AddressFamily:
    """The family of an address literal."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET
