# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what is to be done when the address of a host changes."""

from __future__ import annotations

from collections.abc import Callable

from .inputs_report import Inputs
from .inputs_values import (
    InvalidValueError,
    at_least,
    domain,
    host_and_port,
    ip_literal,
    list_of_values,
    media_address,
    one_of,
    shown,
)

INTERFACE, NAME, STUN = "interface", "name", "stun"
REMEDY = f"Set it to {INTERFACE}, {NAME} or {STUN}, or leave it out: site.yml brings a new address as well."
NAME_REMEDY = "Set it to a name that always resolves to this host's address, such as one of dynamic DNS."
STUN_REMEDY = "Set it to host:port of a STUN server of yours outside this host's network."
INTERVAL_REMEDY = "Set it to a number of seconds, 10 or more."


def check_watch(inputs: Inputs) -> None:
    """Where the address is read, and whether LiveKit's address is the one that is watched."""
    watch = inputs.read("watch", one_of([INTERFACE, NAME, STUN]), REMEDY, required=False)
    _check_part(inputs, "watch_name", domain, NAME_REMEDY, needed=watch == NAME)
    _check_part(inputs, "watch_stun", host_and_port, STUN_REMEDY, needed=watch == STUN)
    inputs.read("watch_interval", at_least(10), INTERVAL_REMEDY)
    if not watch:
        return
    if inputs.values.get("node_ip") != inputs.values.get("watched"):
        inputs.refuse(
            "watch",
            "is set, but livekit_node_ip is not the address that is watched",
            "Set matrixrtc_media_address instead of livekit_node_ip: the watch begins with it.",
        )
    if inputs.values.get("redis"):
        inputs.refuse(
            "watch",
            "is set, but the nodes of a cluster are known to each other by their addresses",
            "Leave it out, and run site.yml when an address has changed.",
        )
    if watch == INTERFACE:
        _check_interface(inputs)


def _check_part(
    inputs: Inputs, key: str, parse: Callable[[object], object], remedy: str, needed: bool
) -> None:
    if inputs.read(key, parse, remedy, required=needed) is not None and not needed:
        wanted = key.removeprefix("watch_")
        inputs.refuse(
            "watch",
            f"is not {wanted}, but {inputs.name(key)} is set",
            f"Set it to {wanted}, or leave that out.",
        )


def _check_interface(inputs: Inputs) -> None:
    """Behind NAT no interface has the address that clients send to."""
    try:
        own = [ip_literal(address) for address in list_of_values(inputs.values.get("first_addresses"))]
        told = media_address(inputs.values.get("node_ip"))
    except InvalidValueError:  # which has been refused as such
        return
    for address in told:
        behind = [one for one in own if one.version == address.version and not one.is_global]
        if address.is_global and behind:
            inputs.refuse(
                "watch",
                f"is {INTERFACE}, but this host has {shown(behind[0])} where clients are told"
                f" {shown(address)}",
                f"Set it to {NAME} or {STUN}, which see a host behind NAT from outside.",
            )


def _texts(inputs: Inputs, key: str) -> list[str]:
    """The entries of a list that is checked elsewhere."""
    value = inputs.values.get(key)
    return [str(entry) for entry in value] if isinstance(value, list) else []


def check_watched_nginx(inputs: Inputs) -> None:
    """An address that may change is none that nginx may be bound to, or that it may know a neighbour by."""
    if not inputs.has("watch"):
        return
    used = [*_texts(inputs, "listen_addresses"), str(inputs.values.get("proxy_address"))]
    for address in _texts(inputs, "first_addresses"):
        if address in used:
            inputs.refuse(
                "watch",
                f"is set, but nginx is to use {shown(address)}, which may change",
                "Leave it out, and run site.yml when the address has changed; or see to it that neither "
                "nginx_proxy_listen_addresses, matrixrtc_turn_tls nor lk_jwt_service_hosts names it.",
            )
