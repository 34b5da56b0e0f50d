# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens asked for at the homeserver, which hands the question to the token service behind it.

MSC4195 over MSC4512 (the homeserver asks the service) and MSC4502 (the service asks who is in the room). Each
fault of the wiring has an answer of its own: synapse/http/appservice_proxy.py and lk-jwt-service's handlers.
"""

from __future__ import annotations

from collections.abc import Mapping

from .call_token import SLOT
from .checks import Check, Fault, Outline
from .endpoint_site import NO_ANSWER, Site, unanswered
from .endpoint_token import Access
from .http_client import HttpClient, Response
from .symptoms import NO_WAY_BACK, NOTHING

BASE = "/_matrix/client/unstable/io.element.msc4195/rtc/livekit"
GET_TOKEN, DELEGATE = f"{BASE}/get_token", f"{BASE}/delegate_delayed_leave"
RUN_BOTH = "run site.yml on the hosts of both, which writes the same registration for both and restarts them"
# What is wrong by status and error code ('' for any). Clients that are told of the SFU's url ask nobody else.
FAULTS: Mapping[tuple[int, str], Fault] = {
    (404, "M_UNRECOGNIZED"): Fault(
        "Synapse has no such route: it was not restarted since, a worker that answers reads other settings, "
        "msc4512_enabled is off, or app_service_config_files lacks the registration",
        "run site.yml --tags synapse_config, and restart Synapse's workers",
    ),
    (404, ""): Fault(
        "the proxy in front of Synapse, or of the token service, does not route this path",
        "route everything below /_matrix/client to Synapse; between hosts run site.yml --tags nginx_proxy",
    ),
    (401, ""): Fault(
        "the token service does not know Synapse: its hs_token is another than in Synapse's registration, or "
        "one of the two was not restarted since. Clients may take this for the end of their session",
        RUN_BOTH,
    ),
    (400, "M_INVALID_PARAM"): Fault(
        "the SFU's url that Synapse announces is not LIVEKIT_URL, character by character",
        "set it with matrixrtc_livekit_url alone, and " + RUN_BOTH,
    ),
    (400, ""): Fault(
        "the token service does not find the client API of its own homeserver in the client well-known",
        "see the check well_known_client from the RTC host, or set lk_jwt_service_homeserver_urls",
    ),
    (500, ""): Fault(
        "Synapse does not reach the token service: it is down, or listens elsewhere than the proxy_url in "
        "Synapse's registration says",
        "journalctl -u lk-jwt-service -n 50 says why it is down; else run site.yml --tags synapse_config",
    ),
    (502, ""): Fault(
        "the token service could not ask the homeserver who is in the room: msc4502_enabled is off, its "
        "as_token is another than in Synapse's registration, or it does not reach the client API",
        f"journalctl -u lk-jwt-service says what the homeserver answered; {RUN_BOTH}",
    ),
    (504, ""): Fault(
        "the token service takes longer than the proxy in front of Synapse waits",
        "journalctl -u lk-jwt-service says what it waits for",
    ),
}
WIRING_REFUSED = Fault(
    "the token service refuses what it should not, or another service answers",
    "journalctl -u lk-jwt-service says why",
)
WIRING_FAULTS = (*FAULTS.values(), WIRING_REFUSED, *NO_ANSWER)
ROUTE = Outline(
    "homeserver_route",
    "Token route of the homeserver",
    "401 without an access token: the route is there",
    "token",
    NO_WAY_BACK,
    WIRING_FAULTS,
)
STRANGERS = Fault(
    "the token service gives tokens for rooms that the user is not in",
    "use the version of the token service that this collection installs",
    NOTHING,
)
WIRED = Outline(
    "homeserver_tokens",
    "Token service behind the homeserver",
    "403 for a room that the user is not in",
    "token",
    NO_WAY_BACK,
    (STRANGERS, *WIRING_FAULTS),
)


def seat_body(url: str, room_id: str, member_id: str, **more: str) -> dict[str, object]:
    """What the homeserver wants to know; who asks it knows."""
    return {"url": url, "room_id": room_id, "slot_id": SLOT, "member_id": member_id, **more}


def ask(http: HttpClient, base_url: str, token: str, path: str, body: Mapping[str, object]) -> Response:
    """One request of a user to their homeserver; without a token nobody's."""
    return http.request("POST", base_url.rstrip("/") + path, body, token)


def homeserver_access(answer: Response, url: str) -> Access:
    """The token in an answer, which names no SFU: the client did."""
    jwt = answer.document().get("jwt")
    return Access(url, jwt) if isinstance(jwt, str) else Access()


def error_code(answer: Response) -> str:
    """The error code in an answer, '' without one."""
    return str(answer.document().get("errcode", ""))


def fault(status: int, code: str) -> Fault | None:
    """What is wrong, if the answer is one that a fault of the wiring has."""
    return FAULTS.get((status, code)) or FAULTS.get((status, ""))


def refused_by_homeserver(answer: Response, outline: Outline) -> Check:
    """Why a homeserver that should gives no token."""
    seen = f"{answer.summary()} {answer.text(80)}".strip()
    if answer.error:
        return unanswered(outline, answer)
    return outline.fail(seen, fault(answer.status, error_code(answer)) or WIRING_REFUSED)


def route_check(site: Site, base_url: str) -> Check:
    """The homeserver has the route, and asks everybody who they are."""
    answer = ask(site.http, base_url, "", GET_TOKEN, {})
    if answer.status == 401:
        return ROUTE.ok(answer.summary())
    return refused_by_homeserver(answer, ROUTE)


def wired_check(site: Site, base_url: str, room_id: str) -> Check:
    """The whole way there and back: for a room without the user it ends with the homeserver's own no."""
    body = seat_body(site.livekit_url, room_id, "MATRIXRTCPROBE")
    answer = ask(site.http, base_url, site.access_token, GET_TOKEN, body)
    if answer.status == 403:
        return WIRED.ok(answer.summary())
    if answer.status == 200:
        return WIRED.fail("HTTP 200", STRANGERS)
    return refused_by_homeserver(answer, WIRED)
