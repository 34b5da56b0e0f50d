# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the roles that meet software of others: nginx, the firewall, Synapse, the well-known document."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import time
from collections.abc import Callable
from typing import TypeVar

from .certificates import (
    Certificate,
    CertificateError,
    NoOpensslError,
    days_left,
    distrust,
    is_for,
    public_key_of,
    read_certificate,
)
from .edge_host import SYSTEM_FOLDERS
from .inputs_address import check_watched_nginx
from .inputs_ports import PORT_REMEDY, check_media_ports, service_port
from .inputs_report import Inputs
from .inputs_site import (
    RESTART_REMEDY,
    RESTARTS,
    SERVICE_URL_REMEDY,
    Settings,
    absolute_path,
    busy_ports,
    check_livekit_url,
    check_service_url,
    check_settings,
    existing_path,
    has_refused_domain,
    holders,
    is_refused,
    program,
)
from .inputs_token_service import check_ca_file
from .inputs_turn_tls import check_turn_tls
from .inputs_values import (
    InvalidValueError,
    PortRange,
    at_least,
    boolean,
    duration,
    host_and_port,
    ip_literal,
    list_of_values,
    mapping,
    matching,
    network,
    one_of,
    plain_text,
    port,
    port_range,
    positive,
    public_url,
    shown,
    url,
)
from .inputs_wiring import check_homeserver_side, is_behind
from .sockets import Claim, occupied
from .well_known import WellKnownError, with_foci

T = TypeVar("T")

NGINX = ("nginx.service", "nginx")
HTTPS = PortRange(443, 443)
DAYS_BEFORE_EXPIRY = 14
PROXY_MODES = ("nginx", "external")
BACKENDS = ("auto", "nftables", "ufw", "firewalld", "iptables", "none")
SERVERS = ("file", "synapse", "nginx", "external")

# The smallest useful value of each number; 0 seconds of HSTS leave the header out.
LIMITS = {
    "hsts_seconds": 0,
    "token_rate": 1,
    "token_burst": 0,
    "token_connections": 1,
    "token_site_rate": 1,
    "token_site_burst": 0,
    "token_site_connections": 1,
    "token_timeout": 1,
    "sfu_rate": 1,
    "sfu_burst": 0,
    "sfu_connections": 1,
    "sfu_timeout": 15,  # LiveKit pings a websocket every 10 seconds
    "expected_participants": 1,
}

# nginx's own variable, the one it follows by default, and that one's usual value.
UPSTREAMS = (("sfu_port", "livekit_port", 7880), ("token_service_port", "lk_jwt_service_port", 8080))
SIZE = matching(r"[1-9][0-9]*[kKmM]?", "a size (a number, with k or m)")
LOG_FILE = matching(r"/[A-Za-z0-9._/-]+", "an absolute path of letters, digits and . _ - /")
FILE_NAME = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits and . _ -")
SETTINGS: Settings = {
    "body_size": (SIZE, "Set it to a number with k or m, such as 64k.", True),
    "access_log": (LOG_FILE, "Set it to a file such as /var/log/nginx/matrixrtc_access.log.", True),
    "error_log": (LOG_FILE, "Set it to a file such as /var/log/nginx/error.log.", True),
    "service": (FILE_NAME, "Set it to the name of nginx's unit, such as nginx.", True),
    "site": (FILE_NAME, "Set it to a file name that sorts late, such as zz-matrixrtc.", True),
}

CERTIFICATE_REMEDY = "Set it to the PEM file, on the host, of a certificate for {} with its chain."
KEY_REMEDY = "Set it to the PEM file, on the host, of the certificate's private key without a password."
TRANSPORT_REMEDY = (
    "Leave it out, or set it to a list such as "
    "[{'type': 'livekit', 'livekit_service_url': 'https://rtc.example.org/livekit/jwt'}]."
)


# nginx --------------------------------------------------------------------------------------------


def check_nginx(inputs: Inputs, _secret: str) -> None:
    """All inputs of the nginx role."""
    check_service_url(inputs)
    check_livekit_url(inputs)
    check_ca_file(inputs)
    mode = inputs.read("mode", one_of(PROXY_MODES), f"Set it to {' or '.join(PROXY_MODES)}.")
    if mode == "external":
        check_external_proxy(inputs)
    else:
        check_certificate(inputs)
        check_https_port(inputs)
    check_upstreams(inputs)
    check_nodes(inputs)
    check_limits(inputs)
    check_watched_nginx(inputs)
    if check_turn_tls(inputs):
        check_certificate(inputs, "turn_domain", "turn_")


