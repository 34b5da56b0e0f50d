# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what leads clients to the SFU: names, well-known documents, the homeserver's announcements."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from .checks import Check, Outline
from .endpoint_site import (
    FOCI,
    NO_ACCESS,
    NO_TRANSPORT,
    SERVICE_URL,
    Discovery,
    Site,
    federation_url,
    has_port,
    livekit_urls,
    no_connection,
)
from .homeserver_kinds import DELAYED_EVENTS, OWN_FOCI, TRANSPORTS_ENDPOINT, by_owner, tolerated
from .http_client import Response
from .matrix_client import TRANSPORTS

FEW_DAYS = 14.0  # a certificate that expires sooner than this should have been renewed
OLD_CLIENTS = (
    "Clients that read this document (Element Call up to 0.23, Element X up to 26.08, widgets) find no SFU. "
    + NO_TRANSPORT
)

CLIENT_DOCUMENT = Outline(
    "well_known_client",
    "Client well-known",
    "200, a JSON object readable by web pages, naming our token service",
)
SERVER_DOCUMENT = Outline("well_known_server", "Server well-known", "200 and a JSON object with m.server")
VERSIONS = Outline(
    "delayed_events",
    "Delayed events on the homeserver",
    "org.matrix.msc4140 among the unstable features of /versions",
)
ROUTE = Outline("transports_route", "Transports endpoint", "401 without a token: the endpoint is there")
ANNOUNCED = Outline("transports", "Announced transports", "a livekit transport with our token service's URL")
USERINFO = Outline("openid_userinfo", "OpenID check for the token service", "401 for a made-up token")


def tls_check(site: Site, kind: str, host: str) -> Check:
    """A host name resolves, its port answers, and its certificate is valid for it and for a while."""
    outline = Outline(f"tls_{kind}", f"TLS of {host}", "a valid certificate for this name")
    place = urlsplit(f"//{host}")
    peer = site.http.handshake(place.hostname or "", place.port or 443)
    if peer.error:
        cause, fix = no_connection(peer.error, peer.detail, host)
        return outline.fail(f"{peer.error}: {peer.detail}", cause, fix)
    seen = f"{peer.address}, valid for {peer.days_left:.0f} more days"
    if peer.days_left < FEW_DAYS:
        return outline.warn(seen, "the certificate was not renewed", "renew it and reload the web server")
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


def missing_document(answer: Response, outline: Outline, url: str, effect: str) -> Check | None:
    """The failure of a document that is not there, or None when there is one."""
    if answer.error:
        cause, fix = no_connection(answer.error, answer.detail, urlsplit(answer.url).netloc)
        return outline.fail(answer.summary(), f"{cause}. {effect}", fix)
    if answer.status != 200:
        return outline.fail(
            answer.summary(),
            f"nobody serves {url}. {effect}",
            "serve the document from the host of the server name (role well_known), not only from the "
            "homeserver's own host",
        )
    if not answer.document():
        return outline.fail(
            f"200, but no JSON object: {answer.text(60)}",
            f"the web server answers this path with a page or with broken JSON. {effect}",
            f"give {urlsplit(url).path} a location of its own and check its content with a JSON parser",
        )
    return None


def client_document_check(site: Site, discovery: Discovery) -> Check:
    """The client well-known names our token service, in a way that browsers can read."""
    url = f"https://{site.server_host}/.well-known/matrix/client"
    answer = discovery.client[-1]
    missing = missing_document(answer, CLIENT_DOCUMENT, url, OLD_CLIENTS)
    if missing:
        return missing
    problem = cors_problem(discovery.client)
    if problem:
        return CLIENT_DOCUMENT.fail(
            problem,
            f"the web server's location for this path sets its headers wrongly. {OLD_CLIENTS}",
            "send 'Access-Control-Allow-Origin: *' exactly once, also on redirects; hide the "
            "homeserver's own header where its answer is proxied",
        )
    if not discovery.base_url.startswith(("https://", "http://")):
        return CLIENT_DOCUMENT.fail(
            "no m.homeserver.base_url",
            "the document does not say where the homeserver is: "
            "clients cannot log in, and leaves cannot be delegated",
            "add m.homeserver.base_url with the URL of the client API",
        )
    return foci_check(site, answer)


