# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the token service's place behind Synapse (MSC4195, MSC4512, MSC4502): all of it, or nothing.

Either side alone does harm: the token service does not start with half of it, and clients that are told of an
SFU's `url` ask the homeserver for tokens and never look further.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from .homeserver_kinds import HOMESERVER, SYNAPSE, TOKEN_SERVICE_MODES
from .inputs_report import Inputs
from .inputs_site import absolute_path, is_refused
from .inputs_values import InvalidValueError, one_of, shown, url
from .synapse_check import Synapse, SynapseError
from .synapse_policy import BEHIND, parse_version

ADDRESS_REMEDY = "Set it as Synapse reaches the token service: http://172.17.0.1:8080, or leave it out."
MODE_REMEDY = "Set it to standalone or homeserver."
TOKENS = ("as_token", "hs_token")
RANDOM_WORD = "Set it to the output of: openssl rand -hex 32 (in a vault)."
AWAY_REMEDY = "Set it to standalone, or set matrixrtc_as_token and matrixrtc_hs_token (in a vault)."
SHORTEST = 32  # as for the API secret
UPGRADE = "Upgrade Synapse, or set it to standalone."


def is_behind(inputs: Inputs) -> bool:
    """Whether the token service is to stand behind the homeserver."""
    return inputs.values.get("token_service_mode") == HOMESERVER


def _token(value: object) -> str:
    """What can stand in an HTTP header, and cannot be guessed; never quoted."""
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise InvalidValueError("is not one word of letters, digits and punctuation")
    if len(value) < SHORTEST:
        raise InvalidValueError(f"has {len(value)} characters, {SHORTEST} are needed")
    return value


def check_mode(inputs: Inputs) -> None:
    """The mode and the two tokens."""
    inputs.read("token_service_mode", one_of(TOKEN_SERVICE_MODES), MODE_REMEDY)
    if is_behind(inputs):
        inputs.read("token_service_address", lambda value: url(value, ("http", "https")), ADDRESS_REMEDY)
    check_tokens(inputs)


def check_tokens(inputs: Inputs) -> None:
    """Both or none; none where nobody could make them for both sides."""
    given = [name for name in TOKENS if inputs.has(name)]
    for name in given:
        inputs.read(name, _token, RANDOM_WORD)
    if len(given) == 1:
        (absent,) = set(TOKENS) - set(given)
        inputs.refuse(absent, f"is not set, but {inputs.name(given[0])} is", "Set both, or neither.")
    elif given and inputs.values[TOKENS[0]] == inputs.values[TOKENS[1]]:
        inputs.refuse(TOKENS[1], f"is the same as {inputs.name(TOKENS[0])}", RANDOM_WORD)
    if given and not is_behind(inputs) and not is_refused(inputs, "token_service_mode"):
        inputs.warn(given[0], "has no effect unless matrixrtc_token_service_mode is homeserver.")
    if not given and is_behind(inputs) and inputs.values.get("homeserver_beside") is False:
        inputs.refuse(
            "token_service_mode",
            "is homeserver, but the token service and the homeserver are not on one host of the groups "
            "matrixrtc_rtc and matrixrtc_homeserver, so no tokens can be made for both",
            AWAY_REMEDY,
        )


def check_urls(inputs: Inputs) -> None:
    """The service compares what clients bring with its own, character by character."""
    own, announced = (inputs.values.get(key) for key in ("own_livekit_url", "announced_url"))
    if is_behind(inputs) and own != announced:
        inputs.refuse(
            "own_livekit_url",
            f"is {shown(own)}, but clients are told {shown(announced)}, and behind the homeserver the token "
            "service refuses all but its own",
            "Set matrixrtc_livekit_url instead.",
        )


def check_homeserver_side(inputs: Inputs) -> None:
    """What Synapse is, what it announces, and where the registration lies."""
    check_mode(inputs)
    if not is_behind(inputs):
        return
    own = inputs.values.get("service_url")
    entries = inputs.values.get("transports")
    known = isinstance(entries, list) and all(isinstance(entry, Mapping) for entry in entries)
    if known and own and own not in [entry.get("livekit_service_url") for entry in entries or ()]:
        inputs.refuse(
            "transports",
            f"has no entry with {shown(own)}, the token service that is to stand behind Synapse",
            "Add it, or set matrixrtc_token_service_mode to standalone.",
        )
    kind = inputs.values.get("homeserver_kind", SYNAPSE)
    if kind != SYNAPSE and not is_refused(inputs, "homeserver_kind"):
        inputs.refuse(
            "token_service_mode",
            f"is homeserver, and the homeserver is {shown(kind)}: only Synapse's own files are known",
            "Set it to standalone.",
        )
    if "python" in inputs.values:  # ours to configure
        check_registration_file(inputs)
        check_synapse(inputs)


def check_registration_file(inputs: Inputs) -> None:
    """Synapse takes every YAML file in its configuration folders for settings."""
    remedy = "Set it to a file beside homeserver.yaml: /etc/matrix-synapse/matrixrtc-registration.yaml."
    path = inputs.read("registration_file", absolute_path, remedy)
    folder = os.path.dirname(path or "/")
    if not os.path.isdir(folder):
        inputs.refuse("registration_file", f"{shown(folder)} is no folder of this host", remedy)
    files = inputs.values.get("files")
    for place in files if isinstance(files, list) else ():
        if path and os.path.isdir(str(place)) and os.path.realpath(folder) == os.path.realpath(str(place)):
            inputs.refuse(
                "registration_file", f"{shown(folder)} is read by Synapse as a folder of settings", remedy
            )


def check_synapse(inputs: Inputs) -> None:
    """The first Synapse that has all three parts, and where it sees the registration."""
    values = inputs.values
    if any(is_refused(inputs, key) for key in ("python", "user", "working_directory", "run_prefix")):
        return
    prefix, paths = tuple(values.get("run_prefix") or ()), values.get("container_paths") or {}
    synapse = Synapse(values["python"], values["user"], values.get("working_directory", "/"), prefix, paths)
    if not is_refused(inputs, "registration_file"):
        try:
            synapse.inside(values["registration_file"])
        except SynapseError as error:
            inputs.refuse(
                "registration_file", f"is out of the container's sight: {error}", "Or set it to one there."
            )
    try:
        version = synapse.version()
        numbers = parse_version(version)
    except (SynapseError, ValueError) as error:
        inputs.refuse("token_service_mode", f"the version of Synapse is not known: {error}", UPGRADE)
        return
    if numbers < BEHIND:
        needed = ".".join(map(str, BEHIND))
        inputs.refuse(
            "token_service_mode",
            f"is homeserver, which takes Synapse {needed}, and this one is {shown(version)}",
            UPGRADE,
        )
