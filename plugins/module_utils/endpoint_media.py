# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the SFU's advertised addresses answer, asked as a silent participant who hides behind a NAT."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from .call_ice import ANSWERED, NO_ROUTE, Reach, Survey, answering, survey
from .call_signal import Advertisement
from .checks import Check, Fault, Outline
from .endpoint_site import Site
from .endpoint_token import Access
from .inputs_values import port_range
from .symptoms import NO_MEDIA, NO_SFU, NOTHING, SOME_NO_MEDIA

SET_ADDRESS = "set matrixrtc_media_address to the address that clients reach the SFU at, and run site.yml"
NO_ADDRESS = Fault(
    "LiveKit has no address to offer: its node_ip or its interface filter leaves none", SET_ADDRESS
)
WRONG_ADDRESS = Fault(
    "LiveKit's node_ip is wrong: it sends clients to {found} instead of {expected}", SET_ADDRESS
)
UNUSABLE = Fault("LiveKit advertises {found}, which no other host can reach", SET_ADDRESS)
ADDRESS_FAULTS = (NO_ADDRESS, WRONG_ADDRESS, UNUSABLE)
ONE_CLOSED = (
    "{ports} is closed: the address is right, for the other protocol answers there, but a firewall keeps "
    "out what comes in. "
)
OPEN_ONE = (
    "open {ports} on the RTC host (role firewall; the check host_firewall names the chain) and in every "
    "firewall in front of it"
)
UDP_CLOSED = Fault(
    f"{ONE_CLOSED}Calls fall back to TCP, or fail for users whose network allows no TCP port {{tcp_port}}",
    OPEN_ONE,
    SOME_NO_MEDIA,
)
TCP_CLOSED = Fault(f"{ONE_CLOSED}Users whose network blocks UDP cannot join", OPEN_ONE, SOME_NO_MEDIA)
BOTH_CLOSED = Fault(
    "UDP {udp_ports} and TCP {tcp_port} are both closed: the address is the one that was set, but a firewall "
    "keeps out what comes in",
    "open both on the RTC host (role firewall) and in every firewall in front of it",
)
NOBODY = Fault(
    "nobody answers at {addresses}: LiveKit's node_ip is not the address at which clients reach it, or UDP "
    "{udp_ports} and TCP {tcp_port} are both closed",
    "set matrixrtc_media_address to the RTC host's public address; open UDP {udp_ports} and TCP {tcp_port}",
)
SILENCE = (UDP_CLOSED, TCP_CLOSED, BOTH_CLOSED, NOBODY)
SWITCHED_OFF = Fault(
    "LiveKit offers no {protocol} at all: the port is switched off in its configuration",
    "see rtc.udp_port and rtc.tcp_port in livekit.yaml and run site.yml",
    SOME_NO_MEDIA,
)
SHUT_OUT = Fault(
    "the SFU does not let a user with a valid token in, or does not say where it is",
    "see the check sfu_websocket; journalctl -u livekit -n 50",
    NO_SFU,
)
UDP = Outline(
    "media_udp",
    "Media over UDP",
    "the SFU answers on every UDP address it advertises",
    "media",
    NO_MEDIA,
    (*ADDRESS_FAULTS, *SILENCE, SWITCHED_OFF, SHUT_OUT),
)
TCP = Outline(
    "media_tcp",
    "Media over TCP",
    "the SFU answers on every TCP address it advertises",
    "media",
    NO_MEDIA,
    (*ADDRESS_FAULTS, *SILENCE, SWITCHED_OFF),
)
OWN_STUN = Fault(
    "{servers} is one of LiveKit's own UDP ports for media. WebRTC takes everything that"
    " comes from the address of a STUN server for STUN answers and throws media away: what is on"
    " this port falls back to TCP, or fails where TCP is closed",
    "give LiveKit a stun_servers entry with a port outside {udp_ports}, such as {stun_port}",
)
FOREIGN_STUN = Fault(
    "LiveKit has no stun_servers of its own, so every client tells a third party its address",
    "run site.yml: the role livekit sets rtc.stun_servers",
    NOTHING,
)
STUN = Outline(
    "media_stun",
    "STUN servers told to clients",
    "no third party, no port of our own media",
    "media",
    SOME_NO_MEDIA,
    (OWN_STUN, FOREIGN_STUN),
)
STUN_PORT = 3478
PUBLIC_STUN = ("google.com", "twilio.com")


def address_problem(
    heard: Advertisement, expected: Sequence[str], outline: Outline, seen: str
) -> Check | None:
    """The failure when the SFU advertises what it should not, by the addresses alone, or None."""
    addresses = sorted({candidate.address for candidate in heard.candidates})
    if not addresses:
        return outline.fail(seen, NO_ADDRESS)
    foreign = [address for address in addresses if expected and address not in expected]
    if foreign:
        return outline.fail(seen, WRONG_ADDRESS, found=", ".join(foreign), expected=", ".join(expected))
    unusable = [
        address
        for address in addresses
        if ip_address(address).is_loopback or ip_address(address).is_link_local
    ]
    return outline.fail(seen, UNUSABLE, found=", ".join(unusable)) if unusable else None


