# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""LiveKit tokens as the token service gives or refuses them, and what either means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .call_token import SLOT, TokenError, decode_token, same_url, token_problems
from .checks import FAIL, Check, Fault, Outline
from .endpoint_service import DOUBLED_CORS, SERVICE_DOWN, SFU, sfu_check, token_service_down
from .endpoint_site import NO_ANSWER, Site
from .http_client import Response
from .matrix_client import Account
from .symptoms import NO_SFU, NOTHING, RESTRICTED

UNVERIFIED = Fault(
    "the token service could not verify the user: it does not reach the homeserver's OpenID check, or the "
    "well-known names the wrong host",
    "see the check openid_userinfo; journalctl -u lk-jwt-service names the host it asked",
)
NO_SFU_FOR_ROOM = Fault(
    "the token service could not make the room, because the SFU does not answer: {reason}",
    f"see the check {SFU.id}: {{repair}}",
)
NO_ROOM = Fault(
    "the token service could not make the room although LiveKit runs: its key or secret differs from "
    "LiveKit's, or it may not use LiveKit's admin API through the proxy",
    "run site.yml, which gives both the same pair; look for 401 (wrong secret) or 403 and 404"
    " (blocked /twirp) in journalctl -u lk-jwt-service",
)
TOKEN_NOT_ROUTED = Fault(
    "the proxy does not route this path to the token service", "route it (role nginx_proxy)"
)
TOKEN_REFUSED = Fault("the token service refuses the request", "journalctl -u lk-jwt-service says why")
NO_TOKEN = Fault("something other than the token service answers", "route this path to the token service")
WATCHES_ONLY = Fault(
    "{server_name} is not in the token service's full-access list: its users may watch only, and no room is "
    "made for them",
    "put {server_name} into matrixrtc_full_access_homeservers",
    RESTRICTED,
)
STRANGE_TOKEN = Fault(
    "the token service is of an unknown version, or another service answers. Clients of the same call"
    " would meet in different rooms, or not know each other",
    "use the version of the token service that this collection installs",
    NOTHING,
)
OTHER_SFU = Fault(
    "the token service sends clients to another SFU than {livekit_url}",
    "set LIVEKIT_URL to the SFU's URL (role lk_jwt_service)",
    NO_SFU,
)
TOKEN_FAULTS = (
    UNVERIFIED,
    NO_SFU_FOR_ROOM,
    NO_ROOM,
    TOKEN_NOT_ROUTED,
    TOKEN_REFUSED,
    NO_TOKEN,
    WATCHES_ONLY,
    STRANGE_TOKEN,
    OTHER_SFU,
    DOUBLED_CORS,
    SERVICE_DOWN,
    *NO_ANSWER,
)


@dataclass(frozen=True)
class Access:
    """A LiveKit token and where to use it, both '' when there is none."""

    url: str = ""
    jwt: str = ""


def legacy_request(
    site: Site,
    openid: dict[str, object],
    room_id: str,
    account: Account,
    delay: Mapping[str, object] | None = None,
) -> Response:
    """Ask for a token as compatibility mode does for the own SFU."""
    body = {"room": room_id, "openid_token": openid, "device_id": account.device_id, **(delay or {})}
    return site.http.request("POST", f"{site.service_url}/sfu/get", body)


def member_request(
    site: Site, openid: dict[str, object], room_id: str, account: Account, member_id: str
) -> Response:
    """Ask for a token as Matrix 2.0 mode does."""
    member = {"id": member_id, "claimed_user_id": account.user_id, "claimed_device_id": account.device_id}
    body = {"room_id": room_id, "slot_id": SLOT, "openid_token": openid, "member": member}
    return site.http.request("POST", f"{site.service_url}/get_token", body)


def access_of(answer: Response) -> Access:
    """The token in an answer."""
    document = answer.document()
    url, jwt = document.get("url"), document.get("jwt")
    return Access(url, jwt) if isinstance(url, str) and isinstance(jwt, str) else Access()


class NoAccessError(Exception):
    """The token service gives no token to publish with; the text says what it said."""


def publishing_access(site: Site, openid: dict[str, object], room_id: str, account: Account) -> Access:
    """A token for a room that no homeserver knows of: the service asks for none. Raises NoAccessError."""
    answer = legacy_request(site, openid, room_id, account)
    access = access_of(answer)
    try:
        may_publish = decode_token(access.jwt).can_publish
    except TokenError:
        raise NoAccessError(
            f"The token service gives no token: {answer.summary()} {answer.text(80)}"
        ) from None
    if not may_publish:
        raise NoAccessError(f"{account.user_id} may not publish: its server has no full access.")
    return access


def refused_token(answer: Response, site: Site, outline: Outline) -> Check:
    """Why the token service gave no token; several causes share a status, so the SFU is asked too."""
    down = token_service_down(answer, outline)
    if down:
        return down
    if answer.status == 401:
        return outline.fail(answer.summary(), UNVERIFIED)
    if answer.status >= 500:
        sfu = sfu_check(site) if site.livekit_url else None
        if sfu and sfu.status == FAIL:
            return outline.fail(answer.summary(), NO_SFU_FOR_ROOM, reason=sfu.seen, repair=sfu.fix)
        return outline.fail(answer.summary(), NO_ROOM)
    if answer.status == 404:
        return outline.fail(answer.summary(), TOKEN_NOT_ROUTED)
    return outline.fail(f"{answer.summary()} {answer.text(80)}".strip(), TOKEN_REFUSED)


def token_check(answer: Response, site: Site, room: str, identity: str, outline: Outline) -> Check:
    """Judge an answer of the token service. A restricted user is named as such: a common surprise."""
    if answer.status != 200:
        return refused_token(answer, site, outline)
    # Proxies may add a header to what succeeds alone, which nobody sees without a token.
    count = len(answer.values("Access-Control-Allow-Origin"))
    if count > 1:
        return outline.fail(
            f"200 with {count} CORS headers", DOUBLED_CORS, method="the token's answer", count=count
        )
    return access_check(access_of(answer), site, room, identity, outline)


def access_check(access: Access, site: Site, room: str, identity: str, outline: Outline) -> Check:
    """Judge what the token service gave, or the homeserver before it."""
    try:
        token = decode_token(access.jwt)
    except TokenError as error:
        return outline.fail(f"200, but {error}", NO_TOKEN)
    if not token.can_publish:
        return outline.fail("canPublish is false", WATCHES_ONLY, server_name=site.server_name)
    wrong = token_problems(token, room, identity)
    if wrong:
        return outline.fail("; ".join(wrong), STRANGE_TOKEN)
    if site.livekit_url and not same_url(access.url, site.livekit_url):
        return outline.fail(f"url is {access.url}", OTHER_SFU, livekit_url=site.livekit_url)
    return outline.ok(f"publish and receive, {token.expires - token.not_before} s, {access.url}")
