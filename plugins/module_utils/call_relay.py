# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Two participants who may use nothing but a TURN relay, as behind a firewall that lets nothing else pass.

The TURN servers are those that the SFU hands out, those of one kind at a time. No Matrix room is needed: the
token service asks for none. Over TLS the connection goes through a door of ours that checks the certificate.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .call_door import Door
from .call_loopback import HERE
from .call_media import Participant, Report, Seat, trust
from .call_sessions import made_up_room, seats_of, talkers_of
from .call_signal import Listener, Relay, SignalError
from .checks import Check, Fault, Outline
from .endpoint_site import Site, discover
from .endpoint_token import Access, NoAccessError, publishing_access
from .matrix_client import Account, MatrixClient, MatrixError
from .symptoms import SOME_NO_MEDIA

UDP, TLS, TCP = "udp", "tls", "tcp"
RELAYS = (UDP, TLS)
URL = re.compile(r"(turns?):(\[[0-9a-fA-F:]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(udp|tcp))?\Z")
LEAST_FRAMES = 5


@dataclass(frozen=True)
class RelayPlan:
    """Which relay is to be used by whom, with `host` '' for any host; times in seconds."""

    site: Site
    tokens: tuple[str, str]
    relay: str = UDP
    host: str = ""
    port: int = 3478
    media_seconds: float = 1.0
    timeout: float = 15.0
    ca_file: str = ""


NO_RELAY = Fault(
    "no allocation: LiveKit's TURN is off, or {port}/udp is closed on the way to it",
    "set matrixrtc_turn_udp to true, run site.yml, and open {port}/udp in front of the host",
)
NO_TLS_RELAY = Fault(
    "no allocation over TLS: nobody answers TURN at its name on 443, or not with its certificate",
    "run site.yml; openssl s_client -connect NAME:443 -servername NAME shows who answers",
)
OTHER_WAY = Fault("the media does not go over the relay alone", "use the SDK that is documented")
NOT_PASSED_ON = Fault(
    "the relay takes allocations and passes no media on: it may not send to the SFU's address",
    "the SFU's own address has to be in livekit_turn_allowed_networks where it is a private one",
)
RELAY_CHECKS = {
    relay: Outline(
        f"turn_{relay}",
        f"Call over TURN ({relay.upper()})",
        "picture and sound over a relay alone",
        "media",
        SOME_NO_MEDIA,
        (no_relay, NOT_PASSED_ON, OTHER_WAY),
    )
    for relay, no_relay in ((UDP, NO_RELAY), (TLS, NO_TLS_RELAY))
}


def admitted(plan: RelayPlan) -> list[tuple[Account, Access]]:
    """Both accounts with a token each, for one room. Raises MatrixError and NoAccessError."""
    base_url = discover(plan.site).base_url
    room = made_up_room(plan.site, "relay")
    found = []
    for token in plan.tokens:
        client = MatrixClient(base_url, token, plan.site.http)
        account = client.whoami()
        openid = client.openid_token(account.user_id)
        found.append((account, publishing_access(plan.site, openid, room, account)))
    return found


def seats(people: Sequence[tuple[Account, Access]]) -> list[Seat]:
    """A seat for each, who knows the other's key."""
    return [replace(seat, relay_only=True) for seat in seats_of(talkers_of(people))]


def kind_of(url: str) -> tuple[str, str, int]:
    """How a relay is reached, its host and its port (RFC 7065)."""
    match = URL.match(url)
    if match is None:
        return "", "", 0
    scheme, host, port, transport = match.groups()
    kind = TLS if scheme == "turns" else (transport or UDP)
    return kind, host.strip("[]"), int(port or (5349 if scheme == "turns" else 3478))


def offered(plan: RelayPlan, access: Access) -> list[Relay]:
    """The relays of the wanted kind that the SFU offers a participant. Raises SignalError."""
    listener = Listener(plan.site.http, access.url, access.jwt, plan.timeout)
    try:
        relays = listener.relays()
    finally:
        listener.close()
    return [relay for relay in relays if is_meant(plan, relay.url)]


