"""A door of ours: what goes in on loopback comes out at a TLS server whose certificate was checked."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_door import Door
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_loopback import HERE
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_relay import kind_of
from inputs_support import write_certificates


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read(100)).upper())
    await writer.drain()
    writer.close()


async def through(folder: Path, name: str) -> tuple[bytes, Door]:
    """What an echo with a certificate for rtc.example.org says through a door to `name`."""
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(folder / "good.crt", folder / "good.key")
    server = await asyncio.start_server(echo, HERE, ssl=shown)
    door = Door(
        HERE, server.sockets[0].getsockname()[1], ssl.create_default_context(cafile=str(folder / "good.crt"))
    )
    door.name = name
    await door.open()
    reader, writer = await asyncio.open_connection(HERE, door.port)
    writer.write(b"hello")
    said = await reader.read(100)
    writer.close()
    await door.close()
    server.close()
    return said, door


def test_a_door_passes_on_and_back(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    said, door = asyncio.run(through(tmp_path, "rtc.example.org"))
    assert (said, door.opened, door.fault) == (b"HELLO", 1, "")


def test_a_door_to_another_name_stays_shut_and_says_why(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    said, door = asyncio.run(through(tmp_path, "turn.example.net"))
    assert (said, door.opened) == (b"", 0)
    assert "turn.example.net" in door.fault


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("turn:192.0.2.7:3478?transport=udp", ("udp", "192.0.2.7", 3478)),
        ("turns:turn.example.org:443?transport=tcp", ("tls", "turn.example.org", 443)),
        ("turn:[2001:db8::1]?transport=tcp", ("tcp", "2001:db8::1", 3478)),
        ("turns:turn.example.org", ("tls", "turn.example.org", 5349)),
        ("stun:stun.example.org", ("", "", 0)),
    ],
)
def test_how_a_relay_is_reached(url: str, kind: tuple[str, str, int]) -> None:
    assert kind_of(url) == kind
