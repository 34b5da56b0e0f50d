# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Which process holds a port, read from /proc: no tool has to be installed, and no connection is made."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from .inputs_values import PortRange

TCP_LISTEN = "0A"
TABLES = (("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6"))


@dataclass(frozen=True)
class Listener:
    """A socket that occupies a port. `connected`: a UDP socket with a peer, such as a DNS question.

    `user` is the name of the user whose process made it, known even where the process may not be looked into.
    """

    protocol: str
    address: str
    port: int
    inode: str
    connected: bool = False
    user: str = ""


@dataclass(frozen=True)
class Owner:
    """A process that holds a socket; `units` are the parts of its control group, such as nginx.service."""

    process: int
    name: str
    units: tuple[str, ...]

    def __str__(self) -> str:
        unit = next((part for part in reversed(self.units) if part.endswith((".service", ".scope"))), "")
        return f"{self.name} (process {self.process}{', ' + unit if unit else ''})"


@dataclass(frozen=True)
class Claim:
    """Ports that a component is going to listen on. No addresses means all of them."""

    protocol: str
    ports: PortRange
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conflict:
    """A claimed port that somebody else holds. No owners: the kernel holds it, or we may not look."""

    listener: Listener
    owners: tuple[Owner, ...]


def _decoded_address(text: str) -> str:
    """An address of /proc/net: hexadecimal 32-bit words, each in the machine's (little-endian) byte order."""
    raw = bytes.fromhex(text)
    words = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    address: IPv4Address | IPv6Address = ip_address(words)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def listeners(process_folder: str = "/proc", protocols: Iterable[str] = ("tcp", "udp")) -> Iterator[Listener]:
    """Every listening TCP socket and every bound UDP socket of this network namespace.

    The kernel takes milliseconds for each table, so only those of the protocols are read.
    """
    for protocol, table in TABLES:
        if protocol not in protocols:
            continue
        try:
            with open(os.path.join(process_folder, "net", table), encoding="ascii") as lines:
                rows = [line.split() for line in lines][1:]
        except FileNotFoundError:  # a host without IPv6 has no table for it
            continue
        for row in rows:
            if protocol == "tcp" and row[3] != TCP_LISTEN:
                continue
            address, _colon, number = row[1].partition(":")
            connected = not row[2].endswith(":0000")
            yield Listener(
                protocol, _decoded_address(address), int(number, 16), row[9], connected, _user_name(row[7])
            )


def _user_name(number: str) -> str:
    """The name of a numeric user; the number itself where the user is gone."""
    try:
        return pwd.getpwuid(int(number)).pw_name
    except KeyError:
        return number


def _same_address(held: str, wanted: Sequence[str]) -> bool:
    """The two would collide: equal, or one of them stands for all addresses."""
    return (
        held in wanted or any(ip_address(address).is_unspecified for address in (held, *wanted)) or not wanted
    )


def occupied(claims: Iterable[Claim], process_folder: str = "/proc") -> list[Listener]:
    """The sockets on claimed ports, whoever holds them."""
    wanted = list(claims)
    return [
        listener
        for listener in listeners(process_folder, {claim.protocol for claim in wanted})
        if any(
            claim.protocol == listener.protocol
            and claim.ports.first <= listener.port <= claim.ports.last
            and _same_address(listener.address, claim.addresses)
            for claim in wanted
        )
    ]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except OSError:  # the process ended while we looked
        return ""


def _links(folder: str) -> list[str]:
    """Where the links in a folder point; nothing when the process ended or is not ours to look into."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    targets = []
    for name in names:
        try:
            targets.append(os.readlink(os.path.join(folder, name)))
        except OSError:
            continue
    return targets


def owners(inodes: Iterable[str], process_folder: str = "/proc") -> dict[str, tuple[Owner, ...]]:
    """The processes that hold each socket, by inode."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, list[Owner]] = {inode: [] for inode in wanted.values()}
    for entry in os.listdir(process_folder) if wanted else []:
        if not entry.isdigit():
            continue
        held = wanted.keys() & set(_links(os.path.join(process_folder, entry, "fd")))
        if held:
            name = _read(os.path.join(process_folder, entry, "comm")).strip()
            units = tuple(re.split(r"[/:\n]+", _read(os.path.join(process_folder, entry, "cgroup"))))
            owner = Owner(int(entry), name or "a process that just ended", units)
            for link in held:
                found[wanted[link]].append(owner)
    return {inode: tuple(sorted(who, key=lambda owner: owner.process)) for inode, who in found.items()}


def conflicts(claims: Iterable[Claim], ours: Iterable[str], process_folder: str = "/proc") -> list[Conflict]:
    """Claimed ports that are held by somebody else; `ours` are names of units or processes.

    In a container root may not see which process of another user holds a socket. Our services run as users of
    their own that are named like their units, so there the socket's user tells.
    """
    held = occupied(claims, process_folder)
    who = owners({listener.inode for listener in held}, process_folder)
    own = set(ours)

    def is_ours(listener: Listener) -> bool:
        seen = who[listener.inode]
        if not seen:
            return f"{listener.user}.service" in own
        return any(own.intersection((owner.name, *owner.units)) for owner in seen)

    return [Conflict(listener, who[listener.inode]) for listener in held if not is_ours(listener)]
