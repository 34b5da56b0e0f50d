# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the RTC host from outside: token endpoints, routes to the SFU, and what must stay closed."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

from .checks import Check, Fault, Outline, in_turn
from .endpoint_site import NO_ANSWER, START_LIVEKIT, START_SERVICE, Site, unanswered
from .http_client import Peer, Response
from .symptoms import GHOST, NO_ACCESS, NO_SFU, NOTHING, REFUSED, SHORT_LEAVE, SOME_NO_MEDIA

GATEWAY = (502, 503, 504)
# A port that a firewall drops never answers. Attempts side by side stand for TCP's own repetition of a lost
# packet, which comes after 1 s.
CLOSED_TIMEOUT = 0.75  # seconds
CLOSED_ATTEMPTS = 2
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "bWF0cml4cnRjLXByb2JlIQ==",
}
ADMIN_PATH = "/twirp/livekit.RoomService/ListRooms"
UNKNOWN_PORTS = "nobody said which ports this site has; users are told: set matrixrtc_probe_users"


SERVICE_DOWN = Fault("the token service is not running: the proxy has nobody to ask", START_SERVICE)
SERVICE_NOT_ROUTED = Fault(
    "the proxy does not route this path to the token service, or keeps the prefix",
    "send {path}/ to the token service without the prefix (role nginx_proxy)",
)
HEALTH = Outline(
    "token_health",
    "Token service",
    "200 from /healthz",
    "token",
    NO_ACCESS,
    (SERVICE_DOWN, SERVICE_NOT_ROUTED, *NO_ANSWER),
)

DOUBLED_CORS = Fault(
    "{method} carries {count} Access-Control-Allow-Origin headers: the proxy adds one to the token "
    "service's own, and browsers reject the pair",
    "remove add_header Access-Control-* from the location of the token service",
    NO_ACCESS,
)
PATH_NOT_ROUTED = Fault(
    "the proxy does not route this path, or does not strip the prefix",
    "route the path to the token service without the prefix (role nginx_proxy)",
)
SOMEBODY_ELSE = Fault(
    "something other than the token service answers this path, such as a web app's catch-all, or a filter "
    "refuses POST",
    "route the path to the token service (role nginx_proxy)",
)
NO_OPTIONS = Fault(
    "the proxy or a filter answers OPTIONS itself, so browsers do not even send the request",
    "pass OPTIONS through to the token service",
)
NO_CORS = Fault(
    "the CORS header is missing, so web clients may not read the answer",
    "let the token service's own headers pass; do not hide them in the proxy",
)
WRONG_GET = Fault(
    "GET is answered with {status}: something other than the token service answers this path",
    SOMEBODY_ELSE.fix,
)
NO_DELEGATION = Fault(
    "this path does not lead to the token service: leaves cannot be delegated, so a phone that "
    "goes to sleep drops out of the call after 18 s",
    PATH_NOT_ROUTED.fix,
    SHORT_LEAVE,
)
# Besides what is wrong with the path itself.
SEEMS_SUPPORTED = Fault(
    "Element Call takes anything but a 404 for support and then schedules its leave an hour ahead",
    SOMEBODY_ELSE.fix,
    GHOST,
)
ENDPOINT_FAULTS = (
    SERVICE_DOWN,
    DOUBLED_CORS,
    PATH_NOT_ROUTED,
    SOMEBODY_ELSE,
    NO_OPTIONS,
    NO_CORS,
    WRONG_GET,
    *NO_ANSWER,
)
DELEGATION = "/delegate_delayed_leave"
ENDPOINTS = {
    path: Outline(
        check_id,
        f"Token endpoint {path}",
        "GET 405, OPTIONS 200, POST {} 400 M_BAD_JSON, one CORS header",
        leg,
        shows,
        (*ENDPOINT_FAULTS, *more),
    )
    for path, check_id, leg, shows, more in (
        ("/sfu/get", "token_sfu_get", "token", NO_ACCESS, ()),
        ("/get_token", "token_get_token", "token", NO_ACCESS, ()),
        (DELEGATION, "token_delegate_leave", "leave", GHOST, (NO_DELEGATION, SEEMS_SUPPORTED)),
    )
}

