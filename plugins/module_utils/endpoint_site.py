# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A site as its probes see it: what it should be, what it announces, and why usually nothing answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import http_client
from .checks import Check, Fault, Outline
from .homeserver_kinds import KINDS, SYNAPSE, Kind
from .http_client import HttpClient, Response

FOCI = "org.matrix.msc4143.rtc_foci"
SERVICE_URL = "livekit_service_url"
FEDERATION_PORT = 8448

START_LIVEKIT = "journalctl -u livekit -n 50 says why; systemctl start livekit, or run site.yml"
START_SERVICE = "journalctl -u lk-jwt-service -n 50 says why; systemctl start lk-jwt-service, or run site.yml"


@dataclass(frozen=True)
class Site:
    """What a site should be. `media_addresses`: what the SFU should advertise, empty when any will do.

    `behind_homeserver`: users ask their homeserver for tokens, and it asks the token service. Of a site that
    nobody described `domain`, both URLs and `udp_ports` may be '', for not known.
    """

    server_name: str
    domain: str
    service_url: str
    livekit_url: str
    http: HttpClient
    access_token: str = ""
    media_addresses: tuple[str, ...] = ()
    sfu_port: int = 7880
    tcp_port: int = 7881
    udp_ports: str = "7882-7885"
    token_service_port: int = 8080
    homeserver_kind: str = SYNAPSE
    behind_homeserver: bool = False

    @property
    def knows_ports(self) -> bool:
        """Whether anybody said which ports the site has, besides 443."""
        return self.udp_ports != ""

    @property
    def kind(self) -> Kind:
        """What its kind of homeserver can do."""
        return KINDS[self.homeserver_kind]

    @property
    def server_host(self) -> str:
        """The host of the server name, without the port that may be in it: clients look there, on 443."""
        return self.server_name.rpartition(":")[0] if has_port(self.server_name) else self.server_name

    @property
    def sfu_http_url(self) -> str:
        """The SFU's URL for plain requests: https for wss."""
        return http_url(self.livekit_url)


@dataclass(frozen=True)
class Discovery:
    """The two well-known documents of a site, with every redirect on the way to them.

    `server` is empty for a server name with a port, which nobody asks for the document (server-server API,
    resolving server names).
    """

    client: tuple[Response, ...]
    server: tuple[Response, ...]

    @property
    def base_url(self) -> str:
        """Where the client-server API is, '' when the document does not say."""
        entry = self.client[-1].document().get("m.homeserver")
        found = entry.get("base_url") if isinstance(entry, dict) else None
        return found.rstrip("/") if isinstance(found, str) else ""

    @property
    def delegated(self) -> str:
        """The host, perhaps with a port, that speaks for the server name; '' when nobody was named."""
        is_there = self.server and self.server[-1].status == 200
        found = self.server[-1].document().get("m.server") if is_there else None
        return found if isinstance(found, str) else ""


def http_url(url: str) -> str:
    """A websocket URL as the HTTP URL of the same place."""
    return "http" + url[2:] if url.startswith("ws") else url


def discover(site: Site) -> Discovery:
    """Fetch both well-known documents, at once."""
    kinds = ("client",) if has_port(site.server_name) else ("client", "server")
    urls = [f"https://{site.server_host}/.well-known/matrix/{kind}" for kind in kinds]
    with ThreadPoolExecutor(max_workers=2) as pool:
        answers = [tuple(hops) for hops in pool.map(site.http.follow, urls)]
    return Discovery(answers[0], answers[1] if len(answers) > 1 else ())


def federation_url(site: Site, discovery: Discovery) -> str:
    """Where other services ask who a user is, by the token service's rules: no SRV, port 8448 by default."""
    name = discovery.delegated or site.server_name
    return f"https://{name}" if has_port(name) else f"https://{name}:{FEDERATION_PORT}"


def has_port(name: str) -> bool:
    """A host name, or address in brackets, that has a port behind it."""
    return urlsplit(f"//{name}").port is not None


def livekit_urls(transports: Sequence[object]) -> list[str]:
    """The service URLs of the livekit entries in a list of transports or foci."""
    entries = [entry for entry in transports if isinstance(entry, Mapping) and entry.get("type") == "livekit"]
    return [str(entry[SERVICE_URL]) for entry in entries if isinstance(entry.get(SERVICE_URL), str)]


# Why a host gives no answer at all, by the kind of error.
CONNECTION: Mapping[str, Fault] = {
    http_client.DNS: Fault(
        "{host} has no address in the name service that the probe uses",
        "create the A and AAAA records of {host}, or correct the name in the inventory",
    ),
    http_client.REFUSED: Fault(
        "{host} is up, but nothing listens on its port 443",
        "start the web server there, and see that it listens on this name's address",
    ),
    http_client.TIMEOUT: Fault(
        "packets to {host} are dropped: a firewall, a wrong address, or the host is down",
        "open TCP 443 in every firewall on the way and compare the address with the host's own",
    ),
    http_client.SLOW: Fault(
        "{host} takes connections and does not answer: what is behind its web server hangs, or is too busy",
        "see which service that is, its processor time and its journal, and restart it if it hangs",
    ),
    http_client.UNREACHABLE: Fault(
        "there is no way to {host} from the probe",
        "compare the address of {host} in the name service with the host's own",
    ),
    http_client.CERTIFICATE: Fault(
        "the certificate that {host} shows does not pass: {detail}",
        "install a certificate for {host}; with a private authority set matrixrtc_ca_file",
    ),
    http_client.TLS: Fault(
        "{host} does not speak proper TLS: {detail}",
        "see that this port serves TLS 1.2 or newer",
    ),
    http_client.RESET: Fault(
        "{host} closes the connection: the web server crashed or a filter cut it",
        "read the web server's error log",
    ),
    http_client.PROTOCOL: Fault("what {host} sends is not HTTP: {detail}", "see what serves this port"),
}
NO_ANSWER = tuple(CONNECTION.values())


def unanswered(outline: Outline, answer: Response, *more: Fault, seen: str = "") -> Check:
    """The failure of a check whose host gave no answer at all, with what else is to be said of it."""
    host = urlsplit(answer.url).netloc
    found = CONNECTION[answer.error]
    return outline.fail(seen or answer.summary(), found, *more, host=host, detail=answer.detail)
