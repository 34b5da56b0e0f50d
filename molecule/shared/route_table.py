#!/usr/bin/python3
"""The routes of a site and what a stranger's request to each is answered, whichever proxy serves it.

Usage: route_table.py URL [--connect ADDRESS] [--port PORT] [--source ADDRESS] [--insecure] [--exact]
URL is such as https://rtc.example.org. Asks every route once and prints what is answered wrongly. With
--connect the name is asked at that address, with --source from that one, which the proxy must not take for
the host itself. With --exact other spellings of forbidden paths have to be refused, not just not found.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import socket
import ssl
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

JWT, SFU = "/livekit/jwt", "/livekit/sfu"
TWIRP = "twirp/livekit.RoomService/ListRooms"
TOKEN_ROUTES = [f"{JWT}{path}" for path in ("/sfu/get", "/get_token", "/delegate_delayed_leave")]
ROUTES = [
    *[
        (method, path, code)
        for path in TOKEN_ROUTES
        for method, code in (("GET", 405), ("OPTIONS", 200), ("POST", 400))
    ],
    ("GET", f"{JWT}/healthz", 200),
    *[("GET", f"{SFU}{path}", 401) for path in ("/rtc/validate", "/rtc/v1/validate")],
    *[("UPGRADE", f"{SFU}{path}", 401) for path in ("/rtc", "/rtc/v1")],
    *[
        ("GET", path, 404)
        for path in (
            "/",
            f"{JWT}/",
            f"{JWT}/sfu_webhook",
            f"{JWT}/sfu/getX",
            f"{JWT}/_matrix/app/v1/ping",
            f"{SFU}/",
            f"{SFU}/metrics",
            f"{SFU}/debug/pprof/",
            f"{SFU}/agent",
            f"{SFU}/whip/v1",
            f"{SFU}/rtc/../metrics",
            "/metrics",
            "/healthz",
            "/_matrix/client/versions",
        )
    ],
    *[("POST", path, 403) for path in (f"/{TWIRP}", f"{SFU}/{TWIRP}")],
]
# Other spellings of the administration. nginx and Caddy see through them and refuse; others do not know them.
DISGUISED = [
    ("POST", path, 403)
    for path in (f"{SFU}//{TWIRP}", f"{SFU}/%74{TWIRP[1:]}", f"{SFU}/x/../{TWIRP}", f"{SFU}/rtc/../{TWIRP}")
]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "bWF0cml4cnRjLWxhYi10ZQ==",
}


class Client:
    """Asks one site, each time on a connection of its own, with the path exactly as it is given."""

    def __init__(
        self,
        name: str,
        address: str = "",
        port: int = 443,
        source: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.name, self.target, self.source = name, (address or name, port), source
        self.context = context or ssl.create_default_context()

    def connect(self) -> ssl.SSLSocket:
        """A TLS connection to the site."""
        source = (self.source, 0) if self.source else None
        raw = socket.create_connection(self.target, 10, source)
        return self.context.wrap_socket(raw, server_hostname=self.name)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection(self.name, timeout=10)
        connection.sock = self.connect()
        extra = UPGRADE if method == "UPGRADE" else {"Content-Type": "application/json"}
        if method == "POST" and body is None:
            body = b"{}"
        verb = "GET" if method == "UPGRADE" else method
        try:
            connection.putrequest(verb, path)
            for header, value in {
                **extra,
                "Content-Length": str(len(body or b"")),
                **(headers or {}),
            }.items():
                if header != "Content-Length" or body is not None:
                    connection.putheader(header, value)
            connection.endheaders()
            with contextlib.suppress(OSError):  # a proxy may answer, and close, before it has read all of it
                connection.send(body or b"")
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def wrong_routes(status: Callable[[str, str], int], sees_through: bool = True) -> list[str]:
    """What is answered otherwise than the table says; `status` answers for a method and a path."""
    wrong = []
    for method, path, wanted in [*ROUTES, *DISGUISED]:
        seen = status(method, path)
        is_unknown = (method, path, wanted) in DISGUISED and seen == 404 and not sees_through
        if seen != wanted and not is_unknown:
            wrong.append(f"{method} {path}: {seen} instead of {wanted}")
    return wrong


def main() -> int:
    """Ask all of it; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--connect", default="", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--source", default="", metavar="ADDRESS")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    parser.add_argument(
        "--exact", action="store_true", help="the proxy sees through other spellings of paths"
    )
    given = parser.parse_args()
    parts = urlsplit(given.url)
    context = ssl.create_default_context()
    if given.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = given.port or parts.port or 443
    client = Client(parts.hostname or "", given.connect, port, given.source, context)
    wrong = wrong_routes(lambda method, path: client.ask(method, path)[0], given.exact)
    print("\n".join(wrong) or f"{len(ROUTES) + len(DISGUISED)} routes are answered as they should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
