# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Place a call between users as Element Call does, judge every step of it, and break it off.

One user takes the token of /sfu/get with the leave delegated, as Element Call does for its own SFU in
compatibility mode, another that of /get_token, as for somebody else's SFU; both land in one LiveKit room.
Of the call there may be more participants than accounts: these are further sessions, in the media part alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from .call_figures import Figures, Media
from .call_ice import survey
from .call_ipv6 import prove_ipv6
from .call_media import ChildParticipant, Participant, Seat, trust
from .call_membership import DELEGATED_DELAY
from .call_room import Caller, CallRoom, both
from .call_sessions import Talker, names_of, seats_of, session
from .call_tokens import Ticket, Tickets, ask_all, own_member_id
from .call_verdicts import (
    ACCOUNTS,
    BAD_TOKENS,
    LEAVE,
    NO_HOMESERVER,
    NO_HOMESERVER_ANY_MORE,
    accounts_verdict,
    cleanup_verdict,
    discovery_verdict,
    in_order,
    leave_verdict,
    media_verdicts,
    membership_verdict,
    no_delayed_events,
    room_verdict,
    state_verdict,
)
from .checks import FAIL, Check
from .endpoint_site import FOCI, SERVICE_URL, Site, discover, livekit_urls
from .matrix_client import Account, MatrixClient, MatrixError

POLL = 0.05  # seconds
SURVEY_TIMEOUT = 4.0
SETTLE = 1.5  # seconds until the token service has found who was there before, or has seen others off
SPY = "somebody without the keys"
DISCONNECT, KILL = "disconnect", "kill"


