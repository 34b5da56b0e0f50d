"""What the real host is asked: commands, health pages, and what may be told of their answers."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.service_host import (
    LocalHost,
    UnitState,
    redact,
)

HOST = LocalHost()


def test_output_and_errors_are_read_together() -> None:
    ran = HOST.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (ran.status, ran.output) == (3, "out\nerr\n")


def test_commands_that_cannot_run_and_those_that_never_end() -> None:
    assert HOST.run(["/nonexistent/livekit-server"]).status == 127
    assert HOST.run([os.devnull]).status == 126
    cut_off = HOST.run(["sh", "-c", "echo begun; sleep 60"], timeout=0.5)
    assert cut_off.status == 124
    assert cut_off.output.startswith("begun")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_command_gets_no_rights_of_roots() -> None:
    assert HOST.run(["id", "-u"], user="nobody").output.strip() not in ("0", "")
    assert "root" not in HOST.run(["id", "-Gn"], user="nobody").output.split()


@pytest.fixture
def page() -> Iterator[tuple[str, list[bytes]]]:
    """A health page and what it answers, one after the other."""
    answers: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answers.pop(0))

    url = f"http://127.0.0.1:{listener.getsockname()[1]}/healthz?x=1"
    threading.Timer(0.05, serve).start()
    yield url, answers
    listener.close()


def test_health_page(page: tuple[str, list[bytes]]) -> None:
    url, answers = page
    answers += [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 406 Not Acceptable\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ]
    assert HOST.get(url).status == 200
    assert str(HOST.get(url)) == "status 406"
    assert (HOST.get(url).status, answers) == (0, [])


def test_health_page_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    assert "Connection refused" in str(HOST.get(url))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("GET /userinfo?access_token=syt_abc&x=1", "GET /userinfo?access_token=***&x=1"),
        ('{"access_token": "syt_abc", "expires_in": 3600}', '{"access_token": "***", "expires_in": 3600}'),
        ("token=abc.def bad", "token=*** bad"),
        ("bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl here", "bearer *** here"),
        ("key hunter2-hunter2 and hunter2", "key *** and hunter2"),
        ("could not parse config: field rooom not found", "could not parse config: field rooom not found"),
    ],
)
def test_messages_hold_no_tokens(text: str, told: str) -> None:
    assert redact(text, ["hunter2-hunter2"]) == told


@pytest.mark.parametrize(
    ("file_state", "wanted", "needed"),
    [
        ("disabled", True, True),
        ("enabled", True, False),
        ("static", True, False),
        ("", True, False),
        ("enabled-runtime", True, True),
        ("enabled", False, True),
        ("disabled", False, False),
        ("static", False, False),
        ("generated", False, False),
    ],
)
def test_what_has_to_be_enabled(file_state: str, wanted: bool, needed: bool) -> None:
    unit = UnitState("loaded", "active", "running", file_state, "x", 0.0, False)
    assert unit.must_be_switched(wanted) is needed
