"""Hold calls of two for a while, as clients do that lose their SFU and come back. Runs on the lab's client.

Reads {"server_name", "domain", "homeserver", "tokens", "calls", "seconds", "ca", "folder"} from the file that
is its argument. In the folder it writes `running` with the SFU address of every call once all pictures move,
and ends early when somebody puts a file `end` there. Prints, for everybody in a call: the call, the addresses
of the SFU in their order, how often the connection had to be made anew, and the gaps between pictures as
[start, seconds]. Times are seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import load_sdk, trust
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_stats import selected_path
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_token import (
    Access,
    NoAccessError,
    publishing_access,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.load_media import LoadError, LoadParticipant
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import MatrixClient

TICK = 0.05
GAP = 1.0  # seconds without a picture that somebody would notice
APART = 4.0
PAUSE = 0.5
PATIENCE = 10.0


@dataclass
class Clock:
    """How long this program itself stood still: what it did not see then is the machine's fault alone."""

    stood_still: float = 0.0

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            begun = time.monotonic()
            await asyncio.sleep(TICK)
            late = time.monotonic() - begun - TICK
            self.stood_still += late if late > TICK else 0.0


@dataclass
class Person:
    """One participant, who comes back whenever the connection is lost for good."""

    site: Site
    client: MatrixClient
    call: int
    room_id: str
    clock: Clock
    last_still: float = 0.0
    last_picture: float = 0.0
    made_anew: int = -1
    addresses: list[str] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    watching: list[asyncio.Task[None]] = field(default_factory=list)

    def access(self) -> Access:
        """A fresh token, which also makes the SFU's room where it is gone."""
        account = self.client.whoami()
        return publishing_access(self.site, self.client.openid_token(account.user_id), self.room_id, account)

    async def stay(self) -> None:
        """Be in the call until cancelled."""
        while True:
            lost = asyncio.Event()
            member = await self.join(lost)
            self.made_anew += 1
            try:
                while not lost.is_set():
                    await self.note_address(member)
                    await asyncio.sleep(PAUSE)
            finally:
                await member.leave()

    async def join(self, lost: asyncio.Event) -> LoadParticipant:
        """Join, again and again until it works."""
        while True:
            try:
                member = LoadParticipant(await asyncio.to_thread(self.access), "180p")
                await member.join(PATIENCE)
            except (NoAccessError, LoadError) as error:
                print(f"call {self.call}: {error}", file=sys.stderr)
                await asyncio.sleep(PAUSE)
                continue
            member.room.on("disconnected", lambda *_why: lost.set())
            member.room.on("track_subscribed", lambda track, *_rest: self.watch(track))
            for other in member.room.remote_participants.values():
                for publication in other.track_publications.values():
                    if publication.track:
                        self.watch(publication.track)
            return member

    def watch(self, track: Any) -> None:
        """Take note of every picture of a track."""
        from livekit import rtc

        if isinstance(track, rtc.RemoteVideoTrack):
            self.watching.append(asyncio.get_running_loop().create_task(self.see(track)))

    async def see(self, track: Any) -> None:
        """Pictures as they come; a gap between two of them is what people see."""
        from livekit import rtc

        async for event in rtc.VideoStream(track):
            if event.frame.width < 64:  # the black frame with which the SDK ends a stream
                continue
            self.note_gap()
            self.last_picture, self.last_still = time.time(), self.clock.stood_still

    def note_gap(self) -> None:
        """Remember how long there was no picture, if anybody would have noticed."""
        silent = time.time() - self.last_picture - (self.clock.stood_still - self.last_still)
        if self.last_picture and silent > GAP:
            self.gaps.append((self.last_picture, silent))

    async def note_address(self, member: LoadParticipant) -> None:
        """Remember where the SFU is now."""
        path = selected_path(await member.stats())
        if path and [path.remote_address] != self.addresses[-1:]:
            self.addresses.append(path.remote_address)

    def told(self) -> dict[str, object]:
        """What is printed."""
        self.note_gap()
        return {
            "call": self.call,
            "addresses": self.addresses,
            "made_anew": self.made_anew,
            "gaps": self.gaps,
            "last_picture": self.last_picture,
        }


async def hold(people: list[Person], seconds: float, folder: Path) -> None:
    """Have everybody in their calls until the time is over, or the file `end` appears."""
    loop = asyncio.get_running_loop()
    staying: list[asyncio.Task[None]] = []
    ticking = loop.create_task(people[0].clock.run())
    end = time.monotonic() + seconds
    try:
        for person in people:
            # nodes tell each other every two seconds how many rooms they have
            await asyncio.sleep(APART if staying and person.call != people[len(staying) - 1].call else 0)
            staying.append(loop.create_task(person.stay()))
        while time.monotonic() < end and not (folder / "end").exists():
            await asyncio.sleep(PAUSE)
            for task in staying:
                if task.done():
                    task.result()
            if not (folder / "running").exists() and all(
                one.last_picture and one.addresses for one in people
            ):
                places = {str(person.call): person.addresses[-1] for person in people}
                (folder / "running.new").write_text(json.dumps(places), encoding="utf-8")
                (folder / "running.new").rename(folder / "running")
    finally:
        told = [person.told() for person in people]
        for task in [ticking, *staying, *(task for person in people for task in person.watching)]:
            task.cancel()
        await asyncio.gather(*staying, return_exceptions=True)
        print(json.dumps(told))


def main() -> None:
    """Call, and say what everybody saw."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    load_sdk()
    trust(given["ca"])
    http = HttpClient(given["ca"])
    site = Site(
        server_name=given["server_name"],
        domain=given["domain"],
        service_url=f"https://{given['domain']}/livekit/jwt",
        livekit_url=f"wss://{given['domain']}/livekit/sfu",
        http=http,
    )
    rooms = [f"!lasting-{uuid4().hex}:{given['server_name']}" for _call in range(given["calls"])]
    clock = Clock()
    people = [
        Person(site, MatrixClient(given["homeserver"], token, http), number, room, clock)
        for number, room in enumerate(rooms)
        for token in given["tokens"]
    ]
    asyncio.run(hold(people, given["seconds"], Path(given["folder"])))


if __name__ == "__main__":
    main()
