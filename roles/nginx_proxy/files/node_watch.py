#!/usr/bin/python3
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Have clients come back at once when a node of the SFU is lost.

LiveKit keeps signalling to a node that does not answer for as long as it would keep it without Redis
(signal_relay.retry_timeout), and clients notice by themselves only after some 17 s, when ICE gives up. So
this asks every node each second, and when one is lost it ends the connections from nginx to the SFU on this
host: all clients resume their signalling, which media does not notice, and those whose room is gone begin it
anew on another node. Arguments: host:port of every node.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

INTERVAL = 1.0
PATIENCE = 1.5  # seconds for an answer
FAILURES = 3
# Another node is given a room only when this one has been silent for 5 s (livekit pkg/routing/selector).
FORGOTTEN = 6.0


class Node:
    """One node, and since when it has not answered."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.failures = 0
        self.silent_since = 0.0
        self.is_lost = False

    async def answers(self) -> bool:
        """Whether LiveKit is there. Any status will do: 406 only means that Redis is away."""
        host, _colon, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return (await reader.read(5)).startswith(b"HTTP/")
        finally:
            writer.close()

    async def look(self) -> bool:
        """Ask once; True when the node has just been lost."""
        begun = time.monotonic()
        try:
            is_there = await asyncio.wait_for(self.answers(), PATIENCE)
        except (OSError, asyncio.TimeoutError):  # not one class before Python 3.11  # noqa: UP041
            is_there = False
        if is_there:
            if self.is_lost:
                print(f"{self.address} answers again", flush=True)
            self.failures, self.is_lost = 0, False
            return False
        self.silent_since = self.silent_since if self.failures else begun
        self.failures += 1
        if self.is_lost or self.failures < FAILURES:
            return False
        self.is_lost = True
        return True


async def watch(node: Node, ports: set[str]) -> None:
    """Look for ever. A node that is not there at first has nobody on it."""
    node.is_lost = True
    while True:
        if await node.look():
            print(f"{node.address} is lost: clients are made to come back", flush=True)
            await asyncio.sleep(max(0.0, node.silent_since + FORGOTTEN - time.monotonic()))
            end_signalling(ports)
        await asyncio.sleep(INTERVAL)


def end_signalling(ports: set[str]) -> None:
    """End the connections from this host to signalling, whichever node they lead to."""
    wanted = " or ".join(f"dport = :{port}" for port in sorted(ports))
    done = subprocess.run(
        ["ss", "--no-header", "--tcp", "--kill", "state", "established", f"( {wanted} )"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{len(done.stdout.splitlines())} connections ended {done.stderr.strip()}", flush=True)


async def main() -> None:
    """Watch all nodes."""
    nodes = [Node(address) for address in sys.argv[1:]]
    ports = {node.address.rpartition(":")[2] for node in nodes}
    await asyncio.gather(*(watch(node, ports) for node in nodes))


if __name__ == "__main__":
    asyncio.run(main())
