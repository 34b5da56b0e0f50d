# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""All checks of a site from outside, in the order in which a client needs things, made at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from .checks import FAIL, WARN, Check, Job, in_turn, run_jobs
from .endpoint_account import account_checks
from .endpoint_announced import nothing_announced
from .endpoint_clock import CLOCK, clock_check
from .endpoint_discovery import (
    ANNOUNCED,
    ROUTE,
    VERSIONS,
    client_document_check,
    server_document_check,
    tls_check,
    transports_check,
    transports_route_check,
    userinfo_check,
    versions_check,
)
from .endpoint_leave import DELEGATION, LEAVES, delegation_check, leave_check
from .endpoint_service import ENDPOINTS, endpoint_check, health_check, ports_check, sfu_checks
from .endpoint_site import Discovery, Site, discover
from .endpoint_wiring import ROUTE as TOKEN_ROUTE
from .endpoint_wiring import route_check

# What the owners of these parts have to set, as the ids of the checks that fail until they have.
OWNERS: Mapping[str, tuple[str, ...]] = {
    "homeserver": (
        "delayed_events",
        "delayed_events_route",
        "homeserver_delegation",
        "transports_route",
        "transports",
        "homeserver_route",
        "homeserver_tokens",
        "well_known_server",
        "openid_userinfo",
        "host_openid_userinfo",
        "host_delayed_leave",
    ),
    "well_known": ("well_known_client",),
}


def awaited(checks: Iterable[Check], owners: Collection[str]) -> list[Check]:
    """The checks, with failures as warnings where it is up to other people to set what they were shown."""
    ids = {check_id for owner in owners for check_id in OWNERS[owner]}
    return [
        replace(check, status=WARN, fix=f"{check.fix}. This is up to its owner; verify.yml fails until then")
        if check.status == FAIL and check.id in ids
        else check
        for check in checks
    ]


def homeserver_checks(site: Site, discovery: Discovery) -> list[Check]:
    """Checks of the client API, which the client well-known leads to."""
    base_url = discovery.base_url
    if not base_url:
        why = "not tried, because the client well-known does not say where the homeserver is"
        wiring = (TOKEN_ROUTE,) if site.behind_homeserver else ()
        return [outline.skip(why) for outline in (VERSIONS, LEAVES, DELEGATION, ROUTE, ANNOUNCED, *wiring)]
    return run_jobs(
        (
            lambda: [tls_check(site, "homeserver", urlsplit(base_url).netloc)],
            lambda: in_turn(
                (
                    (VERSIONS, lambda: versions_check(site, base_url)),
                    (LEAVES, lambda: leave_check(site, base_url)),
                    (DELEGATION, lambda: delegation_check(site, base_url)),
                )
            ),
            lambda: [transports_route_check(site, base_url)],
            lambda: [transports_check(site, base_url)],
            lambda: [route_check(site, base_url)] if site.behind_homeserver else [],
        )
    )


def clock_of_site(site: Site, discovery: Discovery) -> Check:
    """The RTC host and the homeserver agree on the time."""
    if not discovery.base_url:
        return CLOCK.skip("the client well-known does not say where the homeserver is")
    return clock_check(site.http, site.domain, site.service_url, discovery.base_url)


def outside_checks(site: Site) -> list[Check]:
    """Every check that a stranger can make, and with an access token those of a user."""
    discovery = discover(site)
    announcements: tuple[Job, ...] = (
        lambda: [tls_check(site, "server_name", site.server_host)],
        lambda: [client_document_check(site, discovery)],
        lambda: [server_document_check(site, discovery)],
        lambda: homeserver_checks(site, discovery),
        lambda: [userinfo_check(site, discovery)],
    )
    if not site.domain:
        return run_jobs((*announcements, lambda: [nothing_announced(site, discovery)]))
    return run_jobs(
        (
            *announcements,
            lambda: [tls_check(site, "rtc", site.domain)],
            lambda: [health_check(site)],
            *[lambda path=path: [endpoint_check(site, path)] for path in ENDPOINTS],
            lambda: sfu_checks(site),
            lambda: [ports_check(site)],
            lambda: [clock_of_site(site, discovery)],
            lambda: account_checks(site, discovery.base_url or f"https://{site.server_name}"),
        )
    )
