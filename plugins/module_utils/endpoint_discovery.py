# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what leads clients to the SFU: names, well-known documents, the homeserver's announcements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from .checks import Check, Fault, Outline
from .endpoint_site import (
    CONNECTION,
    FOCI,
    NO_ANSWER,
    SERVICE_URL,
    Discovery,
    Site,
    federation_url,
    has_port,
    livekit_urls,
    unanswered,
)
from .homeserver_kinds import DELAYED_EVENTS, LACKS, OWN_FOCI, TRANSPORTS_ENDPOINT, by_owner, tolerated
from .http_client import Response
from .matrix_client import TRANSPORTS
from .symptoms import GHOST, NO_ACCESS, NO_APP, NO_TRANSPORT, NO_WAY_BACK, NOTHING, OLD_CLIENTS, REFUSED

UNKNOWN_URL = "https://rtc.example.org/livekit/jwt"  # where nobody knows it, as an example
FEW_DAYS = 14.0  # a certificate that expires sooner than this should have been renewed

OLD_CERTIFICATE = Fault(
    "the certificate was not renewed", "renew it and reload the web server", shows=NOTHING
)
# By whose host it is.
TLS = {
    kind: Outline(
        f"tls_{kind}",
        "TLS of {host}",
        "a valid certificate for this name",
        leg,
        shows,
        (OLD_CERTIFICATE, *NO_ANSWER),
    )
    for kind, leg, shows in (
        ("server_name", "announcement", OLD_CLIENTS),
        ("homeserver", "announcement", NO_TRANSPORT),
        ("rtc", "entrance", NO_ACCESS),
        ("call", "entrance", NO_APP),
    )
}

NO_DOCUMENT = Fault(
    "nobody serves {url}",
    "serve the document from the host of the server name (role well_known), not only from the "
    "homeserver's own host",
)
NO_JSON = Fault(
    "the web server answers this path with a page or with broken JSON",
    "give {path} a location of its own and check its content with a JSON parser",
)
DOCUMENT_CORS = Fault(
    "the web server's location for this path sets its headers wrongly",
    "send 'Access-Control-Allow-Origin: *' exactly once, also on redirects; hide the "
    "homeserver's own header where its answer is proxied",
)
NO_BASE_URL = Fault(
    "the document does not say where the homeserver is: nobody can log in, and leaves cannot be delegated",
    "add m.homeserver.base_url with the URL of the client API",
)
DOCUMENT_TYPE = Fault(
    "the web server does not know the type of the file",
    "set 'default_type application/json' for this location",
    NOTHING,
)
NOT_ANNOUNCED = Fault(
    "the document does not announce an SFU",
    'run site.yml, or add {{"type": "livekit", "livekit_service_url": "{service_url}"}} to {foci}',
)
SLASH = Fault(
    "the URL ends in a slash: clients then ask for //sfu/get, which most servers answer with 404",
    "remove the slash at the end",
    REFUSED,
)
ANNOUNCED_ELSEWHERE = Fault(
    "the document announces another SFU, or an old address of ours. Clients that read it call elsewhere",
    NOT_ANNOUNCED.fix,
    NO_ACCESS,
)
CLIENT_DOCUMENT = Outline(
    "well_known_client",
    "Client well-known",
    "200, a JSON object readable by web pages, naming our token service",
    "announcement",
    OLD_CLIENTS,
    (
        NO_DOCUMENT,
        NO_JSON,
        DOCUMENT_CORS,
        NO_BASE_URL,
        DOCUMENT_TYPE,
        NOT_ANNOUNCED,
        LACKS[OWN_FOCI],
        SLASH,
        ANNOUNCED_ELSEWHERE,
        *NO_ANSWER,
    ),
)

