# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a further node of an SFU: on the node itself, and from outside.

A node without Redis answers 406 to `GET /` (livekit `pkg/service/server.go`). It is looked at here, and
nothing is restarted for it, because running calls do not notice and a restart would end them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TypeVar

from .checks import Check, Fault, Outline, run_jobs
from .endpoint_clock import NODE_CLOCK, own_clock_check
from .endpoint_host import (
    FIREWALL,
    LIVEKIT_SETTINGS,
    SETTINGS,
    UNITS,
    Host,
    firewall_check,
    media_listeners,
    opens_on_demand,
    settings_check,
    tcp_listeners,
    units_check,
)
from .endpoint_livekit import flat_settings, list_at
from .endpoint_service import knocks, media_tcp_check
from .endpoint_site import START_LIVEKIT, Site
from .sockets import listeners
from .symptoms import GHOST, NO_MEDIA, NOTHING, REFUSED

T = TypeVar("T", Check, Outline)
NOT_READY = 406
# What the token service says of a report that nobody signed, by version (lk-jwt-service `/sfu_webhook`).
HEARD = (200, 400, 401)

NO_REDIS = Fault(
    "the node does not reach Redis. Calls that run here go on; nobody can begin or join one",
    "start Redis or open the way to it; the node is ready again by itself, do not restart it",
)
NOT_RUNNING = Fault("LiveKit does not run: rooms cannot be on this node", START_LIVEKIT)
HEALTH = Outline(
    "node_health", "The node's own page", "200 from LiveKit", "host", REFUSED, (NO_REDIS, NOT_RUNNING)
)
WRITE_PORTS = "run site.yml, which writes ports and addresses"
LOOPBACK_ONLY = Fault("the front cannot reach signalling: it is on loopback only", WRITE_PORTS, REFUSED)
EVERY_ADDRESS = Fault("signalling listens on every address", WRITE_PORTS, NOTHING)
NOBODY_LISTENS = Fault("nothing listens on {ports}", WRITE_PORTS)
SOCKETS = Outline(
    "node_sockets",
    "Listening sockets",
    "signalling at the node's own address, media ports for everybody",
    "host",
    NO_MEDIA,
    (LOOPBACK_ONLY, EVERY_ADDRESS, NOBODY_LISTENS),
)
UNHEARD = Fault(
    "the front does not take reports from this node, so nobody learns who left a room here: after a "
    "crash people stay in the call for up to an hour",
    "run site.yml (role nginx_proxy); where the node's packets come from another address than the "
    "inventory knows, set nginx_proxy_sfu_sources to those of all nodes, that one included",
)
WEBHOOK = Outline(
    "node_webhook",
    "Reports to the token service",
    "the token service hears this node, through nginx",
    "leave",
    GHOST,
    (UNHEARD,),
)
SIGNALLING_OPEN = Fault(
    "everybody can try keys on LiveKit's administration, past nginx's limits and without TLS",
    "run site.yml (role livekit), which lets only the front through; look for rules that were flushed",
)
CLOSED = Outline(
    "node_signalling_closed",
    "Signalling port from outside",
    "no connection from here",
    "entrance",
    NOTHING,
    (SIGNALLING_OPEN,),
)


def health_check(site: Site) -> Check:
    """LiveKit runs and has heard of Redis within the last seconds."""
    answer = site.http.request("GET", f"http://127.0.0.1:{site.sfu_port}/")
    if answer.status == 200:
        return HEALTH.ok(answer.summary())
    if answer.status == NOT_READY:
        return HEALTH.fail(answer.summary(), NO_REDIS)
    return HEALTH.fail(answer.summary(), NOT_RUNNING)


def sockets_check(site: Site, host: Host) -> Check:
    """Signalling is on the node's own address and on loopback, and not on every address."""
    found = list(listeners(host.process_folder))
    held = [ip_address(one.address) for one in tcp_listeners(found, site.sfu_port)]
    seen = ", ".join(f"TCP {site.sfu_port} on {address}" for address in held) or "nothing listens"
    wrong, silent = [], []
    if not [address for address in held if not address.is_loopback]:
        wrong.append(LOOPBACK_ONLY)
    if [address for address in held if address.is_unspecified]:
        wrong.append(EVERY_ADDRESS)
    if not opens_on_demand(host) and not media_listeners(site, found):
        silent.append(f"UDP {site.udp_ports}")
    if site.tcp_port and not tcp_listeners(found, site.tcp_port):
        silent.append(f"TCP {site.tcp_port}")
    wrong += [NOBODY_LISTENS] if silent else []
    if wrong:
        return SOCKETS.fail(seen, *wrong, ports=" and ".join(silent))
    return SOCKETS.ok(seen)


def webhook_check(site: Site, host: Host) -> Check:
    """The node reaches the token service, which has to learn who leaves rooms that are here."""
    hooks = list_at(flat_settings(host.read(LIVEKIT_SETTINGS)), "webhook.urls")
    if not hooks:
        return WEBHOOK.skip("no webhook is set; see node_livekit_settings")
    answer = site.http.request("POST", hooks[0], body={})
    if answer.status in HEARD:
        return WEBHOOK.ok(answer.summary())
    return WEBHOOK.fail(answer.summary(), UNHEARD)


def named(node: str, checks: Sequence[Check]) -> list[Check]:
    """The same checks, with the node's name: there may be several."""
    return [replace(check, title=f"{node}: {check.title}" if node else check.title) for check in checks]


def of_node(found: T) -> T:
    """A check of the RTC host, made or not yet, as that of a node."""
    return replace(
        found,
        id=found.id.replace("host_", "node_", 1),
        title=found.title.replace("the RTC host", "the node"),
    )


# The checks of the RTC host that are made on nodes, too.
SHARED = tuple(of_node(outline) for outline in (UNITS, SETTINGS, FIREWALL))


def node_checks(site: Site, host: Host) -> list[Check]:
    """All checks on the node itself, at once."""
    node = replace(host, units=("livekit",))
    return run_jobs(
        (
            lambda: [of_node(units_check(node))],
            lambda: [health_check(site)],
            lambda: [sockets_check(site, node)],
            lambda: [of_node(settings_check(node))],
            lambda: [webhook_check(site, node)],
            lambda: [own_clock_check(NODE_CLOCK, site.http, f"{site.service_url}/healthz", site.domain)],
            lambda: [of_node(firewall_check(site, node, web=False))],
        )
    )


def node_outside_checks(site: Site) -> list[Check]:
    """From outside: media over TCP comes in, signalling does not."""
    return run_jobs((lambda: [media_tcp_check(site)], lambda: [closed_check(site)]))


def closed_check(site: Site) -> Check:
    """Nobody but the front reaches the node's signalling and administration."""
    address = site.media_addresses[0] if site.media_addresses else site.domain
    peer = knocks(site, address, (site.sfu_port,))[site.sfu_port]
    if peer.error:
        return CLOSED.ok(f"{address}:{site.sfu_port} {peer.error}")
    if peer.local:
        return CLOSED.skip("the probe runs on the node itself")
    return CLOSED.fail(f"{address}:{site.sfu_port} answers", SIGNALLING_OPEN)
