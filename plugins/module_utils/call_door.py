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
from dataclasses import dataclass

from .call_loopback import PIECE, Loopback


@dataclass
class Door(Loopback):
    """Connections to `port` of loopback go to host and port of the other side; `fault` is why one did not.

    name: the one that the certificate has to be for, by default the host.
    """

    host: str
    to_port: int
    context: ssl.SSLContext
    name: str = ""

    async def reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect with TLS."""
        return await asyncio.open_connection(
            self.host, self.to_port, ssl=self.context, server_hostname=self.name or self.host
        )

    async def exchange(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass everything on."""
        await asyncio.gather(_pump(near[0], far[1]), _pump(far[0], near[1]))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on until one side is gone."""
    with suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