def is_meant(plan: RelayPlan, url: str) -> bool:
    """The relay of the plan; relays of others may be offered, too."""
    kind, host, port = kind_of(url)
    return kind == plan.relay and port == plan.port and plan.host in ("", host)


async def _call(plan: RelayPlan, both: Sequence[Seat], relays: Sequence[Sequence[Relay]]) -> list[Report]:
    """The call, over the first relay that each was offered."""
    doors: list[Door] = []
    people = []
    now = time.monotonic()
    for number, seat in enumerate(both):
        relay = relays[number][0]
        url = relay.url
        if plan.relay == TLS:
            _kind, host, port = kind_of(url)
            door = Door(host, port, plan.site.http.tls)
            await door.open()
            doors.append(door)
            url = f"turn:{HERE}:{door.port}?transport=tcp"
        people.append(
            Participant(replace(seat, relays=((url, relay.username, relay.credential),), start=now))
        )
    reports = await _placed(plan, people)
    for door in doors:
        await door.close()
    faults = sorted({door.fault for door in doors if door.fault})
    return [
        replace(report, error="; ".join([report.error, *faults])) if faults and report.error else report
        for report in reports
    ]


async def _placed(plan: RelayPlan, people: Sequence[Participant]) -> list[Report]:
    try:
        return list(
            await asyncio.gather(*(person.run(plan.media_seconds, plan.timeout) for person in people))
        )
    finally:
        await asyncio.gather(*(person.leave() for person in people), return_exceptions=True)


def judged(plan: RelayPlan, reports: Sequence[Report]) -> Check:
    """What came over which relay."""
    check = RELAY_CHECKS[plan.relay]
    broken = [f"{report.name}: {report.error}" for report in reports if report.error]
    paths = [path for report in reports for path in report.paths]
    if broken or not all(report.paths for report in reports):
        return no_relay(plan, "; ".join(broken) or "no selected pair")
    told = {TCP: TLS} if plan.relay == TLS else {}  # the door makes TLS of TCP
    ways = {(path.local_kind, told.get(path.relay_protocol, path.relay_protocol)) for path in paths}
    seen = ", ".join(sorted(f"{kind} over {way or 'nothing'}" for kind, way in ways))
    if any(path.local_kind != "relay" for path in paths):
        return check.fail(seen, OTHER_WAY)
    if any(path.relay_protocol != (TCP if plan.relay == TLS else plan.relay) for path in paths):
        return no_relay(plan, seen)
    frames = [report.frames for report in reports]
    if min(frames) < LEAST_FRAMES:
        return check.fail(f"{seen}; {min(frames)} pictures", NOT_PASSED_ON)
    first = max(report.first_frame for report in reports)
    return replace(check.ok(f"{seen}; {sum(frames)} pictures"), seconds=round(first, 3))


def no_relay(plan: RelayPlan, seen: str) -> Check:
    """The failure of a relay that gives nothing."""
    return RELAY_CHECKS[plan.relay].fail(
        seen, NO_RELAY if plan.relay == UDP else NO_TLS_RELAY, port=plan.port
    )


def prove_relay(plan: RelayPlan) -> Check:
    """Place the call, and say how it was."""
    try:
        people = admitted(plan)
    except (MatrixError, NoAccessError) as error:
        return RELAY_CHECKS[plan.relay].skip(f"not tried: {error}")
    try:
        relays = [offered(plan, access) for _account, access in people]
    except SignalError as error:
        return RELAY_CHECKS[plan.relay].skip(f"not tried: {error}")
    if not all(relays):
        return no_relay(plan, f"the SFU offers no relay over {plan.relay.upper()}")
    trust(plan.ca_file)
    return judged(plan, asyncio.run(_call(plan, seats(people), relays)))
