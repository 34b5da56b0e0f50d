# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Participants of a load test: they join one call, some send what Element Call sends, all receive.

The camera's layers are those of Element Call (src/config/ConfigOptions.ts, `media_quality`): 720p at up to
1.7 Mbit/s with simulcast, VP8. The picture is noise that moves, or an encoder would send next to nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .call_media import load_sdk, trust, without_tokens
from .call_stats import Entry
from .endpoint_token import Access

if TYPE_CHECKING:
    from livekit import rtc

SIZES = {"720p": (1280, 720, 1_700_000), "360p": (640, 360, 450_000), "180p": (320, 180, 160_000)}
FRAMES_PER_SECOND = 30
PICTURES = 8  # different ones, shown in turn
RATE, PIECE = 48000, 480  # samples of a second, of 10 ms
JOINS_AT_ONCE = 4
SETTLING = 8.0  # seconds until layers and bandwidth estimates are what they will be


class LoadError(Exception):
    """The load cannot be put on; the text says why."""


@dataclass
class Totals:
    """Counters of all participants at one moment. `tracks`: video tracks of which frames arrived."""

    bytes_sent: int = 0
    bytes_received: int = 0
    packets: int = 0
    lost: int = 0
    frames: dict[str, int] = field(default_factory=dict)


def add(totals: Totals, who: str, stats: Sequence[Entry]) -> None:
    """Add one participant's statistics of WebRTC to the totals."""
    for stat in stats:
        for kind, way in (("inbound_rtp", "received"), ("outbound_rtp", "sent")):
            entry: Any = stat.get(kind)
            if not entry:
                continue
            own = entry.get("inbound" if kind == "inbound_rtp" else "outbound", {})
            counts = entry.get(way, {})
            if kind == "outbound_rtp":
                totals.bytes_sent += int(counts.get("bytes_sent", 0))
                continue
            totals.bytes_received += int(own.get("bytes_received", 0))
            totals.packets += int(counts.get("packets_received", 0))
            totals.lost += int(counts.get("packets_lost", 0))
            if entry.get("stream", {}).get("kind") == "video":
                track = f"{who} {entry.get('rtc', {}).get('id')}"
                totals.frames[track] = int(own.get("frames_decoded", 0))


@dataclass
class LoadParticipant:
    """One participant. It sends if `size` is one of SIZES."""

    access: Access
    size: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    room: Any = None

    async def join(self, timeout: float) -> None:
        """Raises LoadError."""
        from livekit import rtc

        self.room = rtc.Room()
        try:
            await asyncio.wait_for(self.room.connect(self.access.url, self.access.jwt), timeout)
        except rtc.ConnectError as error:
            raise LoadError(f"The SFU takes no more: {without_tokens(str(error.message))}") from error
        except asyncio.TimeoutError as error:  # not the builtin before Python 3.11  # noqa: UP041
            raise LoadError(f"The SFU does not let a participant in within {timeout:.0f} s.") from error
        if self.size:
            await self._publish()

    async def _publish(self) -> None:
        from livekit import rtc

        width, height, bitrate = SIZES[self.size]
        camera, microphone = rtc.VideoSource(width, height), rtc.AudioSource(RATE, 1)
        await self.room.local_participant.publish_track(
            rtc.LocalVideoTrack.create_video_track("camera", camera),
            rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_CAMERA,
                video_codec=rtc.VideoCodec.VP8,
                simulcast=True,
                video_encoding=rtc.VideoEncoding(max_bitrate=bitrate, max_framerate=FRAMES_PER_SECOND),
            ),
        )
        await self.room.local_participant.publish_track(
            rtc.LocalAudioTrack.create_audio_track("microphone", microphone),
            rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE),
        )
        loop = asyncio.get_running_loop()
        self.tasks += [
            loop.create_task(self._film(camera, width, height)),
            loop.create_task(self._hum(microphone)),
        ]

    async def _film(self, camera: rtc.VideoSource, width: int, height: int) -> None:
        from livekit import rtc

        frames = [
            rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, data) for data in noise(width, height)
        ]
        due = time.monotonic()
        number = 0
        while True:
            camera.capture_frame(frames[number % len(frames)])
            number += 1
            due += 1 / FRAMES_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _hum(self, microphone: rtc.AudioSource) -> None:
        from livekit import rtc

        from .call_tone import piece

        number = 0
        while True:
            await microphone.capture_frame(rtc.AudioFrame(piece(440.0, number), RATE, 1, PIECE))
            number += 1

    async def stats(self) -> list[Entry]:
        """WebRTC's statistics of both directions."""
        from google.protobuf.json_format import MessageToDict

        found = await self.room.get_rtc_stats()
        return [
            MessageToDict(entry, preserving_proto_field_name=True)
            for side in (found.publisher_stats, found.subscriber_stats)
            for entry in side
        ]

    async def leave(self) -> None:
        """Stop sending and disconnect, if it had joined."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.room is not None:
            await self.room.disconnect()


def noise(width: int, height: int) -> list[bytes]:
    """Some pictures in I420 with blocks of 16 pixels, each with nothing in common with the one before."""
    import numpy

    random = numpy.random.default_rng(1)
    colour = bytes([128]) * (width * height // 2)
    pictures = []
    for _number in range(PICTURES):
        blocks = random.integers(16, 235, (-(-height // 16), -(-width // 16)), dtype=numpy.uint8)
        luma = numpy.kron(blocks, numpy.ones((16, 16), numpy.uint8))[:height, :width]
        pictures.append(luma.tobytes() + colour)
    return pictures


async def _totals(people: Sequence[LoadParticipant]) -> Totals:
    totals = Totals()
    for number, stats in enumerate(await asyncio.gather(*(person.stats() for person in people))):
        add(totals, str(number), stats)
    return totals


def moving(before: Totals, after: Totals) -> int:
    """How many video tracks brought new frames between two moments."""
    return sum(frames > before.frames.get(track, 0) for track, frames in after.frames.items())


async def put_on(people: Sequence[LoadParticipant], seconds: float, timeout: float) -> dict[str, float]:
    """Have everybody in the call for some seconds. Whatever happens, everybody leaves. Raises LoadError.

    Times are seconds since the epoch, to be compared with what the SFU's host measures.
    """
    try:
        for start in range(0, len(people), JOINS_AT_ONCE):
            await asyncio.gather(*(person.join(timeout) for person in people[start : start + JOINS_AT_ONCE]))
        await asyncio.sleep(SETTLING)
        before, start_time, start_cpu = await _totals(people), time.time(), time.process_time()
        await asyncio.sleep(seconds)
        after, end_time, end_cpu = await _totals(people), time.time(), time.process_time()
    finally:
        await asyncio.gather(*(person.leave() for person in people), return_exceptions=True)
    return {
        "start": start_time,
        "end": end_time,
        "participants": len(people),
        "publishers": sum(bool(person.size) for person in people),
        "bytes_sent": after.bytes_sent - before.bytes_sent,
        "bytes_received": after.bytes_received - before.bytes_received,
        "packets": after.packets - before.packets,
        "lost": max(0, after.lost - before.lost),
        "tracks": moving(before, after),
        "client_cpu": end_cpu - start_cpu,
        "client_processors": os.cpu_count() or 1,
    }


def run(people: Sequence[LoadParticipant], seconds: float, timeout: float, ca_file: str) -> dict[str, float]:
    """As put_on, from a program without a loop. Raises MissingSdkError and LoadError."""
    load_sdk()
    trust(ca_file)
    return asyncio.run(put_on(people, seconds, timeout))
