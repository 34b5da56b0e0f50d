# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A call over IPv6 alone, where the site has it: token, signalling and media.

A site has IPv6 when its names have an AAAA record, or its SFU advertises an IPv6 address. Whether this host
has it as well is seen by its own address on the way there. Where nothing at all answers, nobody can tell the
site's IPv6 from that of the own network, and so this is only a warning.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv6Network, ip_address
from urllib.parse import urlsplit

from .call_gate import Gate
from .call_ice import ANSWERED, NO_ROUTE, SILENT, Reach, Survey
from .call_media import Participant, Report
from .call_room import Caller
from .call_sessions import made_up_room, seats_of, talkers_of
from .checks import Check, Fault, Outline
from .endpoint_media import ports_of
from .endpoint_site import Site
from .endpoint_token import NoAccessError, publishing_access
from .http_client import TIMEOUT, UNREACHABLE, Peer
from .matrix_client import MatrixError
from .symptoms import IPV6_ALONE

LOCAL = IPv6Network("fc00::/7")  # unique local addresses, RFC 4193
DISCARD_PORT = 9  # nothing is sent
NO_WAY_BACK = (TIMEOUT, UNREACHABLE)
MEDIA_SECONDS = 1.0
LEAST_FRAMES = 5

NOTHING_ANSWERS = Fault(
    "nothing at {addresses} answers: a wrong address, a firewall that drops IPv6, or the IPv6 of the network "
    "that this was looked at from leads nowhere",
    "repeat the check from elsewhere; compare the AAAA record and matrixrtc_media_address with the "
    "addresses of the host; open TCP 443, {udp} and {tcp} for IPv6 too",
)
DOOR_SHUT = Fault(
    "{host} has an AAAA record, and its web server is not to be reached there: {detail}",
    "run site.yml, which has nginx listen on [::]:443 too; open TCP 443 for IPv6, or remove the AAAA record",
)
IPV4_MEDIA = Fault(
    "the name has an AAAA record, and the SFU advertises no IPv6 address: who has IPv6 alone gets in, and "
    "neither sends nor receives",
    "add the host's IPv6 address to matrixrtc_media_address (203.0.113.7,2001:db8::7) and run site.yml",
)
MEDIA_SHUT = Fault(
    "the SFU advertises {addresses}, and nobody answers there: it is not the host's address, or {udp} and "
    "{tcp} are closed for IPv6",
    "compare matrixrtc_media_address with the host's own IPv6 address; open both for IPv6 on the RTC host "
    "(role firewall) and in every firewall in front of it",
)
NO_CALL = Fault(
    "the addresses answer, and no call over IPv6 comes about: something on the way lets small packets pass "
    "only, or the web server answers otherwise over IPv6",
    "look for a tunnel, and for a firewall that drops ICMPv6 (packet too big); journalctl -u livekit -n 50",
)
IPV6 = Outline(
    "call_ipv6",
    "Call over IPv6",
    "picture and sound over IPv6 alone, if the site has IPv6",
    "media",
    IPV6_ALONE,
    (NOTHING_ANSWERS, DOOR_SHUT, IPV4_MEDIA, MEDIA_SHUT, NO_CALL),
)


@dataclass(frozen=True)
class IPv6Site:
    """What of a site is there over IPv6. `records`: addresses of its names; `reaches`: those of its SFU.

    `error`: why nobody knows those of the SFU.
    """

    site: Site
    records: dict[str, str]
    reaches: tuple[Reach, ...]
    error: str = ""

    @property
    def addresses(self) -> list[str]:
        """All of them."""
        return list(
            dict.fromkeys([*self.records.values(), *[reach.candidate.address for reach in self.reaches]])
        )

    @property
    def ports(self) -> dict[str, str]:
        """The media ports, for the texts of faults."""
        return {protocol: ports_of(self.site, protocol) for protocol in ("udp", "tcp")}


def record_of(host: str) -> str:
    """The first IPv6 address of a name, '' if it has none."""
    with suppress(OSError):
        found = socket.getaddrinfo(host, None, socket.AF_INET6, socket.SOCK_STREAM)
        return str(found[0][4][0])
    return ""


def found_ipv6(site: Site, survey: Survey) -> IPv6Site:
    """Look up the names of the token service and of the SFU."""
    hosts = {urlsplit(url).hostname or "" for url in (site.service_url, site.livekit_url)}
    records = {host: record_of(host) for host in sorted(hosts) if host}
    reaches = tuple(
        reach
        for reach in survey.reaches
        if ":" in reach.candidate.address and not ip_address(reach.candidate.address).is_link_local
    )
    known = {host: address for host, address in records.items() if address}
    return IPv6Site(site, known, reaches, survey.error)


def own_address(there: str) -> str:
    """The address from which this host would reach another one, '' if it has no way there."""
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
        link.connect((there, DISCARD_PORT))
        return str(link.getsockname()[0])
    return ""