def check_nodes(inputs: Inputs) -> None:
    """Further nodes of the SFU: where nginx reaches them, and where their reports come from."""
    remedy = "Set it to a list of host:port, such as ['10.0.0.2:7880']."
    for node in inputs.read_list("sfu_nodes", host_and_port, remedy, required=False) or []:
        if ":" not in node:
            inputs.refuse("sfu_nodes", f"{shown(node)} has no port", remedy)
    remedy = "Set it to a list of addresses or networks, such as ['10.0.0.2']."
    inputs.read_list("sfu_sources", network, remedy, required=False)


def check_https_port(inputs: Inputs) -> None:
    """Another web server on port 443 leaves no place for nginx; beside a running nginx it is no harm."""
    remedy = "Set it to a list of the host's addresses, or to [] for all of them."
    addresses = inputs.read_list("listen_addresses", ip_literal, remedy, required=False) or []
    claim = Claim("tcp", HTTPS, tuple(str(address) for address in addresses))
    held = busy_ports(inputs, [claim], NGINX)
    if held and len(held) == len(occupied([claim], inputs.process_folder)):
        inputs.refuse(
            "domain",
            f"443/tcp, where nginx is to serve it, is held by {holders(held[0])}",
            "Set nginx_proxy_mode to external for snippets with which that program serves it (there are some "
            "for Caddy, Traefik and HAProxy), or stop that program.",
        )


def check_external_proxy(inputs: Inputs) -> None:
    """Another proxy serves the site: whether the token service, on this host, is going to find it."""
    inputs.read("upstream_address", ip_literal, "Set it to the address at which the proxy reaches this host.")
    remedy = "Set it to a mapping such as {'rtc.example.org': '192.0.2.7'}, with the address of the proxy."
    address = inputs.read("proxy_address", ip_literal, remedy)
    if inputs.has("certificate") or inputs.has("private_key"):
        check_certificate(inputs)
    held = busy_ports(inputs, [Claim("tcp", HTTPS)], ())
    found = {conflict.listener.address for conflict in held}
    if any(owner.name == "nginx" for conflict in held for owner in conflict.owners):
        inputs.warn(
            "mode", f"443/tcp is held by {holders(held[0])}, to which this role can add the site itself."
        )
    if address is None or not address.is_loopback or found & {str(address), "0.0.0.0", "::"}:  # noqa: S104
        return
    domain = inputs.values.get("domain")
    other = min(found, default="the address of the proxy")
    inputs.warn(
        "proxy_address",
        f"nobody listens on port 443 of {address}, where the token service asks for the SFU. "
        f"Set it to {{'{domain}': '{other}'}}.",
    )


def check_upstreams(inputs: Inputs) -> None:
    """The services' ports, under the name of the variable that the wrong value comes from."""
    for key, source, example in UPSTREAMS:
        if key in inputs.values and inputs.values.get(source) == inputs.values[key]:
            inputs.read(source, service_port, PORT_REMEDY.format(example))
        else:
            inputs.read(key, port, "Set it to the port that the service listens on.")


def check_limits(inputs: Inputs) -> None:
    """Numbers and networks of nginx's configuration, where a wrong one would break all its sites."""
    for key, lowest in LIMITS.items():
        inputs.read(key, at_least(lowest), f"Set it to a whole number, {lowest} or more.")
    check_settings(inputs, SETTINGS)
    for key in ("unlimited_clients", "local_sources"):
        remedy = "Set it to a list of addresses and networks such as ['192.0.2.0/24']."
        inputs.read_list(key, network, remedy, required=False)


def check_certificate(inputs: Inputs, domain_key: str = "domain", prefix: str = "") -> None:
    """The certificate is there, valid today and for the host name in `domain_key`, and the key is its key.

    `prefix`: of the keys of certificate and private key. One of our own (mode `acme`) may be yet to come, and
    a bad one is replaced by the run.
    """
    if inputs.values.get("tls_mode") == "acme" and not prefix:
        return
    domain = str(inputs.values.get(domain_key) or "")
    remedy = CERTIFICATE_REMEDY.format(domain or "the host name")
    of_certificate, of_key = f"{prefix}certificate", f"{prefix}private_key"
    path = inputs.read(of_certificate, absolute_path, remedy)
    key_path = inputs.read(of_key, absolute_path, KEY_REMEDY)
    certificate = _examine(inputs, of_certificate, read_certificate, path, remedy)
    key = _examine(inputs, of_key, public_key_of, key_path, KEY_REMEDY)
    if path is None or certificate is None:
        return
    if key is not None and key != certificate.public_key:
        inputs.refuse(
            of_key, f"{shown(key_path)} is not the key of the certificate {shown(path)}", KEY_REMEDY
        )
    if not is_refused(inputs, domain_key) and domain and not is_for(certificate, domain):
        names = ", ".join(certificate.names) or "no name at all"
        inputs.refuse(of_certificate, f"{shown(path)} is not for {domain} but for {names}", remedy)
    _check_validity(inputs, of_certificate, path, certificate)


