"""Behind the gate neither side is told an address of the other family; everything else passes as it is."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_gate import (
    Gate,
    from_participant,
    from_sfu,
    with_host,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import (
    fields_of,
    message,
    websocket_frame,
)

FOUR = "candidate:1 1 udp 2130706431 192.0.2.7 7882 typ host"
SIX = "candidate:2 1 udp 2130706431 2001:db8::7 7882 typ host"


def description(*lines: str) -> bytes:
    sdp = "".join(f"{line}\r\n" for line in ("v=0", "m=audio 9", *lines))
    return message((1, b"offer"), (2, sdp.encode()), (3, 8))


def trickle(line: str, last: bool = False) -> bytes:
    return message((1, json.dumps({"candidate": line}).encode()), (2, 1), *([(3, 1)] if last else []))


@pytest.mark.parametrize(("number", "thin"), [(2, from_sfu), (3, from_sfu), (1, from_participant)])
def test_descriptions_lose_addresses_of_the_other_family(number: int, thin: object) -> None:
    assert callable(thin)
    whole = message((number, description(f"a={FOUR}", f"a={SIX}", "a=mid:0")))
    assert thin(whole) == message((number, description(f"a={SIX}", "a=mid:0")))


@pytest.mark.parametrize(("number", "thin"), [(4, from_sfu), (3, from_participant)])
def test_candidates_of_the_other_family_are_not_passed_on(number: int, thin: object) -> None:
    assert callable(thin)
    six, last, odd = (
        message((number, body)) for body in (trickle(SIX), trickle("", True), message((1, b"odd")))
    )
    assert [thin(one) for one in (six, last, odd)] == [six, last, odd]
    assert thin(message((number, trickle(FOUR)))) == b""


def test_everything_else_passes() -> None:
    joined = message((1, message((4, b"1.13.5"))))
    assert from_sfu(joined) == joined
    assert from_participant(message((14, 1_790_000_000_000))) == message((14, 1_790_000_000_000))


def test_the_head_names_the_sfu() -> None:
    head = b"GET /livekit/sfu/rtc/v1?x HTTP/1.1\r\nHost: 127.0.0.1:5\r\nUpgrade: websocket\r\n\r\n"
    assert b"\r\nHost: rtc.example.org\r\n" in with_host(head, "rtc.example.org")


async def through(
    sent: bytes, answered: bytes, status: bytes = b"101 Switching Protocols"
) -> tuple[bytes, bytes]:
    """What an SFU gets of what a participant sends, and the other way round."""
    got: list[bytes] = []

    async def sfu(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n" + answered)
        got.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(sfu, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    gate = Gate(f"ws://sfu.invalid:{port}/livekit/sfu", ssl.create_default_context(), "127.0.0.1")
    await gate.open()
    near, far = await asyncio.open_connection("127.0.0.1", int(gate.url.split(":")[2].split("/")[0]))
    far.write(b"GET /livekit/sfu/rtc HTTP/1.1\r\nHost: here\r\n\r\n" + sent)
    far.write_eof()
    await near.readuntil(b"\r\n\r\n")
    back = await near.read()
    far.close()
    await gate.close()
    server.close()
    return got[0], back


def test_frames_of_any_length_go_through_both_ways() -> None:
    long = message((1, b"x" * 70_000))
    told = websocket_frame(0x82, message((4, trickle(FOUR))), False) + websocket_frame(0x82, long, False)
    said = websocket_frame(0x82, message((3, trickle(SIX))), True) + websocket_frame(0x89, b"ping", True)
    got, back = asyncio.run(through(said, told))
    assert back == websocket_frame(0x82, long, False), "and nothing of the address of the other family"
    assert len(got) == len(said)
    assert got[-4:] != b"ping", "frames of clients are masked"


def test_an_answer_that_is_no_websocket_passes_as_it_is() -> None:
    _got, back = asyncio.run(through(b"", b"not found", b"404 Not Found"))
    assert back == b"not found"


def test_a_gate_to_nowhere_says_why() -> None:
    async def knock() -> str:
        gate = Gate("ws://sfu.invalid:1/livekit/sfu", ssl.create_default_context(), "127.0.0.1")
        await gate.open()
        near, _far = await asyncio.open_connection("127.0.0.1", int(gate.url.split(":")[2].split("/")[0]))
        assert await near.read() == b""
        await gate.close()
        return gate.fault

    assert "Connect call failed" in asyncio.run(knock())


def test_a_thinned_message_is_one_still() -> None:
    whole = message((3, description(f"a={FOUR}")), (9, 1))
    assert [number for number, _value in fields_of(from_sfu(whole))] == [3, 9]