def foci_check(site: Site, answer: Response) -> Check:
    """Our token service is in the document, written exactly as everywhere else."""
    foci = answer.document().get(FOCI)
    urls = livekit_urls(foci) if isinstance(foci, list) else []
    fix = f'run site.yml, or add {{"type": "livekit", "livekit_service_url": "{site.service_url}"}} to {FOCI}'
    if site.service_url in urls:
        kind = answer.header("Content-Type").partition(";")[0].strip()
        if kind != "application/json":
            return CLIENT_DOCUMENT.warn(
                f"Content-Type {kind or 'missing'}",
                "the web server does not know the type of the file",
                "set 'default_type application/json' for this location",
            )
        return CLIENT_DOCUMENT.ok(f"names {site.service_url}")
    if not urls:
        return tolerated(
            CLIENT_DOCUMENT.fail(
                f"no livekit entry in {FOCI}", f"the document does not announce an SFU. {OLD_CLIENTS}", fix
            ),
            site.homeserver_kind,
            OWN_FOCI,
        )
    if site.service_url in [url.rstrip("/") for url in urls]:
        return CLIENT_DOCUMENT.fail(
            f"names {', '.join(urls)}",
            "the URL ends in a slash: clients then ask for //sfu/get, which most servers answer with 404",
            "remove the slash at the end",
        )
    return CLIENT_DOCUMENT.fail(
        f"names {', '.join(urls)}",
        "the document announces another SFU, or an old address of ours. "
        "Clients that read it join calls elsewhere",
        fix,
    )


def server_document_check(site: Site, discovery: Discovery) -> Check:
    """The token service can find the homeserver behind the server name."""
    if has_port(site.server_name):
        return SERVER_DOCUMENT.skip("the server name has a port, so nobody asks for this document")
    answer = discovery.server[-1]
    if discovery.delegated:
        return SERVER_DOCUMENT.ok(f"m.server is {discovery.delegated}")
    if answer.status == 404 or answer.error:
        return SERVER_DOCUMENT.warn(
            answer.summary(),
            "there is no such document, so others try port 8448 of the server name",
            "serve it, unless the check openid_userinfo finds the homeserver on port 8448",
        )
    missing = missing_document(
        answer,
        SERVER_DOCUMENT,
        f"https://{site.server_name}/.well-known/matrix/server",
        "The token service cannot find the homeserver. " + NO_ACCESS,
    )
    return missing or SERVER_DOCUMENT.fail(
        "m.server is missing",
        "the document does not name the homeserver's host. " + NO_ACCESS,
        "add m.server with the host and port of the federation API",
    )


def versions_check(site: Site, base_url: str) -> Check:
    """The homeserver runs delayed events: without them a crashed client stays in the call."""
    answer = site.http.request("GET", f"{base_url}/_matrix/client/versions")
    if answer.error or answer.status != 200:
        cause, fix = (
            no_connection(answer.error, answer.detail, urlsplit(base_url).netloc)
            if answer.error
            else (
                (
                    "the client API does not answer here: the homeserver is down, or the proxy sends this"
                    " path elsewhere"
                ),
                "see that the homeserver runs and that base_url in the client well-known leads to it",
            )
        )
        return VERSIONS.fail(answer.summary(), cause, fix)
    features = answer.document().get("unstable_features")
    if isinstance(features, dict) and features.get("org.matrix.msc4140") is True:
        return VERSIONS.ok("org.matrix.msc4140 is on")
    missing = VERSIONS.fail(
        "org.matrix.msc4140 is not on",
        "max_event_delay_duration is not set in Synapse (there is no setting "
        "msc4140_enabled). Calls work, but whoever crashes stays in the call for hours",
        by_owner(
            site.homeserver_kind,
            "set max_event_delay_duration to 24h (role synapse_config) and restart Synapse",
        ),
    )
    return tolerated(missing, site.homeserver_kind, DELAYED_EVENTS)


def transports_missing(site: Site, answer: Response, outline: Outline) -> Check | None:
    """The failure of an endpoint that is not there or not reached, or None."""
    effect = f"Current clients ask here first. {NO_TRANSPORT}"
    if answer.error:
        cause, fix = no_connection(answer.error, answer.detail, urlsplit(answer.url).netloc)
        return outline.fail(answer.summary(), f"{cause}. {effect}", fix)
    if answer.status == 404:
        return tolerated(
            transports_absent(site, answer, outline, effect), site.homeserver_kind, TRANSPORTS_ENDPOINT
        )
    if answer.status >= 500:
        return outline.fail(
            answer.summary(),
            f"the homeserver is down behind its proxy. {effect}",
            f"see that {site.kind.title} runs",
        )
    return None


def transports_absent(site: Site, answer: Response, outline: Outline, effect: str) -> Check:
    """The failure of an endpoint that answers 404; the homeserver itself says so with M_UNRECOGNIZED."""
    if answer.document().get("errcode") != "M_UNRECOGNIZED":
        return outline.fail(
            answer.summary(),
            f"the proxy does not send {TRANSPORTS} to the homeserver. {effect}",
            "route all of /_matrix/client/ to the homeserver",
        )
    if site.kind.is_synapse:
        cause = "experimental_features.msc4143_enabled is off in Synapse"
        fix = by_owner(
            site.homeserver_kind,
            "set it together with a matrix_rtc.transports list (role synapse_config) and restart Synapse",
        )
    else:
        cause = f"{site.kind.title} is too old to have this endpoint, or is another homeserver"
        fix = "update it, or correct matrixrtc_homeserver_kind"
    return outline.fail(answer.summary(), f"{cause}. {effect}", fix)