def _examine(inputs: Inputs, key: str, ask: Callable[[str], T], path: str | None, remedy: str) -> T | None:
    """What a file holds; None when there is none or it was refused."""
    if path is None:
        return None
    try:
        return ask(path)
    except NoOpensslError as error:
        inputs.refuse(key, str(error), "Install the package openssl.")
        return None
    except CertificateError as error:
        inputs.refuse(key, str(error), remedy)
        return None


def _check_validity(inputs: Inputs, key: str, path: str, certificate: Certificate) -> None:
    """The certificate's dates against the host's clock, then whether clients would trust it."""
    days = days_left(certificate)
    end = time.strftime("%Y-%m-%d", time.gmtime(certificate.not_after))
    if certificate.not_before > time.time():
        start = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(certificate.not_before))
        inputs.refuse(
            key,
            f"{shown(path)} is not valid before {start}",
            "Set it to a certificate that is valid now, or correct the host's clock.",
        )
    elif days < 0:
        inputs.refuse(
            key,
            f"{shown(path)} expired on {end}",
            "Renew it, or set it to a certificate that is valid.",
        )
    else:
        if days < DAYS_BEFORE_EXPIRY:
            inputs.warn(key, f"{shown(path)} expires on {end}, in {int(days)} days.")
        reason = distrust(path, str(inputs.values.get("ca_file") or ""))
        if reason:
            inputs.warn(
                key,
                f"{shown(path)} is not trusted by this host ({reason}), so clients may refuse it.",
            )


# Firewall ------------------------------------------------------------------------------------------


def check_firewall(inputs: Inputs, _secret: str) -> None:
    """All inputs of the firewall role; by default its ports are those of the SFU."""
    check_media_ports(inputs)  # so that a wrong one is told by its own name
    derived = {str(inputs.values.get(key)) for key in ("tcp_port", "udp_port")}
    derived.add(f"{inputs.values.get('port_range_start')}-{inputs.values.get('port_range_end')}")
    wrong = bool(inputs.problems)
    remedy = "Set it to a list of ports and ranges such as [7881, '7882-7885']."
    for key in ("tcp_ports", "udp_ports"):
        for entry in inputs.read(key, list_of_values, remedy, required=False) or ():
            if not (wrong and str(entry) in derived):
                inputs.parse(key, entry, port_range, remedy)
    inputs.read("backend", one_of(BACKENDS), f"Set it to {', '.join(BACKENDS)}.")


# Synapse and the well-known document ---------------------------------------------------------------


def user(value: object) -> str:
    """The name of a user of this host."""
    name = plain_text(value)
    try:
        pwd.getpwnam(name)
    except KeyError as error:
        raise InvalidValueError(f"{shown(name)} is no user of this host") from error
    return name


def group(value: object) -> str:
    """The name of a group of this host."""
    name = plain_text(value)
    try:
        grp.getgrnam(name)
    except KeyError as error:
        raise InvalidValueError(f"{shown(name)} is no group of this host") from error
    return name


def health_page(value: object) -> str:
    """The URL of a page of a service on this host."""
    return url(value, ("http", "https")).geturl()


def user_or_numbers(value: object) -> str:
    """A user by name, or by the numbers it has in a container."""
    name = plain_text(value)
    return name if re.fullmatch(r"\d+(:\d+)?", name) else user(name)


def command_word(value: object) -> str:
    """The first word of a command: a program that is there."""
    name = plain_text(value)
    if shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])) is None:
        raise InvalidValueError(f"has the program {shown(name)}, which this host does not have")
    return name


