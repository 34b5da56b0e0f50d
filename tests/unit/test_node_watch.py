"""What has clients come back from a lost node: whom it takes for lost, and what it does then."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest
from server_support import serving

PROGRAM = Path(__file__).parents[2] / "roles" / "nginx_proxy" / "files" / "node_watch.py"


@pytest.fixture(scope="module")
def watch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("node_watch", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def livekit(answer: bytes) -> AbstractContextManager[str]:
    """A node that says this to every request. Yields its address."""

    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    return serving(talk)


def looks(watch: ModuleType, node: object, times: int) -> list[bool]:
    async def look() -> list[bool]:
        return [await node.look() for _time in range(times)]  # type: ignore[attr-defined]

    return asyncio.run(look())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 406 Not Acceptable\r\n\r\n"])
def test_a_node_that_answers_anything_is_there(watch, answer):
    """Also when Redis is away: then there would be nowhere to come back to."""
    with livekit(answer) as address:
        assert looks(watch, watch.Node(address), 5) == [False] * 5


def test_a_node_is_lost_once_and_only_after_several_failures(watch):
    with livekit(b"HTTP/1.1 200 OK\r\n\r\n") as address:
        node = watch.Node(address)
        assert looks(watch, node, 1) == [False]
    assert looks(watch, node, 6) == [False, False, True, False, False, False]


def test_a_node_that_comes_back_can_be_lost_again(watch):
    with livekit(b"HTTP/1.1 200 OK\r\n\r\n") as address:
        node = watch.Node(address)
        node.is_lost = True
        assert looks(watch, node, 1) == [False]
        assert not node.is_lost
    assert looks(watch, node, 3) == [False, False, True]


def test_a_node_that_takes_connections_and_says_nothing_is_lost(watch, monkeypatch):
    monkeypatch.setattr(watch, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = watch.Node(f"127.0.0.1:{silent.getsockname()[1]}")
        assert looks(watch, node, 3) == [False, False, True]


def test_only_connections_to_signalling_are_ended(watch, monkeypatch):
    asked = []

    def run(words: list[str], **_options: object) -> object:
        asked.append(words)
        return type("Done", (), {"stdout": "", "stderr": ""})

    monkeypatch.setattr(watch.subprocess, "run", run)
    watch.end_signalling({"7880", "17880"})
    assert asked[0][:4] == ["ss", "--no-header", "--tcp", "--kill"]
    assert asked[0][-1] == "( dport = :17880 or dport = :7880 )"
