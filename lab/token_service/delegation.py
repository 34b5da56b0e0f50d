# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Delegated delayed leave (MSC4195 with MSC4140), by the rules measured on the real service.

A job waits for its participant (webhook or lookup), restarts the delayed event at once on the join and then
80 % of the delay after each success, and sends it when the participant leaves. A participant who never comes
is sent off when the delay is over. Jobs live in memory only.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any

from .bodies import Delay
from .config import Config
from .csapi import Action, ClientApi, RetryError
from .rooms import RoomService, RoomServiceError

RESTART_AT = 0.8
LONGEST_WAIT_SECONDS = 3600.0
BACKOFF = 1.5
JOINED = "participant_joined"
LEFT = "participant_left"
ABORTED = "participant_connection_aborted"
PARTICIPANT_EVENTS = frozenset({JOINED, LEFT, ABORTED})
CLIENT_INITIATED = "CLIENT_INITIATED"
_random = random.SystemRandom()
_log = logging.getLogger("token_service.delegation")


class Job:
    """One delayed leave of one participant."""

    def __init__(self, owner: Delegation, room: str, identity: str, delay: Delay, base_url: str) -> None:
        self._owner = owner
        self._room, self._identity = room, identity
        self._delay, self._base_url = delay, base_url
        self._fires_at = asyncio.get_running_loop().time() + delay.seconds
        self._joined = asyncio.Event()
        self._left = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    def event(self, name: str, reason: str) -> None:
        """Take a webhook event of our participant."""
        if name == JOINED:
            self._joined.set()
        elif self._joined.is_set():
            self._left.set()
        elif name == ABORTED or reason != CLIENT_INITIATED:
            _log.info("Delayed leave: aborted before the join, job ends room=%s", self._room)
            self.task.cancel()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(min(self._delay.seconds, LONGEST_WAIT_SECONDS)):
                await _first_of(self._joined.wait(), self._look_up())
        except TimeoutError:
            _log.info("Delayed leave: participant never came room=%s", self._room)
            await self._act("send")
            return
        self._joined.set()
        await _first_of(self._left.wait(), self._keep_restarting(), self._check_presence())
        if self._left.is_set():
            await self._act("send")

    async def _look_up(self) -> None:
        """End when the SFU says the participant is there, asking less and less often."""
        wait = _random.uniform(0.5, 1.0)
        while True:
            await asyncio.sleep(wait)
            if await self._is_present(if_unknown=False):
                return
            wait *= BACKOFF

    async def _check_presence(self) -> None:
        """The safety net for lost webhooks; waits for ever when it is off."""
        interval = self._owner.config.sanity_check_interval
        if not interval:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(interval)
            if not await self._is_present(if_unknown=True):
                self._left.set()
                return

    async def _is_present(self, *, if_unknown: bool) -> bool:
        try:
            return await self._owner.rooms.is_present(self._room, self._identity)
        except RoomServiceError as error:
            _log.warning("GetParticipant: %s room=%s", error, self._room)
            return if_unknown

    async def _keep_restarting(self) -> None:
        """End when the delayed event is lost to us: a 404, or errors for a whole delay."""
        while await self._act("restart"):
            await asyncio.sleep(self._delay.seconds * RESTART_AT)
        _log.warning("Delayed leave: given up, the homeserver's own timer decides room=%s", self._room)

    async def _act(self, action: Action) -> bool:
        """Try until it is done (True), or final or too late for another try (False).

        A restart is too late when the homeserver's timer has fired, a send when it failed for a whole delay.
        """
        now = asyncio.get_running_loop().time
        until = self._fires_at if action == "restart" else now() + self._delay.seconds
        backoff = _random.uniform(0.5, 1.5)
        while True:
            try:
                done = await self._owner.client_api.act(
                    self._base_url, self._delay.id, action, self._delay.owner
                )
            except RetryError as retry:
                wait = retry.seconds or backoff
                backoff *= BACKOFF
                _log.warning("Delayed leave: %s failed: %s room=%s", action, retry, self._room)
                if now() + wait > until:
                    return False
                await asyncio.sleep(wait)
            else:
                self._fires_at = now() + self._delay.seconds
                _log.info("Delayed leave: %s %s room=%s", action, "done" if done else "404", self._room)
                return done


async def _first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run all until one ends; the rest is cancelled, an exception of the ended one is raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Delegation:
    """All jobs; one per room and identity, a second request replaces the first."""

    def __init__(self, config: Config, rooms: RoomService, client_api: ClientApi) -> None:
        self.config, self.rooms, self.client_api = config, rooms, client_api
        self._jobs: dict[tuple[str, str], Job] = {}

    def add(self, room: str, identity: str, delay: Delay, base_url: str) -> None:
        """Start a job; the delayed event itself is never looked up."""
        key = (room, identity)
        if key in self._jobs:
            self._jobs[key].task.cancel()
        job = self._jobs[key] = Job(self, room, identity, delay, base_url)
        job.task.add_done_callback(lambda task: self._ended(key, job, task))

    def event(self, name: str, room: str, identity: str, reason: str) -> None:
        """Hand one of PARTICIPANT_EVENTS to its job, if there is one."""
        if (room, identity) in self._jobs:
            self._jobs[room, identity].event(name, reason)

    def _ended(self, key: tuple[str, str], job: Job, task: asyncio.Task[None]) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]
        if not task.cancelled() and (error := task.exception()):
            _log.error("Delayed leave: job failed", exc_info=error)

    async def close(self) -> None:
        """Drop every job, as a restart of a service without Redis does."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
