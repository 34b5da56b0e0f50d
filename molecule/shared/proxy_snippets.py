#!/usr/bin/python3
"""The snippets for other proxies, in the real programs: they load, and have nginx's routes and manners.

Usage: proxy_snippets.py FOLDER < SNIPPETS, on a host with openssl and the programs. SNIPPETS is a JSON object
with the rendered texts by program ("caddy", "haproxy"), for @folder@/x.crt, services on ports 8080 and 7880,
a silence of 2 seconds and 2 token requests per second. Prints {"PROGRAM": {"version", "problems"}}; one of
them is a program that is not there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from route_table import JWT, SFU, TWIRP, UPGRADE, Client, wrong_routes

PORT, HTTP_PORT, TOKEN_PORT, SFU_PORT = 22443, 22080, 22081, 22880
NAME = "rtc.example.org"
WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
CANARY = "eyJcanary"
SILENCE = 2  # seconds, instead of 120
HEADERS = ("Strict-Transport-Security", "X-Content-Type-Options", "Referrer-Policy")
CADDY = """\
{{
	admin off
	http_port {http_port}
	https_port {port}
	auto_https disable_redirects
}}
other.example.org {{
	tls {folder}/x.crt {folder}/x.key
	respond "other"
}}
import {snippet}
"""
HAPROXY = """\
global
    log stdout format raw daemon
defaults
    mode http
    log global
    option httplog
    option redispatch
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend https
    bind 127.0.0.1:{port} ssl crt {folder}/x.pem alpn h2,http/1.1
    use_backend matrixrtc if {{ req.hdr(host),field(1,:) -i {name} }}
    default_backend other
backend other
    http-request return status 200 content-type text/plain string other
"""


class Service(BaseHTTPRequestHandler):
    """The token service or LiveKit as the routes need them. A token `good` opens a silent websocket."""

    protocol_version = "HTTP/1.1"
    statuses: dict[str, int] = {}  # noqa: RUF012
    seen: dict[str, str] = {}  # noqa: RUF012

    def answer(self) -> None:
        """Answer, and remember the headers."""
        path, _mark, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.seen.update({name.lower(): value for name, value in self.headers.items()})
        if query == "access_token=good" and self.headers.get("Upgrade") == "websocket":
            accepted = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + WEBSOCKET).encode()).digest()  # noqa: S324
            said = (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Accept: {base64.b64encode(accepted).decode()}\r\n\r\n"
            )
            self.wfile.write(said.encode())
            self.wfile.flush()
            time.sleep(10 * SILENCE)
            self.close_connection = True
            return
        token_status = {"POST": 400, "OPTIONS": 200}.get(self.command, 405)
        status = self.statuses.get(path, 404) or token_status
        self.send_response(status)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_OPTIONS = do_HEAD = do_PUT = answer  # noqa: N815

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class TokenService(Service):
    """Its routes; 0: as the method says."""

    statuses = {"/sfu/get": 0, "/get_token": 0, "/delegate_delayed_leave": 0, "/healthz": 200}  # noqa: RUF012


class LiveKit(Service):
    """Its routes, and what must not be reachable."""

    statuses = {  # noqa: RUF012
        **dict.fromkeys(("/rtc", "/rtc/v1", "/rtc/validate", "/rtc/v1/validate"), 401),
        f"/{TWIRP}": 200,
        "/metrics": 200,
        "/": 200,
        "/agent": 200,
        "/debug/pprof/": 200,
    }


class Server(ThreadingHTTPServer):
    """One that does not complain of connections that a proxy ends."""

    def handle_error(self, *_arguments: object) -> None:
        """Say nothing."""


def serve(service: type[Service], port: int) -> ThreadingHTTPServer:
    """Have a service answer on loopback."""
    server = Server(("127.0.0.1", port), service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def own_address() -> str:
    """An address of this host that is not loopback: requests from there come from outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def client(name: str = NAME, source: str = "") -> Client:
    """Who asks the proxy under a name; any certificate will do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Client(name, "127.0.0.1", PORT, source, context)


def run(argv: Sequence[str]) -> str:
    """What a command says; RuntimeError when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
    return (done.stdout + done.stderr).strip()


def seconds_of_silence() -> float:
    """How long a websocket lives on which nobody says anything."""
    started = time.monotonic()
    with client().connect() as connection:
        headers = "".join(f"{name}: {value}\r\n" for name, value in {"Host": NAME, **UPGRADE}.items())
        connection.sendall(f"GET {SFU}/rtc?access_token=good HTTP/1.1\r\n{headers}\r\n".encode())
        first = connection.recv(65536)
        if b" 101 " not in first.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"no websocket: {first[:200]!r}")
        while connection.recv(65536):
            pass
    return time.monotonic() - started


