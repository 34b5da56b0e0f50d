# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Ports that containers publish past the host's firewall.

Docker and Podman send packets to a published port on to the container before any input chain sees them, so
neither ufw nor firewalld nor rules of an operator's own can close such a port.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from .edge_host import Run

ENGINES = ("docker", "podman")
# 0.0.0.0:8080->80/tcp, [::]:7000-7005->7000-7005/udp; older engines leave the brackets out
PUBLISHED = re.compile(r"(?:(\S+):)?(\d+)(?:-(\d+))?->[\d-]+/(tcp|udp)")


@dataclass(frozen=True)
class Published:
    """Ports of this host that lead into a container."""

    engine: str
    container: str
    address: str
    first: int
    last: int
    protocol: str

    @property
    def is_for_others(self) -> bool:
        """Not only this host can reach them."""
        return not ip_address(self.address).is_loopback

    def holds(self, port: int) -> bool:
        """A TCP port is among them."""
        return self.protocol == "tcp" and self.first <= port <= self.last

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{ports}/{self.protocol} of container {self.container} ({self.engine}) on {self.address}"


def read_published(engine: str, output: str) -> list[Published]:
    """The published ports, from `docker ps --format '{{.Names}} {{.Ports}}'`."""
    found = []
    for line in output.splitlines():
        name, _space, ports = line.partition(" ")
        for address, first, last, protocol in PUBLISHED.findall(ports):
            where = address.strip("[]") or "0.0.0.0"  # noqa: S104 what the engine means by no address
            found.append(Published(engine, name, where, int(first), int(last or first), protocol))
    return found


def published(host_run: Run) -> list[Published]:
    """What the containers of this host publish to others; nothing where no engine answers."""
    found: list[Published] = []
    for engine in ENGINES:
        done = host_run([engine, "ps", "--format", "{{.Names}} {{.Ports}}"])
        found += read_published(engine, done.output) if done.ok else []
    return [one for one in found if one.is_for_others]


def bypass_warning(found: Iterable[Published], internal: Iterable[int]) -> str | None:
    """The warning about ports of ours that are for nobody outside, None when none is published."""
    named = [one for one in found if any(one.holds(port) for port in internal)]
    if not named:
        return None
    return (
        f"Published past the firewall: {'; '.join(map(str, dict.fromkeys(named)))}. The container engine "
        "sends these packets to the container before the host's firewall sees them, so everybody can reach a "
        "port that belongs behind nginx. Publish it on 127.0.0.1 only (-p 127.0.0.1:7880:7880), or use "
        "the host's network and let the service listen on 127.0.0.1."
    )
