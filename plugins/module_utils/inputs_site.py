# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that components share: the site's names and addresses, the host, versions, files and ports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import SplitResult

from .homeserver_kinds import KINDS, SYNAPSE
from .inputs_report import Inputs
from .inputs_values import (
    InvalidValueError,
    boolean,
    domain,
    one_of,
    plain_text,
    public_url,
    release_version,
    server_name,
    shown,
)
from .sockets import Claim, Conflict, conflicts

# Upstream publishes both components for these; Ansible's name for the machine comes first.
ARCHITECTURES = ("x86_64", "amd64", "aarch64", "arm64")
# Tested releases, and the distributions of which others may be tried with matrixrtc_allow_untested_versions.
DISTRIBUTIONS = {"Debian": ("12", "13")}
TRYABLE_DISTRIBUTIONS = ("Debian", "Ubuntu")

SERVER_NAME_REMEDY = "Set it to the part after the colon in your Matrix IDs, such as example.org."
DOMAIN_REMEDY = "Set it to the host name that clients reach the SFU at, such as rtc.example.org."
SERVICE_URL_REMEDY = (
    "Set it to https://, the RTC host name and a path, such as https://rtc.example.org/livekit/jwt."
)
LIVEKIT_URL_REMEDY = (
    "Set it to wss://, the RTC host name and a path, such as wss://rtc.example.org/livekit/sfu."
)


def check_site(inputs: Inputs) -> None:
    """What every component may be given: the two names that describe a site, and what the host is."""
    inputs.read("server_name", server_name, SERVER_NAME_REMEDY)
    inputs.read("domain", domain, DOMAIN_REMEDY)
    check_homeserver_kind(inputs)
    check_architecture(inputs)
    check_distribution(inputs)


def check_homeserver_kind(inputs: Inputs) -> None:
    """A known kind; and Synapse itself where its configuration is ours to write (its files are passed)."""
    remedy = f"Set it to {', '.join(KINDS)}."
    kind = inputs.read("homeserver_kind", one_of(list(KINDS)), remedy)
    if kind and kind != SYNAPSE and "files" in inputs.values:
        inputs.refuse(
            "homeserver_kind",
            f"is {shown(kind)}, but the host is in the group matrixrtc_homeserver, and only Synapse's own "
            "files can be edited",
            "Take the host out of that group: the run then shows what the homeserver's owner has to set.",
        )


def check_architecture(inputs: Inputs) -> None:
    """Refuse machines that upstream publishes no binaries for."""
    architecture = inputs.values.get("architecture")
    if "architecture" in inputs.values and architecture not in ARCHITECTURES:
        inputs.refuse(
            "architecture",
            f"the machine is {shown(architecture)}, for which there are no release binaries",
            "Use a host with x86_64 or aarch64.",
        )


def check_distribution(inputs: Inputs) -> None:
    """Refuse distributions that nobody has run these roles on."""
    if "distribution" not in inputs.values:
        return
    name = str(inputs.values["distribution"])
    release = str(inputs.values.get("distribution_version", "")).split(".")[0]
    if release in DISTRIBUTIONS.get(name, ()):
        return
    fault = f"the host runs {shown(f'{name} {release}'.strip())}, which is not supported"
    if inputs.allow_untested and name in TRYABLE_DISTRIBUTIONS:
        inputs.warn("distribution", f"{fault}; going on, because matrixrtc_allow_untested_versions is set.")
        return
    supported = " or ".join(f"{known} {' or '.join(releases)}" for known, releases in DISTRIBUTIONS.items())
    more = (
        ""
        if name not in TRYABLE_DISTRIBUTIONS
        else ", or set matrixrtc_allow_untested_versions to true to try it"
    )
    inputs.refuse("distribution", fault, f"Use a host with {supported}{more}.")


def is_refused(inputs: Inputs, key: str) -> bool:
    """The input was refused already: what is derived from it needs no message of its own."""
    return any(problem.variable == inputs.name(key) for problem in inputs.problems)


def has_refused_domain(inputs: Inputs, address: object) -> bool:
    """The URL was derived from an RTC host name that is refused already."""
    raw = inputs.values.get("domain") or ""
    return is_refused(inputs, "domain") and str(address).partition("://")[2].startswith(f"{raw}/")


def check_url(inputs: Inputs, key: str, schemes: tuple[str, ...], remedy: str) -> SplitResult | None:
    """A URL given to clients; its host should be the RTC host name, because that is where nginx serves it."""
    if has_refused_domain(inputs, inputs.values.get(key)):
        return None
    parts = inputs.read(key, lambda raw: public_url(raw, schemes), remedy)
    wanted = inputs.values.get("domain")
    if parts and wanted and parts.hostname != wanted and not is_refused(inputs, "domain"):
        inputs.warn(
            key,
            f"its host {shown(parts.hostname)} is not matrixrtc_domain ({shown(wanted)}), so somebody else "
            "has to serve it.",
        )
    return parts


def check_service_url(inputs: Inputs, key: str = "service_url") -> None:
    """The token service's address for clients."""
    check_url(inputs, key, ("https",), SERVICE_URL_REMEDY)


def check_livekit_url(inputs: Inputs, key: str = "livekit_url") -> None:
    """The SFU's address for clients."""
    check_url(inputs, key, ("wss",), LIVEKIT_URL_REMEDY)


def check_boolean(inputs: Inputs, key: str) -> bool | None:
    """A switch."""
    return inputs.read(key, boolean, "Set it to true or false.", required=False)