UNIT_NAME = matching(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]*(?<!\.service)", "the name of a unit, without .service")
SYNAPSE_SETTINGS: Settings = {
    "max_event_delay_duration": (duration, "Set it to a duration such as 24h.", True),
    "expected_participants": (at_least(1), "Set it to a whole number, 1 or more.", True),
    "sticky_events": (boolean, "Set it to true or false.", True),
    "serves_well_known": (boolean, "Set it to true or false.", True),
    "service": (UNIT_NAME, "Set it to the name of Synapse's unit, such as matrix-synapse.", True),
    "health_url": (health_page, "Set it to the page of one of its listeners that ends in /health.", True),
    "health_timeout": (at_least(1), "Set it to a number of seconds.", True),
    "restart": (one_of(RESTARTS), RESTART_REMEDY, True),
    "edit_managed": (boolean, "Set it to true or false.", True),
    "openid_listener": (boolean, "Set it to true or false.", True),
}
PYTHON_REMEDY = "Set it to the Python of Synapse, such as /opt/venvs/matrix-synapse/bin/python."
PATHS_REMEDY = "Set it to the container's view of folders of this host, such as {'/srv/synapse': '/data'}."


def check_synapse(inputs: Inputs, _secret: str) -> None:
    """All inputs of the Synapse role."""
    check_transports(inputs, "transports")
    check_settings(inputs, SYNAPSE_SETTINGS)
    check_rate_limit(inputs)
    remedy = "Set it to a list of names of units such as ['synapse-worker@1'], or to [] without workers."
    inputs.read_list("worker_services", UNIT_NAME, remedy, required=False)
    check_command(inputs, "restart_command", "['docker', 'restart', 'synapse']")
    check_installation(inputs)
    check_homeserver_side(inputs)


def check_command(inputs: Inputs, key: str, example: str) -> None:
    """A command of this host, as a list of its words."""
    remedy = f"Set it to a list of words such as {example}, or to []."
    words = inputs.read_list(key, plain_text, remedy, required=False)
    if words:
        inputs.parse(key, words[0], command_word, remedy)


def check_installation(inputs: Inputs) -> None:
    """Where Synapse is: on this host, or in a container that sees its files."""
    check_command(inputs, "run_prefix", "['docker', 'exec', '-u', '991:991', 'synapse']")
    contained = bool(inputs.values.get("run_prefix"))
    inputs.read("python", absolute_path if contained else program, PYTHON_REMEDY)
    remedy = "Set it to the user that runs Synapse, such as matrix-synapse."
    inputs.read("user", user_or_numbers if contained else user, remedy)
    if not contained:
        inputs.read("working_directory", existing_path, "Set it to the folder that Synapse runs in.")
    remedy = "Set it to Synapse's configuration files and folders, in the order of its -c options."
    files = inputs.read_list("files", existing_path, remedy)
    folders = check_container_paths(inputs) if contained else None
    if not contained and inputs.values.get("container_paths"):
        inputs.refuse(
            "container_paths",
            "is set, and nothing says how to run Synapse's Python in the container",
            "Set synapse_config_run_prefix too, or leave it out.",
        )
    if folders is not None:
        roots = tuple(os.path.join(folder, "") for folder in folders)
        for path in files or ():
            if not os.path.join(path, "").startswith(roots):
                inputs.refuse("container_paths", f"has no folder that holds {shown(path)}", PATHS_REMEDY)


def check_container_paths(inputs: Inputs) -> list[str] | None:
    """The folders of this host that a container sees; None if that is not known."""
    paths = inputs.read("container_paths", mapping, PATHS_REMEDY)
    if paths is None:
        return None
    if not paths:
        inputs.refuse("container_paths", "is not set", PATHS_REMEDY)
        return None
    found = [inputs.parse("container_paths", folder, existing_path, PATHS_REMEDY) for folder in paths]
    seen = [inputs.parse("container_paths", place, absolute_path, PATHS_REMEDY) for place in paths.values()]
    return None if None in [*found, *seen] else [folder for folder in found if folder is not None]


def check_rate_limit(inputs: Inputs) -> None:
    """A rate limit: both numbers, above zero."""
    remedy = "Set it to a mapping such as {'per_second': 0.5, 'burst_count': 30}."
    limit = inputs.read("rc_message", mapping, remedy)
    for name in ("per_second", "burst_count") if limit is not None else ():
        inputs.parse("rc_message", (limit or {}).get(name), positive, remedy)


def check_transports(inputs: Inputs, key: str) -> None:
    """The announced transports, each with a type, a LiveKit one with its URL."""
    entries = inputs.read_list(key, mapping, TRANSPORT_REMEDY, required=False)
    if entries == []:
        inputs.warn(key, "is empty, so clients are told of no SFU.")
    for entry in entries or ():
        if not entry.get("type"):
            inputs.refuse(key, "has an entry without a type", TRANSPORT_REMEDY)
        elif entry["type"] == "livekit":
            _check_livekit_transport(inputs, key, entry)


