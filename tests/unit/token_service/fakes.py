"""What the stand-in meets in its tests: a homeserver and an SFU that record what they are asked, over TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpcore
import httpx

from lab.token_service.__main__ import listen, serve, set_log_level
from lab.token_service.config import parse

KEY, SECRET = "matrixrtc", "a-secret-of-the-tests-that-is-long-enough"
USERINFO = "/_matrix/federation/v1/openid/userinfo"


@dataclass(frozen=True)
class Seen:
    """One request a fake server got; `at` is time.monotonic()."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What a fake server says; `silence` is how long it waits first, in seconds."""

    status: int = 200
    document: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    silence: float = 0.0


class FakeServer:
    """An HTTP(S) server on a free loopback port: answers by path, remembers everything, 404 for the rest."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.seen: list[Seen] = []
        self.answers: dict[str, Answer | Callable[[Seen], Answer]] = {}
        self._gone = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def on(self, path: str, document: Any = None, **more: Any) -> None:
        """Answer this path (any method) with a document, or with Answer's other fields."""
        self.answers[path] = Answer(document={} if document is None else document, **more)

    def asked(self, path: str) -> list[Seen]:
        """The requests whose path ends so, in order."""
        return [seen for seen in list(self.seen) if seen.path.endswith(path)]

    def answer(self, seen: Seen) -> Answer:
        self.seen.append(seen)
        found = self.answers.get(seen.path, Answer(404, {"errcode": "M_UNRECOGNIZED", "error": "?"}))
        answer = found if isinstance(found, Answer) else found(seen)
        if answer.silence:
            self._gone.wait(answer.silence)
        return answer

    def close(self) -> None:
        self._gone.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(owner: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def _any(self) -> None:
            path, _, search = self.requestline.split()[1].partition("?")  # self.path has its slashes merged
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[0] for name, values in parse_qs(search).items()}
            answer = owner.answer(Seen(self.command, path, query, dict(self.headers), body, time.monotonic()))
            content = answer.document if isinstance(answer.document, str) else json.dumps(answer.document)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._any
            raise AttributeError(name)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay quiet."""

    return Handler


class Network:
    """The name service of the tests: which loopback port stands for a host and port; unknown names fail."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, int], int] = {}
        self.wanted: list[tuple[str, int]] = []
        self._connect = httpcore.AnyIOBackend.connect_tcp

    async def connect(self, backend: httpcore.AnyIOBackend, host: str, port: int, **more: Any) -> Any:
        self.wanted.append((host, port))
        if host == "127.0.0.1":
            return await self._connect(backend, host, port, **more)
        if (host, port) not in self.routes:
            raise httpcore.ConnectError("no such host")
        return await self._connect(backend, "127.0.0.1", self.routes[host, port], **more)


class Homeserver:
    """A homeserver `name`: delegation to `matrix.<name>`, one user per token, and the client API."""

    def __init__(self, network: Network, name: str, apex: FakeServer, api: FakeServer) -> None:
        self.name, self.apex, self.api = name, apex, api
        network.routes[name, 443] = apex.port
        network.routes[f"matrix.{name}", 443] = api.port
        apex.on("/.well-known/matrix/server", {"m.server": f"matrix.{name}:443"})
        apex.on("/.well-known/matrix/client", {"m.homeserver": {"base_url": f"https://matrix.{name}/"}})
        self.users = {"alice-token": f"@alice:{name}"}
        api.answers[USERINFO] = self._userinfo

    def _userinfo(self, seen: Seen) -> Answer:
        user = self.users.get(seen.query.get("access_token", ""))
        return Answer(document={"sub": user}) if user else Answer(401, {"errcode": "M_UNKNOWN_TOKEN"})

    def delayed_event(self, delay_id: str) -> None:
        """Accept restarts and the sending of a delayed event."""
        for action in ("restart", "send"):
            self.api.on(self.action(delay_id, action))

    @staticmethod
    def action(delay_id: str, action: str) -> str:
        return f"/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/{action}"


class RunningService:
    """The stand-in in a thread of its own, started from an environment as the real start does."""

    def __init__(self, environ: Mapping[str, str], **fixed: Any) -> None:
        config = parse(environ)
        for name, value in fixed.items():
            object.__setattr__(config, name, value)  # the measured 30 s, which have no variable
        set_log_level(config)
        sockets = listen("127.0.0.1", 0)
        self.port: int = sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._sockets = sockets
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(serve(config, sockets))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            for listening in self._sockets:
                listening.close()

    def stop(self) -> None:
        """Stop it, once or more often."""
        self.http.close()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(5)


def wait_for(condition: Callable[[], Any], seconds: float = 3.0) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
