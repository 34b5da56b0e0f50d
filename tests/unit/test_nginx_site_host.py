"""What an nginx can do, and how it is asked: real sockets on loopback."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import (
    COMMAND_NOT_FOUND,
    Completed,
    run,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import Listen, servers
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import parse as parse_config
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import (
    Host,
    NginxSiteError,
    effective,
    features,
    read_build,
    render,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import test as nginx_test
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import Answer, Request, ask


def built(version: str, openssl: str, extra: str = "") -> Host:
    about = f"nginx version: nginx/{version}\nbuilt with {openssl}{extra}\n"
    text = f"{about}configure arguments: --conf-path=/e/n.conf"
    return Host(run=lambda _argv: Completed(0, errors=text), opens_ipv6=lambda: True)


@pytest.mark.parametrize(
    ("version", "openssl", "expected"),
    [
        ("1.22.1", "OpenSSL 3.0.20 7 Apr 2026", {"ipv4", "ipv6"}),
        ("1.25.0", "OpenSSL 3.0.20", {"ipv4", "ipv6", "tickets"}),
        ("1.25.1", "OpenSSL 3.4.0", {"ipv4", "ipv6", "tickets", "http2"}),
        ("1.26.3", "OpenSSL 3.5.0", {"ipv4", "ipv6", "tickets", "http2", "mlkem"}),
        ("1.26.3", "OpenSSL 3.5.0 (running with OpenSSL 3.0.2)", {"ipv4", "ipv6", "tickets", "http2"}),
        (
            "1.26.3",
            "OpenSSL 3.0.2 (running with OpenSSL 3.5.7)",
            {"ipv4", "ipv6", "tickets", "http2", "mlkem"},
        ),
        ("1.28.0", "LibreSSL 4.0.0", {"ipv4", "ipv6", "tickets", "http2"}),
    ],
)
def test_features_follow_versions(version: str, openssl: str, expected: set[str]) -> None:
    host = built(version, openssl)
    build = read_build(host)
    assert build is not None
    assert build.folder == "/e"
    assert features(build, host, [], 443) == expected


def test_features_follow_the_sockets_of_the_host() -> None:
    host = Host(run=built("1.26.3", "OpenSSL 3.5.0").run, opens_ipv6=lambda: False)
    build = read_build(host)
    assert build is not None
    assert "ipv6" not in features(build, host, [], 443)
    text = "http { server { listen [::]:443 ssl ipv6only=off; } }"
    assert "ipv4" not in features(build, host, servers(parse_config(text, "x")), 443)
    assert "ipv4" in features(build, host, servers(parse_config(text, "x")), 8443)


def test_unknown_version_is_an_error_and_no_nginx_is_none() -> None:
    with pytest.raises(NginxSiteError, match="does not tell its version"):
        read_build(Host(run=lambda _argv: Completed(0, "hello")))
    assert read_build(Host(run=lambda _argv: Completed(COMMAND_NOT_FOUND))) is None


def test_marked_lines_stay_or_go_with_their_indentation() -> None:
    text = "a;\n  @http2@ http2 on;\n  @!http2@ # old\n  user@example.org;\n"
    assert render(text, frozenset({"http2"})) == "a;\n  http2 on;\n  user@example.org;\n"
    assert render(text, frozenset()) == "a;\n  # old\n  user@example.org;\n"


@pytest.mark.parametrize(
    ("errors", "fault"),
    [
        ("nginx: [warn] x\nnginx: [emerg] bad in /f:3\nnginx: test failed", "[emerg] bad in /f:3"),
        ("2026/11/20 16:56:28 [emerg] 382#382: bad in /f:3\nnginx: test failed", "[emerg] bad in /f:3"),
        ("something else", "something else"),
    ],
)
def test_fault_is_nginxs_own_sentence(errors: str, fault: str) -> None:
    host = built("1.26.3", "OpenSSL 3.5.0")
    build = read_build(host)
    assert build is not None
    assert nginx_test(Host(run=lambda _argv: Completed(1, errors=errors)), build).fault == fault


def test_missing_program_and_its_status() -> None:
    assert run(["no-such-program-here"]).status == COMMAND_NOT_FOUND
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == Completed(3, "out\n", "err\n")


# Asking


class Site(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        said = f"{self.command} {self.path} {self.headers['Host']} {self.client_address[0]} {body}"
        self.send_response(418)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("access-control-allow-origin", "*")
        self.end_headers()
        self.wfile.write(said.encode())

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_question_reaches_the_site_under_its_name(site: ThreadingHTTPServer) -> None:
    listen = Listen("*", site.server_port, frozenset())
    answer = ask(Request(listen, "rtc.example.org", "/a?b", "POST", "{}"))
    assert answer.status == 418
    assert answer.body == "POST /a?b rtc.example.org 127.0.0.1 {}"
    assert answer.count("Access-Control-Allow-Origin") == 2


def test_question_comes_from_the_wanted_address(site: ThreadingHTTPServer) -> None:
    listen = Listen("*", site.server_port, frozenset())
    assert " 127.0.0.9 " in ask(Request(listen, "x", source="127.0.0.9")).body


def test_question_over_tls_takes_any_certificate(site: ThreadingHTTPServer, tmp_path: Path) -> None:
    files = [str(tmp_path / "key"), str(tmp_path / "crt")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=other", "-keyout", files[0], "-out", files[1]],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    seen: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    answer = ask(Request(Listen("*", site.server_port, frozenset({"ssl"})), "rtc.example.org"))
    assert answer.status == 418
    assert seen == ["rtc.example.org"]


def test_addresses_of_other_hosts_are_never_asked() -> None:
    answer = ask(Request(Listen("192.0.2.1", 443, frozenset()), "x", timeout=30))
    assert answer.status == 0
    assert "assign requested address" in answer.error


def test_refused_connection_is_an_answer() -> None:
    answer = ask(Request(Listen("*", 1, frozenset()), "x"))
    assert str(answer) == f"no answer ({answer.error})"
    assert "refused" in answer.error
    assert str(Answer(204)) == "204"


def test_proxy_protocol_is_spoken_where_the_socket_wants_it() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        received: list[bytes] = []

        def serve() -> None:
            connection, _address = server.accept()
            with connection:
                received.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        answer = ask(Request(Listen("*", port, frozenset({"proxy_protocol"})), "x"))
        thread.join()
    assert answer.status == 204
    assert received[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")


def test_options_of_a_socket_hold_for_all_its_sites() -> None:
    text = "http { server { listen 443 ssl proxy_protocol; } server { listen 443; } server { listen 80; } }"
    everyone = servers(parse_config(text, "x"))
    assert effective(everyone[1].listens[0], everyone).options == {"ssl", "proxy_protocol"}
    assert effective(everyone[2].listens[0], everyone).options == frozenset()


def test_processors_are_those_of_the_host() -> None:
    assert Host().processors == (os.cpu_count() or 1)