def silence(site: Site, reaches: Sequence[Reach], protocol: str, outline: Outline, seen: str) -> Check:
    """An advertised address is silent; what else answers tells a port from an address."""
    other = answering(reaches, "tcp" if protocol == "udp" else "udp")
    addresses = sorted({reach.candidate.address for reach in reaches if reach.candidate.protocol == protocol})
    if other:
        fault = UDP_CLOSED if protocol == "udp" else TCP_CLOSED
    else:
        fault = BOTH_CLOSED if set(addresses) <= set(site.media_addresses) else NOBODY
    return outline.fail(
        seen,
        fault,
        ports=ports_of(site, protocol),
        addresses=", ".join(addresses),
        udp_ports=site.udp_ports,
        tcp_port=site.tcp_port,
    )


def ports_of(site: Site, protocol: str) -> str:
    """The media ports of a protocol, with its name."""
    return f"UDP {site.udp_ports}" if protocol == "udp" else f"TCP {site.tcp_port}"


def as_advertised(site: Site, heard: Advertisement) -> Site:
    """The site with the ports that its SFU advertises, where nobody said which it has."""
    if site.knows_ports:
        return site
    ports = {
        protocol: sorted({one.port for one in heard.candidates if one.protocol == protocol})
        for protocol in ("udp", "tcp")
    }
    udp = ports["udp"]
    span = f"{udp[0]}-{udp[-1]}" if len(udp) > 1 else "".join(map(str, udp))
    return replace(site, udp_ports=span, tcp_port=max(ports["tcp"], default=0))


def reach_check(site: Site, found: Survey, protocol: str) -> Check:
    """Whether the SFU answers on all its addresses of one protocol."""
    outline = UDP if protocol == "udp" else TCP
    ours = [reach for reach in found.reaches if reach.candidate.protocol == protocol]
    if protocol == "tcp" and not site.tcp_port:
        return outline.skip("media over TCP is switched off")
    seen = ", ".join(str(reach) for reach in ours) or f"no {protocol} address advertised"
    problem = address_problem(found.heard, site.media_addresses, outline, seen)
    if problem:
        return problem
    if not ours:
        return outline.fail(seen, SWITCHED_OFF, protocol=protocol.upper())
    tried = [reach for reach in ours if reach.outcome != NO_ROUTE]
    if not tried:
        return outline.skip(f"{seen}: the probe has no route of this kind")
    if all(reach.outcome == ANSWERED for reach in tried):
        return outline.ok(seen)
    return silence(site, found.reaches, protocol, outline, seen)


def stun_place(url: str) -> tuple[str, int]:
    """Host and port of a STUN server, from a URL such as stun:example.org:3478 (RFC 7064)."""
    parts = urlsplit(f"//{url.partition(':')[2].partition('?')[0]}")
    return parts.hostname or "", parts.port or STUN_PORT


def resolved(host: str) -> set[str]:
    """The addresses of a host, none when it has none."""
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, proto=socket.IPPROTO_UDP)}
    except OSError:
        return set()


def is_media_port(site: Site, port: int) -> bool:
    """Whether media over UDP comes in on a port."""
    ports = port_range(site.udp_ports) if site.udp_ports else None
    return ports is not None and ports.first <= port <= ports.last


def stun_check(site: Site, heard: Advertisement) -> Check:
    """Clients are sent neither to somebody else's STUN servers nor to a port that receives their media."""
    places = [stun_place(url) for url in heard.ice_servers if url.startswith("stun:")]
    seen = ", ".join(heard.ice_servers) or "none"
    media = {candidate.address for candidate in heard.candidates}
    own = [
        f"{host}:{port}"
        for host, port in places
        if is_media_port(site, port) and media & ({host} | resolved(host))
    ]
    if own:
        return STUN.fail(
            seen, OWN_STUN, servers=", ".join(own), udp_ports=site.udp_ports, stun_port=STUN_PORT
        )
    foreign = [host for host, _port in places if host.endswith(PUBLIC_STUN)]
    if foreign:
        return STUN.warn(seen, FOREIGN_STUN)
    return STUN.ok(seen)


def media_checks(site: Site, access: Access) -> list[Check]:
    """Join silently, and try every address that the SFU advertises."""
    found = survey(site.http, access.url, access.jwt, site.http.timeout)
    if found.error:
        why = f"not tried, because {UDP.id} failed"
        return [UDP.fail(found.error, SHUT_OUT), TCP.skip(why), STUN.skip(why)]
    site = as_advertised(site, found.heard)
    udp, version = reach_check(site, found, "udp"), found.heard.server_version
    return [
        replace(udp, seen=f"LiveKit {version}, {udp.seen}" if version else udp.seen),
        reach_check(site, found, "tcp"),
        stun_check(site, found.heard),
    ]
