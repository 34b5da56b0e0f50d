"""The silent participant against an SFU of our own: what it hears, and that nothing can hang or break it."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ice import survey
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import (
    WEBSOCKET_SALT,
    Candidate,
    Listener,
    answer_to,
    fields_of,
    message,
    parse_candidate,
    texts,
    varint,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=application 9 UDP/DTLS/SCTP"
    " webrtc-datachannel\r\na=mid:0\r\na=ice-ufrag:user\r\na=ice-pwd:password\r\n"
)
JOINED = message((1, message((4, b"1.13.5"), (5, message((1, b"stun:rtc.example.org:3478"))), (6, 1))))
OFFERED = message((3, message((1, b"offer"), (2, OFFER.encode()), (3, 8))))


def trickle(line: str, last: bool) -> bytes:
    fields: list[tuple[int, int | bytes]] = [(1, json.dumps({"candidate": line}).encode()), (2, 1)]
    return message((4, message(*fields, *([(3, 1)] if last else []))))


UDP = trickle("candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host ufrag user", last=False)
TCP = trickle("candidate:2 1 tcp 1671430143 127.0.0.1 7881 typ host tcptype passive ufrag user", last=True)


def frame(data: bytes, kind: int = 2, final: bool = True) -> bytes:
    length = bytes([len(data)]) if len(data) < 126 else bytes([126]) + struct.pack(">H", len(data))
    return bytes([(0x80 if final else 0) | kind]) + length + data


class Sfu:
    """Accepts one websocket, sends frames, and keeps what it is sent."""

    def __init__(self, frames: bytes, status: str = "101 Switching Protocols") -> None:
        self.frames, self.status = frames, status
        self.heard = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._server.getsockname()[1]}/livekit/sfu"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        link, _address = self._server.accept()
        with link:
            request = b""
            while b"\r\n\r\n" not in request:
                request += link.recv(4096)
            key = next(
                line.split(b": ")[1]
                for line in request.split(b"\r\n")
                if line.startswith(b"Sec-WebSocket-Key")
            )
            accept = base64.b64encode(
                hashlib.sha1(key + WEBSOCKET_SALT.encode(), usedforsecurity=False).digest()
            ).decode()
            self.request = request.decode()
            link.sendall(
                f"HTTP/1.1 {self.status}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode() + self.frames
            )
            while data := link.recv(4096):
                self.heard += data

    def close(self) -> None:
        self._server.close()
        self._thread.join(2)


@pytest.fixture
def serve() -> Iterator[Callable[..., Sfu]]:
    made: list[Sfu] = []

    def start(frames: bytes, status: str = "101 Switching Protocols") -> Sfu:
        made.append(Sfu(frames, status))
        return made[-1]

    yield start
    for sfu in made:
        sfu.close()


def listen(sfu: Sfu, timeout: float = 2.0) -> Listener:
    listener = Listener(HttpClient(timeout=timeout), sfu.url, "a.b.c", timeout)
    listener.listen()
    return listener


def test_version_servers_and_candidates_are_heard(serve: Callable[..., Sfu]) -> None:
    sfu = serve(frame(JOINED) + frame(OFFERED) + frame(UDP) + frame(TCP))
    listener = listen(sfu)
    heard = listener.heard
    listener.close()
    assert heard.server_version == "1.13.5"
    assert heard.ice_servers == ["stun:rtc.example.org:3478"]
    assert heard.candidates == [
        Candidate("127.0.0.1", 7882, "udp", "host"),
        Candidate("127.0.0.1", 7881, "tcp", "host"),
    ]
    assert (heard.user, heard.password) == ("user", "password")
    assert "GET /livekit/sfu/rtc?access_token=a.b.c" in sfu.request


def test_the_answer_goes_back_with_the_offers_number_and_no_candidate(serve: Callable[..., Sfu]) -> None:
    sfu = serve(frame(OFFERED) + frame(TCP))
    listener = listen(sfu)
    listener.close()
    sfu.close()
    length = struct.unpack(">H", sfu.heard[2:4])[0]
    mask, masked = sfu.heard[4:8], sfu.heard[8 : 8 + length]
    sent = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
    ((number, body),) = [(number, value) for number, value in fields_of(sent)]
    assert number == 2
    assert isinstance(body, bytes)
    assert dict(fields_of(body))[3] == 8
    answer = texts(body, 2)[0]
    assert f"a=ice-ufrag:{listener.heard.own_user}" in answer
    assert "candidate" not in answer


def test_fragments_and_pings_are_understood(serve: Callable[..., Sfu]) -> None:
    parts = frame(OFFERED[:50], final=False) + frame(b"hello", kind=9) + frame(OFFERED[50:], kind=0)
    listener = listen(serve(parts + frame(UDP) + frame(TCP)))
    assert len(listener.heard.candidates) == 2
    listener.close()


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (b"", "did not finish"),
        (frame(JOINED), "did not finish"),
        (frame(b"", kind=8), "closed"),
        (frame(message((8, b""))), "sent the participant away"),
        (frame(b"\x1a\xff"), "cut off"),
        (frame(b"\x0b\x00"), "unknown form"),
        (frame(message((4, message((1, b"no json"))))), "unknown form"),
    ],
)
def test_an_sfu_that_names_no_address_is_an_error_soon(
    serve: Callable[..., Sfu], frames: bytes, said: str
) -> None:
    assert said in survey(HttpClient(timeout=0.3), serve(frames).url, "a.b.c", 0.3).error


def test_an_sfu_that_never_says_it_is_done_is_taken_at_its_word(serve: Callable[..., Sfu]) -> None:
    listener = listen(serve(frame(OFFERED) + frame(UDP)), timeout=0.3)
    assert len(listener.heard.candidates) == 1
    listener.close()


def test_a_refused_websocket_is_an_error_with_the_status(serve: Callable[..., Sfu]) -> None:
    sfu = serve(b"no permissions", status="401 Unauthorized")
    assert "401 Unauthorized" in survey(HttpClient(timeout=1), sfu.url, "a.b.c", 1).error


def test_nobody_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
    assert "cannot be reached" in survey(HttpClient(timeout=1), url, "a.b.c", 1).error


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32])
def test_numbers_are_coded_as_protobuf_does(number: int) -> None:
    assert next(fields_of(message((5, number)))) == (5, number)
    assert varint(300) == b"\xac\x02"


@pytest.mark.parametrize(
    ("line", "candidate"),
    [
        (
            "candidate:1 1 udp 2130706431 203.0.113.5 7882 typ host",
            Candidate("203.0.113.5", 7882, "udp", "host"),
        ),
        (
            "a=candidate:1 1 UDP 1 2001:db8::5 7882 typ srflx raddr 0.0.0.0 rport 0",
            Candidate("2001:db8::5", 7882, "udp", "srflx"),
        ),
        (
            "candidate:2 1 tcp 1 203.0.113.5 7881 typ host tcptype passive",
            Candidate("203.0.113.5", 7881, "tcp", "host"),
        ),
        ("a=ice-ufrag:x", None),
        ("", None),
    ],
)
def test_candidates_are_parsed(line: str, candidate: Candidate | None) -> None:
    assert parse_candidate(line) == candidate


def test_every_section_of_an_offer_is_answered() -> None:
    answer = answer_to(OFFER + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\n", "own", "secret")
    assert answer.count("a=mid:") == answer.count("\r\nm=") == 2
    assert "a=group:BUNDLE 0 1" in answer
    assert answer.endswith("\r\n")
