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
from .checks import Check, Outline
from .endpoint_site import NO_MEDIA, NO_SFU, Site
from .endpoint_token import Access
from .inputs_values import port_range

UDP = Outline("media_udp", "Media over UDP", "the SFU answers on every UDP address it advertises")
TCP = Outline("media_tcp", "Media over TCP", "the SFU answers on every TCP address it advertises")
STUN = Outline("media_stun", "STUN servers told to clients", "no third party, no port of our own media")
STUN_PORT = 3478
PUBLIC_STUN = ("google.com", "twilio.com")


def address_problem(heard: Advertisement, expected: Sequence[str]) -> tuple[str, str] | None:
    """Cause and fix when the SFU advertises what it should not, by the addresses alone."""
    fix = "set matrixrtc_media_address to the address that clients reach the SFU at, and run site.yml"
    addresses = sorted({candidate.address for candidate in heard.candidates})
    if not addresses:
        return ("LiveKit has no address to offer: its node_ip or its interface filter leaves none", fix)
    foreign = [address for address in addresses if expected and address not in expected]
    if foreign:
        return (
            (
                f"LiveKit's node_ip is wrong: it sends clients to {', '.join(foreign)} instead of"
                f" {', '.join(expected)}. {NO_MEDIA}"
            ),
            fix,
        )
    unusable = [
        address
        for address in addresses
        if ip_address(address).is_loopback or ip_address(address).is_link_local
    ]
    if unusable:
        return (f"LiveKit advertises {', '.join(unusable)}, which no other host can reach. {NO_MEDIA}", fix)
    return None


def silence(site: Site, reaches: Sequence[Reach], protocol: str) -> tuple[str, str]:
    """Cause and fix when an advertised address is silent; what else answers tells a port from an address."""
    other = answering(reaches, "tcp" if protocol == "udp" else "udp")
    ports = site.udp_ports if protocol == "udp" else str(site.tcp_port)
    addresses = sorted({reach.candidate.address for reach in reaches if reach.candidate.protocol == protocol})
    if other:
        effect = (
            f"Calls fall back to TCP, or fail for users whose network allows no TCP port {site.tcp_port}"
            if protocol == "udp"
            else "Users whose network blocks UDP cannot join"
        )
        return (
            (
                f"{protocol.upper()} {ports} is closed: the address is right, for"
                f" {other[0].candidate.protocol.upper()} answers there, but a firewall keeps out what comes"
                f" in. {effect}"
            ),
            (
                f"open {protocol.upper()} {ports} on the RTC host (role firewall; the check host_firewall"
                " names the chain) and in every firewall in front of it"
            ),
        )
    if set(addresses) <= set(site.media_addresses):
        return (
            (
                f"UDP {site.udp_ports} and TCP {site.tcp_port} are both closed: the address is the one that"
                f" was set, but a firewall keeps out what comes in. {NO_MEDIA}"
            ),
            "open both on the RTC host (role firewall) and in every firewall in front of it",
        )
    return (
        (
            f"nobody answers at {', '.join(addresses)}: LiveKit's node_ip is not the address at which clients"
            f" reach it, or UDP {site.udp_ports} and TCP {site.tcp_port} are both closed. {NO_MEDIA}"
        ),
        (
            f"set matrixrtc_media_address to the RTC host's public address; open UDP {site.udp_ports} and TCP"
            f" {site.tcp_port}"
        ),
    )


def reach_check(site: Site, found: Survey, protocol: str) -> Check:
    """Whether the SFU answers on all its addresses of one protocol."""
    outline = UDP if protocol == "udp" else TCP
    ours = [reach for reach in found.reaches if reach.candidate.protocol == protocol]
    if protocol == "tcp" and not site.tcp_port:
        return outline.skip("media over TCP is switched off")
    problem = address_problem(found.heard, site.media_addresses)
    seen = ", ".join(str(reach) for reach in ours) or f"no {protocol} address advertised"
    if problem:
        return outline.fail(seen, *problem)
    if not ours:
        return outline.fail(
            seen,
            f"LiveKit offers no {protocol.upper()} at all: the port is switched off in its configuration",
            f"see rtc.{'udp_port' if protocol == 'udp' else 'tcp_port'} in livekit.yaml and run site.yml",
        )
    tried = [reach for reach in ours if reach.outcome != NO_ROUTE]
    if not tried:
        return outline.skip(f"{seen}: the probe has no route of this kind")
    if all(reach.outcome == ANSWERED for reach in tried):
        return outline.ok(seen)
    return outline.fail(seen, *silence(site, found.reaches, protocol))


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


def stun_check(site: Site, heard: Advertisement) -> Check:
    """Clients are sent neither to somebody else's STUN servers nor to a port that receives their media."""
    places = [stun_place(url) for url in heard.ice_servers if url.startswith("stun:")]
    seen = ", ".join(heard.ice_servers) or "none"
    ports, media = port_range(site.udp_ports), {candidate.address for candidate in heard.candidates}
    own = [
        f"{host}:{port}"
        for host, port in places
        if ports.first <= port <= ports.last and media & ({host} | resolved(host))
    ]
    if own:
        return STUN.fail(
            seen,
            f"{', '.join(own)} is one of LiveKit's own UDP ports for media. WebRTC takes everything that"
            " comes from the address of a STUN server for STUN answers and throws media away: what is on"
            " this port falls back to TCP, or fails where TCP is closed",
            f"give LiveKit a stun_servers entry with a port outside {site.udp_ports}, such as {STUN_PORT}",
        )
    foreign = [host for host, _port in places if host.endswith(PUBLIC_STUN)]
    if foreign:
        return STUN.warn(
            seen,
            "LiveKit has no stun_servers of its own, so every client tells a third party its address",
            "run site.yml: the role livekit sets rtc.stun_servers",
        )
    return STUN.ok(seen)


def media_checks(site: Site, access: Access) -> list[Check]:
    """Join silently, and try every address that the SFU advertises."""
    found = survey(site.http, access.url, access.jwt, site.http.timeout)
    if found.error:
        cause = f"the SFU does not let a user with a valid token in, or does not say where it is. {NO_SFU}"
        fix = "see the check sfu_websocket; journalctl -u livekit -n 50"
        why = f"not tried, because {UDP.id} failed"
        return [UDP.fail(found.error, cause, fix), TCP.skip(why), STUN.skip(why)]
    udp = reach_check(site, found, "udp")
    version = found.heard.server_version
    return [
        replace(udp, seen=f"LiveKit {version}, {udp.seen}" if version else udp.seen),
        reach_check(site, found, "tcp"),
        stun_check(site, found.heard),
    ]