def examine(log: Path, sees_through: bool, limits: bool) -> list[str]:
    """All that is wrong with the proxy that runs."""
    problems: list[str] = []

    def check(what: str, is_right: bool) -> None:
        if not is_right:
            problems.append(what)

    far, near = client(source=own_address()), client()
    problems += wrong_routes(lambda method, path: far.ask(method, path)[0], sees_through)
    check("another site", client("other.example.org").ask("GET", "/")[2] == b"other")
    for path in (f"/{TWIRP}", f"{SFU}/{TWIRP}"):
        status = near.ask("POST", path)[0]
        check(f"the host itself gets {status} at {path}", status == 200)
    check("healthz takes PUT", far.ask("PUT", f"{JWT}/healthz")[0] in (404, 405))
    check("healthz refuses HEAD", far.ask("HEAD", f"{JWT}/healthz")[0] == 200)

    status, headers, _body = far.ask("POST", f"{JWT}/get_token")
    check("not one CORS header", len(headers.get_all("Access-Control-Allow-Origin") or ()) == 1)
    for name in HEADERS:
        check(f"no {name}", len(headers.get_all(name) or ()) == 1)
    status, headers, _body = far.ask("POST", f"{JWT}/get_token", b"x" * 66000)
    check(f"66 kB get {status}", status == 413)
    check("413 without CORS", len(headers.get_all("Access-Control-Allow-Origin") or ()) == 1)
    check("60 kB are refused", far.ask("POST", f"{JWT}/get_token", b"x" * 60000)[0] == 400)

    faked = {"X-Forwarded-For": "192.0.2.99", "Forwarded": "for=192.0.2.99", "CF-Connecting-IP": "192.0.2.99"}
    Service.seen.clear()
    far.ask("GET", f"{SFU}/rtc/validate?access_token={CANARY}", headers=faked)
    for header, value in Service.seen.items():
        check(f"{header}: {value} is a client's word", "192.0.2.99" not in value)
    check("the client's address", Service.seen.get("x-forwarded-for") == own_address())
    silence = seconds_of_silence()
    check(f"a silent websocket lives {silence:.1f} s", SILENCE - 0.5 < silence < SILENCE + 3)
    if limits:
        with ThreadPoolExecutor(8) as clients:
            flood = list(clients.map(lambda _number: far.ask("POST", f"{JWT}/get_token"), range(150)))
        refused = [headers for status, headers, _body in flood if status == 429]
        check("a flood is not refused", len(refused) > 10)
        check("429 without CORS", all(one.get("Access-Control-Allow-Origin") == "*" for one in refused))
        check("a flood keeps others out", far.ask("GET", f"{SFU}/rtc/validate")[0] == 401)
    return problems


def examine_dead(log: Path) -> list[str]:
    """What is wrong when nobody answers behind the proxy, and with all that it logged."""
    problems = []
    for path in (f"{SFU}/rtc/validate?access_token={CANARY}", f"{SFU}/rtc?access_token={CANARY}"):
        status, headers, _body = client(source=own_address()).ask("GET", path)
        if status not in (502, 503) or len(headers.get_all("Access-Control-Allow-Origin") or ()) != 1:
            problems.append(f"a dead service is answered with {status} and {headers.items()}")
    time.sleep(0.5)
    logged = [line for line in log.read_text(errors="replace").splitlines() if CANARY in line]
    return problems + [f"a token is logged: {line[:400]}" for line in logged[:2]]


def caddy(folder: Path, snippet: Path) -> list[str]:
    """The configuration, checked; and how to run Caddy on it."""
    config = folder / "Caddyfile"
    values = {"folder": folder, "snippet": snippet, "port": PORT, "http_port": HTTP_PORT}
    config.write_text(CADDY.format(**values))
    arguments = ["--config", str(config), "--adapter", "caddyfile"]
    said = run(["caddy", "validate", *arguments])
    if "Valid configuration" not in said:
        raise RuntimeError(said)
    return ["caddy", "run", *arguments]


def haproxy(folder: Path, snippet: Path) -> list[str]:
    """The configuration, checked; and how to run HAProxy on it."""
    config = folder / "haproxy.cfg"
    pem = (folder / "x.crt").read_text() + (folder / "x.key").read_text()
    (folder / "x.pem").write_text(pem)
    config.write_text(HAPROXY.format(folder=folder, port=PORT, name=NAME) + snippet.read_text())
    said = run(["haproxy", "-c", "-f", str(config)])
    if "[WARNING]" in said:
        raise RuntimeError(said)
    return ["haproxy", "-db", "-f", str(config)]


# How to make the command, whether it sees through other spellings of a path, and whether it has limits.
PROGRAMS: dict[str, tuple[Callable[[Path, Path], list[str]], bool, bool]] = {
    "caddy": (caddy, True, False),
    "haproxy": (haproxy, False, True),
}


def wait_for_port() -> None:
    """Until the proxy listens."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", PORT), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the proxy does not listen")


def prove(program: str, folder: Path, text: str) -> dict[str, object]:
    """Load a snippet into its program and ask it everything."""
    snippet = folder / f"snippet.{program}"
    text = text.replace("@folder@", str(folder))
    snippet.write_text(text.replace(":8080", f":{TOKEN_PORT}").replace(":7880", f":{SFU_PORT}"))
    make, sees_through, limits = PROGRAMS[program]
    if not shutil.which(program):
        return {"version": "", "problems": [f"{program} is not installed"]}
    version = run([program, "version" if program == "caddy" else "-v"]).splitlines()[0]
    log = folder / f"{program}.log"
    token_service, livekit = serve(TokenService, TOKEN_PORT), serve(LiveKit, SFU_PORT)
    process = None
    try:
        command = make(folder, snippet)
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for_port()
        problems = examine(log, sees_through, limits)
        livekit.shutdown()
        livekit.server_close()
        problems += examine_dead(log)
    except (OSError, RuntimeError) as error:
        problems = [f"{type(error).__name__}: {error}"]
    finally:
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(15)
        for server in (token_service, livekit):
            server.shutdown()
            server.server_close()
    return {"version": version, "problems": problems}


def main(folder: Path) -> int:
    """Prove every snippet that was given; the result is the exit status."""
    snippets = json.load(sys.stdin)
    folder.mkdir(parents=True, exist_ok=True)
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=x", "-addext", f"subjectAltName=DNS:{NAME},DNS:other.example.org",
         "-keyout", str(folder / "x.key"), "-out", str(folder / "x.crt")])  # fmt: skip
    results = {program: prove(program, folder, text) for program, text in snippets.items()}
    print(json.dumps(results, indent=1))
    return int(any(result["problems"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
