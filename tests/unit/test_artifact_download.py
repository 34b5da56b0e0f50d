"""What the module's own HTTP client makes of servers that answer, refuse, redirect and hang up."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.artifact import Program, install
from ansible_collections.matrixrtc.backend.plugins.module_utils.release_source import ArtifactError, Source
from ansible_collections.matrixrtc.backend.plugins.modules.release_artifact import UrlSite, fault_of

DATA = b"a program" * 1000
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA) + DATA
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "/whole": WHOLE,
    "/cut": WHOLE[:-100],
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: /whole\r\nContent-Length: 0\r\n\r\n",
    "/missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "/limited": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    "/down": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "/silent": b"",
    "/chunked": CHUNKED + b"%x\r\n" % len(DATA) + DATA + b"\r\n0\r\n\r\n",
    "/chunked-cut": CHUNKED + b"%x\r\n" % len(DATA) + DATA[:100],
    "/gzip": WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1),
}


class Server:
    """Answers each path with exactly these bytes, then hangs up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed at the end of the test
                return
            with connection:
                path = connection.recv(65536).split(b" ")[1].decode()
                self.asked.append(path)
                connection.sendall(ANSWERS[path])

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class HastySite(UrlSite):
    """The module's site without its waiting."""

    def sleep(self, seconds: float) -> None:
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


def attempt(server: Server, path: str, tmp_path: Path) -> str:
    """The program after an installation from `path`."""
    program = Program("demo", "1.0", str(tmp_path / "demo"), "demo")
    source = Source(url=server.base + path, sha256=hashlib.sha256(DATA).hexdigest())
    install(program, source, HastySite(timeout=5))
    return Path(program.path("current", "demo")).read_text()


@pytest.mark.parametrize("path", ["/whole", "/moved", "/chunked", "/gzip"])
def test_downloads(server: Server, tmp_path: Path, path: str) -> None:
    assert attempt(server, path, tmp_path) == DATA.decode()


@pytest.mark.parametrize(
    ("path", "found", "tries"),
    [
        ("/missing", "status 404 Not Found", 1),
        ("/limited", "status 429 Too Many Requests", 1),
        ("/down", "status 503 Service Unavailable", 3),
        ("/cut", "8900 of 9000 bytes|100 bytes early", 3),
        ("/chunked-cut", "bytes early", 3),
        ("/silent", "closed connection", 3),
    ],
)
def test_failures_say_what_was_found(
    server: Server, tmp_path: Path, path: str, found: str, tries: int
) -> None:
    with pytest.raises(ArtifactError, match=f"Expected .* downloaded whole, found: .*({found})"):
        attempt(server, path, tmp_path)
    assert server.asked == [path] * tries
    assert list((tmp_path / "demo").iterdir()) == []


def test_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(ArtifactError, match="Connection refused"):
        attempt(server, "/whole", tmp_path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"version": "../1"}, "cannot name a folder"),
        ({"version": ""}, "cannot name a folder"),
        ({"url": ""}, "Set either url or local_file"),
        ({"local_file": "/x"}, "Set either url or local_file"),
        ({"keep": 1}, "nothing to go back to"),
        ({"tree": True}, "Set either contents_url or contents_file"),
        ({"tree": True, "contents_url": "http://x/z"}, ""),
        ({"state": "absent", "version": ""}, ""),
        ({}, ""),
    ],
)
def test_impossible_parameters(changes: dict[str, object], fault: str) -> None:
    good = {
        "state": "present",
        "version": "1.13.5",
        "url": "http://x/y",
        "local_file": "",
        "keep": 2,
        "tree": False,
        "contents_url": "",
        "contents_file": "",
    }
    found = fault_of({**good, **changes})
    assert fault in found
    assert bool(found) is bool(fault)