LOOPBACK = "127.0.0.1"  # where nginx reaches both services


def reaches_loopback(address: IPv4Address | IPv6Address) -> bool:
    """A listener on this address can be reached at 127.0.0.1."""
    return address.is_unspecified or str(address) == LOOPBACK


# Settings that are right or wrong by themselves: how to read each, what to set, and whether it is required.
Settings = Mapping[str, tuple[Callable[[Any], Any], str, bool]]
RESTARTS = ("immediate", "defer")
RESTART_REMEDY = "Set it to immediate or defer."
IDLE_RESTARTS = ("immediate", "when_idle", "defer")
IDLE_RESTART_REMEDY = "Set it, or matrixrtc_restart, to immediate, when_idle or defer."
AFTER_WAIT = ("defer", "force")
AFTER_WAIT_REMEDY = "Set it, or matrixrtc_restart_after_wait, to defer or force."


def check_settings(inputs: Inputs, settings: Settings) -> None:
    """Each setting by itself."""
    for key, (parse, remedy, required) in settings.items():
        inputs.read(key, parse, remedy, required)


# Versions ------------------------------------------------------------------------------------------


def check_version(inputs: Inputs) -> None:
    """Refuse releases that are known to be bad, too old or not tested with this collection."""
    tested = [str(version) for version in inputs.versions.get("tested") or []]
    remedy = (
        f"Set it to {' or '.join(tested)}." if tested else "Set it to a release that this collection names."
    )
    version = inputs.read("version", release_version, remedy)
    if version is None:
        return
    text = str(inputs.values["version"])
    fault = _known_fault(inputs, text, version)
    if fault and text in [str(allowed) for allowed in inputs.versions.get("allowed") or []]:
        inputs.warn(
            "version", f"{shown(text)} {fault}; going on, because matrixrtc_allow_bad_versions names it."
        )
    elif fault:
        way_round = f"To run it all the same, set matrixrtc_allow_bad_versions to ['{text}']."
        inputs.refuse("version", f"{shown(text)} {fault}", f"{remedy} {way_round}")
    elif text not in tested:
        _check_untested(inputs, text, remedy)


def _known_fault(inputs: Inputs, text: str, version: tuple[int, int, int]) -> str:
    """Why nobody should run this release ('' if nothing is known against it)."""
    for bad in inputs.versions.get("bad") or []:
        if str(bad.get("version")) == text:
            return f"is known to be bad: {_clause(bad.get('reason'))}"
    minimum = inputs.versions.get("minimum")
    if minimum and version < release_version(minimum):
        return f"is older than {minimum}: {_clause(inputs.versions.get('minimum_reason'))}"
    return ""


def _clause(reason: object) -> str:
    return str(reason or "no reason recorded").strip().rstrip(".")


def _check_untested(inputs: Inputs, text: str, remedy: str) -> None:
    """A release that is known but not tested gets a warning, an unknown one needs the operator's word."""
    if text in [str(version) for version in inputs.versions.get("untested") or []]:
        inputs.warn(
            "version", f"{shown(text)} is not tested with this collection; verify.yml tells whether it works."
        )
        return
    fault = f"{shown(text)} is unknown to this collection"
    if inputs.allow_untested:
        inputs.warn("version", f"{fault}; going on, because matrixrtc_allow_untested_versions is set.")
    else:
        inputs.refuse(
            "version",
            fault,
            f"{remedy} To run it all the same, set matrixrtc_allow_untested_versions to true.",
        )


# Files on the target -------------------------------------------------------------------------------


def absolute_path(value: object) -> str:
    """An absolute path."""
    path = plain_text(value)
    if not path.startswith("/"):
        raise InvalidValueError(f"{shown(path)} is not an absolute path on the host")
    return path


def existing_path(value: object) -> str:
    """The absolute path of something that is there."""
    path = absolute_path(value)
    if not os.path.exists(path):
        raise InvalidValueError(f"{shown(path)} does not exist on this host")
    return path


def program(value: object) -> str:
    """The absolute path of a program that can be run."""
    path = existing_path(value)
    if os.path.isdir(path) or not os.access(path, os.X_OK):
        raise InvalidValueError(f"{shown(path)} cannot be executed")
    return path


# Ports that somebody else holds --------------------------------------------------------------------


def busy_ports(inputs: Inputs, claims: Iterable[Claim], ours: Iterable[str]) -> list[Conflict]:
    """What others hold of our ports; nothing, with a warning, where /proc cannot be read."""
    try:
        return conflicts(claims, ours, inputs.process_folder)
    except OSError as error:
        inputs.warnings.append(
            f"Busy ports were not looked for, because {inputs.process_folder} cannot be read "
            f"({error.strerror})."
        )
        return []


def refuse_busy(inputs: Inputs, key: str, claim: Claim, ours: Iterable[str]) -> None:
    """Refuse an input whose ports are held by somebody else, naming who holds them."""
    held = {
        (f"{found.listener.port}/{found.listener.protocol}", holders(found)): None
        for found in busy_ports(inputs, [claim], ours)
    }
    if held:
        told = " and ".join(f"{where} is held by {who}" for where, who in held)
        inputs.refuse(key, told, "Stop it, or set another port.")


def holders(found: Conflict) -> str:
    """Who holds a port, in words."""
    if found.owners:
        return ", ".join(str(owner) for owner in found.owners)
    return f"the kernel or a process of the user {found.listener.user or 'root'} that may not be looked into"