NO_SERVER_DOCUMENT = Fault(
    "there is no such document, so others try port 8448 of the server name",
    "serve it, unless the check openid_userinfo finds the homeserver on port 8448",
    NOTHING,
)
NO_HOST = Fault(
    "the document does not name the homeserver's host",
    "add m.server with the host and port of the federation API",
)
SERVER_DOCUMENT = Outline(
    "well_known_server",
    "Server well-known",
    "200 and a JSON object with m.server",
    "identity",
    REFUSED,
    (NO_SERVER_DOCUMENT, NO_DOCUMENT, NO_JSON, NO_HOST),
)

NO_CLIENT_API = Fault(
    "the client API does not answer here: the homeserver is down, or the proxy sends this path elsewhere",
    "see that the homeserver runs and that base_url in the client well-known leads to it",
    NO_TRANSPORT,
)
NO_DELAYED_EVENTS = Fault(
    "max_event_delay_duration is not set in Synapse (there is no setting msc4140_enabled)",
    "set max_event_delay_duration to 24h (role synapse_config) and restart Synapse",
)
VERSIONS = Outline(
    "delayed_events",
    "Delayed events on the homeserver",
    "org.matrix.msc4140 among the unstable features of /versions",
    "leave",
    GHOST,
    (NO_DELAYED_EVENTS, LACKS[DELAYED_EVENTS], NO_CLIENT_API, *NO_ANSWER),
)

HOMESERVER_DOWN = Fault("{homeserver} is down behind its proxy", "see that {homeserver} runs")
ENDPOINT_NOT_ROUTED = Fault(
    "the proxy does not send {path} to {homeserver}", "route all of /_matrix/client/ to it"
)
ENDPOINT_OFF = Fault(
    "experimental_features.msc4143_enabled is off in Synapse",
    "set it together with a matrix_rtc.transports list (role synapse_config) and restart Synapse",
)
ENDPOINT_UNKNOWN = Fault(
    "{homeserver} is too old to have this endpoint, or is another homeserver",
    "update it, or correct matrixrtc_homeserver_kind",
)
ENDPOINT_OPEN = Fault(
    "something other than {homeserver} answers, or gives the list to everybody",
    "route {path} to {homeserver} unchanged",
)
ENDPOINT_FAULTS = (
    ENDPOINT_OFF,
    ENDPOINT_UNKNOWN,
    LACKS[TRANSPORTS_ENDPOINT],
    ENDPOINT_NOT_ROUTED,
    HOMESERVER_DOWN,
    *NO_ANSWER,
)
ROUTE = Outline(
    "transports_route",
    "Transports endpoint",
    "401 without a token: the endpoint is there",
    "announcement",
    NO_TRANSPORT,
    (ENDPOINT_OPEN, *ENDPOINT_FAULTS),
)

BAD_PROBE_TOKEN = Fault(
    "the access token of the first probe user is not valid (any more)",
    "put a valid token into matrixrtc_probe_users",
    NOTHING,
)
ANNOUNCE = (
    'put {{type: livekit, livekit_service_url: "{service_url}"}} into matrix_rtc.transports (role '
    "synapse_config) and restart Synapse"
)
NO_LIST = Fault(
    "msc4143_enabled is on but matrix_rtc.transports is empty. Clients believe the empty answer, keep it "
    "for a day and do not ask further",
    ANNOUNCE,
)
NO_LIST_ELSEWHERE = Fault(
    "{homeserver} has no transport set. Clients believe the empty answer, keep it for a day and do not ask "
    "further",
    ANNOUNCE,
)
NO_LIVEKIT_ENTRY = Fault("no entry is of type livekit with a livekit_service_url", ANNOUNCE)
OTHER_SFU_FIRST = Fault(
    "{homeserver} announces another SFU first, or an old address of ours", ANNOUNCE, NO_ACCESS
)
URL_TOO_MUCH = Fault(
    "{homeserver} announces the SFU's url as well, so clients ask it for tokens, but the token "
    "service does not stand behind it (matrixrtc_token_service_mode: standalone)",
    "run site.yml --tags synapse_config, or set matrixrtc_token_service_mode to homeserver",
    NO_WAY_BACK,
)
URL_MISSING = Fault(
    "the SFU's url beside it is {url!r} instead of {wanted}: no client asks {homeserver}",
    "run site.yml --tags synapse_config",
    NOTHING,
)
LIST_FAULTS = (
    NO_LIST,
    NO_LIST_ELSEWHERE,
    NO_LIVEKIT_ENTRY,
    SLASH,
    OTHER_SFU_FIRST,
    URL_TOO_MUCH,
    URL_MISSING,
)
ANNOUNCED = Outline(
    "transports",
    "Announced transports",
    "a livekit transport with our token service's URL",
    "announcement",
    NO_TRANSPORT,
    (BAD_PROBE_TOKEN, *LIST_FAULTS, *ENDPOINT_FAULTS),
)

