# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""One participant of a call between sites, who acts as Element Call does.

Everybody publishes on the SFU of their own homeserver and receives from each other member on the SFU that
this member's own event names (MSC4143, MSC4195). The own token is that of /sfu/get in mode `compatibility`
and that of /get_token in `matrix_2_0`; for others' SFUs /get_token is asked first, then /sfu/get. In
`matrix_2_0` a homeserver that announces the SFU's own address is asked instead, for itself and for others.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from .call_media import KEY_LENGTH, Participant, Seat, View, without_tokens
from .call_membership import DELEGATED_DELAY, Member, sfu_url
from .call_room import Caller, CallRoom
from .call_roster import Roster
from .call_token import (
    SLOT,
    Token,
    TokenError,
    decode_token,
    homeserver_identity,
    legacy_identity,
    member_identity,
)
from .endpoint_site import FOCI, livekit_urls
from .endpoint_token import Access, access_of
from .endpoint_wiring import DELEGATE, GET_TOKEN, ask, error_code, homeserver_access, seat_body
from .http_client import HttpClient, Response
from .matrix_client import MatrixError

LONG_POLL = 1.0  # seconds
NOT_ROUTED = (404, 405)  # a token service without /get_token

Result = TypeVar("Result")


def place(url: str) -> str:
    """The host of a URL, for people."""
    return urlsplit(url).hostname or url


@dataclass(frozen=True)
class Home:
    """A site as the call knows it; all else is found out.

    `full_access`: the servers whose users may publish there, empty when that is not known.
    """

    server_name: str
    tokens: tuple[str, ...]
    user_ids: tuple[str, ...] = ()
    homeserver_url: str = ""
    full_access: tuple[str, ...] = ()

    def trusts(self, server_name: str) -> bool:
        """Whether users of a server may publish on this site's SFU."""
        return self.full_access == ("*",) or server_name in self.full_access


def full_access(server_name: str, listed: Sequence[str] | None) -> tuple[str, ...]:
    """Whose users may publish on a site's SFU; nobody when that is not known."""
    return () if listed is None else tuple(listed) or (server_name,)


class BrokenError(Exception):
    """A participant cannot go on; the text says what happened, `step` where, the rest what was answered."""

    def __init__(self, step: str, seen: str, status: int = 0, code: str = "") -> None:
        super().__init__(seen)
        self.step = step
        self.status = status
        self.code = code


TRANSPORT, STICKY, ROOM, TOKEN, WIRING = "transport", "sticky events", "room", "token", "homeserver's token"
CONNECTION, MEMBERSHIP = "connection", "membership"


