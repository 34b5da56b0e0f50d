# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the ports of a site: each by itself, against each other, and against what runs on the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .inputs_report import Inputs
from .inputs_site import busy_ports, refuse_busy
from .inputs_values import InvalidValueError, PortRange, boolean, integer, ip_literal, port, port_range
from .sockets import Claim

OUR_UNITS = ("livekit.service",)
LOWEST_PORT = 1024  # the services run without the capability to open lower ones
PORT_REMEDY = f"Set it to a free port from {LOWEST_PORT} to 65535, such as {{}}."
BOUND = ("port", "prometheus_port")  # the others listen on every address
HTTPS = PortRange(443, 443)
FEWEST_RANGE_PORTS = 100  # two for each participant, says LiveKit's documentation


def flattened(tree: Mapping[Any, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key of a nested mapping as a dotted name, inner ones included."""
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")


@dataclass(frozen=True)
class PortUse:
    """Ports of one protocol, with the input they come from; no key for a use outside this role."""

    key: str
    what: str
    protocol: str
    ports: PortRange


def service_port(value: object) -> int:
    return port(value, LOWEST_PORT)


def port_or_none(value: object) -> int:
    """A port, or 0 for a listener that is switched off."""
    return 0 if integer(value) == 0 else service_port(value)


def _media_ports(value: object) -> PortRange:
    ports = port_range(value)
    service_port(ports.first)
    return ports


def check_ports(inputs: Inputs) -> None:
    """Each port by itself, then against each other, then against what already runs on the host."""
    uses = list(_uses(inputs))
    for position, use in enumerate(uses):
        for other in uses[:position]:
            _check_overlap(inputs, use, other)
    bind = inputs.values.get("bind_addresses")
    addresses = tuple(_listed_addresses(bind))
    for use in uses:
        claim = Claim(use.protocol, use.ports, addresses if use.key in BOUND else ())
        if use.key == "port_range_start":
            _warn_of_busy_range(inputs, claim)
        elif use.key in ("port", "tcp_port", "udp_port", "prometheus_port", "turn_udp_port", "turn_tls_port"):
            refuse_busy(inputs, use.key, claim, OUR_UNITS)


def _listed_addresses(value: object) -> Iterator[str]:
    """The usable entries of bind_addresses; wrong ones are reported elsewhere."""
    for entry in value if isinstance(value, (list, tuple)) else ():
        try:
            yield str(ip_literal(entry))
        except InvalidValueError:
            continue


def _uses(inputs: Inputs) -> Iterator[PortUse]:
    """The ports that are taken on this host, as far as the inputs are valid."""
    yield PortUse("", "nginx (HTTPS)", "tcp", HTTPS)
    yield from _single_uses(inputs)
    yield from media_uses(inputs)
    yield from _turn_uses(inputs)
    yield from _extra_uses(inputs)


def _single_uses(inputs: Inputs) -> Iterator[PortUse]:
    for key, parse, example in (
        ("port", service_port, 7880),
        ("token_service_port", service_port, 8080),
        ("prometheus_port", port_or_none, 6789),
    ):
        number = inputs.read(key, parse, PORT_REMEDY.format(example))
        if number:
            yield PortUse(key, inputs.name(key), "tcp", PortRange(number, number))


def check_media_ports(inputs: Inputs) -> list[PortUse]:
    """The SFU's ports for clients, for a role that only follows them."""
    return list(media_uses(inputs))


def media_uses(inputs: Inputs) -> Iterator[PortUse]:
    """The SFU's ports for clients: one TCP port, and a few multiplexed UDP ports or a range, never both."""
    number = inputs.read("tcp_port", port_or_none, PORT_REMEDY.format(7881))
    if number:
        yield PortUse("tcp_port", inputs.name("tcp_port"), "tcp", PortRange(number, number))
    elif number == 0:
        inputs.warn("tcp_port", "no media goes over TCP: people whose network blocks UDP cannot take part.")
    yield from _udp_uses(inputs)


def _udp_uses(inputs: Inputs) -> Iterator[PortUse]:
    """UDP ports for media: a few that are shared, or a range with two for each participant."""
    multiplexed = inputs.read(
        "udp_port", _media_ports, "Set it to a port or a range such as '7882-7885'.", required=False
    )
    ends = ("port_range_start", "port_range_end")
    remedy = "Set it to a port such as 50000 or 60000, or both ends to 0 for multiplexed ports."
    first, last = (inputs.read(key, port_or_none, remedy, required=False) for key in ends)
    ranged = bool(first or last)
    if multiplexed:
        yield PortUse("udp_port", inputs.name("udp_port"), "udp", multiplexed)
    if inputs.has("udp_port") and ranged:
        inputs.refuse(
            "udp_port",
            "both multiplexed ports and a port range are set, and LiveKit would use the range",
            "Set either it or livekit_port_range_start and livekit_port_range_end, and the other to '' or 0.",
        )
    elif (
        all(key in inputs.values for key in ("udp_port", *ends)) and not inputs.has("udp_port") and not ranged
    ):
        inputs.refuse(
            "udp_port",
            "no UDP ports for media are set, so LiveKit would take 50000 to 60000",
            "Set it to a range such as '7882-7885', or set both ends of livekit_port_range.",
        )
    if first is not None and last is not None and ranged:
        yield from _range_use(inputs, first, last)


def _range_use(inputs: Inputs, first: int, last: int) -> Iterator[PortUse]:
    remedy = "Set livekit_port_range_start to the lower and livekit_port_range_end to the upper end."
    if not first or not last:
        inputs.refuse(
            "port_range_end" if first else "port_range_start", "only one end of the port range is set", remedy
        )
    elif first > last:
        inputs.refuse("port_range_start", f"the range {first}-{last} is reversed", remedy)
    else:
        if last - first + 1 < FEWEST_RANGE_PORTS:
            inputs.warn(
                "port_range_start",
                f"{first}-{last} has ports for {(last - first + 1) // 2} participants only.",
            )
        yield PortUse("port_range_start", "livekit_port_range_start", "udp", PortRange(first, last))


def _turn_uses(inputs: Inputs) -> Iterator[PortUse]:
    """LiveKit's own relay: where clients or nginx reach it, and the ports it relays from."""
    try:
        over_udp = boolean(inputs.values.get("turn_udp", False))
    except InvalidValueError:
        return  # reported elsewhere
    ways = [("turn_udp_port", "udp", 3478)] if over_udp else []
    ways += [("turn_tls_port", "tcp", 5349)] if inputs.has("turn_tls") else []
    if not ways:
        return
    for key, protocol, example in ways:
        number = inputs.read(key, service_port, PORT_REMEDY.format(example))
        if number:
            yield PortUse(key, inputs.name(key), protocol, PortRange(number, number))
    ends = ("turn_relay_range_start", "turn_relay_range_end")
    first, last = (inputs.read(key, service_port, PORT_REMEDY.format(30000)) for key in ends)
    if first and last and first > last:
        inputs.refuse(
            ends[0], f"the range {first}-{last} is reversed", f"Set it to less than {inputs.name(ends[1])}."
        )
    elif first and last:
        yield PortUse(ends[0], "the relay's ports", "udp", PortRange(first, last))


def _extra_uses(inputs: Inputs) -> Iterator[PortUse]:
    """Further listeners that livekit_extra_config turns on."""
    extra = inputs.values.get("extra_config")
    flat = dict(flattened(extra)) if isinstance(extra, dict) else {}
    for dotted, protocol in (
        ("prometheus_port", "tcp"),
        ("turn.tls_port", "tcp"),
        ("turn.udp_port", "udp"),
    ):
        value = flat.get(dotted)
        if value not in (None, 0, "0"):
            number = inputs.parse("extra_config", value, port, f"Set {dotted} in it to a free port.")
            if number:
                yield PortUse(
                    "extra_config", f"livekit_extra_config ({dotted})", protocol, PortRange(number, number)
                )


def _check_overlap(inputs: Inputs, use: PortUse, other: PortUse) -> None:
    if use.protocol == other.protocol and use.ports.overlaps(other.ports):
        inputs.refuse(
            use.key,
            f"{use.ports}/{use.protocol} overlaps {other.what} ({other.ports}/{other.protocol})",
            "Set ports that are used once.",
        )


def _warn_of_busy_range(inputs: Inputs, claim: Claim) -> None:
    """In a wide range LiveKit passes over busy ports; sockets with a peer come and go by themselves."""
    held = {
        found.listener.port
        for found in busy_ports(inputs, [claim], OUR_UNITS)
        if not found.listener.connected
    }
    if held:
        inputs.warn(
            "port_range_start", f"{len(held)} of the UDP ports {claim.ports} are held by other programs."
        )