class CallBrokenError(Exception):
    """A step failed without which the next ones make no sense; `check` says how."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.id)
        self.check = check


@dataclass(frozen=True)
class Plan:
    """How the call is to be, times in seconds. A membership may stay `leave_timeout` after the break.

    `participants`: how many there are, at least as many as `tokens`.
    """

    site: Site
    tokens: tuple[str, ...]
    user_ids: tuple[str, ...] = ()
    homeserver_url: str = ""
    media_seconds: float = 3.0
    timeout: float = 12.0
    leave_timeout: float = 5.0
    break_off: str = DISCONNECT
    force_tcp: bool = False
    prove_encryption: bool = True
    participants: int = 2


def make_seats(tickets: Sequence[Ticket], found: Tickets, force_tcp: bool) -> list[Seat]:
    """Seats with keys of their own and, from the last ticket, one who listens with wrong keys."""
    names = [*names_of([ticket.caller.account for ticket in tickets[:-1]]), SPY]
    talkers = [
        Talker(names[place], ticket.identity, found.access[place]) for place, ticket in enumerate(tickets)
    ]
    seats = [replace(seat, force_tcp=force_tcp) for seat in seats_of(talkers[:-1], found.started)]
    *_others, spy = seats_of(talkers, found.started)  # once more, and so with other keys
    strangers = [
        (seat.identity, spy.others[place][1], seat.nonce, seat.tone) for place, seat in enumerate(seats)
    ]
    return [*seats, replace(spy, others=tuple(strangers), publishes=False)]


class Call:
    """One call. `checks` grows as it proceeds; close() is always due."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.site = plan.site
        self.checks: list[Check] = []
        self.figures = Figures(break_off=plan.break_off)
        self.base_url = plan.homeserver_url.rstrip("/")
        self.room = CallRoom(())
        self.sessions: list[Caller] = []
        self.well_known: list[str] = []
        self.transport: dict[str, object] = {}
        self.delay = 0

    def note(self, work: Callable[[], Check]) -> None:
        """Look at something on the way and keep its outcome."""
        start = time.monotonic()
        self.keep(work(), start)

    def step(self, work: Callable[[], Check]) -> None:
        """Do one step and keep its outcome. Raises CallBrokenError when it failed."""
        self.note(work)
        if self.checks[-1].status == FAIL:
            raise CallBrokenError(self.checks[-1])

    def keep(self, check: Check, start: float) -> None:
        """Add an outcome, with the time since its start."""
        self.checks.append(replace(check, seconds=round(time.monotonic() - start, 3)))

    def find_accounts(self) -> Check:
        """Whose tokens these are, and where the homeserver is."""
        discovery = discover(self.site)
        self.base_url = self.base_url or discovery.base_url
        announced = discovery.client[-1].document().get(FOCI)
        self.well_known = livekit_urls(announced) if isinstance(announced, list) else []
        if not self.base_url:
            return ACCOUNTS.fail("no base_url", NO_HOMESERVER)
        callers = [
            Caller(MatrixClient(self.base_url, token, self.site.http), Account("", ""))
            for token in self.plan.tokens
        ]

        def identify(caller: Caller) -> None:
            caller.account = caller.client.whoami()

        try:
            both(identify, callers)
        except MatrixError as error:
            return ACCOUNTS.fail(str(error), BAD_TOKENS)
        self.room = CallRoom(callers)
        self.sessions = [
            replace(caller, account=session(caller.account, number))
            for number, caller in zip(range(self.plan.participants - len(callers)), cycle(callers))
        ]
        self.figures.users = names_of([caller.account for caller in [*callers, *self.sessions]])
        accounts = [caller.account for caller in callers]
        return accounts_verdict(self.site, accounts, self.plan.user_ids, len(self.sessions))

    def find_transport(self) -> Check:
        """The homeserver's endpoint and the well-known must say the same to both users."""
        try:
            lists = both(lambda caller: caller.client.transports(), self.room.callers)
        except MatrixError as error:
            self.transport = {"type": "livekit", SERVICE_URL: self.site.service_url}
            return discovery_verdict(self.site, [], self.well_known, error)
        self.transport = dict(next((entry for entry in lists[0] if entry.get("type") == "livekit"), {}))
        return discovery_verdict(self.site, lists, self.well_known, None)

    def open_room(self) -> Check:
        """Make the room and have everybody in it."""
        try:
            self.room.open()
        except MatrixError as error:
            return room_verdict(self.room.room_id, error)
        self.figures.room_id = self.room.room_id
        return room_verdict(self.room.room_id, None)

    def see_state(self) -> Check:
        """How the homeserver tells a client that was away who is in the room."""
        try:
            has_state = self.room.callers[0].client.state_after(self.room.room_id)
        except MatrixError as error:
            return state_verdict(self.site, None, error)
        return state_verdict(self.site, has_state, None)

    def enter(self) -> Check:
        """Schedule both leaves if the homeserver can, then write both memberships."""
        callers = self.room.callers
        try:
            self.delay = min(DELEGATED_DELAY, callers[0].client.longest_delay())
            if self.delay:
                both(lambda caller: self.room.schedule_leave(caller, self.delay), callers)
            both(lambda caller: self.room.enter(caller, self.transport), callers)
        except MatrixError as error:
            return membership_verdict(self.site, self.delay, error)
        return membership_verdict(self.site, self.delay, None)

    def delegation(self, caller: Caller) -> dict[str, object]:
        """The fields with which a client hands its leave to the token service."""
        if not caller.delay_id:
            return {}
        return {"delay_id": caller.delay_id, "delay_timeout": self.delay, "delay_cs_api_url": self.base_url}

    def take_tokens(self) -> list[Seat]:
        """Ask both endpoints for both users. The second one hands over its leave, but not before TCP."""
        first, second, *others = self.room.callers
        further = [*others, *self.sessions]
        delay = {} if self.plan.force_tcp else self.delegation(second)
        spy = own_member_id(first) + "#probe"
        talking = [
            Ticket(first, own_member_id(first)),
            Ticket(second, delay=delay),
            *[Ticket(caller) for caller in further],
            Ticket(first, spy),
        ]
        tickets = [*talking, Ticket(first), Ticket(second, own_member_id(second))]
        if self.site.behind_homeserver:  # those who talk come this way, and older clients still find theirs
            standalone = [replace(ticket, delay={}) for ticket in tickets]
            talking = [
                Ticket(first, own_member_id(first), behind=True),
                Ticket(second, own_member_id(second), delay, behind=True),
                *[Ticket(caller, own_member_id(caller), behind=True) for caller in further],
                Ticket(first, spy, behind=True),
            ]
            tickets = [*talking, *standalone]
        found = ask_all(self.site, self.room.room_id, self.room.callers, tickets)
        self.figures.time_to_token = round(found.seconds, 3)
        self.keep(found.check, found.started)
        if found.check.status == FAIL:
            raise CallBrokenError(found.check)
        return make_seats(talking, found, self.plan.force_tcp)

    async def hold(self, seats: Sequence[Seat]) -> None:
        """The media part: all talk, the address check runs beside them, the second one breaks off."""
        *talking, listening = seats
        first = Participant(talking[0])
        second = ChildParticipant(talking[1]) if self.plan.break_off == KILL else Participant(talking[1])
        further = [Participant(seat) for seat in talking[2:]]
        spy = Participant(listening) if self.plan.prove_encryption else None
        media = Media(names={seat.identity: seat.name for seat in talking})
        plan = self.plan
        talk = asyncio.gather(
            *[one.run(plan.media_seconds, plan.timeout) for one in (first, second, *further)]
        )
        try:
            # The address check has the spy's identity, and an identity can be in a room only once.
            media.survey = await asyncio.to_thread(
                survey, self.site.http, listening.url, listening.jwt, SURVEY_TIMEOUT
            )
            media.spy = await spy.run(0, plan.timeout) if spy else None
            media.reports = list(await talk)
            if spy and not spy.report.error:
                await spy.measure()
            self.figures.take(media)
            self.checks += media_verdicts(
                self.site, media, plan.media_seconds, plan.force_tcp, plan.prove_encryption
            )
            if further:  # so that the token service has nothing else to do
                await asyncio.gather(*[one.leave() for one in further])
                await asyncio.sleep(SETTLE)
            await self.break_off(second, media)
            await self.over_ipv6(media)
        finally:
            talk.cancel()
            leaving = [one.leave() for one in (first, second, *further, spy) if one]
            # Whoever could not leave in an orderly way is gone with this process.
            await asyncio.gather(*leaving, return_exceptions=True)

    async def break_off(self, participant: Participant | ChildParticipant, media: Media) -> None:
        """The second caller vanishes without a word to the homeserver; how long does its membership stay?"""
        first, second = self.room.callers[:2]
        if any(report.error for report in media.reports):
            self.checks.append(LEAVE.skip("not tried, because there was no call"))
            return
        if not second.delay_id:
            self.checks.append(no_delayed_events(self.site, LEAVE, "not measured without delayed events"))
            return
        start = time.monotonic()
        try:
            if self.plan.force_tcp:
                await asyncio.to_thread(self.delegate_late, second)
            early = not await asyncio.to_thread(self.room.sees_member, first, second)
            broken = time.monotonic()
            await participant.leave()
            stayed = await asyncio.to_thread(self.wait_for_leave, broken)
        except MatrixError as error:
            self.keep(LEAVE.fail(str(error), NO_HOMESERVER_ANY_MORE), start)
            return
        self.figures.membership_stayed = round(stayed, 3)
        self.keep(leave_verdict(early, stayed, self.plan.leave_timeout, self.plan.break_off == KILL), start)

    async def over_ipv6(self, media: Media) -> None:
        """Two of the callers once more, over IPv6 alone; if there was no call, that may be why."""
        start = time.monotonic()
        callers = [] if any(report.error for report in media.reports) else self.room.callers[:2]
        self.keep(await prove_ipv6(self.site, media.survey, callers, self.plan.timeout), start)

    def delegate_late(self, caller: Caller) -> None:
        """Hand the leave over while already connected.

        A change to TCP looks like a leave to the token service, so this has to wait for it. The newest
        request for an identity counts.
        """
        behind = self.site.behind_homeserver
        member_id = own_member_id(caller) if behind else ""
        ticket = Ticket(caller, member_id, self.delegation(caller), behind)
        ask_all(self.site, self.room.room_id, [caller], [ticket])
        time.sleep(SETTLE)

    def wait_for_leave(self, start: float) -> float:
        """Seconds until the first caller sees the second one gone, or until the time is over."""
        first, second = self.room.callers[:2]
        while self.room.sees_member(first, second) and time.monotonic() - start < self.plan.leave_timeout:
            time.sleep(POLL)
        return time.monotonic() - start

    def close(self) -> None:
        """Leave nothing behind on the homeserver."""
        if self.room.room_id:
            start = time.monotonic()
            self.room.close()
            self.keep(cleanup_verdict(self.room.leftovers), start)


def place_call(plan: Plan) -> tuple[list[Check], Figures]:
    """Place the call. Every check of a call comes back, skipped ones with the reason."""
    trust(plan.site.http.ca_file)
    call = Call(plan)
    start = time.monotonic()
    broken = ""
    try:
        for work in (call.find_accounts, call.find_transport, call.open_room):
            call.step(work)
        call.note(call.see_state)
        call.step(call.enter)
        asyncio.run(call.hold(call.take_tokens()))
    except CallBrokenError as end:
        broken = end.check.id
    finally:
        call.close()
    call.figures.seconds = round(time.monotonic() - start, 3)
    return in_order(call.checks, broken, plan.participants), call.figures
