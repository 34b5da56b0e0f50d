"""A server of this process on loopback, for clients that open sockets themselves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Let `talk` have every connection, one after the other. Yields the address, host:port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _peer = server.accept()
            except OSError:
                return
            with connection:
                talk(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)  # wakes the thread up
        server.close()