NO_DELEGATION = Fault(
    "no server well-known names the homeserver, and its port 8448 does not answer",
    "serve https://{server_name}/.well-known/matrix/server with the homeserver's host and port",
)
NO_OPENID = Fault(
    "the listener behind this host has neither the resource 'federation' nor 'openid', or the proxy does not "
    "send this path to the homeserver",
    "give the listener one of the two (never both) and route /_matrix/federation/v1/openid/userinfo to it",
)
NO_OPENID_ELSEWHERE = Fault(
    "{homeserver} does not answer it, as happens where federation is switched off, or the proxy does not "
    "send this path to the homeserver",
    "switch federation on; whom it talks to can be limited by other settings. Route "
    "/_matrix/federation/v1/openid/userinfo to it",
)
USERINFO = Outline(
    "openid_userinfo",
    "OpenID check for the token service",
    "401 for a made-up token",
    "identity",
    REFUSED,
    (NO_OPENID, NO_OPENID_ELSEWHERE, NO_DELEGATION, *NO_ANSWER),
)


def tls_check(site: Site, kind: str, host: str) -> Check:
    """A host name resolves, its port answers, and its certificate is valid for it and for a while."""
    outline = replace(TLS[kind], title=TLS[kind].title.format(host=host))
    place = urlsplit(f"//{host}")
    peer = site.http.handshake(place.hostname or "", place.port or 443)
    if peer.error:
        seen = f"{peer.error}: {peer.detail}"
        return outline.fail(seen, CONNECTION[peer.error], host=host, detail=peer.detail)
    seen = f"{peer.address}, valid for {peer.days_left:.0f} more days"
    if peer.days_left < FEW_DAYS:
        return outline.warn(seen, OLD_CERTIFICATE)
    return outline.ok(seen)


def cors_problem(hops: tuple[Response, ...]) -> str:
    """Why a web page may not read an answer; browsers want exactly one header on every hop."""
    for hop in hops:
        values = hop.values("Access-Control-Allow-Origin")
        if len(values) > 1:
            return f"the header Access-Control-Allow-Origin comes {len(values)} times, which browsers reject"
        if values != ["*"]:
            return "the header 'Access-Control-Allow-Origin: *' is missing, so web pages may not read it"
    return ""


def missing_document(answer: Response, outline: Outline, url: str) -> Check | None:
    """The failure of a document that is not there, or None when there is one."""
    if answer.error:
        return unanswered(outline, answer)
    if answer.status != 200:
        return outline.fail(answer.summary(), NO_DOCUMENT, url=url)
    if not answer.document():
        return outline.fail(f"200, but no JSON object: {answer.text(60)}", NO_JSON, path=urlsplit(url).path)
    return None


def client_document_check(site: Site, discovery: Discovery) -> Check:
    """The client well-known names our token service, in a way that browsers can read."""
    url = f"https://{site.server_host}/.well-known/matrix/client"
    answer = discovery.client[-1]
    missing = missing_document(answer, CLIENT_DOCUMENT, url)
    if missing:
        return missing
    problem = cors_problem(discovery.client)
    if problem:
        return CLIENT_DOCUMENT.fail(problem, DOCUMENT_CORS)
    if not discovery.base_url.startswith(("https://", "http://")):
        return CLIENT_DOCUMENT.fail("no m.homeserver.base_url", NO_BASE_URL)
    return foci_check(site, answer)


