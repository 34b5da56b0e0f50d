"""Downloads through a proxy that wants a password: requests pass it, and the password shows up nowhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.artifact import Program, install
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_proxy import (
    proxy_environment,
    through,
    way,
    without_password,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_release import proxy_address
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_values import InvalidValueError
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import Listen
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import Request, ask
from ansible_collections.matrixrtc.backend.plugins.module_utils.release_source import ArtifactError, Source
from ansible_collections.matrixrtc.backend.plugins.modules.release_artifact import UrlSite

from lab.acme.proxy import Proxy

COLLECTIONS = Path(__file__).parents[2] / ".ansible" / "collections"
DATA = b"#!/bin/sh\necho demo\n"
# Resolved by the proxy only: a request that does not go through it fails.
PLACE = "http://releases.invalid"
PASSWORD = "hidden-word"


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def log_message(self, format: str, *args: object) -> None:
        return None


@dataclass
class Way:
    """A proxy in front of a server."""

    place: str
    proxy: str
    passed: list[str] = field(default_factory=list)

    def url(self, credentials: str = f"user:{PASSWORD}") -> str:
        return f"http://{credentials}@{self.proxy}"


@contextlib.contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """releases.invalid is only known to the proxy, which finds it on this host."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    passed: list[str] = []
    with (
        running(ThreadingHTTPServer(("127.0.0.1", 0), Page)) as port,
        running(Proxy(("127.0.0.1", 0), f"user:{PASSWORD}", passed.append)) as proxy,
    ):
        resolve = socket.getaddrinfo

        def resolved(host: str, *rest: object, **options: object) -> object:
            is_ours = host == "releases.invalid" and threading.current_thread() is not threading.main_thread()
            return resolve("127.0.0.1" if is_ours else host, *rest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        yield Way(f"{PLACE}:{port}", f"127.0.0.1:{proxy}", passed)


def attempt(place: str, proxy: str, folder: Path) -> None:
    program = Program("demo", "1.0", str(folder / "demo"), "demo")
    source = Source(url=f"{place}/demo", sha256=hashlib.sha256(DATA).hexdigest())

    class HastySite(UrlSite):
        def sleep(self, seconds: float) -> None:
            return None

    install(program, source, HastySite(5, proxy))


def test_a_release_comes_through_the_proxy(between: Way, tmp_path: Path) -> None:
    before = dict(os.environ)
    attempt(between.place, between.url(), tmp_path)
    assert between.passed == [f"GET {between.place}/demo 200"]
    assert dict(os.environ) == before


def test_without_it_there_is_no_way(between: Way, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="found: "):
        attempt(between.place, "", tmp_path)
    assert between.passed == []


def test_a_wrong_password_is_told_without_it(between: Way, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        attempt(between.place, between.url("user:wrong-word"), tmp_path)
    assert f"status 407 Proxy Authentication Required through the proxy {between.proxy}" in str(caught.value)
    assert "wrong-word" not in str(caught.value)


def test_tls_goes_through_a_tunnel(between: Way, tmp_path: Path) -> None:
    """The server here has no TLS: that the tunnel was opened is what counts."""
    with pytest.raises(ArtifactError, match="through the proxy"):
        attempt(between.place.replace("http:", "https:"), between.url(), tmp_path)
    assert between.passed[0] == f"CONNECT {between.place.removeprefix('http://')} 200"


def test_a_proxy_that_is_gone_is_named(between: Way, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        attempt(between.place, f"http://user:{PASSWORD}@127.0.0.1:9", tmp_path)
    assert "through the proxy 127.0.0.1:9" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_this_host_is_never_asked_through_the_proxy(
    between: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = between.place.replace("releases.invalid", "127.0.0.1")
    attempt(here, between.url(), tmp_path)
    for name, value in proxy_environment(between.url()).items():
        monkeypatch.setenv(name, value)
    port = int(here.rpartition(":")[2])
    assert ask(Request(Listen("127.0.0.1", port, frozenset()), "rtc.example.org")).status == 200
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    assert ask(Request(Listen("127.0.0.1", port, frozenset()), "rtc.example.org")).status == 200
    assert between.passed == []


def test_the_environments_own_exceptions_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "mirror.example.org")
    with through("http://proxy.example.org:3128"):
        assert os.environ["no_proxy"] == "localhost,127.0.0.1,::1,mirror.example.org"
        assert os.environ["HTTPS_PROXY"] == "http://proxy.example.org:3128"
    assert os.environ["no_proxy"] == "mirror.example.org"
    with through(""):
        assert os.environ["no_proxy"] == "mirror.example.org"


def test_the_modules_result_has_no_password(between: Way, tmp_path: Path) -> None:
    """The whole module as Ansible runs it: its arguments come on standard input."""
    arguments = {
        "name": "demo",
        "version": "1.0",
        "install_dir": str(tmp_path / "demo"),
        "binary": "demo",
        "url": f"{between.place}/demo",
        "sha256": "0" * 64,
        "http_proxy": f"http://user:{PASSWORD}@127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "ansible_collections.matrixrtc.backend.plugins.modules.release_artifact"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "through the proxy 127.0.0.1:9" in done.stdout, done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_texts_for_people() -> None:
    url = "http://user:p%40ss@proxy.example.org:3128"
    assert way(url) == " through the proxy proxy.example.org:3128"
    assert way("") == ""
    assert (
        without_password(f"no way to {url}, p%40ss", url)
        == "no way to http://***@proxy.example.org:3128, ***"
    )
    assert without_password("the password p@ss", url) == "the password ***"
    assert without_password("no way", "http://proxy.example.org") == "no way"


@pytest.mark.parametrize(
    "good",
    [
        "http://proxy",
        "http://192.0.2.1:3128",
        "http://[2001:db8::1]:3128",
        "http://a.b/",
        "http://u:p%25@a:1",
    ],
)
def test_good_addresses(good: str) -> None:
    assert proxy_address(good) == good


@pytest.mark.parametrize(
    "bad", ["http://", 'http://a:b"c@d', "http://a@b@c", "https://a", "a:1", "http://a b"]
)
def test_bad_addresses_are_refused_without_the_password(bad: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        proxy_address(bad)
    assert 'b"c' not in str(caught.value)
