# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Start the service: banner, configuration, sockets, server. Like the real one it takes no arguments."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from . import BANNER, SERVER_HEADER
from .app import CLOSE_EXTENSION, Service
from .config import Config, ConfigError, parse
from .outbound import http_client

_log = logging.getLogger("token_service")


class ClosingProtocol(H11Protocol):
    """Gives the application a way to close its connection unanswered, which ASGI itself has not."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        application = self.app

        async def closable(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = {CLOSE_EXTENSION: transport.close}
            await application(scope, receive, send)

        self.app = closable


def main() -> int:
    """Exit status: 1 for a refused configuration or an address that cannot be bound."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.INFO)
    _log.info(BANNER)
    try:
        config = parse(os.environ)
        sockets = listen(*config.bind)
    except ConfigError as error:
        for problem in error.problems:
            _log.error("Refused configuration: %s", problem)
        return 1
    except OSError as error:
        _log.error("Cannot listen on %s (%s): %s", config.bind, config.bind_variable, error)
        return 1
    set_log_level(config)
    for warning in config.warnings:
        _log.warning("%s", warning)
    asyncio.run(serve(config, sockets))
    return 0


def set_log_level(config: Config) -> None:
    """Our level for us; the libraries stay quiet because they log URLs, and with them OpenID tokens."""
    logging.getLogger("token_service").setLevel(config.log_level)
    for library in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)


def listen(host: str, port: int) -> list[socket.socket]:
    """An empty host means IPv6 and IPv4, or IPv4 alone where the kernel has no IPv6."""
    listening = _listen(host, port) if host else _listen_everywhere(port)
    # asyncio does it only for sockets that say they are TCP; without it a kept connection answers 40 ms late
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return [listening]


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family)


def _listen_everywhere(port: int) -> socket.socket:
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return socket.create_server(("", port))


async def serve(config: Config, sockets: list[socket.socket]) -> None:
    """Serve until SIGTERM or SIGINT; the in-memory jobs end with it."""
    async with http_client(config) as client:
        service = Service(config, client)
        server = uvicorn.Server(server_config(service))
        _log.info("Listening on %s", ", ".join(str(s.getsockname()[:2]) for s in sockets))
        try:
            await server.serve(sockets)
        finally:
            await service.delegation.close()


def server_config(service: Service) -> uvicorn.Config:
    """HTTP/1.1 with h11 on plain asyncio; keep-alive outlasts nginx's 60 s, so nginx is the one to close."""
    return uvicorn.Config(
        service,
        loop="asyncio",
        http=ClosingProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("Server", SERVER_HEADER)],
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    sys.exit(main())