SFU_DOWN = Fault(
    "LiveKit is not running (or not where the proxy looks for it): the proxy has nobody to ask. Users get no "
    "token either",
    START_LIVEKIT,
    REFUSED,
)
SFU_NOT_ROUTED = Fault(
    "the proxy does not route this path to LiveKit, or keeps the prefix",
    "send {path}/rtc to LiveKit without the prefix (role nginx_proxy)",
)
SFU = Outline(
    "sfu_validate",
    "SFU behind the proxy",
    "401 from /rtc/validate without a token",
    "signalling",
    NO_SFU,
    (SFU_DOWN, SFU_NOT_ROUTED, *NO_ANSWER),
)
NO_CURRENT_PATH = Fault(
    "/rtc/v1 is not routed, so clients lose time before they try the older path; LiveKit before "
    "1.9.10 breaks current web clients",
    "route /rtc/v1 too, and update LiveKit",
    NOTHING,
)
NO_UPGRADE = Fault(
    "the proxy does not pass the websocket upgrade on, as with HTTP/1.0 to LiveKit (which answers 404 to a "
    "plain request)",
    "set proxy_http_version 1.1 and the Upgrade and Connection headers for /rtc (role nginx_proxy)",
)
WEBSOCKET = Outline(
    "sfu_websocket",
    "Websocket to the SFU",
    "401 for an upgrade on /rtc and /rtc/v1 without a token",
    "signalling",
    NO_SFU,
    (NO_UPGRADE, NO_CURRENT_PATH, SFU_DOWN, *NO_ANSWER),
)
ADMIN_OPEN = Fault(
    "everybody may try keys on LiveKit's admin API (rooms, participants, recordings)",
    "allow /twirp/ only from the RTC host's own addresses (role nginx_proxy)",
)
ADMIN = Outline(
    "sfu_admin_closed", "Admin API of the SFU", "403 or 404 from outside", "entrance", NOTHING, (ADMIN_OPEN,)
)
PORTS_OPEN = Fault(
    "LiveKit or the token service listens on every address and the firewall "
    "lets it through, so the proxy's limits and TLS are bypassed",
    "bind both to 127.0.0.1 (the roles' default) and close the ports",
)
PORTS = Outline(
    "ports_closed", "Internal ports", "no connection from outside", "entrance", NOTHING, (PORTS_OPEN,)
)
TCP_CLOSED = Fault(
    "TCP {port} is closed on the way to the SFU. Users whose network blocks UDP cannot join",
    "open TCP {port} (role firewall) in every firewall on the way, and forward it to the RTC host if it is "
    "behind NAT",
)
MEDIA_TCP = Outline(
    "media_tcp_port", "TCP port for media", "a connection", "media", SOME_NO_MEDIA, (TCP_CLOSED,)
)


def token_service_down(answer: Response, outline: Outline) -> Check | None:
    """The failure when the token service was not reached at all, or None."""
    if answer.error:
        return unanswered(outline, answer)
    if answer.status in GATEWAY:
        return outline.fail(answer.summary(), SERVICE_DOWN)
    return None


def health_check(site: Site) -> Check:
    """The token service runs and its prefix leads to it."""
    answer = site.http.request("GET", f"{site.service_url}/healthz")
    if answer.status == 200 and not answer.body.lstrip().startswith(b"<"):
        return HEALTH.ok(answer.summary())
    return token_service_down(answer, HEALTH) or HEALTH.fail(
        answer.summary() + (f": {answer.text(40)}" if answer.body else ""),
        SERVICE_NOT_ROUTED,
        path=urlsplit(site.service_url).path,
    )


def endpoint_check(site: Site, path: str) -> Check:
    """One of the token service's endpoints: methods, errors, and exactly one CORS header."""
    outline = ENDPOINTS[path]
    url = site.service_url + path
    get, options = site.http.request("GET", url), site.http.request("OPTIONS", url)
    post = site.http.request("POST", url, body={})
    down = token_service_down(post, outline)
    if down:
        return down
    seen = f"GET {get.status}, OPTIONS {options.status}, POST {post.summary()}"
    if path == DELEGATION and post.status == get.status == 404:
        return outline.warn(seen, NO_DELEGATION)
    more = (SEEMS_SUPPORTED,) if path == DELEGATION else ()
    for method, answer in (("OPTIONS", options), ("POST", post)):
        count = len(answer.values("Access-Control-Allow-Origin"))
        if count > 1:
            return outline.fail(seen, DOUBLED_CORS, *more, method=method, count=count)
    fault = endpoint_fault(get, options, post)
    return outline.fail(seen, fault, *more, status=get.status) if fault else outline.ok(seen)


def endpoint_fault(get: Response, options: Response, post: Response) -> Fault | None:
    """What is wrong with an endpoint's answers, if anything."""
    if post.status == 404 or options.status == 404:
        return PATH_NOT_ROUTED
    if post.status != 400 or post.document().get("errcode") != "M_BAD_JSON":
        return SOMEBODY_ELSE
    if options.status not in (200, 204):
        return NO_OPTIONS
    if not all("*" in answer.values("Access-Control-Allow-Origin") for answer in (options, post)):
        return NO_CORS
    return WRONG_GET if get.status != 405 else None


