# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Place a call between users of several sites, and see what the users of one may do on the SFUs of others."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .call_attendee import MEMBERSHIP, ROOM, STICKY, TRANSPORT, Attendee, BrokenError, Home
from .call_media import Participant, trust
from .call_membership import COMPATIBILITY, MATRIX_2_0
from .call_room import Caller, CallRoom
from .call_sessions import tone_of
from .call_signal import Listener, SignalError
from .call_sites_figures import Outcome, SitesFigures, Trial, figures_of
from .call_sites_verdicts import all_verdicts
from .checks import Check
from .endpoint_site import Site, discover
from .endpoint_token import Access
from .http_client import HttpClient
from .matrix_client import STICKY_EVENTS, MatrixClient, MatrixError

POLL = 0.05  # seconds
KNOCK_TIMEOUT = 4.0
PUBLISH_TIMEOUT = 2.0
THREADS = 8  # for each participant: requests wait for the network nearly all the time


@dataclass(frozen=True)
class SitesPlan:
    """How the call is to be, times in seconds."""

    homes: tuple[Home, ...]
    http: HttpClient
    mode: str = COMPATIBILITY
    media_seconds: float = 2.0
    timeout: float = 12.0
    leave_timeout: float = 8.0
    first_frame_limit: float = 3.0


