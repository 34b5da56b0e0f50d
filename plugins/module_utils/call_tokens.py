# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The token requests of a call: both users ask both endpoints, as clients do for own and for foreign SFUs.

Where the token service stands behind the homeserver they ask that as well, and talk with its tokens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from .call_room import Caller, both
from .call_token import homeserver_identity, legacy_identity, livekit_room, member_identity
from .checks import FAIL, Check, Fault, Outline
from .endpoint_site import Site
from .endpoint_token import (
    TOKEN_FAULTS,
    Access,
    access_check,
    access_of,
    legacy_request,
    member_request,
    token_check,
)
from .endpoint_wiring import (
    DELEGATE,
    GET_TOKEN,
    WIRING_FAULTS,
    homeserver_access,
    refused_by_homeserver,
    seat_body,
)
from .endpoint_wiring import ask as wiring_ask
from .matrix_client import MatrixError
from .symptoms import REFUSED

NO_OPENID = Fault("the homeserver gives out no OpenID token", "see that Synapse runs")
TOKENS = Outline(
    "call_tokens",
    "Tokens from both endpoints",
    "for both users from /sfu/get and /get_token",
    "token",
    REFUSED,
    tuple(dict.fromkeys((NO_OPENID, *TOKEN_FAULTS, *WIRING_FAULTS))),
)

BEHIND = ", and from the homeserver"


@dataclass(frozen=True)
class Ticket:
    """One request: of /get_token for a member, or of /sfu/get when `member_id` is ''.

    `delay` are the fields with which a client hands its leave to the token service. `behind`: ask the
    homeserver for the member's token.
    """

    caller: Caller
    member_id: str = ""
    delay: Mapping[str, object] = field(default_factory=dict)
    behind: bool = False

    @property
    def identity(self) -> str:
        """Who the token's owner is to the SFU."""
        account = self.caller.account
        if not self.member_id:
            return legacy_identity(account.user_id, account.device_id)
        if self.behind:
            return homeserver_identity(account.user_id, self.member_id)
        return member_identity(account.user_id, account.device_id, self.member_id)


@dataclass(frozen=True)
class Tickets:
    """The tokens in the order of their requests, all of them `seconds` after `started` (time.monotonic())."""

    check: Check
    access: tuple[Access, ...]
    started: float
    seconds: float


def own_member_id(caller: Caller) -> str:
    """The member id that Element Call uses in compatibility mode."""
    return legacy_identity(caller.account.user_id, caller.account.device_id)


def ask(site: Site, room_id: str, openid: dict[str, object], ticket: Ticket) -> tuple[Check, Access]:
    """Make one request and judge what comes."""
    account = ticket.caller.account
    if ticket.behind:
        return ask_homeserver(site, room_id, ticket)
    if ticket.member_id:
        answer = member_request(site, openid, room_id, account, ticket.member_id)
    else:
        answer = legacy_request(site, openid, room_id, account, ticket.delay)
    return token_check(answer, site, livekit_room(room_id), ticket.identity, TOKENS), access_of(answer)


def ask_homeserver(site: Site, room_id: str, ticket: Ticket) -> tuple[Check, Access]:
    """The same at the homeserver, where a leave is handed over in a request of its own."""
    client = ticket.caller.client
    body = seat_body(site.livekit_url, room_id, ticket.member_id)
    answer = wiring_ask(site.http, client.base_url, client.token, GET_TOKEN, body)
    if answer.status != 200:
        return refused_by_homeserver(answer, TOKENS), Access()
    access = homeserver_access(answer, site.livekit_url)
    if ticket.delay:
        body["delay_id"] = ticket.delay["delay_id"]
        handed = wiring_ask(site.http, client.base_url, client.token, DELEGATE, body)
        if handed.status != 200:
            return refused_by_homeserver(handed, TOKENS), Access()
    return access_check(access, site, livekit_room(room_id), ticket.identity, TOKENS), access


def ask_all(site: Site, room_id: str, callers: Sequence[Caller], tickets: Sequence[Ticket]) -> Tickets:
    """Get an OpenID token for every caller, then all LiveKit tokens at once, for further sessions too."""
    start = time.monotonic()
    openids: dict[str, dict[str, object]] = {}

    def identify(caller: Caller) -> None:
        openids[caller.account.user_id] = caller.client.openid_token(caller.account.user_id)

    try:
        both(identify, callers)
    except MatrixError as error:
        refusal = TOKENS.fail(str(error), NO_OPENID)
        return Tickets(refusal, (), start, time.monotonic() - start)
    expected = replace(TOKENS, expected=f"{TOKENS.expected}{BEHIND if site.behind_homeserver else ''}")
    with ThreadPoolExecutor(max_workers=len(tickets)) as pool:
        done = list(
            pool.map(lambda one: ask(site, room_id, openids[one.caller.account.user_id], one), tickets)
        )
    failed = next((check for check, _access in done if check.status == FAIL), None)
    check = failed or expected.ok(f"{len(done)} tokens, each to {done[0][0].seen}")
    return Tickets(check, tuple(access for _check, access in done), start, time.monotonic() - start)