def foci_check(site: Site, answer: Response) -> Check:
    """Our token service is in the document, written exactly as everywhere else."""
    foci = answer.document().get(FOCI)
    urls = livekit_urls(foci) if isinstance(foci, list) else []
    announce = {"service_url": site.service_url or UNKNOWN_URL, "foci": FOCI}
    if site.service_url in urls:
        kind = answer.header("Content-Type").partition(";")[0].strip()
        if kind != "application/json":
            return CLIENT_DOCUMENT.warn(f"Content-Type {kind or 'missing'}", DOCUMENT_TYPE)
        return CLIENT_DOCUMENT.ok(f"names {site.service_url}")
    if not urls:
        missing = CLIENT_DOCUMENT.fail(f"no livekit entry in {FOCI}", NOT_ANNOUNCED, **announce)
        return tolerated(missing, site.homeserver_kind, OWN_FOCI)
    if site.service_url in [url.rstrip("/") for url in urls]:
        return CLIENT_DOCUMENT.fail(f"names {', '.join(urls)}", SLASH)
    return CLIENT_DOCUMENT.fail(f"names {', '.join(urls)}", ANNOUNCED_ELSEWHERE, **announce)


def server_document_check(site: Site, discovery: Discovery) -> Check:
    """The token service can find the homeserver behind the server name."""
    if has_port(site.server_name):
        return SERVER_DOCUMENT.skip("the server name has a port, so nobody asks for this document")
    answer = discovery.server[-1]
    if discovery.delegated:
        return SERVER_DOCUMENT.ok(f"m.server is {discovery.delegated}")
    if answer.status == 404 or answer.error:
        return SERVER_DOCUMENT.warn(answer.summary(), NO_SERVER_DOCUMENT)
    url = f"https://{site.server_name}/.well-known/matrix/server"
    missing = missing_document(answer, SERVER_DOCUMENT, url)
    return missing or SERVER_DOCUMENT.fail("m.server is missing", NO_HOST)


def versions_check(site: Site, base_url: str) -> Check:
    """The homeserver runs delayed events: without them a crashed client stays in the call."""
    answer = site.http.request("GET", f"{base_url}/_matrix/client/versions")
    if answer.error:
        return unanswered(VERSIONS, answer)
    if answer.status != 200:
        return VERSIONS.fail(answer.summary(), NO_CLIENT_API)
    features = answer.document().get("unstable_features")
    if isinstance(features, dict) and features.get("org.matrix.msc4140") is True:
        return VERSIONS.ok("org.matrix.msc4140 is on")
    missing = by_owner(VERSIONS.fail("org.matrix.msc4140 is not on", NO_DELAYED_EVENTS), site.homeserver_kind)
    return tolerated(missing, site.homeserver_kind, DELAYED_EVENTS)


def transports_missing(site: Site, answer: Response, outline: Outline) -> Check | None:
    """The failure of an endpoint that is not there or not reached, or None."""
    if answer.error:
        return unanswered(outline, answer)
    if answer.status == 404:
        return tolerated(transports_absent(site, answer, outline), site.homeserver_kind, TRANSPORTS_ENDPOINT)
    if answer.status >= 500:
        return outline.fail(answer.summary(), HOMESERVER_DOWN, homeserver=site.kind.title)
    return None


def transports_absent(site: Site, answer: Response, outline: Outline) -> Check:
    """The failure of an endpoint that answers 404; the homeserver itself says so with M_UNRECOGNIZED."""
    if answer.document().get("errcode") != "M_UNRECOGNIZED":
        return outline.fail(
            answer.summary(), ENDPOINT_NOT_ROUTED, path=TRANSPORTS, homeserver=site.kind.title
        )
    if site.kind.is_synapse:
        return by_owner(outline.fail(answer.summary(), ENDPOINT_OFF), site.homeserver_kind)
    return outline.fail(answer.summary(), ENDPOINT_UNKNOWN, homeserver=site.kind.title)


