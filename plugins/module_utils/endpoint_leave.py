# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what takes people out of a call who vanished: delayed events, and who sends them."""

from __future__ import annotations

from dataclasses import replace

from .checks import Check, Fault, Outline
from .endpoint_site import NO_ANSWER, Site, unanswered
from .endpoint_wiring import DELEGATE
from .homeserver_kinds import DELAYED_EVENTS, LACKS, by_owner, tolerated
from .matrix_client import DELAYED
from .symptoms import GHOST

NO_BASE_URL = Fault(
    "the client well-known does not say where the homeserver is, so the token service cannot send leaves",
    "add m.homeserver.base_url to the client well-known",
)
NO_LEAVES = Fault(
    "the homeserver has no delayed events, or the proxy sends this path to a worker that does not know it",
    "set max_event_delay_duration (role synapse_config); route"
    " /_matrix/client/unstable/org.matrix.msc4140/ to the main process",
)
LEAVES = Outline(
    "delayed_events_route",
    "Leaves sent without a token",
    "404 M_NOT_FOUND for a made-up delay id",
    "leave",
    GHOST,
    (NO_LEAVES, LACKS[DELAYED_EVENTS], NO_BASE_URL, *NO_ANSWER),
)
HOST_LEAVES = replace(LEAVES, id="host_delayed_leave", title="Leaves sent by the token service")
NOT_THE_HOMESERVER = Fault(
    "something other than the homeserver answers this path, such as a web app's catch-all. Element Call "
    "takes anything but a 404 for a homeserver that sends leaves, and schedules its own an hour ahead",
    "route all of /_matrix/ to the homeserver, which answers 404 if it does not know the path",
)
DELEGATION = Outline(
    "homeserver_delegation",
    "Delegation of leaves to the homeserver",
    "404, or 401 M_MISSING_TOKEN where the token service stands behind it",
    "leave",
    GHOST,
    (NOT_THE_HOMESERVER,),
)


def leave_check(site: Site, base_url: str, outline: Outline = LEAVES) -> Check:
    """Whoever knows a delay id can send or restart the event: the token service asks without a token."""
    if not base_url:
        return outline.fail("no base_url", NO_BASE_URL)
    answer = site.http.request("POST", f"{base_url}{DELAYED}/matrixrtc-probe/restart", body={})
    if answer.status == 429 or answer.document().get("errcode") == "M_NOT_FOUND":
        return outline.ok(answer.summary())
    if answer.error:
        return unanswered(outline, answer)
    missing = by_owner(outline.fail(answer.summary(), NO_LEAVES), site.homeserver_kind)
    return tolerated(missing, site.homeserver_kind, DELAYED_EVENTS) if answer.status < 500 else missing


def delegation_check(site: Site, base_url: str) -> Check:
    """Nobody but the homeserver answers the question that Element Call asks before it schedules its leave."""
    answer = site.http.request("POST", base_url + DELEGATE, body={})
    if answer.error or answer.status >= 500:
        return DELEGATION.skip(f"{answer.summary()}: see the check delayed_events")
    if answer.status == 404 or (answer.status == 401 and answer.document().get("errcode")):
        return DELEGATION.ok(answer.summary())
    return DELEGATION.fail(f"{answer.summary()} {answer.text(40)}".strip(), NOT_THE_HOMESERVER)
