# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A door on loopback behind which a TLS server is reached, for a program that cannot check its certificate.

WebRTC in the SDK trusts the authorities that are built into it alone, and so no private one. The door checks
the certificate instead, as a browser would; TURN over TCP goes in, and TURN over TLS comes out.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field

HERE = "127.0.0.1"
PIECE = 65536


@dataclass
class Door:
    """Connections to `port` of loopback go to host and port of the other side; `fault` is why one did not.

    name: the one that the certificate has to be for, by default the host.
    """

    host: str
    to_port: int
    context: ssl.SSLContext
    name: str = ""
    port: int = 0
    opened: int = 0
    fault: str = ""
    _server: asyncio.Server | None = None
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._entered, HERE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and end what runs through the door."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _entered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(
                self.host, self.to_port, ssl=self.context, server_hostname=self.name or self.host
            )
        except OSError as error:  # a wrong certificate is one, too
            self.fault = str(error)
            writer.close()
            return
        self.opened += 1
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on until one side is gone."""
    with suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
