# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the RTC host from outside: token endpoints, routes to the SFU, and what must stay closed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

from .checks import Check, Outline, in_turn
from .endpoint_site import NO_ACCESS, NO_SFU, START_LIVEKIT, START_SERVICE, Site, no_connection
from .http_client import Response

GATEWAY = (502, 503, 504)
CLOSED_TIMEOUT = 1.5  # seconds; a port that a firewall drops never answers
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "bWF0cml4cnRjLXByb2JlIQ==",
}
ADMIN_PATH = "/twirp/livekit.RoomService/ListRooms"

# The checks' ids by path.
ENDPOINTS = {
    "/sfu/get": "token_sfu_get",
    "/get_token": "token_get_token",
    "/delegate_delayed_leave": "token_delegate_leave",
}

HEALTH = Outline("token_health", "Token service", "200 from /healthz")
SFU = Outline("sfu_validate", "SFU behind the proxy", "401 from /rtc/validate without a token")
WEBSOCKET = Outline(
    "sfu_websocket", "Websocket to the SFU", "401 for an upgrade on /rtc and /rtc/v1 without a token"
)
ADMIN = Outline("sfu_admin_closed", "Admin API of the SFU", "403 or 404 from outside")
PORTS = Outline("ports_closed", "Internal ports", "no connection from outside")
MEDIA_TCP = Outline("media_tcp_port", "TCP port for media", "a connection")


def token_service_down(answer: Response, outline: Outline) -> Check | None:
    """The failure when the token service was not reached at all, or None."""
    host = urlsplit(answer.url).netloc
    if answer.error:
        cause, fix = no_connection(answer.error, answer.detail, host)
        return outline.fail(answer.summary(), f"{cause}. {NO_ACCESS}", fix)
    if answer.status in GATEWAY:
        return outline.fail(
            answer.summary(),
            "the token service is not running: the proxy has nobody to ask. " + NO_ACCESS,
            START_SERVICE,
        )
    return None


def health_check(site: Site) -> Check:
    """The token service runs and its prefix leads to it."""
    answer = site.http.request("GET", f"{site.service_url}/healthz")
    if answer.status == 200 and not answer.body.lstrip().startswith(b"<"):
        return HEALTH.ok(answer.summary())
    return token_service_down(answer, HEALTH) or HEALTH.fail(
        answer.summary() + (f": {answer.text(40)}" if answer.body else ""),
        "the proxy does not route this path to the token service, or keeps the prefix. " + NO_ACCESS,
        f"send {urlsplit(site.service_url).path}/ to the token service without the prefix (role nginx_proxy)",
    )


def endpoint_check(site: Site, path: str) -> Check:
    """One of the token service's endpoints: methods, errors, and exactly one CORS header."""
    outline = Outline(
        ENDPOINTS[path],
        f"Token endpoint {path}",
        "GET 405, OPTIONS 200, POST {} 400 M_BAD_JSON, one CORS header",
    )
    url = site.service_url + path
    get, options = site.http.request("GET", url), site.http.request("OPTIONS", url)
    post = site.http.request("POST", url, body={})
    down = token_service_down(post, outline)
    if down:
        return down
    seen = f"GET {get.status}, OPTIONS {options.status}, POST {post.summary()}"
    problem = endpoint_problem(get, options, post)
    if not problem:
        return outline.ok(seen)
    cause, fix = problem
    if path == "/delegate_delayed_leave" and post.status == get.status == 404:
        return outline.warn(
            seen,
            "this path does not lead to the token service: leaves cannot be delegated, so a phone that "
            "goes to sleep drops out of the call after 18 s",
            fix,
        )
    if path == "/delegate_delayed_leave":
        cause += (
            ". Element Call takes anything but a 404 for support and then schedules its leave an hour ahead"
        )
    else:
        cause += f". {NO_ACCESS}"
    return outline.fail(seen, cause, fix)


def endpoint_problem(get: Response, options: Response, post: Response) -> tuple[str, str] | None:
    """Cause and fix of what an endpoint answers, or None when it is right."""
    for name, answer in (("OPTIONS", options), ("POST", post)):
        origins = answer.values("Access-Control-Allow-Origin")
        if len(origins) > 1:
            return (
                (
                    f"{name} carries {len(origins)} Access-Control-Allow-Origin headers: the proxy adds one"
                    " to the token service's own, and browsers reject the pair"
                ),
                "remove add_header Access-Control-* from the location of the token service",
            )
    if post.status == 404 or options.status == 404:
        return (
            "the proxy does not route this path, or does not strip the prefix",
            "route the path to the token service without the prefix (role nginx_proxy)",
        )
    if post.status != 400 or post.document().get("errcode") != "M_BAD_JSON":
        return (
            (
                "something other than the token service answers this path, such as a web app's catch-all, or"
                f" a filter refuses POST ({post.summary()})"
            ),
            "route the path to the token service (role nginx_proxy)",
        )
    if options.status not in (200, 204):
        return (
            "the proxy or a filter answers OPTIONS itself, so browsers do not even send the request",
            "pass OPTIONS through to the token service",
        )
    if "*" not in options.values("Access-Control-Allow-Origin") or "*" not in post.values(
        "Access-Control-Allow-Origin"
    ):
        return (
            "the CORS header is missing, so web clients may not read the answer",
            "let the token service's own headers pass; do not hide them in the proxy",
        )
    if get.status != 405:
        return (
            f"GET is answered with {get.status}: something other than the token service answers this path",
            "route the path to the token service (role nginx_proxy)",
        )
    return None


