# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of TURN over TLS on port 443, which nginx passes on to LiveKit: whether there is a place for it.

Clients are always told port 443 (livekit `pkg/service/roommanager.go`), where the sites are.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from .inputs_ports import PORT_REMEDY, service_port
from .inputs_report import Inputs
from .inputs_turn import check_turn_name
from .inputs_values import at_least, ip_literal, matching, shown
from .nginx_config import Server
from .nginx_host import Host, NginxSiteError, read_build, test
from .nginx_stream import NO_MODULE, WAYS_OUT, foreign_servers, is_loaded

HTTPS = 443
FILE_NAME = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits and . _ -")
PORTS = {"turn_port": 5349, "turn_status_port": 5350, "turn_split_port": 5351, "sites_port": 8443}
TAKEN_NAMES = (
    ("domain", "the SFU's own host name"),
    ("server_name", "the server name"),
    ("call_domain", "the host name of the web app"),
)
ADDRESS_REMEDY = (
    "Set it to a second address of this host, on which no site listens and which matrixrtc_turn_domain has."
)


def check_turn_tls(inputs: Inputs) -> bool:
    """All inputs of TURN over TLS but its certificate; false when it is off."""
    way = check_turn_name(inputs)
    if not way:
        return False
    inputs.read("turn_connections", at_least(1), "Set it to a whole number, 1 or more.")
    inputs.read("turn_site", FILE_NAME, "Set it to a file name such as zz-matrixrtc_turn.")
    for key, example in PORTS.items():
        inputs.read(key, service_port, PORT_REMEDY.format(example))
    _check_name(inputs)
    if inputs.values.get("mode") == "external":
        inputs.refuse(
            "turn_tls",
            "port 443 belongs to another proxy here (nginx_proxy_mode is external)",
            "Leave it empty, and use TURN over UDP (matrixrtc_turn_udp) or a relay of somebody else's "
            "(matrixrtc_turn_servers).",
        )
        return True
    if way == "address":
        _check_address(inputs)
    _check_sites(inputs, way)
    return True


def _check_name(inputs: Inputs) -> None:
    """A name of its own: the sites' names are asked for by browsers."""
    name = inputs.values.get("turn_domain")
    for key, whose in TAKEN_NAMES:
        if name and name == inputs.values.get(key):
            inputs.refuse(
                "turn_domain",
                f"{shown(name)} is {whose}, which port 443 answers as a web site",
                "Set it to a host name for the relay alone, such as turn.example.org.",
            )


def _check_address(inputs: Inputs) -> None:
    """An address that this host has, and that its sites are not reached at."""
    address = inputs.read("turn_address", ip_literal, ADDRESS_REMEDY)
    if address is None:
        return
    if str(address) in _addresses(inputs.values.get("first_addresses")):
        inputs.refuse(
            "turn_address", f"{address} is this host's first address, where its sites are", ADDRESS_REMEDY
        )
    elif str(address) in _addresses(inputs.values.get("listen_addresses")):
        inputs.refuse(
            "turn_address", f"{address} is in nginx_proxy_listen_addresses, for the sites", ADDRESS_REMEDY
        )
    elif "own_addresses" in inputs.values and str(address) not in _addresses(inputs.values["own_addresses"]):
        inputs.refuse("turn_address", f"{address} is no address of this host", ADDRESS_REMEDY)


def _addresses(value: object) -> set[str]:
    """The usable entries of a list of addresses."""
    found = set()
    for entry in value if isinstance(value, (list, tuple)) else ():
        try:
            found.add(str(ip_address(str(entry).strip("[]"))))
        except ValueError:
            continue
    return found


def _check_sites(inputs: Inputs, way: str) -> None:
    """What the nginx of this host has on port 443 besides our own sites."""
    try:
        host = Host()
        build = read_build(host)
        tested = test(host, build) if build else None
    except NginxSiteError:
        return  # reported when the sites are put in place
    if build is None or tested is None or tested.fault:
        return
    if not is_loaded(build, tested):
        inputs.refuse("turn_tls", f"needs more of nginx. {NO_MODULE}", "Then run this again.")
    ours = inputs.values.get("own_sites")
    held = in_the_way(
        foreign_servers(tested, ours if isinstance(ours, (list, tuple)) else ()),
        way,
        str(inputs.values.get("turn_address") or ""),
    )
    if held is not None:
        where = "all addresses" if way == "address" else "port 443, which would have to be ours alone"
        inputs.refuse("turn_tls", f"{held.place} listens on {where}", WAYS_OUT)


def in_the_way(sites: Iterable[Server], way: str, address: str) -> Server | None:
    """The first site beside which the relay cannot listen: any, or one on all addresses or its own."""
    for site in sites:
        for listen in site.on(HTTPS):
            family = (":" in listen.address) == (":" in address) or "ipv6only=off" in listen.options
            is_same = listen.address.strip("[]") == address
            if way == "sni" or is_same or (listen.is_wildcard and family):
                return site
    return None