@dataclass
class Attendee:
    """One user in the call. `trouble`: why they are not in it. The rest fills up as the call goes on.

    `delay`: how many milliseconds ahead the leave can be scheduled, 0 when it cannot.
    `refusals`: by the service URL of an SFU why nothing can be seen there; `noticed`: by identity when the
    membership came; `blind`: why the own homeserver does not tell any more who is in the call.
    """

    home: Home
    caller: Caller
    http: HttpClient
    tone: float = 0.0
    nonce: int = field(default_factory=lambda: int.from_bytes(os.urandom(2), "big"))
    key: str = field(default_factory=lambda: os.urandom(KEY_LENGTH).hex())
    transport: dict[str, object] = field(default_factory=dict)
    delay: int = 0
    trouble: BrokenError | None = None
    joined: bool = False
    started: float = 0.0
    time_to_token: float = 0.0
    time_to_join: float = 0.0
    connections: dict[str, Participant] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    followed: dict[str, Member] = field(default_factory=dict)
    noticed: dict[str, float] = field(default_factory=dict)
    roster: Roster | None = None
    blind: str = ""
    following: list[asyncio.Task[None]] = field(default_factory=list)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The Matrix ID."""
        return self.caller.account.user_id

    @property
    def service_url(self) -> str:
        """The token service of the own transport, '' without one."""
        return next(iter(livekit_urls([self.transport])), "").rstrip("/")

    @property
    def sfu_url(self) -> str:
        """The own SFU's address where the own homeserver gives the tokens, else ''."""
        return sfu_url([self.transport]) if self.caller.member_id else ""

    @property
    def secret(self) -> tuple[str, int, float]:
        """What others need to recognise this one: key, nonce and tone."""
        return self.key, self.nonce, self.tone

    async def act(self, step: str, work: Callable[[], Result]) -> Result:
        """A request of the client API, beside everything else. Raises BrokenError."""
        try:
            return await asyncio.to_thread(work)
        except MatrixError as error:
            raise BrokenError(step, str(error), error.status) from error

    def find_transport(self) -> None:
        """The first livekit transport of the own homeserver; older ones have only the well-known."""
        try:
            found: list[dict[str, object]] = self.caller.client.transports()
        except MatrixError as error:
            if error.status != 404:
                raise
            foci = self.well_known().get(FOCI)
            found = [entry for entry in foci if isinstance(entry, dict)] if isinstance(foci, list) else []
        self.transport = dict(next((entry for entry in found if livekit_urls([entry])), {}))
        self.delay = min(DELEGATED_DELAY, self.caller.client.longest_delay())

    def well_known(self) -> dict[str, object]:
        """The client well-known of the own server."""
        url = f"https://{self.home.server_name}/.well-known/matrix/client"
        return self.http.follow(url)[-1].document()

    async def join(self, room: CallRoom) -> None:
        """Get into the call. Raises BrokenError.

        The token comes before the membership: with it the token service makes the SFU's room, for all others.
        """
        async with self.lock(self.service_url):
            if self.delay:
                await self.act(MEMBERSHIP, lambda: room.schedule_leave(self.caller, self.delay))
            access = await asyncio.to_thread(self.own_token, room.room_id)
            self.time_to_token = time.monotonic() - self.started
            await asyncio.gather(
                self.publish(access),
                self.act(MEMBERSHIP, lambda: room.enter(self.caller, self.transport)),
                asyncio.to_thread(self.hand_over_leave, room.room_id),
            )
        self.joined, self.time_to_join = True, time.monotonic() - self.started

    def lock(self, service_url: str) -> asyncio.Lock:
        """There is one connection to an SFU, whoever is to be seen there."""
        return self.locks.setdefault(service_url, asyncio.Lock())

    async def publish(self, access: Access) -> None:
        """Send on the own SFU. Raises BrokenError."""
        connection = await self.connect(self.service_url, access, self.own_identity)
        await connection.publish()

    @property
    def own_identity(self) -> str:
        """Who this one is on the own SFU."""
        account = self.caller.account
        if self.sfu_url:
            return homeserver_identity(account.user_id, self.caller.member_id)
        if self.caller.member_id:
            return member_identity(account.user_id, account.device_id, self.caller.member_id)
        return legacy_identity(account.user_id, account.device_id)

    @property
    def foreign_member(self) -> str:
        """The member id for others' token services: the own one, or what stands for it in state events."""
        return self.caller.member_id or self.own_identity

    def post(self, service_url: str, path: str, body: Mapping[str, object]) -> Response:
        """One request to a token service, with a fresh OpenID token. Raises BrokenError."""
        try:
            openid = self.caller.client.openid_token(self.caller.account.user_id)
        except MatrixError as error:
            raise BrokenError(TOKEN, str(error), error.status) from error
        return self.http.request("POST", service_url + path, {**body, "openid_token": openid})

    def legacy_body(self, room_id: str) -> dict[str, object]:
        """What /sfu/get wants to know."""
        return {"room": room_id, "device_id": self.caller.account.device_id}

    def member_body(self, room_id: str, member_id: str) -> dict[str, object]:
        """What /get_token wants to know."""
        account = self.caller.account
        member = {"id": member_id, "claimed_user_id": account.user_id, "claimed_device_id": account.device_id}
        return {"room_id": room_id, "slot_id": SLOT, "member": member}

    @property
    def leave_fields(self) -> dict[str, object]:
        """With these a leave is handed over to the token service."""
        base_url = self.caller.client.base_url
        handed = {"delay_id": self.caller.delay_id, "delay_timeout": self.delay, "delay_cs_api_url": base_url}
        return handed if self.delay else {}

    def own_token(self, room_id: str) -> Access:
        """The token of the own SFU; /sfu/get takes the leave, too. Raises BrokenError."""
        if self.sfu_url:
            body = seat_body(self.sfu_url, room_id, self.caller.member_id)
            return self.homeserver_token(self.service_url, body)
        if self.caller.member_id:
            body = self.member_body(room_id, self.caller.member_id)
            return self.granted(self.service_url, self.post(self.service_url, "/get_token", body))
        body = {**self.legacy_body(room_id), **self.leave_fields}
        return self.granted(self.service_url, self.post(self.service_url, "/sfu/get", body))

    def hand_over_leave(self, room_id: str) -> None:
        """In Matrix 2.0 mode the leave has an endpoint of its own. Raises BrokenError."""
        if not self.caller.member_id or not self.delay:
            return
        if self.sfu_url:
            seat = seat_body(self.sfu_url, room_id, self.caller.member_id, delay_id=self.caller.delay_id)
            self.ask_homeserver(DELEGATE, seat)
            return
        body = {**self.member_body(room_id, self.caller.member_id), **self.leave_fields}
        answer = self.post(self.service_url, "/delegate_delayed_leave", body)
        if answer.status != 200:
            raise BrokenError(TOKEN, f"/delegate_delayed_leave: {answer.summary()}", answer.status)

    def ask_homeserver(self, path: str, seat: Mapping[str, object]) -> Response:
        """One request to the token service behind the own homeserver. Raises BrokenError."""
        client = self.caller.client
        answer = ask(self.http, client.base_url, client.token, path, seat)
        if answer.status != 200:
            seen = f"{place(client.base_url)} on {path.rpartition('/')[2]}: {answer.summary()}"
            raise BrokenError(WIRING, seen, answer.status, error_code(answer))
        return answer

    def homeserver_token(self, service_url: str, seat: Mapping[str, object]) -> Access:
        """A token from the own homeserver, which is remembered. Raises BrokenError."""
        answer = self.ask_homeserver(GET_TOKEN, seat)
        access = homeserver_access(answer, str(seat["url"]))
        return self.remembered(service_url, access, answer)

    def federated_token(
        self, server_name: str, url: str, service_url: str, room_id: str, member_id: str
    ) -> tuple[Access, str]:
        """A token of another server's SFU, which the own homeserver asks for there. Raises BrokenError."""
        body = seat_body(url, room_id, member_id, server_name=server_name)
        return self.homeserver_token(service_url, body), homeserver_identity(self.name, member_id)

    def foreign_token(self, service_url: str, room_id: str, member_id: str) -> tuple[Access, str]:
        """The token of somebody else's SFU, and the identity that goes with it. Raises BrokenError."""
        account = self.caller.account
        answer = self.post(service_url, "/get_token", self.member_body(room_id, member_id))
        if answer.status not in NOT_ROUTED:
            identity = member_identity(account.user_id, account.device_id, member_id)
            return self.granted(service_url, answer), identity
        answer = self.post(service_url, "/sfu/get", self.legacy_body(room_id))
        return self.granted(service_url, answer), legacy_identity(account.user_id, account.device_id)

    def granted(self, service_url: str, answer: Response) -> Access:
        """The token in an answer, which is remembered. Raises BrokenError."""
        return self.remembered(service_url, access_of(answer), answer)

    def remembered(self, service_url: str, access: Access, answer: Response) -> Access:
        """What a token allows, for the verdicts. Raises BrokenError when it is none."""
        try:
            self.tokens[service_url] = decode_token(access.jwt)
        except TokenError as error:
            raise BrokenError(TOKEN, f"{place(service_url)}: {answer.summary()}", answer.status) from error
        return access

    async def connect(self, service_url: str, access: Access, identity: str) -> Participant:
        """Connect to an SFU. Raises BrokenError."""
        from livekit import rtc

        seat = Seat(
            name=self.name,
            url=access.url,
            jwt=access.jwt,
            identity=identity,
            key=self.key,
            nonce=self.nonce,
            tone=self.tone,
            start=self.started,
        )
        connection = Participant(seat)
        try:
            await connection.connect(self.http.timeout)
        except (rtc.ConnectError, asyncio.TimeoutError) as error:  # noqa: UP041
            reason = getattr(error, "message", "") or f"no connection after {self.http.timeout:.0f} s"
            raise BrokenError(CONNECTION, f"{place(access.url)}: {without_tokens(str(reason))}") from error
        self.connections[service_url] = connection
        return connection

    async def watch(self, room_id: str, secrets: Mapping[tuple[str, str], tuple[str, int, float]]) -> None:
        """Learn from the own homeserver who is in the call, and look at them, until cancelled.

        `secrets`: key, nonce and tone by user and device, which Element Call sends to devices.
        """
        roster = self.roster = Roster(self.caller.client, room_id, bool(self.caller.member_id))
        while True:
            try:
                await self.act(MEMBERSHIP, lambda: roster.update(LONG_POLL))
            except BrokenError as broken:
                self.blind = str(broken)
                return
            for member in list(roster.members.values()):
                secret = secrets.get((member.user_id, member.device_id))
                if secret and member.identity not in self.followed and member.user_id != self.name:
                    self.followed[member.identity] = member
                    self.noticed[member.identity] = time.monotonic() - self.started
                    work = self.follow(room_id, member, secret)
                    self.following.append(asyncio.get_running_loop().create_task(work))

    async def follow(self, room_id: str, member: Member, secret: tuple[str, int, float]) -> None:
        """Look at one member on the SFU that their event names."""
        url = member.service_url
        async with self.lock(url):
            try:
                if not url:
                    raise BrokenError(TRANSPORT, "their event names no transport")
                if url == self.service_url and url not in self.connections:
                    raise BrokenError(CONNECTION, "not connected to the own SFU")
                if url not in self.connections:
                    await self.connect(url, *await asyncio.to_thread(self.token_beside, member, room_id))
            except BrokenError as broken:
                self.refusals[url] = str(broken)
                return
        self.connections[url].expect(member.identity, *secret)

    def token_beside(self, member: Member, room_id: str) -> tuple[Access, str]:
        """The token of the SFU that somebody else is on, as both homeservers have it. Raises BrokenError."""
        url = member.service_url
        if self.sfu_url and member.sfu_url:
            return self.federated_token(member.server_name, member.sfu_url, url, room_id, self.foreign_member)
        return self.foreign_token(url, room_id, self.foreign_member)

    def view_of(self, other: Attendee) -> View:
        """What was recognised of somebody else."""
        member = self.member_of(other)
        connection = self.connections.get(member.service_url) if member else None
        return connection.report.views.get(member.identity, View()) if member and connection else View()

    def member_of(self, other: Attendee) -> Member | None:
        """Somebody else's membership as it came through the own homeserver."""
        account = other.caller.account
        for member in self.followed.values():
            if (member.user_id, member.device_id) == (account.user_id, account.device_id):
                return member
        return None

    def raise_errors(self) -> None:
        """A mistake of our own in the background must not pass for missing media."""
        for task in self.following:
            if task.done() and not task.cancelled():
                task.result()

    def still_lists(self, other: Attendee) -> bool:
        """Whether somebody else is in the call, as the own homeserver has it."""
        account = other.caller.account
        return self.roster is not None and self.roster.of(account.user_id, account.device_id) is not None

    async def leave(self) -> None:
        """End all sessions with SFUs; the homeserver is told nothing."""
        for task in self.following:
            task.cancel()
        going = [connection.leave() for connection in self.connections.values()]
        await asyncio.gather(*going, return_exceptions=True)
