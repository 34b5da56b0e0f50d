# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of TURN: LiveKit's own relay, and relays of others (pitfalls: livekit `pkg/service/turn.go`)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from .inputs_report import Inputs
from .inputs_site import is_refused
from .inputs_values import (
    InvalidValueError,
    at_least,
    boolean,
    domain,
    host_and_port,
    mapping,
    media_address,
    one_of,
    port,
    prefix,
    release_version,
    shown,
)

FIRST_SAFE = (1, 12, 0)  # before it the relay sent into private networks
WAYS = ("address", "sni")
PROTOCOLS = ("udp", "tcp", "tls")
LONGEST_TTL = 86400
NETWORK_REMEDY = "Set it to a list of networks such as ['100.64.0.0/10']."
SERVER_REMEDY = (
    "Set it to a list of mappings such as {'host': 'turn.example.org', 'port': 3478, 'protocol': 'udp', "
    "'secret': '...'}, the secret from a vault."
)


def check_turn(inputs: Inputs) -> None:
    """All inputs of TURN; its ports are looked at with the other ports."""
    over_udp = inputs.read("turn_udp", boolean, "Set it to true or false.", required=False)
    over_tls = check_turn_name(inputs)
    for key in ("turn_allowed_networks", "turn_denied_networks"):
        inputs.read_list(key, prefix, NETWORK_REMEDY, required=False)
    check_servers(inputs)
    if over_udp or over_tls:
        check_own_relay(inputs, "turn_udp" if over_udp else "turn_tls")


def check_turn_name(inputs: Inputs) -> str | None:
    """How TURN over TLS is told from the sites on port 443, and its name; None when it is off."""
    way = inputs.read(
        "turn_tls", one_of(WAYS), "Set it to address or sni, or leave it empty.", required=False
    )
    if way:
        remedy = "Set it to a host name for the relay alone, such as turn.example.org."
        inputs.read("turn_domain", domain, remedy)
    return way


def check_own_relay(inputs: Inputs, key: str) -> None:
    """A release that relays into nobody's private network, and an SFU that its own relay can reach."""
    version = inputs.values.get("version")
    try:
        old = version is not None and release_version(version) < FIRST_SAFE
        if old and not is_refused(inputs, "version"):
            inputs.refuse(
                key,
                f"LiveKit {version} would relay into private networks",
                "Use 1.12.0 or newer, or leave it out.",
            )
    except InvalidValueError:
        pass  # reported elsewhere
    if "." not in str(inputs.values.get("node_ip") or "."):
        inputs.refuse(
            key,
            "LiveKit's relay has IPv4 addresses only, and matrixrtc_media_address has none",
            "Leave it out, or set matrixrtc_media_address to an IPv4 address as well.",
        )
    for address, network in denied_addresses(inputs):
        inputs.refuse(
            "turn_denied_networks",
            f"{network} in it has {address}, the SFU's own address, which the relay has to reach",
            "Set it without that network.",
        )


def denied_addresses(inputs: Inputs) -> list[tuple[str, str]]:
    """The SFU's addresses that the relay would never send to, with the network that says so."""
    try:
        own = [str(address) for address in media_address(inputs.values.get("node_ip"))]
        denied = [prefix(entry) for entry in inputs.values.get("turn_denied_networks") or []]
    except InvalidValueError:
        return []  # reported elsewhere
    return [
        (address, network)
        for address in own
        for network in denied
        if ip_address(address) in ip_network(network, strict=False)
    ]


def server(value: object) -> dict[str, object]:
    """A relay of somebody else's, with its credentials; no message shows those."""
    entry = mapping(value)
    host = host_and_port(entry.get("host"))
    if ":" in host:
        raise InvalidValueError(f"{shown(host)} has a port in host")
    port(entry.get("port"))
    one_of(PROTOCOLS)(entry.get("protocol"))
    # which of them there are decides where they are written, so none may be there and empty
    if {"secret", "username", "credential"} & set(entry) not in ({"secret"}, {"username", "credential"}):
        raise InvalidValueError(f"{shown(host)} needs either a secret, or a username and a credential")
    if not all(entry[key] for key in ("secret", "username", "credential") if key in entry):
        raise InvalidValueError(f"{shown(host)} has an empty secret, username or credential")
    if "ttl" in entry and at_least(1)(entry["ttl"]) > LONGEST_TTL:
        raise InvalidValueError(f"{shown(host)} has a ttl of more than {LONGEST_TTL} s")
    known = {"host", "port", "protocol", "secret", "username", "credential", "ttl"}
    if unknown := sorted(set(entry) - known):
        raise InvalidValueError(f"{shown(host)} has {', '.join(unknown)}, which LiveKit does not know")
    return entry


def check_servers(inputs: Inputs) -> None:
    """Relays of others."""
    inputs.read_list("turn_servers", server, SERVER_REMEDY, required=False)
