# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the roles that meet software of others: nginx, the firewall, Synapse, the well-known document."""

from __future__ import annotations

import json
import os
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
from .inputs_ports import PORT_REMEDY, check_media_ports, service_port
from .inputs_report import Inputs
from .inputs_site import (
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
from .inputs_values import (
    InvalidValueError,
    PortRange,
    at_least,
    duration,
    ip_literal,
    list_of_values,
    mapping,
    matching,
    network,
    one_of,
    port,
    port_range,
    public_url,
    shown,
)
from .sockets import Claim, occupied

T = TypeVar("T")

NGINX = ("nginx.service", "nginx")
HTTPS = PortRange(443, 443)
DAYS_BEFORE_EXPIRY = 14
BACKENDS = ("auto", "nftables", "none")
SERVERS = ("file", "synapse", "external")

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

CERTIFICATE_REMEDY = "Set it to the PEM file, on the RTC host, of a certificate for {} with its chain."
KEY_REMEDY = "Set it to the PEM file, on the RTC host, of the certificate's private key without a password."
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
    check_certificate(inputs)
    check_https_port(inputs)
    check_upstreams(inputs)
    check_limits(inputs)


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
            "Stop that program, or set it up to serve the host name instead of the nginx_proxy role.",
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


def check_certificate(inputs: Inputs) -> None:
    """The certificate is there, valid today and for the RTC host name, and the key is its key."""
    remedy = CERTIFICATE_REMEDY.format(inputs.values.get("domain") or "the RTC host name")
    path = inputs.read("certificate", absolute_path, remedy)
    key_path = inputs.read("private_key", absolute_path, KEY_REMEDY)
    certificate = _examine(inputs, "certificate", read_certificate, path, remedy)
    key = _examine(inputs, "private_key", public_key_of, key_path, KEY_REMEDY)
    if path is None or certificate is None:
        return
    if key is not None and key != certificate.public_key:
        inputs.refuse(
            "private_key", f"{shown(key_path)} is not the key of the certificate {shown(path)}", KEY_REMEDY
        )
    domain = str(inputs.values.get("domain") or "")
    if not is_refused(inputs, "domain") and domain and not is_for(certificate, domain):
        names = ", ".join(certificate.names) or "no name at all"
        inputs.refuse("certificate", f"{shown(path)} is not for {domain} but for {names}", remedy)
    _check_validity(inputs, path, certificate)


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


def _check_validity(inputs: Inputs, path: str, certificate: Certificate) -> None:
    """The certificate's dates against the host's clock, then whether clients would trust it."""
    days = days_left(certificate)
    end = time.strftime("%Y-%m-%d", time.gmtime(certificate.not_after))
    if certificate.not_before > time.time():
        start = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(certificate.not_before))
        inputs.refuse(
            "certificate",
            f"{shown(path)} is not valid before {start}",
            "Set it to a certificate that is valid now, or correct the host's clock.",
        )
    elif days < 0:
        inputs.refuse(
            "certificate",
            f"{shown(path)} expired on {end}",
            "Renew it, or set it to a certificate that is valid.",
        )
    else:
        if days < DAYS_BEFORE_EXPIRY:
            inputs.warn("certificate", f"{shown(path)} expires on {end}, in {int(days)} days.")
        reason = distrust(path, str(inputs.values.get("ca_file") or ""))
        if reason:
            inputs.warn(
                "certificate",
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


def check_synapse(inputs: Inputs, _secret: str) -> None:
    """All inputs of the Synapse role."""
    check_transports(inputs, "transports")
    inputs.read("max_event_delay_duration", duration, "Set it to a duration such as 24h.")
    inputs.read_list(
        "files",
        existing_path,
        "Set it to the configuration files and folders of Synapse, in the order of its -c options.",
    )
    inputs.read(
        "python",
        program,
        "Set it to the Python of Synapse's own environment, such as /opt/venvs/matrix-synapse/bin/python.",
    )


def check_transports(inputs: Inputs, key: str) -> None:
    """The announced transports: at least one, each with a type, a LiveKit one with its URL."""
    entries = inputs.read_list(key, mapping, TRANSPORT_REMEDY)
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
    if has_refused_domain(inputs, address):
        return
    inputs.parse(key, address, lambda value: public_url(value, ("https",)), SERVICE_URL_REMEDY)
    if "url" in entry:
        inputs.warn(
            key,
            "has 'url' in a livekit entry: clients then ask Synapse for tokens, which works only with the "
            "token service registered as an application service.",
        )


def json_document(value: object) -> str:
    """The absolute path of a file that is not there yet, in a folder that is, or that holds a JSON object."""
    path = absolute_path(value)
    if not os.path.exists(path):
        if not os.path.isdir(os.path.dirname(path)):
            raise InvalidValueError(f"{shown(path)} is in a folder that does not exist on this host")
        return path
    try:
        with open(path, encoding="utf-8") as source:
            document = json.load(source)
    except (OSError, ValueError) as error:
        raise InvalidValueError(f"{shown(path)} cannot be read as JSON ({error})") from error
    if not isinstance(document, dict):
        raise InvalidValueError(f"{shown(path)} holds no JSON object")
    return path


def check_well_known(inputs: Inputs, _secret: str) -> None:
    """All inputs of the well-known role."""
    server = inputs.read("served_by", one_of(SERVERS), f"Set it to {', '.join(SERVERS)}.")
    inputs.read(
        "file",
        json_document,
        "Set it to the file that is served as /.well-known/matrix/client.",
        required=server == "file",
    )
    check_transports(inputs, "foci")
