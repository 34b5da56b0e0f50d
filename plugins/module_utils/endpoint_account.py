# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that need an account: the token that a user gets, and whether the SFU's own addresses answer."""

from __future__ import annotations

from .call_token import legacy_identity, livekit_room, member_identity
from .checks import FAIL, Check, Fault, Outline, in_turn, timed
from .endpoint_media import STUN, TCP, UDP, media_checks
from .endpoint_site import Site
from .endpoint_token import TOKEN_FAULTS, Access, access_of, legacy_request, member_request, token_check
from .endpoint_wiring import WIRED, wired_check
from .matrix_client import Account, MatrixClient, MatrixError
from .symptoms import NOTHING, REFUSED

ACCESS_REFUSED = Fault(
    "the homeserver does not take the access token of the first probe user",
    "put a valid token into matrixrtc_probe_users, and see that the homeserver runs",
)
ACCESS = Outline(
    "account_access",
    "Access token",
    "a token of a user of this server",
    "identity",
    NOTHING,
    (ACCESS_REFUSED,),
)
TOKEN = Outline(
    "account_token",
    "LiveKit token for a user",
    "a token to join and publish, and our SFU's URL",
    "token",
    REFUSED,
    TOKEN_FAULTS,
)
DEVICE = "MATRIXRTCPROBE"


class AccountProbe:
    """The checks of one access token, in turn. The SFU keeps the empty room it makes for five minutes."""

    def __init__(self, site: Site, base_url: str) -> None:
        self.site = site
        self.client = MatrixClient(base_url, site.access_token, site.http)
        self.room_id = (  # the token service does not look whether it exists
            f"!matrixrtc-probe:{site.server_name}"
        )
        self.account = Account("", "")
        self.openid: dict[str, object] = {}
        self.access = Access()

    def access_check(self) -> Check:
        """The homeserver takes the token."""
        try:
            found = self.client.whoami()
            self.openid = self.client.openid_token(found.user_id)
        except MatrixError as error:
            return ACCESS.fail(str(error), ACCESS_REFUSED)
        self.account = Account(found.user_id, found.device_id or DEVICE)
        return ACCESS.ok(found.user_id)

    def wired_check(self) -> Check:
        """The homeserver asks the token service, and that asks back."""
        return wired_check(self.site, self.client.base_url, self.room_id)

    def token_check(self) -> Check:
        """Both token endpoints give a token that allows to publish in the same room."""
        account = self.account
        room = livekit_room(self.room_id)
        answer = legacy_request(self.site, self.openid, self.room_id, account)
        check = token_check(
            answer, self.site, room, legacy_identity(account.user_id, account.device_id), TOKEN
        )
        if check.status == FAIL:
            return check
        answer = member_request(self.site, self.openid, self.room_id, account, DEVICE)
        self.access = access_of(answer)
        identity = member_identity(account.user_id, account.device_id, DEVICE)
        return token_check(answer, self.site, room, identity, TOKEN)


def account_checks(site: Site, base_url: str) -> list[Check]:
    """Everything that one access token allows to check."""
    media = (UDP, TCP, STUN)
    if not site.access_token:
        return [
            outline.skip("needs an access token: set matrixrtc_probe_users")
            for outline in (ACCESS, *((WIRED,) if site.behind_homeserver else ()), TOKEN, *media)
        ]
    probe = AccountProbe(site, base_url)
    wiring = ((WIRED, probe.wired_check),) if site.behind_homeserver else ()
    checks = in_turn(((ACCESS, probe.access_check), *wiring, (TOKEN, probe.token_check)))
    broken = next((check.id for check in checks if check.status == FAIL), "")
    if broken:
        return [*checks, *[outline.skip(f"not tried, because {broken} failed") for outline in media]]
    return [*checks, *timed(lambda: media_checks(site, probe.access))]
