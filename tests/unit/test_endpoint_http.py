"""Requests against servers of our own: what comes is reported as it came, and what fails by its kind."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import (
    CERTIFICATE,
    DNS,
    PROTOCOL,
    REFUSED,
    RESET,
    SLOW,
    TIMEOUT,
    TLS,
    HttpClient,
    Response,
)

NAME = "rtc.example.org"


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and says in its answer what it was asked."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to the terminal."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        asked = (
            f"{self.command} {self.path} {self.headers['Host']} {self.headers.get('Authorization')} ".encode()
            + body
        )
        self.send_response(302 if self.path.startswith("/from") else 200)
        self.send_header("X-Twice", "a")
        self.send_header("X-Twice", "b")
        if self.path.startswith("/from"):
            self.send_header("Location", "/from" if self.path == "/from-loop" else "/to")
        self.send_header("Content-Length", str(len(asked)))
        self.end_headers()
        self.wfile.write(asked)

    def do_POST(self) -> None:
        self.do_GET()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for NAME and its key. The certificate is its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "site.crt", folder / "site.key"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-subj",
            f"/CN={NAME}",
            "-addext",
            f"subjectAltName=DNS:{NAME}",
            "-out",
            paths[0],
            "-keyout",
            paths[1],
        ],
        check=True,
        capture_output=True,
    )
    return paths


def serve(context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture
def plain() -> Iterator[str]:
    server = serve()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = serve(context)
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_request_is_sent_as_it_was_asked_for(plain: str) -> None:
    answer = HttpClient().request("POST", f"{plain}/a?b=c", {"d": 1}, token="secret")
    assert answer.body.decode() == f'POST /a?b=c {plain[7:]} Bearer secret {{"d": 1}}'
    assert answer.values("x-twice") == ["a", "b"]
    assert answer.header("missing") == ""
    assert answer.local
    assert answer.peer == "127.0.0.1"
    assert answer.seconds > 0


def test_redirects_are_followed_only_when_asked_for(plain: str) -> None:
    assert HttpClient().request("GET", f"{plain}/from").status == 302
    hops = HttpClient().follow(f"{plain}/from")
    assert [hop.status for hop in hops] == [302, 200]
    assert hops[-1].url == f"{plain}/to"
    assert len(HttpClient().follow(f"{plain}/from-loop", redirects=2)) == 3


def test_tls_is_verified_for_the_name(secure: int, certificate: tuple[Path, Path]) -> None:
    there = {NAME: "127.0.0.1", "other.example.org": "127.0.0.1"}
    trusting = HttpClient(str(certificate[0]), addresses=there)
    assert trusting.request("GET", f"https://{NAME}:{secure}/").status == 200
    assert trusting.request("GET", f"https://other.example.org:{secure}/").error == CERTIFICATE
    assert HttpClient(addresses=there).request("GET", f"https://{NAME}:{secure}/").error == CERTIFICATE


def test_a_handshake_tells_how_long_the_certificate_lasts(
    secure: int, certificate: tuple[Path, Path]
) -> None:
    http = HttpClient(str(certificate[0]), addresses={NAME: "127.0.0.1"})
    peer = http.handshake(NAME, secure)
    assert (peer.address, peer.local, peer.error) == ("127.0.0.1", True, "")
    assert 28 < peer.days_left <= 30
    assert http.handshake("other.invalid", secure).error == DNS


def test_plain_text_where_tls_should_be(plain: str) -> None:
    assert HttpClient().request("GET", plain.replace("http:", "https:")).error == TLS


def listener(work: Callable[[socket.socket], None]) -> tuple[socket.socket, str]:
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        link, _address = server.accept()
        with link:
            work(link)

    threading.Thread(target=accept, daemon=True).start()
    return server, f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_each_kind_of_failure_has_its_name() -> None:
    http = HttpClient(timeout=0.2)
    over = threading.Event()

    def reset(link: socket.socket) -> None:
        link.recv(100)

    def nonsense(link: socket.socket) -> None:
        link.sendall(b"nonsense\r\n\r\n")

    def nothing(_link: socket.socket) -> None:
        over.wait(2)

    for work, kind in ((reset, RESET), (nonsense, PROTOCOL), (nothing, SLOW)):
        server, url = listener(work)
        with server:
            assert http.request("GET", url).error == kind
    server, url = listener(nothing)
    with server:
        assert http.request("GET", url.replace("http:", "https:")).error == TIMEOUT
    over.set()
    assert http.request("GET", url).error == REFUSED
    assert http.request("GET", "http://name.invalid/").error == DNS


def test_ports_are_tried_without_a_word(plain: str) -> None:
    port = int(plain.rpartition(":")[2])
    assert HttpClient().opens("127.0.0.1", port).error == ""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    assert HttpClient().opens("127.0.0.1", closed).error == REFUSED


def test_a_missing_authority_file_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        HttpClient("/does/not/exist.crt")


@pytest.mark.parametrize(
    ("answer", "summary"),
    [
        (Response("u", 404), "HTTP 404"),
        (Response("u", 404, body=b'{"errcode": "M_X"}'), "HTTP 404 M_X"),
        (Response("u", error=DNS, detail="unknown"), "no answer (dns: unknown)"),
        (Response("u", error=TIMEOUT), "no answer (timeout)"),
        (Response("u", 200, body=b'{"errcode": 7}'), "HTTP 200"),
        (Response("u", 200, body=b"\xff[]"), "HTTP 200"),
    ],
)
def test_answers_are_summed_up(answer: Response, summary: str) -> None:
    assert answer.summary() == summary


def test_bodies() -> None:
    assert Response("u", body=b"[1]").json() == [1]
    assert Response("u", body=b"[1]").document() == {}
    assert Response("u", body=b"<html>").json() is None
    assert Response("u", body=b"a\n b" * 100).text(5) == "a ba ..."
