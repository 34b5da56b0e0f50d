# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Where the token service and the SFU of a site are that nobody described: what the site itself announces.

The homeserver tells its users, the client well-known tells everybody. Neither says where the SFU is, unless
clients ask the homeserver for tokens; the token service does, to those who get a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from .checks import Check, Fault, Outline
from .endpoint_service import GATEWAY
from .endpoint_site import FOCI, SERVICE_URL, Discovery, Site, discover, livekit_urls
from .endpoint_token import access_of, legacy_request
from .homeserver_kinds import HOMESERVER, STANDALONE
from .matrix_client import TRANSPORTS, Account, MatrixClient, MatrixError
from .symptoms import NO_TRANSPORT, NOTHING

USUAL_PATHS = ("/livekit/sfu", "")  # this collection's and most guides', and that of a host with nothing else
ROOM, DEVICE = "!matrixrtc-probe", "MATRIXRTCPROBE"

NOT_ANNOUNCED = Fault(
    "neither the client well-known of {server_name} nor its homeserver announces an SFU: calls were never "
    "set up here, or their announcement is lost",
    "deploy the backend with site.yml; to look at an SFU that is not announced yet, set matrixrtc_domain",
)
ONLY_TO_USERS = Fault(
    "the client well-known of {server_name} announces no SFU. Its homeserver has the endpoint for "
    "transports, and tells its users only",
    "put an account of {server_name} into matrixrtc_probe_users, or set matrixrtc_domain",
    NOTHING,
)
ANNOUNCEMENT = Outline(
    "announcement",
    "Announcement of an SFU",
    "a livekit entry in the client well-known, or from the homeserver",
    "announcement",
    NO_TRANSPORT,
    (NOT_ANNOUNCED, ONLY_TO_USERS),
)


@dataclass(frozen=True)
class Announced:
    """What a site announces, '' for nothing."""

    service_url: str = ""
    livekit_url: str = ""
    behind_homeserver: bool = False

    @property
    def domain(self) -> str:
        """The host of the token service, with its port if that is unusual."""
        return urlsplit(self.service_url).netloc

    def as_options(self) -> dict[str, str]:
        """The same as modules take it."""
        return {
            "domain": self.domain,
            "livekit_service_url": self.service_url,
            "livekit_url": self.livekit_url,
            "token_service_mode": HOMESERVER if self.behind_homeserver else STANDALONE,
        }


def find(site: Site) -> Announced:
    """What a site announces, on its `domain` alone if it has one; its URLs are taken as they are if given."""
    discovery = discover(site)
    entry = next((one for one in entries(site, discovery) if is_meant(site, one)), {})
    # A slash at the end is a fault of the announcement, which its check finds.
    announced = str(entry.get(SERVICE_URL, "")).rstrip("/")
    usual = f"https://{site.domain}/livekit/jwt" if site.domain else ""
    found = replace(site, service_url=site.service_url or announced or usual)
    if not found.service_url:
        return Announced()
    url = entry.get("url")
    behind = isinstance(url, str) and url != ""
    livekit_url = site.livekit_url or (str(url) if behind else told(found, discovery) or guessed(found))
    return Announced(found.service_url, livekit_url, behind)


def entries(site: Site, discovery: Discovery) -> list[Mapping[str, object]]:
    """The livekit entries of the homeserver, then those of the client well-known."""
    lists: list[object] = [discovery.client[-1].document().get(FOCI)]
    if site.access_token and discovery.base_url:
        with suppress(MatrixError):  # the check of the transports says so
            lists.insert(0, MatrixClient(discovery.base_url, site.access_token, site.http).transports())
    listed = [one for found in lists if isinstance(found, list) for one in found if livekit_urls([one])]
    return [one for one in listed if isinstance(one, Mapping)]


def is_meant(site: Site, entry: Mapping[str, object]) -> bool:
    """The entry is on the domain that is asked for, or any will do."""
    return site.domain in ("", urlsplit(str(entry[SERVICE_URL])).netloc)


def told(site: Site, discovery: Discovery) -> str:
    """The SFU's URL as the token service tells a user, '' if it gives no token."""
    if not site.access_token or not discovery.base_url:
        return ""
    client = MatrixClient(discovery.base_url, site.access_token, site.http)
    try:
        user_id = client.whoami().user_id
        openid = client.openid_token(user_id)
    except MatrixError:  # the check of the access token says so
        return ""
    room = f"{ROOM}:{site.server_name}"
    return access_of(legacy_request(site, openid, room, Account(user_id, DEVICE))).url


def guessed(site: Site) -> str:
    """The SFU's URL at one of the usual places, '' if it is at none."""
    host = f"//{urlsplit(site.service_url).netloc}"
    scheme = urlsplit(site.service_url).scheme
    for path in USUAL_PATHS:
        if site.http.request("GET", f"{scheme}:{host}{path}/rtc/validate").status in (401, *GATEWAY):
            return f"{'wss' if scheme == 'https' else 'ws'}:{host}{path}"
    return ""


def nothing_announced(site: Site, discovery: Discovery) -> Check:
    """The failure when nobody says where the SFU is."""
    if discovery.client[-1].error:
        return ANNOUNCEMENT.skip(f"{site.server_host} does not answer")
    if discovery.base_url and not site.access_token:
        asked = site.http.request("GET", discovery.base_url + TRANSPORTS)
        if asked.status == 401:
            return ANNOUNCEMENT.warn("nothing for strangers", ONLY_TO_USERS, server_name=site.server_name)
    return ANNOUNCEMENT.fail("nothing", NOT_ANNOUNCED, server_name=site.server_name)
