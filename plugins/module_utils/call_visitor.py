# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a user of another homeserver may do on a site's SFU: watch a call that is there, and begin none.

A user of the site begins the call. It belongs to no Matrix room: the token service asks for none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .call_attendee import Attendee, BrokenError, Home, place
from .call_media import View, trust
from .call_sessions import made_up_room, tone_of
from .call_sites import find_attendees, knock, try_to_publish
from .call_sites_figures import Trial
from .call_sites_verdicts import (
    ACCESS,
    LISTED,
    NO_MEDIA_THERE,
    NOT_LET_IN,
    NOT_LISTED,
    UNVERIFIED_THERE,
    rights_verdict,
)
from .checks import Check, Fault, Outline
from .endpoint_site import SERVICE_URL, Site
from .endpoint_token import Access
from .symptoms import NOTHING, UNSEEN

POLL = 0.05  # seconds
NO_VISITOR = Fault(
    "the probe cannot speak for the user of the other homeserver",
    "put user_id and a valid access_token, from a login, into matrixrtc_probe_foreign_user",
)
RIGHTS = Outline(
    "visitor_rights",
    "Rights of users of other homeservers",
    ACCESS.expected,
    ACCESS.leg,
    NOTHING,
    (NO_VISITOR, NOT_LISTED, LISTED),
)
SIGHT = Outline(
    "visitor_sight",
    "Calls with users of other homeservers",
    "gets in, and recognises picture and tone of the user who began it",
    "media",
    UNSEEN,
    (UNVERIFIED_THERE, NOT_LET_IN, NO_MEDIA_THERE),
)


@dataclass(frozen=True)
class VisitPlan:
    """Who visits which site, with one account each. `timeout` is in seconds, for each step."""

    site: Site
    host: Home
    visitor: Home
    timeout: float = 12.0


@dataclass
class Visit:
    """One visit. The trial fills up on the way; `view` is what the visitor saw of the host."""

    plan: VisitPlan
    host: Attendee
    visitor: Attendee
    trial: Trial = field(init=False)
    view: View = field(default_factory=View)

    def __post_init__(self) -> None:
        """The two have tones of their own, and the host publishes on the site's SFU."""
        self.host.transport = {"type": "livekit", SERVICE_URL: self.plan.site.service_url}
        self.host.tone, self.visitor.tone = tone_of(0), tone_of(1)
        self.trial = Trial(self.visitor, self.plan.host, self.host.service_url)

    def knock(self) -> None:
        """The visitor comes to a call that nobody has begun."""
        room_id = made_up_room(self.plan.site, "empty")
        knock(self.trial, lambda: self.take_token(room_id))

    def take_token(self, room_id: str) -> tuple[Access, str]:
        """The visitor's token, as clients ask for that of somebody else's SFU. Raises BrokenError."""
        return self.visitor.foreign_token(self.trial.service_url, room_id, self.visitor.foreign_member)

    async def meet(self) -> None:
        """The host begins a call, the visitor looks at it and tries to send. `trouble` has what fails."""
        room_id, url = made_up_room(self.plan.site, "visit"), self.trial.service_url
        self.host.started = self.visitor.started = time.monotonic()
        coming = self.host
        try:
            await self.host.publish(await asyncio.to_thread(self.host.own_token, room_id))
            coming = self.visitor
            connection = await self.visitor.connect(url, *await asyncio.to_thread(self.take_token, room_id))
            connection.expect(self.host.own_identity, *self.host.secret)
            self.view = await self.look(connection.report.views)
            await try_to_publish(self.trial, self.host.connections[url])
        except BrokenError as broken:
            coming.trouble = broken
        finally:
            await asyncio.gather(self.host.leave(), self.visitor.leave())

    async def look(self, views: Mapping[str, View]) -> View:
        """Wait until picture and tone of the host are recognised, or the time is over."""
        end = time.monotonic() + self.plan.timeout
        while time.monotonic() < end:
            view = views.get(self.host.own_identity, View())
            if view.first_frame and view.first_tone:
                return view
            await asyncio.sleep(POLL)
        return views.get(self.host.own_identity, View())


def prove_visit(plan: VisitPlan) -> list[Check]:
    """Have the visitor come, once to nobody and once to the host."""
    trust(plan.site.http.ca_file)
    visitors, hosts = find_attendees(plan.site.http, plan.visitor), find_attendees(plan.site.http, plan.host)
    if visitors.unknown:
        why = visitors.unknown[plan.visitor.server_name]
        return [RIGHTS.fail(why, NO_VISITOR), SIGHT.skip(f"not tried, because {RIGHTS.id} failed")]
    if hosts.unknown:
        why = f"nobody of {plan.host.server_name} can begin a call: {hosts.unknown[plan.host.server_name]}"
        return [outline.skip(why) for outline in (RIGHTS, SIGHT)]
    visit = Visit(plan, hosts.attendees[0], visitors.attendees[0])
    visit.knock()
    if not visit.trial.no_token:
        asyncio.run(visit.meet())
    return [rights_verdict(RIGHTS, plan.host, [visit.trial]), sight_verdict(visit)]


def sight_verdict(visit: Visit) -> Check:
    """The visitor sees and hears the host."""
    servers = {"here": visit.plan.visitor.server_name, "there": visit.plan.host.server_name}
    if visit.host.trouble:
        return SIGHT.skip(f"nobody of {servers['there']} can begin a call: {visit.host.trouble}")
    refusal = visit.trial.no_token or str(visit.visitor.trouble or "")
    if refusal:
        return SIGHT.fail(refusal, UNVERIFIED_THERE if "401" in refusal else NOT_LET_IN, **servers)
    view = visit.view
    if not (view.first_frame and view.first_tone):
        seen = f"nothing that could be recognised came from {place(visit.trial.service_url)}"
        return SIGHT.fail(seen, NO_MEDIA_THERE, **servers)
    first = max(view.first_frame, view.first_tone)
    seen = f"{visit.visitor.name} sees and hears {visit.host.name} after {first:.2f} s"
    return replace(SIGHT.ok(seen), seconds=round(first, 3))
