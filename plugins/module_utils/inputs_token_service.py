# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the token service role's inputs (lk-jwt-service `README.md` and `src/config.rs`, 0.4 to 0.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .certificates import CertificateError, check_readable
from .inputs_livekit import check_credentials
from .inputs_ports import PORT_REMEDY, service_port
from .inputs_release import check_release
from .inputs_report import Inputs
from .inputs_site import (
    AFTER_WAIT,
    AFTER_WAIT_REMEDY,
    IDLE_RESTART_REMEDY,
    IDLE_RESTARTS,
    LOOPBACK,
    Settings,
    absolute_path,
    check_boolean,
    check_livekit_url,
    check_service_url,
    check_settings,
    check_version,
    is_refused,
    reaches_loopback,
    refuse_busy,
)
from .inputs_values import (
    InvalidValueError,
    PortRange,
    at_least,
    domain,
    ip_literal,
    mapping,
    matching,
    network,
    one_of,
    server_name,
    sha256,
    shown,
    url,
)
from .inputs_wiring import check_mode, check_urls, is_behind
from .sockets import Claim

OUR_UNITS = ("lk-jwt-service.service",)
LOG_LEVELS = ("debug", "info", "warn", "warning", "error")
ACCESS_REMEDY = (
    "Set it to the list of Matrix server names whose users may start calls, such as ['example.org'], or to "
    "['*'] with matrixrtc_allow_any_homeserver."
)
ENVIRONMENT_REMEDY = "Set it to a mapping of environment variables to text."

# Names from older versions, drafts and guides, with what takes their place.
OLD_NAMES: Mapping[str, str] = {
    "LK_JWT_PORT": "lk_jwt_service_port (LIVEKIT_JWT_BIND)",
    "LIVEKIT_JWT_PORT": "lk_jwt_service_port (LIVEKIT_JWT_BIND)",
    "LIVEKIT_BIND": "lk_jwt_service_port (LIVEKIT_JWT_BIND)",
    "LIVEKIT_LOCAL_HOMESERVERS": "matrixrtc_full_access_homeservers (LIVEKIT_FULL_ACCESS_HOMESERVERS)",
    "HS_ALLOWLIST": "matrixrtc_full_access_homeservers (LIVEKIT_FULL_ACCESS_HOMESERVERS)",
    "LIVEKIT_SECRET_FILE": "matrixrtc_livekit_secret (LIVEKIT_SECRET_FROM_FILE)",
}
# Names that the role sets itself.
OWNED_NAMES: Mapping[str, str] = {
    "LIVEKIT_URL": "matrixrtc_livekit_url",
    "LIVEKIT_KEY": "matrixrtc_livekit_key",
    "LIVEKIT_KEY_FROM_FILE": "matrixrtc_livekit_key",
    "LIVEKIT_SECRET": "matrixrtc_livekit_secret",
    "LIVEKIT_SECRET_FROM_FILE": "matrixrtc_livekit_secret",
    "LIVEKIT_KEY_FILE": "matrixrtc_livekit_key and matrixrtc_livekit_secret",
    "LIVEKIT_JWT_BIND": "lk_jwt_service_port",
    "LIVEKIT_FULL_ACCESS_HOMESERVERS": "matrixrtc_full_access_homeservers",
}


BIND_REMEDY = "Set it to 127.0.0.1."
SECONDS = "Set it to a number of seconds."
MEMORY = matching(r"[1-9][0-9]*[KMGT]?|infinity", "an amount of memory (a number and one of K, M, G, T)")
JOURNAL = matching(r"[A-Za-z0-9_.-]{1,64}", "a name for a journal namespace")
SETTINGS: Settings = {
    "sha256": (sha256, "Set it to the checksum of the release's binary, or leave it empty.", False),
    "sanity_check_interval": (at_least(0), "Set it to a number of seconds, or 0 to switch it off.", True),
    "log_level": (one_of(LOG_LEVELS), f"Set it to {', '.join(LOG_LEVELS)}.", True),
    "log_namespace": (JOURNAL, "Set it to letters, digits and . _ -, or leave it empty.", False),
    "restart": (one_of(IDLE_RESTARTS), IDLE_RESTART_REMEDY, True),
    "restart_wait": (at_least(1), SECONDS, True),
    "restart_after_wait": (one_of(AFTER_WAIT), AFTER_WAIT_REMEDY, True),
    "stop_timeout": (at_least(1), SECONDS, True),
    "health_timeout": (at_least(1), SECONDS, True),
    "open_files": (at_least(1024), "Set it to 1024 or more.", True),
    "memory_max": (MEMORY, "Set it to an amount such as 256M.", False),
}


