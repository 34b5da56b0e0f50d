# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A listener on loopback that does for a program what it cannot do itself on the way to a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

HERE = "127.0.0.1"
PIECE = 65536


@dataclass
class Loopback:
    """Connections to `port` of loopback go to the other side; `fault` is why one did not get there."""

    port: int = field(default=0, init=False)
    opened: int = field(default=0, init=False)
    fault: str = field(default="", init=False)
    _server: asyncio.Server | None = field(default=None, init=False)
    _running: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._entered, HERE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and end what runs through it."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the other side. Raises OSError."""
        raise NotImplementedError

    async def exchange(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass on what comes from either side until one is gone."""
        raise NotImplementedError

    async def _entered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
        try:
            far = await self.reach()
        except OSError as error:  # a wrong certificate is one, too
            self.fault = str(error)
            writer.close()
            return
        self.opened += 1
        try:
            await self.exchange((reader, writer), far)
        except (OSError, asyncio.IncompleteReadError):
            pass  # somebody hung up, which whoever waits for an answer notices
        finally:
            writer.close()
            far[1].close()
