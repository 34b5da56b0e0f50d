# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A small HTTP proxy that wants a password and notes what passes: `python3 proxy.py PORT USER:PASSWORD LOG`.

Only the standard library, so that it runs on any host of a lab; the unit tests run it in a thread.
"""

from __future__ import annotations

import base64
import http.client
import select
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TIMEOUT = 30.0
CHUNK = 65536


class Proxy(ThreadingHTTPServer):
    """Listens on `address`; every request becomes one line for `note`: METHOD TARGET STATUS."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], credentials: str, note: Callable[[str], None]) -> None:
        super().__init__(address, Handler)
        self.wanted = "Basic " + base64.b64encode(credentials.encode()).decode() if credentials else ""
        self.note = note


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Open a tunnel for TLS."""
        host, _colon, port = self.path.rpartition(":")
        if not self._may():
            return
        try:
            there = socket.create_connection((host, int(port)), TIMEOUT)
        except OSError as error:
            self._refuse(502, str(error))
            return
        with there:
            self._note(200)
            self.send_response(200)
            self.end_headers()
            self._relay(there)
        self.close_connection = True

    def do_GET(self) -> None:
        """Fetch a whole URL."""
        parts = urlsplit(self.path)
        if not self._may():
            return
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target or "/", headers={"Host": parts.netloc})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._refuse(502, str(error))
            return
        finally:
            connection.close()
        self._note(answer.status)
        self._send(answer.status, body, answer.getheader("Content-Type") or "")

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def _may(self) -> bool:
        if self.server.wanted and self.headers.get("Proxy-Authorization") != self.server.wanted:
            self._refuse(407, "who are you?", "Proxy-Authenticate")
            return False
        return True

    def _refuse(self, status: int, why: str, header: str = "") -> None:
        self._note(status)
        self._send(status, why.encode(), "text/plain", header)

    def _send(self, status: int, body: bytes, kind: str, header: str = "") -> None:
        self.send_response(status)
        if header:
            self.send_header(header, 'Basic realm="lab"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def _relay(self, there: socket.socket) -> None:
        """Pass bytes on in both directions until one side is done."""
        ends = {self.connection: there, there: self.connection}
        while True:
            ready, _, _ = select.select(list(ends), [], [], TIMEOUT)
            if not ready:
                return
            for source in ready:
                data = source.recv(CHUNK)
                if not data:
                    return
                ends[source].sendall(data)

    def _note(self, status: int) -> None:
        self.server.note(f"{self.command} {self.path} {status}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing but the notes."""


def main() -> None:
    """Serve on all addresses until killed."""
    port, credentials, path = sys.argv[1:]
    with open(path, "a", buffering=1) as log:
        Proxy(("", int(port)), credentials, lambda line: print(line, file=log)).serve_forever()


if __name__ == "__main__":
    main()