def check_token_service(inputs: Inputs, secret: str) -> None:
    """All inputs of the token service role."""
    check_version(inputs)
    check_release(inputs)
    check_listener(inputs)
    check_credentials(inputs, secret)
    check_service_url(inputs)
    check_livekit_url(inputs)
    check_access(inputs)
    check_ca_file(inputs)
    check_addresses_of_others(inputs)
    check_settings(inputs, SETTINGS)
    check_environment(inputs)
    check_mode(inputs)
    check_urls(inputs)


def check_listener(inputs: Inputs) -> None:
    """Where the service listens: nginx and LiveKit reach it over loopback."""
    address = inputs.read("bind_address", ip_literal, BIND_REMEDY)
    if address and not reaches_loopback(address):
        inputs.refuse("bind_address", f"nginx and LiveKit cannot reach {address} at {LOOPBACK}", BIND_REMEDY)
    elif address and address.is_unspecified:
        inputs.warn(
            "bind_address", "the service, which has no TLS and no rate limit, is open to every network."
        )
    number = inputs.read("port", service_port, PORT_REMEDY.format(8080))
    if number:
        addresses = (str(address),) if address else ()
        refuse_busy(inputs, "port", Claim("tcp", PortRange(number, number), addresses), OUR_UNITS)


def check_addresses_of_others(inputs: Inputs) -> None:
    """Names and networks that the service is to find elsewhere, or not at all."""
    remedy = "Set it to a mapping of host names to IP addresses."
    for name, address in (inputs.read("hosts", mapping, remedy, required=False) or {}).items():
        inputs.parse("hosts", name, domain, remedy)
        inputs.parse("hosts", address, ip_literal, remedy)
    remedy = (
        "Set it to a mapping of server names to URLs such as {'example.org': 'https://matrix.example.org'}."
    )
    for name, address in (inputs.read("homeserver_urls", mapping, remedy, required=False) or {}).items():
        inputs.parse("homeserver_urls", name, server_name, remedy)
        inputs.parse("homeserver_urls", address, lambda value: url(value, ("http", "https")), remedy)
    remedy = "Set it to a list of networks, or of any, localhost, link-local and multicast."
    inputs.read_list("denied_networks", _network, remedy, required=False)


def _network(value: object) -> str:
    """A network in the words of systemd.resource-control(5)."""
    return str(value) if value in ("any", "localhost", "link-local", "multicast") else network(value)


def check_ca_file(inputs: Inputs) -> None:
    """A private certificate authority, if there is one."""
    remedy = "Set it to a PEM file of certificates on the host, or leave it empty to use the system's."
    path = inputs.read("ca_file", absolute_path, remedy, required=False)
    if path:
        try:
            check_readable(path, "CERTIFICATE")
        except CertificateError as error:
            inputs.refuse("ca_file", str(error), remedy)


# Who may start calls -------------------------------------------------------------------------------


def _homeserver(value: object) -> str:
    return "*" if value == "*" else server_name(value)


def check_access(inputs: Inputs) -> None:
    """The access list: never empty, and open to everybody only on purpose."""
    anybody = check_boolean(inputs, "allow_any_homeserver")
    given = inputs.values.get("full_access_homeservers")
    own = inputs.values.get("server_name")
    if is_refused(inputs, "server_name") and given == [own]:
        return
    names = inputs.read_list("full_access_homeservers", _homeserver, ACCESS_REMEDY)
    if not names:
        return
    if "*" in names and len(names) > 1:
        inputs.refuse(
            "full_access_homeservers",
            "'*' beside other names means nothing to the token service",
            "Set it to the names only, or to ['*'] with matrixrtc_allow_any_homeserver.",
        )
    elif "*" in names and not anybody:
        inputs.refuse(
            "full_access_homeservers",
            "'*' lets everybody on the internet use your bandwidth for their calls",
            "Set it to a list of names, or set matrixrtc_allow_any_homeserver to true if that is meant.",
        )
    elif "*" not in names and own and own not in names:
        inputs.warn(
            "full_access_homeservers",
            f"your own homeserver {shown(own)} is not in it, so your users cannot start calls.",
        )
    if anybody and "*" not in names:
        inputs.warn(
            "allow_any_homeserver", "has no effect unless matrixrtc_full_access_homeservers is ['*']."
        )