def sfu_failure(answer: Response, outline: Outline) -> Check | None:
    """The failure when the SFU was not reached, or None."""
    if answer.error:
        cause, fix = no_connection(answer.error, answer.detail, urlsplit(answer.url).netloc)
        return outline.fail(answer.summary(), f"{cause}. {NO_SFU}", fix)
    if answer.status in GATEWAY:
        return outline.fail(
            answer.summary(),
            "LiveKit is not running (or not where the proxy looks for it): the proxy has nobody "
            f"to ask. Users get no token either. {NO_ACCESS}",
            START_LIVEKIT,
        )
    return None


def sfu_check(site: Site) -> Check:
    """LiveKit answers behind the proxy."""
    answer = site.http.request("GET", f"{site.sfu_http_url}/rtc/validate")
    if answer.status == 401:
        return SFU.ok(f"{answer.summary()} in {answer.seconds * 1000:.0f} ms")
    return sfu_failure(answer, SFU) or SFU.fail(
        answer.summary(),
        f"the proxy does not route this path to LiveKit, or keeps the prefix. {NO_SFU}",
        f"send {urlsplit(site.livekit_url).path}/rtc to LiveKit without the prefix (role nginx_proxy)",
    )


def websocket_check(site: Site) -> Check:
    """The proxy passes websocket upgrades on to LiveKit, on the current and on the older path."""
    current, older = (
        site.http.request("GET", site.sfu_http_url + path, headers=UPGRADE) for path in ("/rtc/v1", "/rtc")
    )
    seen = f"/rtc/v1 {current.summary()}, /rtc {older.summary()}"
    if older.status == 401 and current.status == 401:
        return WEBSOCKET.ok(seen)
    if older.status == 401:
        return WEBSOCKET.warn(
            seen,
            "/rtc/v1 is not routed, so clients lose time before they try the older path; LiveKit before "
            "1.9.10 breaks current web clients",
            "route /rtc/v1 too, and update LiveKit",
        )
    return sfu_failure(older, WEBSOCKET) or WEBSOCKET.fail(
        seen,
        "the proxy does not pass the websocket upgrade on (LiveKit answers 404 to a plain request). "
        'Element Call then says "Failed to connect to Livekit server (Reason: ServerUnreachable)"',
        "set proxy_http_version 1.1 and the Upgrade and Connection headers for /rtc (role nginx_proxy)",
    )


def admin_check(site: Site) -> Check:
    """The SFU's admin API is not for the public."""
    answer = site.http.request("POST", site.sfu_http_url + ADMIN_PATH, body={})
    if answer.local and answer.status == 401:
        return ADMIN.skip("the probe runs on the RTC host itself, which may use it")
    if answer.status in (403, 404):
        return ADMIN.ok(answer.summary())
    return ADMIN.fail(
        answer.summary(),
        "everybody may try keys on LiveKit's admin API (rooms, participants, recordings)",
        "allow /twirp/ only from the RTC host's own addresses (role nginx_proxy)",
    )


def sfu_checks(site: Site) -> list[Check]:
    """All checks of the SFU's routes; when LiveKit does not answer the rest is not tried."""
    return in_turn(
        (
            (SFU, lambda: sfu_check(site)),
            (WEBSOCKET, lambda: websocket_check(site)),
            (ADMIN, lambda: admin_check(site)),
            (MEDIA_TCP, lambda: media_tcp_check(site)),
        )
    )


def ports_check(site: Site) -> Check:
    """LiveKit's and the token service's own ports are not reachable from outside."""
    http = replace(site.http, timeout=min(site.http.timeout, CLOSED_TIMEOUT))
    ports = (site.sfu_port, site.token_service_port)
    with ThreadPoolExecutor(max_workers=len(ports)) as pool:
        peers = list(pool.map(lambda port: (port, http.opens(site.domain, port)), ports))
    opened = [str(port) for port, peer in peers if not peer.error]
    if not opened:
        return PORTS.ok(", ".join(f"{port} {peer.error}" for port, peer in peers))
    if any(peer.local for _port, peer in peers):
        return PORTS.skip("the probe runs on the RTC host itself")
    return PORTS.fail(
        f"TCP {', '.join(opened)} open",
        "LiveKit or the token service listens on every address and the firewall "
        "lets it through, so the proxy's limits and TLS are bypassed",
        "bind both to 127.0.0.1 (the roles' default) and close the ports",
    )


def media_tcp_check(site: Site) -> Check:
    """The SFU's port for media over TCP can be reached."""
    host = site.media_addresses[0] if site.media_addresses else site.domain
    if not site.tcp_port:
        return MEDIA_TCP.skip("media over TCP is switched off")
    outline = replace(MEDIA_TCP, expected=f"a connection to TCP {site.tcp_port} of {host}")
    peer = site.http.opens(host, site.tcp_port)
    if not peer.error:
        return outline.ok(f"{peer.address} answers")
    return outline.fail(
        f"{peer.error}: {peer.detail}",
        f"TCP {site.tcp_port} is closed on the way to the SFU. Users whose network blocks UDP cannot join",
        f"open TCP {site.tcp_port} (role firewall) in every firewall "
        "on the way, and forward it to the RTC host if it is behind NAT",
    )
