# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of homeserver that a site may have: what each cannot do, and what that means for calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .checks import FAIL, WARN, Check, Fault
from .symptoms import NOTHING

SYNAPSE = "synapse"
# Who takes users' requests for tokens: the token service itself, or the homeserver before it (MSC4195).
STANDALONE, HOMESERVER = TOKEN_SERVICE_MODES = ("standalone", "homeserver")
DELAYED_EVENTS = "delayed events (MSC4140)"
STATE_AFTER = "state_after in its answers to /sync (MSC4222)"
TRANSPORTS_ENDPOINT = "an endpoint for transports (MSC4143)"
OWN_FOCI = "a list of foci in the client well-known that it serves"
LATER = "nothing can be set for it; look for it when {homeserver} is updated"

# What it means when a homeserver has not got it.
LACKS: Mapping[str, Fault] = {
    DELAYED_EVENTS: Fault(f"{{homeserver}} has not got {DELAYED_EVENTS}", LATER),
    STATE_AFTER: Fault(f"{{homeserver}} has not got {STATE_AFTER}", LATER),
    TRANSPORTS_ENDPOINT: Fault(
        f"{{homeserver}} has not got {TRANSPORTS_ENDPOINT}. Clients use the client well-known instead, so "
        "that has to name the SFU",
        LATER,
        NOTHING,
    ),
    OWN_FOCI: Fault(
        f"{{homeserver}} has not got {OWN_FOCI}. Current clients ask its endpoint for transports; older ones "
        "find no SFU until another web server serves the document",
        LATER,
    ),
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
    lacks = LACKS[feature]
    return replace(
        check,
        status=WARN,
        cause=lacks.cause.format(homeserver=known.title),
        fix=lacks.fix.format(homeserver=known.title),
        shows=check.shows if lacks.shows is None else lacks.shows,
    )


def by_owner(check: Check, kind: str) -> Check:
    """A failure whose fix is said for Synapse; for other kinds it is what was printed for them."""
    if kind == SYNAPSE or check.status != FAIL:
        return check
    fix = f"set what site.yml prints, and writes below matrixrtc_snippets_dir, for {KINDS[kind].title}"
    return replace(check, fix=fix)
