# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Asking an nginx on this host what it answers for a name, over loopback, whatever its certificate says."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .nginx_config import Listen

USER_AGENT = "matrixrtc-nginx-site"
LONGEST_BODY = 65536  # bytes; nothing that is asked for here is longer
# An address nobody has (RFC 5737): asking for the way there tells our own outgoing address and sends nothing.
NOWHERE = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Request:
    """One question. `source`: the address to ask from ('' = the asked one); `timeout` in seconds."""

    listen: Listen
    name: str
    path: str = "/"
    method: str = "GET"
    body: str = ""
    source: str = ""
    timeout: float = 2.0


@dataclass(frozen=True)
class Answer:
    """What came back: the status, or 0 and the error. Header names are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=())
    body: str = ""
    error: str = ""

    def count(self, header: str) -> int:
        """How often a header is in the answer."""
        return sum(name == header.lower() for name, _value in self.headers)

    def __str__(self) -> str:
        return str(self.status) if self.status else f"no answer ({self.error})"


Ask = Callable[[Request], Answer]


def outgoing_address() -> str:
    """This host's own IPv4 address towards the outside, '' when it has no way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(NOWHERE)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def told_status(port: int) -> str:
    """What a port of loopback says to whoever connects, '' for nobody there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2.0) as connection:
            return connection.recv(LONGEST_BODY).decode("ascii", "replace").strip()
    except OSError:
        return ""


def opens_ipv6() -> bool:
    """The kernel has IPv6 at all; nginx cannot listen on [::] where it was compiled or booted out."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM):
            return True
    except OSError:
        return False


def _unverified() -> ssl.SSLContext:
    """TLS without verification: only the status is of interest, and any certificate will do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connected(request: Request) -> socket.socket:
    listen = request.listen
    # Asking from the asked address itself fails unless it is this host's: no other host is ever asked.
    source = (request.source or listen.target, 0)
    raw = socket.create_connection((listen.target, listen.port), request.timeout, source)
    try:
        if "proxy_protocol" in listen.options:
            family = "TCP6" if ":" in listen.target else "TCP4"
            us = raw.getsockname()
            raw.sendall(f"PROXY {family} {us[0]} {listen.target} {us[1]} {listen.port}\r\n".encode("ascii"))
        if "ssl" not in listen.options:
            return raw
        return _unverified().wrap_socket(raw, server_hostname=request.name)
    except BaseException:
        raw.close()
        raise


def _headers(request: Request) -> Mapping[str, str]:
    content = {"Content-Type": "application/json"} if request.body else {}
    return {"Host": request.name, "User-Agent": USER_AGENT, "Connection": "close", **content}


def ask(request: Request) -> Answer:
    """Ask once. Whatever goes wrong on the way is an answer too, never an exception."""
    try:
        connection = http.client.HTTPConnection(
            request.listen.target, request.listen.port, timeout=request.timeout
        )
        connection.sock = _connected(request)
        try:
            body = request.body.encode("utf-8") if request.body else None
            connection.request(request.method, request.path, body, dict(_headers(request)))
            response = connection.getresponse()
            headers = tuple((name.lower(), value) for name, value in response.getheaders())
            return Answer(response.status, headers, response.read(LONGEST_BODY).decode("utf-8", "replace"))
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(0, error=str(error) or type(error).__name__)