def _check_livekit_transport(inputs: Inputs, key: str, entry: dict[str, object]) -> None:
    """Clients append /sfu/get to the URL as it is; without the URL no released client finds the SFU."""
    address = entry.get("livekit_service_url")
    if not address:
        inputs.refuse(
            key, "has a livekit entry without livekit_service_url, which every client needs", TRANSPORT_REMEDY
        )
        return
    if address == inputs.values.get("service_url"):
        check_service_url(inputs)
    elif not has_refused_domain(inputs, address):
        inputs.parse(key, address, _service_url, SERVICE_URL_REMEDY)
    if "url" in entry:
        _check_wired_transport(inputs, key, entry)


def _check_wired_transport(inputs: Inputs, key: str, entry: dict[str, object]) -> None:
    """MSC4195: clients that know `url` never fall back to the token service's own address."""
    own = entry.get("livekit_service_url") == inputs.values.get("service_url")
    if not is_behind(inputs):
        inputs.refuse(
            key,
            "has 'url' in a livekit entry: clients then ask Synapse for tokens, which works only with the "
            "token service registered as an application service, and that is not there",
            "Set it without 'url', or set matrixrtc_token_service_mode to homeserver.",
        )
    elif not own:
        inputs.refuse(
            key,
            f"has 'url' in the entry of {shown(entry['livekit_service_url'])}: clients would ask Synapse for "
            "its tokens, and the token service behind Synapse is another",
            "Set it without 'url'.",
        )
    elif "announced_url" in inputs.values and entry["url"] != inputs.values["announced_url"]:
        inputs.refuse(
            key,
            f"has the url {shown(entry['url'])}, and the token service takes nothing but "
            f"{shown(inputs.values['announced_url'])}",
            "Set it without 'url': it is added. For another address set matrixrtc_livekit_url.",
        )


def _service_url(value: object) -> str:
    return public_url(value, ("https",)).geturl()


def json_document(value: object) -> str:
    """The absolute path of a file that is not there yet, or that holds a JSON object."""
    path = absolute_path(value)
    if not os.path.exists(path):
        return path
    try:
        with open(path, encoding="utf-8", newline="") as source:
            with_foci(source.read(), [])
    except (OSError, ValueError) as error:
        raise InvalidValueError(f"{shown(path)} cannot be read ({error})") from error
    except WellKnownError as error:
        raise InvalidValueError(f"{shown(path)} {error}") from error
    return path


MODE = matching(r"0?[0-7]{3}", "an octal mode in quotes")
WELL_KNOWN_SETTINGS: Settings = {
    "owner": (user, "Set it to the user that a new document belongs to, such as root.", True),
    "group": (group, "Set it to the group that a new document belongs to, such as root.", True),
    "mode": (lambda value: MODE(plain_text(value)), "Set it to a mode such as '0644'.", True),
}


def check_well_known(inputs: Inputs, _secret: str) -> None:
    """All inputs of the well-known role."""
    server = inputs.read("served_by", one_of(SERVERS), f"Set it to {', '.join(SERVERS)}.")
    remedy = "Set it to the address of the homeserver's client API, such as https://matrix.example.org."
    inputs.read("base_url", _base_url, remedy, required=False)
    check_settings(inputs, WELL_KNOWN_SETTINGS)
    check_transports(inputs, "foci")
    if server == "file":
        check_document(inputs)


def _base_url(value: object) -> str:
    """Clients take it with and without a trailing slash (client-server API, discovery)."""
    return url(plain_text(value).rstrip("/"), ("https",)).geturl()


def check_document(inputs: Inputs) -> None:
    """The static file: there, or known well enough to be made."""
    server_name = str(inputs.values.get("server_name") or "")
    if is_refused(inputs, "server_name") and server_name in str(inputs.values.get("file")):
        return
    remedy = "Set it to the file that is served as /.well-known/matrix/client."
    path = inputs.read("file", json_document, remedy)
    if path is None or os.path.exists(path):
        return
    absent = f"{shown(path)} does not exist on this host"
    if "base_url" in inputs.values and not inputs.has("base_url"):
        remedy = f"{remedy[:-1]}, or set well_known_base_url to have one made."
        inputs.refuse("file", absent, remedy)
    elif not os.path.isdir(os.path.dirname(path)):
        inputs.refuse("file", f"{absent}, nor does its folder", remedy)
