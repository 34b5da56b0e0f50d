# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The Matrix side of a call: a throw-away room, memberships with scheduled leaves, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from .call_membership import (
    MEMBER_TYPE,
    STICKY_DURATION,
    STICKY_TYPE,
    is_joined,
    joined,
    joined_sticky,
    left,
    left_sticky,
    power_levels,
    state_key,
)
from .matrix_client import Account, MatrixClient, MatrixError

ROOM_NAME = "MatrixRTC check (made by a probe, may be left)"
DELAYED_REASON = "delayed"

Result = TypeVar("Result")


@dataclass
class Caller:
    """One user, and what has to be undone for them. With a `member_id` their membership is a sticky event."""

    client: MatrixClient
    account: Account
    member_id: str = ""
    delay_id: str = ""
    in_room: bool = False
    is_member: bool = False

    @property
    def key(self) -> str:
        """The state key of this device's membership."""
        return state_key(self.account.user_id, self.account.device_id)


def both(work: Callable[[Caller], Result], callers: Sequence[Caller]) -> list[Result]:
    """Do something for every caller at once; the first error is raised when all are done."""
    with ThreadPoolExecutor(max_workers=max(1, len(callers))) as pool:
        return list(pool.map(work, callers))


@dataclass
class CallRoom:
    """A room for one call between callers. Its methods raise MatrixError."""

    callers: Sequence[Caller]
    room_id: str = ""
    leftovers: list[str] = field(default_factory=list)

    def open(self) -> None:
        """The first caller makes the room, the others join it. Everybody may join calls in it."""
        first = self.callers[0].account.user_id
        others = [caller for caller in self.callers[1:] if caller.account.user_id != first]
        invited = [caller.account.user_id for caller in others]
        self.create({"preset": "private_chat", "invite": invited, "creation_content": {"m.federate": False}})
        for caller in others:
            self.join(caller)

    def open_to_servers(self) -> None:
        """The first caller makes a room that anybody may join who knows it, of whatever server.

        Invitations would be simpler, but Synapse lets nobody be invited more than five times in half an hour.
        """
        self.create({"preset": "public_chat", "visibility": "private"})

    def create(self, content: Mapping[str, object]) -> None:
        """The first caller makes the room."""
        common = {"name": ROOM_NAME, "power_level_content_override": power_levels()}
        self.room_id = self.callers[0].client.create_room({**content, **common})
        self.callers[0].in_room = True

    def join(self, caller: Caller) -> None:
        """Somebody else comes in."""
        host = self.callers[0].account.server_name
        caller.client.join(self.room_id, host if host != caller.account.server_name else "")
        caller.in_room = True

    def schedule_leave(self, caller: Caller, delay: int) -> None:
        """The leave comes first, as in every client: a crash in between leaves nobody behind.

        `delay` in milliseconds.
        """
        if caller.member_id:
            content = left_sticky(caller.member_id)
            caller.delay_id = caller.client.send_sticky(
                self.room_id, STICKY_TYPE, content, STICKY_DURATION, delay
            )
            return
        caller.delay_id = caller.client.schedule_state(
            self.room_id, MEMBER_TYPE, caller.key, left(DELAYED_REASON), delay
        )

    def enter(self, caller: Caller, transport: Mapping[str, object]) -> None:
        """Write the membership."""
        account = caller.account
        if caller.member_id:
            content = joined_sticky(account.user_id, account.device_id, caller.member_id, transport)
            caller.client.send_sticky(self.room_id, STICKY_TYPE, content, STICKY_DURATION)
        else:
            content = joined(account.user_id, account.device_id, {**transport, "livekit_alias": self.room_id})
            caller.client.put_state(self.room_id, MEMBER_TYPE, caller.key, content)
        caller.is_member = True

    def withdraw(self, caller: Caller) -> None:
        """End the membership."""
        if caller.member_id:
            content = left_sticky(caller.member_id)
            caller.client.send_sticky(self.room_id, STICKY_TYPE, content, STICKY_DURATION)
        else:
            caller.client.put_state(self.room_id, MEMBER_TYPE, caller.key, left())

    def sees_member(self, observer: Caller, caller: Caller) -> bool:
        """Whether a caller's membership is still there, as another one sees it."""
        return is_joined(observer.client.get_state(self.room_id, MEMBER_TYPE, caller.key))

    def close(self) -> None:
        """Take everything back. What cannot be taken back is kept in `leftovers`; errors are never raised."""
        both(self._withdraw, self.callers)
        both(self._go, [caller for caller in self.callers if caller.in_room])

    def _withdraw(self, caller: Caller) -> None:
        if caller.is_member:
            self._try(f"membership {caller.key}", lambda: self.withdraw(caller))
        if caller.delay_id:
            self._try(
                f"delayed event {caller.delay_id}",
                lambda: caller.client.update_delayed(caller.delay_id, "cancel"),
                gone_is_fine=True,
            )

    def _go(self, caller: Caller) -> None:
        self._try(
            f"room {self.room_id} of {caller.account.user_id}", lambda: caller.client.leave(self.room_id)
        )

    def _try(self, what: str, undo: Callable[[], None], gone_is_fine: bool = False) -> None:
        try:
            undo()
        except MatrixError as error:
            if not (gone_is_fine and error.status == 404):
                self.leftovers.append(f"{what} ({error})")