def sfu_failure(answer: Response, outline: Outline) -> Check | None:
    """The failure when the SFU was not reached, or None."""
    if answer.error:
        return unanswered(outline, answer)
    if answer.status in GATEWAY:
        return outline.fail(answer.summary(), SFU_DOWN)
    return None


def sfu_check(site: Site) -> Check:
    """LiveKit answers behind the proxy."""
    answer = site.http.request("GET", f"{site.sfu_http_url}/rtc/validate")
    if answer.status == 401:
        return SFU.ok(f"{answer.summary()} in {answer.seconds * 1000:.0f} ms")
    path = urlsplit(site.livekit_url).path
    return sfu_failure(answer, SFU) or SFU.fail(answer.summary(), SFU_NOT_ROUTED, path=path)


def websocket_check(site: Site) -> Check:
    """The proxy passes websocket upgrades on to LiveKit, on the current and on the older path."""
    current, older = (
        site.http.request("GET", site.sfu_http_url + path, headers=UPGRADE) for path in ("/rtc/v1", "/rtc")
    )
    seen = f"/rtc/v1 {current.summary()}, /rtc {older.summary()}"
    if older.status == 401 and current.status == 401:
        return WEBSOCKET.ok(seen)
    if older.status == 401:
        return WEBSOCKET.warn(seen, NO_CURRENT_PATH)
    return sfu_failure(older, WEBSOCKET) or WEBSOCKET.fail(seen, NO_UPGRADE)


def admin_check(site: Site) -> Check:
    """The SFU's admin API is not for the public."""
    answer = site.http.request("POST", site.sfu_http_url + ADMIN_PATH, body={})
    if answer.local and answer.status == 401:
        return ADMIN.skip("the probe runs on the RTC host itself, which may use it")
    if answer.status in (403, 404):
        return ADMIN.ok(answer.summary())
    return ADMIN.fail(answer.summary(), ADMIN_OPEN)


def sfu_checks(site: Site) -> list[Check]:
    """All checks of the SFU's routes; when LiveKit does not answer the rest is not tried."""
    if not site.livekit_url:
        why = "where the SFU is, users are told: set matrixrtc_probe_users or matrixrtc_livekit_url"
        return [outline.skip(why) for outline in (SFU, WEBSOCKET, ADMIN, MEDIA_TCP)]
    return in_turn(
        (
            (SFU, lambda: sfu_check(site)),
            (WEBSOCKET, lambda: websocket_check(site)),
            (ADMIN, lambda: admin_check(site)),
            (MEDIA_TCP, lambda: media_tcp_check(site)),
        )
    )


def knocks(site: Site, host: str, ports: Iterable[int]) -> dict[int, Peer]:
    """How a connection to each port ended that should not come about: the one that was let in, if any was."""
    http = replace(site.http, timeout=min(site.http.timeout, CLOSED_TIMEOUT))
    attempts = [port for port in ports for _attempt in range(CLOSED_ATTEMPTS)]
    with ThreadPoolExecutor(max_workers=len(attempts)) as pool:
        ended = list(pool.map(lambda port: (port, http.opens(host, port)), attempts))
    peers: dict[int, Peer] = {}
    for port, peer in ended:
        if port not in peers or peers[port].error:
            peers[port] = peer
    return peers


def ports_check(site: Site) -> Check:
    """LiveKit's and the token service's own ports are not reachable from outside."""
    if not site.knows_ports:
        return PORTS.skip(UNKNOWN_PORTS)
    peers = knocks(site, site.domain, (site.sfu_port, site.token_service_port))
    opened = [str(port) for port, peer in peers.items() if not peer.error]
    if not opened:
        return PORTS.ok(", ".join(f"{port} {peer.error}" for port, peer in peers.items()))
    if any(peer.local for peer in peers.values()):
        return PORTS.skip("the probe runs on the RTC host itself")
    return PORTS.fail(f"TCP {', '.join(opened)} open", PORTS_OPEN)


def media_tcp_check(site: Site) -> Check:
    """The SFU's port for media over TCP can be reached."""
    if not site.knows_ports:
        return MEDIA_TCP.skip(UNKNOWN_PORTS)
    host = site.media_addresses[0] if site.media_addresses else site.domain
    if not site.tcp_port:
        return MEDIA_TCP.skip("media over TCP is switched off")
    outline = replace(MEDIA_TCP, expected=f"a connection to TCP {site.tcp_port} of {host}")
    peer = site.http.opens(host, site.tcp_port)
    if not peer.error:
        return outline.ok(f"{peer.address} answers")
    return outline.fail(f"{peer.error}: {peer.detail}", TCP_CLOSED, port=site.tcp_port)
