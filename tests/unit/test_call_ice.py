"""Binding requests against a STUN server of our own, and against ports that are silent or closed."""

from __future__ import annotations

import hmac
import socket
import struct
import threading
import zlib
from collections.abc import Iterator

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import call_ice
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ice import (
    ANSWERED,
    REFUSED,
    SILENT,
    answering,
    binding_request,
    is_answer,
    try_all,
    try_candidate,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import Advertisement, Candidate

HEARD = Advertisement(user="theirs", password="their password", own_user="ours")


def attributes(packet: bytes) -> dict[int, bytes]:
    found, at = {}, 20
    while at < len(packet):
        kind, length = struct.unpack(">HH", packet[at : at + 4])
        found[kind] = packet[at + 4 : at + 4 + length]
        at += 4 + length + (-length % 4)
    return found


def is_proper(packet: bytes) -> bool:
    """What an ICE agent verifies before it answers: names, integrity, fingerprint."""
    found = attributes(packet)
    whole = packet.index(struct.pack(">HH", 8, 20))
    signed = packet[:2] + struct.pack(">H", whole - 20 + 24) + packet[4:whole]
    integrity = hmac.new(HEARD.password.encode(), signed, "sha1").digest()
    return (
        found[6] == b"theirs:ours"
        and found[8] == integrity
        and struct.unpack(">I", found[0x8028])[0] == zlib.crc32(packet[:-8]) ^ 0x5354554E
    )


def test_a_request_is_what_an_ice_agent_accepts() -> None:
    packet = binding_request(HEARD, b"t" * 12)
    assert struct.unpack(">HHI", packet[:8]) == (1, len(packet) - 20, 0x2112A442)
    assert packet[8:20] == b"t" * 12
    assert is_proper(packet)


def test_only_a_success_for_our_own_request_is_an_answer() -> None:
    assert is_answer(struct.pack(">HHI", 0x101, 0, 0x2112A442) + b"t" * 12, b"t" * 12)
    assert not is_answer(struct.pack(">HHI", 0x101, 0, 0x2112A442) + b"u" * 12, b"t" * 12)
    assert not is_answer(struct.pack(">HHI", 0x111, 0, 0x2112A442) + b"t" * 12, b"t" * 12)
    assert not is_answer(b"", b"t" * 12)


@pytest.fixture
def agent() -> Iterator[int]:
    """An ICE agent on a UDP and a TCP port with one number; it drops the first packet, as networks do."""
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))

    def reply(packet: bytes) -> bytes:
        return struct.pack(">HHI", 0x101 if is_proper(packet) else 0x111, 0, 0x2112A442) + packet[8:20]

    def serve_udp() -> None:
        udp.recvfrom(2048)
        packet, sender = udp.recvfrom(2048)
        udp.sendto(reply(packet), sender)

    def serve_tcp() -> None:
        link, _address = tcp.accept()
        with link:
            answer = reply(link.recv(2048)[2:])
            link.sendall(struct.pack(">H", len(answer)) + answer)

    for work in (serve_udp, serve_tcp):
        threading.Thread(target=work, daemon=True).start()
    yield port
    tcp.close()
    udp.close()


def test_an_agent_answers_on_both(agent: int) -> None:
    HEARD.candidates = [Candidate("127.0.0.1", agent, protocol, "host") for protocol in ("udp", "tcp")]
    reaches = try_all(HEARD)
    assert [reach.outcome for reach in reaches] == [ANSWERED, ANSWERED]
    assert all(reach.seconds > 0 for reach in reaches)
    assert len(answering(reaches, "udp")) == 1
    assert "answered after" in str(reaches[0])


def test_silent_and_closed_ports_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_ice, "FIRST_PAUSE", 0.01)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        socket.create_server(("127.0.0.1", 0)) as mute,
    ):
        silent.bind(("127.0.0.1", 0))
        found = [
            try_candidate(HEARD, Candidate("127.0.0.1", link.getsockname()[1], protocol, "host"))
            for link, protocol in ((silent, "udp"), (mute, "tcp"))
        ]
        ports = [silent.getsockname()[1], mute.getsockname()[1]]
    assert [reach.outcome for reach in found] == [SILENT, SILENT]
    closed = [
        try_candidate(HEARD, Candidate("127.0.0.1", ports[0], "udp", "host")),
        try_candidate(HEARD, Candidate("127.0.0.1", ports[1], "tcp", "host")),
    ]
    assert [reach.outcome for reach in closed] == [REFUSED, REFUSED]


def test_nothing_advertised_is_nothing_tried() -> None:
    assert try_all(Advertisement()) == []
