# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Where a host learns its own address: its default route, a name of its operator's, or their STUN server.

Nobody else is asked, nothing waits for longer than a few seconds, and an answer is always one address of the
family that was asked for, or the reason why there is none.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping
from typing import TypeAlias

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

IPV4, IPV6 = 4, 6
FAMILIES = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
# Addresses of documentation: only the kernel's choice of a source for them is looked at, nothing is sent.
ELSEWHERE = {IPV4: "192.0.2.1", IPV6: "2001:db8::1"}
DATABASES = {IPV4: "ahostsv4", IPV6: "ahostsv6"}
NAME_SECONDS = 10.0

STUN_PORT = 3478
STUN_SECONDS = 2.0
STUN_TRIES = 3
BINDING_REQUEST, BINDING_SUCCESS = 0x0001, 0x0101  # RFC 8489, sections 5 and 18
MAGIC_COOKIE = 0x2112A442
XOR_MAPPED_ADDRESS = 0x0020
STUN_FAMILIES = {IPV4: (1, 8), IPV6: (2, 20)}  # the number of a family, and the size of the attribute


class NoAddressError(Exception):
    """There is no address to be had; the text is a clause that says why."""


def of_interface(version: int) -> Address:
    """The address that this host sends from by its default route. Raises NoAddressError."""
    with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((ELSEWHERE[version], STUN_PORT))
        except OSError as error:
            raise NoAddressError(f"this host has no default route for IPv{version} ({error})") from error
        return ipaddress.ip_address(asking.getsockname()[0])


def of_name(name: str, version: int) -> Address:
    """The one address that a name resolves to on this host. Raises NoAddressError."""
    try:
        done = subprocess.run(
            ["getent", DATABASES[version], name],
            capture_output=True,
            text=True,
            timeout=NAME_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NoAddressError(f"the resolver did not answer within {NAME_SECONDS:g} s") from error
    texts = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    found = {address for address in map(ipaddress.ip_address, texts) if not _is_mapped(address)}
    if not found:
        raise NoAddressError(f"{name} resolves to no IPv{version} address")
    if len(found) > 1:
        several = " and ".join(sorted(map(str, found)))
        raise NoAddressError(f"{name} resolves to {several}, and nobody can tell which one is this host's")
    return found.pop()


def _is_mapped(address: Address) -> bool:
    """getent gives the IPv4 addresses of a name without IPv6 ones as IPv6 (RFC 4291, section 2.5.5.2)."""
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def of_stun(server: str, version: int) -> Address:
    """The address that a STUN server (host or host:port) sees this host at. Raises NoAddressError."""
    host, port = _place(server)
    try:
        places = socket.getaddrinfo(host, port, FAMILIES[version], socket.SOCK_DGRAM)
    except OSError as error:
        raise NoAddressError(f"{server} cannot be asked over IPv{version} ({error})") from error
    family, kind, protocol, _name, place = places[0]
    request = struct.pack("!HHI", BINDING_REQUEST, 0, MAGIC_COOKIE) + secrets.token_bytes(12)
    with socket.socket(family, kind, protocol) as asking:
        asking.settimeout(STUN_SECONDS)
        try:
            asking.connect(place)  # so that nobody else's packets are taken for the answer
            for _try in range(STUN_TRIES):
                answer = _answer(asking, request)
                if answer:
                    return _mapped_address(answer, version)
        except OSError as error:
            raise NoAddressError(f"{server} cannot be asked over IPv{version} ({error})") from error
    raise NoAddressError(f"{server} did not answer {STUN_TRIES} STUN requests over IPv{version}")


def _place(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not server.startswith("[")):
        return server.strip("[]"), STUN_PORT
    return host.strip("[]"), int(port)


def _answer(asking: socket.socket, request: bytes) -> bytes:
    """The answer to this very request, b'' when none came in time."""
    asking.send(request)
    try:
        answer = asking.recv(2048)
    except (socket.timeout, TimeoutError):  # not one class before Python 3.10  # noqa: UP041
        return b""
    return answer if answer[4:20] == request[4:20] else b""


def _mapped_address(answer: bytes, version: int) -> Address:
    """The XOR-MAPPED-ADDRESS of a STUN answer (RFC 8489, section 14.2)."""
    kind, length = struct.unpack_from("!HH", answer)
    family, wanted = STUN_FAMILIES[version]
    attributes = answer[20 : 20 + length] if kind == BINDING_SUCCESS else b""
    while len(attributes) >= 4:
        name, size = struct.unpack_from("!HH", attributes)
        value = attributes[4 : 4 + size]
        if name == XOR_MAPPED_ADDRESS and len(value) == wanted and value[1] == family:
            mask = answer[4:wanted]  # the cookie, and for IPv6 the transaction as well
            return ipaddress.ip_address(bytes(a ^ b for a, b in zip(value[4:], mask, strict=True)))
        attributes = attributes[4 + size + -size % 4 :]
    raise NoAddressError(f"the STUN server's answer names no IPv{version} address")


def own_addresses() -> frozenset[str]:
    """All addresses of this host's interfaces. Raises NoAddressError."""
    done = subprocess.run(
        ["ip", "-json", "address", "show"], capture_output=True, text=True, check=False, timeout=NAME_SECONDS
    )
    if done.returncode != 0:
        raise NoAddressError(f"'ip address show' failed: {done.stderr.strip()}")
    entries = [entry for link in json.loads(done.stdout) for entry in link.get("addr_info", [])]
    return frozenset(entry["local"] for entry in entries if "local" in entry)


def source_of(settings: Mapping[str, str]) -> Callable[[int], Address]:
    """The source that the settings name, as a function of the family."""
    sources: Mapping[str, Callable[[int], Address]] = {
        "interface": of_interface,
        "name": lambda version: of_name(settings["name"], version),
        "stun": lambda version: of_stun(settings["stun"], version),
    }
    return sources[settings["source"]]


def fault_of(new: Address, present: Address) -> str:
    """'' when `new` may take the place of `present`, else why not, as a clause."""
    if new.is_loopback or new.is_unspecified or new.is_multicast or new.is_link_local:
        return f"{new} is not an address that clients can reach"
    if present.is_global and not new.is_global:
        return f"{new} is not public, and the present address {present} is"
    return ""