def transports_route_check(site: Site, base_url: str) -> Check:
    """The transports endpoint exists; what is in it needs a token."""
    answer = site.http.request("GET", base_url + TRANSPORTS)
    if answer.status == 401:
        return ROUTE.ok(answer.summary())
    return transports_missing(site, answer, ROUTE) or ROUTE.fail(
        answer.summary(), ENDPOINT_OPEN, path=TRANSPORTS, homeserver=site.kind.title
    )


def announced_problem(site: Site, entries: Sequence[object], outline: Outline, seen: str) -> Check | None:
    """The failure of a homeserver's list of transports that is not what it should be, or None."""
    fault = transports_fault(site, entries)
    if fault is None:
        return None
    own = next((one for one in entries if own_entry(site, one)), {})
    failed = outline.fail(
        seen,
        fault,
        service_url=site.service_url or UNKNOWN_URL,
        homeserver=site.kind.title,
        url=own.get("url") if isinstance(own, dict) else None,
        wanted=site.livekit_url,
    )
    return by_owner(failed, site.homeserver_kind)


def own_entry(site: Site, entry: object) -> bool:
    """Whether an entry of a list of transports is this site's."""
    return isinstance(entry, dict) and entry.get(SERVICE_URL) == site.service_url


def transports_fault(site: Site, entries: Sequence[object]) -> Fault | None:
    """What is wrong with a homeserver's list of transports, if anything."""
    urls = livekit_urls(entries)
    if not entries:
        return NO_LIST if site.kind.is_synapse else NO_LIST_ELSEWHERE
    if not urls:
        return NO_LIVEKIT_ENTRY
    if urls[0] != site.service_url:
        return SLASH if urls[0].rstrip("/") == site.service_url else OTHER_SFU_FIRST
    url = next(one.get("url") for one in entries if isinstance(one, dict) and own_entry(site, one))
    if url == (site.livekit_url if site.behind_homeserver else None):
        return None
    return URL_MISSING if site.behind_homeserver else URL_TOO_MUCH


def transports_check(site: Site, base_url: str) -> Check:
    """The homeserver announces our token service."""
    if not site.access_token:
        return ANNOUNCED.skip("needs an access token: set matrixrtc_probe_users")
    answer = site.http.request("GET", base_url + TRANSPORTS, token=site.access_token)
    if answer.status == 401:
        return ANNOUNCED.fail(answer.summary(), BAD_PROBE_TOKEN)
    missing = transports_missing(site, answer, ANNOUNCED)
    if missing:
        return missing
    entries = answer.document().get("rtc_transports")
    found = entries if isinstance(entries, list) else []
    problem = announced_problem(site, found, ANNOUNCED, f"{answer.status} {answer.text(80)}")
    if problem:
        return problem
    beside = f", and {site.livekit_url}" if site.behind_homeserver else ""
    return ANNOUNCED.ok(f"names {site.service_url}{beside}")


def userinfo_check(site: Site, discovery: Discovery, outline: Outline = USERINFO) -> Check:
    """The token service can ask the homeserver who a user is."""
    url = federation_url(site, discovery)
    host = urlsplit(url).netloc
    answer = site.http.request(
        "GET", f"{url}/_matrix/federation/v1/openid/userinfo?access_token=matrixrtc-probe"
    )
    if answer.status == 401 and answer.document().get("errcode"):
        return outline.ok(f"{answer.summary()} from {host}")
    seen = f"{answer.summary()} from {host}"
    if answer.error and not discovery.delegated and not has_port(site.server_name):
        return outline.fail(seen, NO_DELEGATION, server_name=site.server_name)
    if answer.error:
        return unanswered(outline, answer, seen=seen)
    fault = NO_OPENID if site.kind.is_synapse else NO_OPENID_ELSEWHERE
    return outline.fail(seen, fault, homeserver=site.kind.title)
