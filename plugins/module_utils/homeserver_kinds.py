# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of homeserver that a site may have: what each cannot do, and what that means for calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .checks import FAIL, WARN, Check

SYNAPSE = "synapse"
# Who takes users' requests for tokens: the token service itself, or the homeserver before it (MSC4195).
STANDALONE, HOMESERVER = TOKEN_SERVICE_MODES = ("standalone", "homeserver")
DELAYED_EVENTS = "delayed events (MSC4140)"
STATE_AFTER = "state_after in its answers to /sync (MSC4222)"
TRANSPORTS_ENDPOINT = "an endpoint for transports (MSC4143)"
OWN_FOCI = "a list of foci in the client well-known that it serves"

# What users notice when a homeserver has not got it.
EFFECTS: Mapping[str, str] = {
    DELAYED_EVENTS: "Calls work, but whoever crashes stays in the call for hours",
    STATE_AFTER: "Calls work, but a client that was away for a while may show people who are not in the call",
    TRANSPORTS_ENDPOINT: "Clients use the client well-known instead, so that has to name the SFU",
    OWN_FOCI: "Current clients ask its endpoint for transports; older ones find no SFU until another web "
    "server serves the document",
}


@dataclass(frozen=True)
class Kind:
    """A kind of homeserver. `is_synapse`: it is Synapse behind the configuration of something else."""

    title: str
    is_synapse: bool = False
    cannot: frozenset[str] = frozenset()


KINDS: Mapping[str, Kind] = {
    SYNAPSE: Kind("Synapse", is_synapse=True),
    "ess": Kind("Element Server Suite", is_synapse=True),
    "mdad": Kind("matrix-docker-ansible-deploy", is_synapse=True),
    "continuwuity": Kind("Continuwuity", cannot=frozenset({DELAYED_EVENTS, STATE_AFTER, OWN_FOCI})),
    "tuwunel": Kind("Tuwunel", cannot=frozenset({DELAYED_EVENTS, STATE_AFTER})),
    "other": Kind("this homeserver", cannot=frozenset({DELAYED_EVENTS, STATE_AFTER, TRANSPORTS_ENDPOINT})),
}


def tolerated(check: Check, kind: str, feature: str) -> Check:
    """A failure for want of a feature; only a warning when that kind of homeserver has not got it at all."""
    known = KINDS[kind]
    if check.status != FAIL or feature not in known.cannot:
        return check
    return replace(
        check,
        status=WARN,
        cause=f"{known.title} has not got {feature}. {EFFECTS[feature]}",
        fix=f"nothing can be set for {feature}; look for it when {known.title} is updated",
    )


def by_owner(kind: str, fix: str) -> str:
    """How a setting is made: as it is said for Synapse, or with what was printed for other kinds."""
    if kind == SYNAPSE:
        return fix
    return f"set what site.yml prints, and writes below matrixrtc_snippets_dir, for {KINDS[kind].title}"