def leads_there(own: str, there: str) -> bool:
    """Whether an own address is one that can be answered: a local one is not, from the internet."""
    return bool(own) and (ip_address(own) not in LOCAL or ip_address(there) in LOCAL)


def not_looked_at(found: IPv6Site) -> Check | None:
    """Why there is nothing to look at, or None."""
    if not found.addresses:
        return IPV6.skip(
            "not looked at: no name of the site has an AAAA record, and its SFU advertises no IPv6 address"
        )
    if not any(leads_there(own_address(there), there) for there in found.addresses):
        return IPV6.skip(f"not looked at: this host has no IPv6 that leads to {', '.join(found.addresses)}")
    return None


def shut(found: IPv6Site, peers: dict[str, Peer]) -> Check | None:
    """What keeps a call from being placed, or None. `peers`: how the handshake with each name went."""
    broken = {host: peer for host, peer in peers.items() if peer.error}
    answers = [reach for reach in found.reaches if reach.outcome == ANSWERED]
    closed = [reach for reach in found.reaches if reach.outcome in (SILENT, NO_ROUTE)]
    seen = "; ".join(
        [f"{found.records[host]} of {host}: {peer.detail or 'answers'}" for host, peer in peers.items()]
        + [str(reach) for reach in found.reaches]
    )
    mute = all(peer.error in NO_WAY_BACK for peer in peers.values()) and len(closed) == len(found.reaches)
    if mute:
        return IPV6.warn(seen, NOTHING_ANSWERS, addresses=", ".join(found.addresses), **found.ports)
    for host, peer in broken.items():
        return IPV6.fail(seen, DOOR_SHUT, host=host, detail=peer.detail or peer.error)
    if not found.reaches and not found.error:
        return IPV6.warn(seen, IPV4_MEDIA)
    if found.reaches and not answers:
        told = sorted({reach.candidate.address for reach in found.reaches})
        return IPV6.fail(seen, MEDIA_SHUT, addresses=", ".join(told), **found.ports)
    return None


async def reports_of(found: IPv6Site, callers: Sequence[Caller], timeout: float) -> list[Report]:
    """The call, through the gate. Raises MatrixError and NoAccessError."""
    http = replace(found.site.http, addresses=found.records)
    site, room_id = replace(found.site, http=http), made_up_room(found.site, "ipv6")
    admitted = []
    for caller in callers:
        openid = await asyncio.to_thread(caller.client.openid_token, caller.account.user_id)
        access = await asyncio.to_thread(publishing_access, site, openid, room_id, caller.account)
        admitted.append((caller.account, access))
    url = admitted[0][1].url
    gate = Gate(url, http.tls, found.records.get(urlsplit(url).hostname or "", ""))
    await gate.open()
    people = [Participant(replace(seat, url=gate.url)) for seat in seats_of(talkers_of(admitted))]
    try:
        reports = await asyncio.gather(*[person.run(MEDIA_SECONDS, timeout) for person in people])
    finally:
        await asyncio.gather(*[person.leave() for person in people], return_exceptions=True)
        await gate.close()
    return [replace(one, error=gate.fault or one.error) if one.error else one for one in reports]


def judged(found: IPv6Site, reports: Sequence[Report]) -> Check:
    """What came over which way."""
    broken = [f"{report.name}: {report.error}" for report in reports if report.error]
    paths = [path for report in reports for path in report.paths]
    ways = ", ".join(sorted({path.remote for path in paths})) or "no selected pair"
    if broken:
        return IPV6.fail("; ".join(broken), NO_CALL)
    frames = [report.frames for report in reports]
    # The address of a peer-reflexive candidate is hidden; one of the other family cannot be among them.
    over_ipv6 = all(":" in path.remote_address or not path.remote_address for path in paths)
    if min(frames) < LEAST_FRAMES or not over_ipv6 or not all(report.paths for report in reports):
        return IPV6.fail(f"{ways}; {min(frames)} pictures", NO_CALL)
    entrance = "" if found.records else "; no AAAA record, so the token and the signalling came over IPv4"
    return IPV6.ok(f"{ways}; {sum(frames)} pictures{entrance}")


async def prove_ipv6(site: Site, survey: Survey, callers: Sequence[Caller], timeout: float) -> Check:
    """Place the call, if there is IPv6 on both sides.

    `survey`: what the SFU advertises. Without `callers` it is only seen whether anything answers.
    """
    found = await asyncio.to_thread(found_ipv6, site, survey)
    skipped = not_looked_at(found)
    if skipped:
        return skipped
    http = replace(site.http, addresses=found.records)
    peers = {host: await asyncio.to_thread(http.handshake, host) for host in found.records}
    problem = shut(found, peers)
    if problem:
        return problem
    if not callers:
        return IPV6.skip("not tried, because there was no call")
    try:
        return judged(found, await reports_of(found, callers, timeout))
    except (MatrixError, NoAccessError) as error:
        return IPV6.fail(str(error), NO_CALL)