@dataclass(frozen=True)
class Found:
    """The users of a site, or in `unknown`, by its server name, why there are none."""

    attendees: tuple[Attendee, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


def find_attendees(http: HttpClient, home: Home) -> Found:
    """The users of one site."""

    def none(why: str) -> Found:
        return Found(unknown={home.server_name: why})

    base_url = home.homeserver_url or discover(Site(home.server_name, "", "", "", http)).base_url
    if not base_url:
        return none("the client well-known does not say where the homeserver is")
    found = []
    for token in home.tokens:
        client = MatrixClient(base_url.rstrip("/"), token, http)
        try:
            account = client.whoami()
        except MatrixError as error:
            return none(str(error))
        if account.server_name != home.server_name or not account.device_id:
            return none(
                f"{account.user_id} ({account.device_id or 'no device'}) is no user with a device of it"
            )
        found.append(Attendee(home, Caller(client, account), http))
    missing = {name for name in home.user_ids if name} - {attendee.name for attendee in found}
    return none(f"no token is that of {', '.join(sorted(missing))}") if missing else Found(tuple(found))


def knock(trial: Trial, take: Callable[[], tuple[Access, str]]) -> Trial:
    """Try to cause a room on the SFU of another site. `take` gives a token for one that is not there."""
    visitor = trial.visitor
    try:
        access, _identity = take()
    except BrokenError as broken:
        trial.no_token = str(broken)
        return trial
    trial.granted = visitor.tokens[trial.service_url].can_publish
    try:
        Listener(visitor.http, access.url, access.jwt, KNOCK_TIMEOUT).close()
        trial.room = ""
    except SignalError as error:
        trial.room = str(error)
    return trial


async def try_to_publish(trial: Trial, host: Participant) -> None:
    """Whoever is connected to an SFU of others tries to send there, too; does its own user see that?"""
    connection = trial.visitor.connections[trial.service_url]
    trial.publish = await connection.try_to_publish(PUBLISH_TIMEOUT)
    if host.sees_tracks_of(connection.seat.identity):
        trial.publish = ""


@dataclass
class SitesCall:
    """One call. `unknown`: by server name why nobody of a site could be asked; close() is always due."""

    plan: SitesPlan
    attendees: list[Attendee] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    room: CallRoom = field(default_factory=lambda: CallRoom(()))
    stayed: float | None = None
    leaver: str = ""

    def find_everybody(self) -> None:
        """Whose tokens these are."""
        with ThreadPoolExecutor(max_workers=len(self.plan.homes)) as pool:
            for found in pool.map(lambda home: find_attendees(self.plan.http, home), self.plan.homes):
                self.attendees += found.attendees
                self.unknown.update(found.unknown)
        for number, attendee in enumerate(self.attendees):
            attendee.tone = tone_of(number)
        self.room = CallRoom([attendee.caller for attendee in self.attendees])

    def attempt(self, attendee: Attendee, step: str, work: Callable[[], None]) -> None:
        """Do something for one user, and remember if it broke."""
        try:
            work()
        except MatrixError as error:
            attendee.trouble = BrokenError(step, str(error), error.status)

    def prepare(self, attendee: Attendee) -> None:
        """What a client finds out before anybody presses the button."""
        self.attempt(attendee, TRANSPORT, attendee.find_transport)
        if not attendee.trouble and not attendee.service_url:
            attendee.trouble = BrokenError(TRANSPORT, "its homeserver names no transport")
        if self.plan.mode == MATRIX_2_0 and not attendee.trouble:
            self.attempt(attendee, MEMBERSHIP, lambda: self.need_sticky_events(attendee))

    def need_sticky_events(self, attendee: Attendee) -> None:
        """Matrix 2.0 mode has no way without them."""
        attendee.caller.member_id = uuid.uuid4().hex
        if attendee.caller.client.unstable_features().get(STICKY_EVENTS) is not True:
            attendee.trouble = BrokenError(STICKY, f"its homeserver has no {STICKY_EVENTS}")

    def open_room(self) -> None:
        """A room that federates, and everybody in it, of whom some may have no transport."""
        first, *others = self.attendees
        self.attempt(first, ROOM, self.room.open_to_servers)
        for attendee in others if self.room.room_id else ():
            self.attempt(attendee, ROOM, lambda caller=attendee.caller: self.room.join(caller))  # type: ignore[misc]

    def present(self) -> list[Attendee]:
        """Who is still in a position to call."""
        return [attendee for attendee in self.attendees if not attendee.trouble]

    def knock_everywhere(self) -> None:
        """One user of each site tries to get into a call that nobody of another site has begun there."""
        inside = [attendee for attendee in self.attendees if attendee.caller.in_room]
        visitors = {attendee.home.server_name: attendee for attendee in reversed(inside)}.values()
        hosts = [attendee for attendee in visitors if attendee.service_url]
        pairs = [(one, host) for one in visitors for host in hosts if one.service_url != host.service_url]
        wired = [(one, host) for one, host in pairs if one.sfu_url and host.sfu_url]
        with ThreadPoolExecutor(max_workers=max(1, len(pairs))) as pool:
            self.trials = list(pool.map(lambda pair: self.knock(pair[0], pair[1]), pairs))
            # for these the room is made, which others would then find
            self.trials += pool.map(lambda pair: self.knock(pair[0], pair[1], behind=True), wired)

    def knock(self, visitor: Attendee, host: Attendee, behind: bool = False) -> Trial:
        """Try to cause a room on the SFU of another site, by one of two ways."""
        room_id, member_id = self.room.room_id, f"{visitor.foreign_member}#knock"

        def take() -> tuple[Access, str]:
            if behind:
                return visitor.federated_token(
                    host.home.server_name, host.sfu_url, host.service_url, room_id, member_id
                )
            return visitor.foreign_token(host.service_url, room_id, member_id)

        return knock(Trial(visitor, host.home, host.service_url, behind), take)

    async def hold(self) -> None:
        """Everybody joins and looks at everybody else; then trials, and somebody vanishes."""
        everybody = self.present()
        workers = ThreadPoolExecutor(max_workers=THREADS * max(1, len(everybody)))
        asyncio.get_running_loop().set_default_executor(workers)
        secrets = {
            (one.caller.account.user_id, one.caller.account.device_id): one.secret for one in everybody
        }
        watching: list[asyncio.Task[None]] = []
        try:
            for home in self.plan.homes:  # those of one site come into a call that others are in already
                coming = [one for one in everybody if one.home is home]
                for attendee in coming:
                    attendee.started = time.monotonic()
                joining = [self.bring_in(one) for one in coming]
                watching += [asyncio.create_task(one.watch(self.room.room_id, secrets)) for one in coming]
                await asyncio.gather(*joining)
            await self.exchange()
            # by the way on which each got onto the SFU: the last one of its trials
            ways = {(trial.visitor.name, trial.service_url): trial for trial in self.trials}
            await asyncio.gather(*[self.try_to_publish(trial) for trial in ways.values()])
            await self.break_off()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await asyncio.gather(*[one.leave() for one in everybody])

    async def bring_in(self, attendee: Attendee) -> None:
        """Join the call, or remember why that did not work."""
        try:
            await attendee.join(self.room)
        except BrokenError as broken:
            attendee.trouble = broken

    def pairs(self) -> list[tuple[Attendee, Attendee]]:
        """Everybody who is in the call with everybody whom they should see."""
        inside = [attendee for attendee in self.attendees if attendee.joined]
        return [(one, other) for one in inside for other in inside if one is not other]

    async def exchange(self) -> None:
        """Wait until everybody was seen and heard for some seconds, or the time is over."""
        end = time.monotonic() + self.plan.timeout
        while time.monotonic() < end and not all(self.is_done(*pair) for pair in self.pairs()):
            for attendee in self.attendees:
                attendee.raise_errors()
            await asyncio.sleep(POLL)

    def is_done(self, one: Attendee, other: Attendee) -> bool:
        """Enough was seen, or nothing can come any more."""
        if one.blind or other.service_url in one.refusals:
            return True
        view = one.view_of(other)
        begun = max(view.first_frame, view.first_tone)  # counts from the seat's start
        lasted = time.monotonic() - one.started - begun
        return bool(view.first_frame and view.first_tone) and lasted >= self.plan.media_seconds

    async def try_to_publish(self, trial: Trial) -> None:
        """As the function of that name, if both are there."""
        hosts = [one for one in self.attendees if one.home is trial.home and one.joined]
        if hosts and trial.service_url in trial.visitor.connections:
            await try_to_publish(trial, hosts[0].connections[trial.service_url])

    async def break_off(self) -> None:
        """One vanishes without a word to the homeserver; how long do users of another site still see them?"""
        inside = [attendee for attendee in self.attendees if attendee.joined and attendee.caller.delay_id]
        if not inside:
            return
        leaver = inside[-1]
        watchers = [one for one in inside if one.home is not leaver.home and one.member_of(leaver)]
        if not watchers:
            return
        self.leaver = leaver.name
        start = time.monotonic()
        await leaver.leave()
        while any(one.still_lists(leaver) for one in watchers):
            if time.monotonic() - start >= self.plan.leave_timeout:
                break
            await asyncio.sleep(POLL)
        self.stayed = time.monotonic() - start

    def close(self) -> None:
        """Leave nothing behind on the homeservers."""
        if self.room.room_id:
            self.room.close()

    def outcome(self, seconds: float) -> Outcome:
        """What came of it."""
        return Outcome(
            homes=self.plan.homes,
            mode=self.plan.mode,
            attendees=self.attendees,
            unknown=self.unknown,
            trials=self.trials,
            room_id=self.room.room_id,
            leaver=self.leaver,
            stayed=self.stayed,
            leftovers=self.room.leftovers,
            seconds=seconds,
            leave_timeout=self.plan.leave_timeout,
            first_frame_limit=self.plan.first_frame_limit,
        )


def place_sites_call(plan: SitesPlan) -> tuple[list[Check], SitesFigures]:
    """Place the call, and judge it site by site."""
    trust(plan.http.ca_file)
    call = SitesCall(plan)
    start = time.monotonic()
    try:
        call.find_everybody()
        if call.attendees:
            with ThreadPoolExecutor(max_workers=len(call.attendees)) as pool:
                list(pool.map(call.prepare, call.attendees))
            call.open_room()
            call.knock_everywhere()
            asyncio.run(call.hold())
    finally:
        call.close()
    outcome = call.outcome(time.monotonic() - start)
    return all_verdicts(outcome), figures_of(outcome)
