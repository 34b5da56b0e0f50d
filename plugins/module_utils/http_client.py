# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""HTTP as a probe needs it: one request, no hidden retry or redirect, errors as data."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, urljoin, urlsplit

LARGEST_BODY = 1024 * 1024
USER_AGENT = "matrixrtc.backend probe"
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# Kinds of errors, the value of Response.error; '' means that an answer came.
DNS = "dns"
REFUSED = "refused"
TIMEOUT = "timeout"
SLOW = "slow"  # connected, and then no answer in time
UNREACHABLE = "unreachable"
CERTIFICATE = "certificate"
TLS = "tls"
RESET = "reset"
PROTOCOL = "protocol"


@dataclass(frozen=True)
class Response:
    """An answer, or why there was none: then `status` is 0, `error` a kind, `detail` the library's words.

    `peer` is the address that was connected to; `local` says that it is an address of this very host.
    """

    url: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    seconds: float = 0.0
    error: str = ""
    detail: str = ""
    peer: str = ""
    local: bool = False

    def values(self, name: str) -> list[str]:
        """Every value of a header, in order: a header that came twice has two."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        """The first value of a header, '' when it is missing."""
        return next(iter(self.values(name)), "")

    def json(self) -> object:
        """The body as JSON, or None when it is not JSON."""
        try:
            return json.loads(self.body.decode("utf-8"))
        except ValueError:
            return None

    def document(self) -> dict[str, object]:
        """The body as a JSON object, empty when it is something else."""
        found = self.json()
        return found if isinstance(found, dict) else {}

    def text(self, length: int = 120) -> str:
        """The beginning of the body on one line, for messages."""
        line = " ".join(self.body[: 4 * length].decode("utf-8", "replace").split())
        return line if len(line) <= length else line[:length] + "..."

    def summary(self) -> str:
        """What came, in a few words: 'HTTP 502', or the kind of error and its detail."""
        if self.error:
            return f"no answer ({self.error}: {self.detail})" if self.detail else f"no answer ({self.error})"
        code = self.document().get("errcode")
        return f"HTTP {self.status}" + (f" {code}" if isinstance(code, str) else "")


@dataclass(frozen=True)
class Peer:
    """How a TLS handshake with a host ended. `days_left`: until the certificate expires."""

    address: str = ""
    local: bool = False
    days_left: float = 0.0
    error: str = ""
    detail: str = ""


class SlowAnswerError(Exception):
    """Somebody took the connection and did not answer in time, so packets do arrive."""


def error_kind(error: Exception) -> tuple[str, str]:
    """The kind of an error and a short text for it."""
    if isinstance(error, SlowAnswerError):
        return SLOW, str(error)
    if isinstance(error, socket.gaierror):
        return DNS, error.strerror or "unknown host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return CERTIFICATE, error.verify_message
    if isinstance(error, ssl.SSLError):
        return TLS, error.reason or str(error)
    if isinstance(error, ConnectionRefusedError):
        return REFUSED, "connection refused"
    if isinstance(error, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)):
        return RESET, "the connection was closed without an answer"
    if isinstance(error, OSError):
        late = isinstance(error, TimeoutError) or "timed out" in str(
            error
        )  # Python 3.9 has a class of its own
        return (TIMEOUT, "timed out") if late else (UNREACHABLE, error.strerror or str(error))
    return PROTOCOL, str(error) or type(error).__name__


def port_of(parts: SplitResult) -> int:
    """The port of a URL, given or by its scheme."""
    return parts.port or PORTS.get(parts.scheme, 443)


@dataclass
class HttpClient:
    """Makes requests. `ca_file` '' trusts the system's store; `timeout` is in seconds, for each step.

    `addresses` maps host names to the address to use instead of the resolver's, as a hosts file does. An
    answer is cut off after `largest_body` bytes.
    """

    ca_file: str = ""
    timeout: float = 5.0
    addresses: Mapping[str, str] = field(default_factory=dict)
    largest_body: int = LARGEST_BODY

    def __post_init__(self) -> None:
        self._context = ssl.create_default_context(cafile=self.ca_file or None)

    @property
    def tls(self) -> ssl.SSLContext:
        """How certificates are checked."""
        return self._context

    def connect(self, url: str) -> socket.socket:
        """A connected socket for a URL, with TLS for https and wss. Raises OSError."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        plain = socket.create_connection((self.addresses.get(host, host), port_of(parts)), self.timeout)
        if parts.scheme not in ("https", "wss"):
            return plain
        try:
            return self._context.wrap_socket(plain, server_hostname=host)
        except Exception:
            plain.close()
            raise

    def request(
        self,
        method: str,
        url: str,
        body: object = None,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request. `body` is sent as JSON unless it is None; `token` as bearer token."""
        sent = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close", **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        start = time.monotonic()
        try:
            answer = self._exchange(method, url, data, sent)
        except (OSError, http.client.HTTPException, SlowAnswerError) as error:
            kind, detail = error_kind(error)
            answer = Response(url, error=kind, detail=detail)
        return replace(answer, seconds=time.monotonic() - start)

    def _exchange(self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]) -> Response:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        plumbing = http.client.HTTPConnection(parts.hostname or "", port_of(parts), timeout=self.timeout)
        plumbing.sock = self.connect(url)
        try:
            peer, local = ends(plumbing.sock)
            plumbing.putrequest(method, target, skip_accept_encoding=True, skip_host=True)
            plumbing.putheader("Host", parts.netloc.rpartition("@")[2])
            for name, value in headers.items():
                plumbing.putheader(name, value)
            if data is not None or method == "POST":
                plumbing.putheader("Content-Length", str(len(data or b"")))
            plumbing.endheaders(data)
            answer = plumbing.getresponse()
            body = answer.read(self.largest_body)
            return Response(url, answer.status, tuple(answer.getheaders()), body, peer=peer, local=local)
        except OSError as error:
            if error_kind(error)[0] == TIMEOUT:
                raise SlowAnswerError(f"connected, no answer in {self.timeout:g} s") from error
            raise
        finally:
            plumbing.close()

    def follow(self, url: str, redirects: int = 4) -> list[Response]:
        """GET a URL and the places it redirects to; every answer on the way, the last one is the result."""
        hops = [self.request("GET", url)]
        while hops[-1].status in REDIRECTS and hops[-1].header("Location") and len(hops) <= redirects:
            hops.append(self.request("GET", urljoin(hops[-1].url, hops[-1].header("Location"))))
        return hops

    def handshake(self, host: str, port: int = 443) -> Peer:
        """Connect with verified TLS and say how long the certificate lasts."""
        try:
            with self.connect(
                f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
            ) as connection:
                address, local = ends(connection)
                certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
        except OSError as error:
            kind, detail = error_kind(error)
            return Peer(error=kind, detail=detail)
        expiry = (certificate or {}).get("notAfter")
        left = ssl.cert_time_to_seconds(expiry) - time.time() if isinstance(expiry, str) else 0.0
        return Peer(address, local, left / 86400)

    def opens(self, host: str, port: int) -> Peer:
        """Whether a TCP connection can be made, without saying anything on it."""
        try:
            with socket.create_connection((self.addresses.get(host, host), port), self.timeout) as connection:
                address, local = ends(connection)
                return Peer(address, local)
        except OSError as error:
            kind, detail = error_kind(error)
            return Peer(error=kind, detail=detail)


def ends(connection: socket.socket) -> tuple[str, bool]:
    """The address at the other end, and whether it is this host's own."""
    there = str(connection.getpeername()[0])
    return there, there == str(connection.getsockname()[0])