def transports_route_check(site: Site, base_url: str) -> Check:
    """The transports endpoint exists; what is in it needs a token."""
    answer = site.http.request("GET", base_url + TRANSPORTS)
    if answer.status == 401:
        return ROUTE.ok(answer.summary())
    return transports_missing(site, answer, ROUTE) or ROUTE.fail(
        answer.summary(),
        f"something other than {site.kind.title} answers, or gives the list to everybody",
        f"route {TRANSPORTS} to the homeserver unchanged",
    )


def transports_problem(site: Site, entries: Sequence[object]) -> tuple[str, str] | None:
    """Cause and fix when a homeserver's list of transports is not what it should be, or None."""
    urls = livekit_urls(entries)
    fix = by_owner(
        site.homeserver_kind,
        f'put {{type: livekit, livekit_service_url: "{site.service_url}"}} into matrix_rtc.transports (role '
        "synapse_config) and restart Synapse",
    )
    if not entries:
        empty = "msc4143_enabled is on but matrix_rtc.transports is empty"
        if not site.kind.is_synapse:
            empty = f"{site.kind.title} has no transport set"
        cause = f"{empty}. Clients believe the empty answer, keep it for a day and do not ask further"
        return f"{cause}. {NO_TRANSPORT}", fix
    if not urls:
        return f"no entry is of type livekit with a livekit_service_url. {NO_TRANSPORT}", fix
    if urls[0] != site.service_url:
        return f"{site.kind.title} announces another SFU first, or an old address of ours", fix
    return wiring_problem(site, entries)


def wiring_problem(site: Site, entries: Sequence[object]) -> tuple[str, str] | None:
    """Cause and fix when clients are sent to the homeserver for tokens and should not be, or the reverse."""
    own = next(one for one in entries if isinstance(one, dict) and one.get(SERVICE_URL) == site.service_url)
    url = own.get("url")
    wanted = site.livekit_url if site.behind_homeserver else None
    if url == wanted:
        return None
    fix = by_owner(site.homeserver_kind, "run site.yml --tags synapse_config")
    if wanted is None:
        return (
            f"{site.kind.title} announces the SFU's url as well, so clients ask it for tokens, but the token "
            "service does not stand behind it (matrixrtc_token_service_mode: standalone)",
            f"{fix}, or set matrixrtc_token_service_mode to homeserver",
        )
    return f"the SFU's url beside it is {url!r} instead of {wanted}: no client asks {site.kind.title}", fix


def transports_check(site: Site, base_url: str) -> Check:
    """The homeserver announces our token service."""
    if not site.access_token:
        return ANNOUNCED.skip("needs an access token: set matrixrtc_probe_users")
    answer = site.http.request("GET", base_url + TRANSPORTS, token=site.access_token)
    if answer.status == 401:
        return ANNOUNCED.fail(
            answer.summary(),
            "the access token of the first probe user is not valid (any more)",
            "put a valid token into matrixrtc_probe_users",
        )
    missing = transports_missing(site, answer, ANNOUNCED)
    if missing:
        return missing
    entries = answer.document().get("rtc_transports")
    problem = transports_problem(site, entries if isinstance(entries, list) else [])
    if problem:
        return ANNOUNCED.fail(f"{answer.status} {answer.text(80)}", *problem)
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
    if answer.error:
        cause, fix = no_connection(answer.error, answer.detail, host)
        if not discovery.delegated and not has_port(site.server_name):
            fix = (
                f"serve https://{site.server_name}/.well-known/matrix/server with the homeserver's host and"
                " port"
            )
            cause = f"no server well-known names the homeserver, and {cause}"
        return outline.fail(f"{answer.summary()} from {host}", f"{cause}. {NO_ACCESS}", fix)
    cause = "the listener behind this host has neither the resource 'federation' nor 'openid'"
    fix = "give the listener one of the two (never both)"
    if not site.kind.is_synapse:
        cause = f"{site.kind.title} does not answer it, as happens where federation is switched off"
        fix = "switch federation on; whom it talks to can be limited by other settings"
    return outline.fail(
        f"{answer.summary()} from {host}",
        f"{cause}, or the proxy does not send this path to the homeserver. {NO_ACCESS}",
        f"{fix} and route /_matrix/federation/v1/openid/userinfo to it",
    )