# Environment ---------------------------------------------------------------------------------------


def _one_line(value: object) -> str:
    text = str(value)
    if isinstance(value, (dict, list)) or "\n" in text or "\r" in text:
        raise InvalidValueError("has a value that is not one line of text")
    return text


def check_environment(inputs: Inputs) -> None:
    """Free environment variables: no old names, nothing the role owns, nothing fatal."""
    extra = inputs.read("extra_environment", mapping, ENVIRONMENT_REMEDY, required=False) or {}
    for name, value in extra.items():
        if name in OLD_NAMES:
            inputs.refuse(
                "extra_environment",
                f"{name} is no name that the token service reads",
                f"Remove it and set {OLD_NAMES[name]}.",
            )
        elif name in OWNED_NAMES:
            inputs.refuse(
                "extra_environment", f"{name} belongs to the role", f"Remove it and set {OWNED_NAMES[name]}."
            )
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            inputs.refuse(
                "extra_environment",
                f"{shown(name)} is no name of an environment variable",
                ENVIRONMENT_REMEDY,
            )
        else:
            inputs.parse("extra_environment", value, _one_line, f"Set {name} in it to text.")
    _check_values(inputs, extra)
    _check_application_service(inputs, extra)


def _check_values(inputs: Inputs, extra: Mapping[str, object]) -> None:
    """Values that make the service exit at start, or fail silently later."""
    key = "extra_environment"
    if "LIVEKIT_INSECURE_SKIP_VERIFY_TLS" in extra:
        inputs.refuse(
            key,
            "LIVEKIT_INSECURE_SKIP_VERIFY_TLS would let anybody speak for any homeserver",
            "Remove it, and set matrixrtc_ca_file for a private certificate authority.",
        )
    seconds = extra.get("LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS", 0)
    inputs.parse(
        key, seconds, at_least(0), "Set LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS in it to a number of seconds."
    )
    level = extra.get("LIVEKIT_LOG_LEVEL", "info")
    if level not in LOG_LEVELS:
        inputs.refuse(
            key, f"{shown(level)} is no log level", f"Set LIVEKIT_LOG_LEVEL in it to {', '.join(LOG_LEVELS)}."
        )
    overrides = str(extra.get("LIVEKIT_CS_API_URL_OVERRIDES") or "")
    for entry in overrides.split(",") if overrides else ():
        name, equals, address = entry.strip().partition("=")
        remedy = "Set LIVEKIT_CS_API_URL_OVERRIDES in it to entries such as example.org=https://matrix.example.org."
        if not (equals and name):
            inputs.refuse(key, f"{shown(entry)} is no override", remedy)
            continue
        inputs.parse(key, address, lambda value: url(value, ("http", "https")), remedy)


def _check_application_service(inputs: Inputs, extra: Mapping[str, object]) -> None:
    """Half an application-service configuration makes the service exit."""
    tokens = bool(extra.get("LIVEKIT_AS_REGISTRATION_FILE")) or (
        bool(extra.get("LIVEKIT_AS_TOKEN")) and bool(extra.get("LIVEKIT_HS_TOKEN"))
    )
    names = ("LIVEKIT_AS_REGISTRATION_FILE", "LIVEKIT_AS_TOKEN", "LIVEKIT_HS_TOKEN", "LIVEKIT_HS_SERVER_NAME")
    complete = tokens and bool(extra.get("LIVEKIT_HS_SERVER_NAME"))
    if is_behind(inputs) and any(name in extra for name in names):
        inputs.refuse(
            "extra_environment",
            "has application-service settings, which belong to the role where "
            "matrixrtc_token_service_mode is homeserver",
            "Remove them, and set matrixrtc_as_token and matrixrtc_hs_token for tokens of your own.",
        )
    elif any(extra.get(name) for name in names) and not complete:
        inputs.refuse(
            "extra_environment",
            "half of the application-service settings are there, and the service would exit",
            "Set LIVEKIT_HS_SERVER_NAME and both tokens or LIVEKIT_AS_REGISTRATION_FILE, or none.",
        )
