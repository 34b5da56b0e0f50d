# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A participant of the call: sends a picture and a tone, encrypted, and recognises what the other one sends.

Needs the LiveKit SDK (`livekit` 1.2) and numpy, which are imported when a call starts. `python -c` with
CHILD_PROGRAM runs a participant in a process of its own, so that it can be killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .call_stats import Count, Path, Point, Received, point, received, selected_path

if TYPE_CHECKING:
    from livekit import rtc

TCP_ATTEMPTS = 3
FRAMES_PER_SECOND = 15
FEW_FRAMES_PER_SECOND = 5  # of each where many are to be recognised at once
AUDIO_PIECE = 100  # milliseconds
KEY_INDEX = 0  # Element Call's first key
KEY_LENGTH = 16  # bytes, as Element Call's
POLL = 0.02  # seconds
SAMPLE = 0.5  # seconds between two points of a series: a call is short
LONGEST_LINE = 1024 * 1024
INSTALL_HINT = (
    "Install it where the call is placed from, for example "
    "'python3 -m venv /opt/probe && /opt/probe/bin/pip install livekit==1.2.0' (it brings numpy), and set "
    "ansible_python_interpreter of that host to /opt/probe/bin/python."
)
CHILD_PROGRAM = f"from {__name__} import child; child()"


class MissingSdkError(Exception):
    """The LiveKit SDK or numpy cannot be imported; the text says what to install."""


@dataclass(frozen=True)
class Seat:
    """What one participant is to do. Keys are hexadecimal; `start` is a time.monotonic() of this host.

    One who does not publish looks at what everybody sends, with the keys it was given. One who publishes
    without a `tone` sends pictures alone, and listens to nobody.
    """

    name: str
    url: str
    jwt: str
    identity: str
    key: str
    nonce: int
    tone: float
    others: tuple[tuple[str, str, int, float], ...] = ()  # identity, key, nonce, tone
    publishes: bool = True
    force_tcp: bool = False
    relay_only: bool = False
    relays: tuple[tuple[str, str, str], ...] = ()
    start: float = 0.0

    @property
    def listens(self) -> bool:
        """Whether sound is looked for."""
        return bool(self.tone) or not self.publishes


def frames_per_second(others: int) -> int:
    """How many pictures one sends to others. One host receives all that goes on between its participants."""
    return FRAMES_PER_SECOND if others < 2 else FEW_FRAMES_PER_SECOND


@dataclass
class View:
    """What one participant recognised of one other; times as in Report."""

    first_frame: float = 0.0
    first_tone: float = 0.0
    frames: int = 0
    tone_seconds: float = 0.0


@dataclass
class Report:
    """What one participant saw. Times are seconds since the seat's start, 0 when it did not come to that.

    `frames` were recognised, `strange` were not; `missed` are numbers between the first and the last that
    never came. `views` are by identity.
    """

    name: str
    error: str = ""
    connected: float = 0.0
    first_frame: float = 0.0
    first_tone: float = 0.0
    frames: int = 0
    strange: int = 0
    missed: int = 0
    tone_seconds: float = 0.0
    other_sound_seconds: float = 0.0
    encrypted_tracks: int = 0
    plain_tracks: int = 0
    video: Received = field(default_factory=Received)
    audio: Received = field(default_factory=Received)
    paths: list[Path] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)


def report_from(document: dict[str, Any]) -> Report:
    """A report that came as JSON."""
    parts = dict(document)
    parts["video"], parts["audio"] = Received(**parts["video"]), Received(**parts["audio"])
    parts["paths"] = [Path(**path) for path in parts["paths"]]
    parts["points"] = [Point(**entry) for entry in parts["points"]]
    parts["views"] = {identity: View(**view) for identity, view in parts["views"].items()}
    return Report(**parts)


def load_sdk() -> None:
    """Import the SDK. Raises MissingSdkError, with what to install."""
    try:
        import numpy  # noqa: F401
        from livekit import rtc
    except ImportError as error:
        raise MissingSdkError(
            f"The Python of this task has no LiveKit SDK ({error}). {INSTALL_HINT}"
        ) from error
    if not hasattr(rtc, "SimulateScenarioKind"):  # came with 1.2, as did the keys of each participant
        raise MissingSdkError(f"The LiveKit SDK of this task's Python is older than 1.2. {INSTALL_HINT}")


def trust(ca_file: str) -> None:
    """Make the SDK trust a private authority; it reads only this variable, at its first connection."""
    if ca_file:
        os.environ["SSL_CERT_FILE"] = ca_file


def without_tokens(text: str) -> str:
    """An error of the SDK without the LiveKit token, which is in the URLs that it quotes."""
    return re.sub(r"(access_token=|join_request=)[^&\s)\"']+", r"\1***", text)


class Participant:
    """One seat of the call, in this process."""

    def __init__(self, seat: Seat) -> None:
        from livekit import rtc

        self.seat = seat
        self.report = Report(seat.name)
        self._room: rtc.Room = rtc.Room()
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers: dict[
            int, set[int]
        ] = {}  # of the pictures that were recognised, by their sender's nonce
        self._known = {identity: (nonce, tone) for identity, _key, nonce, tone in seat.others}
        self._room.on("track_subscribed", self._subscribed)

    def _since_start(self) -> float:
        return time.monotonic() - self.seat.start

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def _subscribed(
        self,
        track: rtc.RemoteTrack,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        from livekit import rtc

        if participant.identity not in self._known:
            return
        if publication.encryption_type != rtc.EncryptionType.NONE:
            self.report.encrypted_tracks += 1
        else:
            self.report.plain_tracks += 1
        nonce, tone = self._known[participant.identity]
        view = self.report.views.setdefault(participant.identity, View())
        if isinstance(track, rtc.RemoteVideoTrack):
            self._spawn(self._watch(track, nonce, view))
        elif isinstance(track, rtc.RemoteAudioTrack) and self.seat.listens:
            self._spawn(self._listen(track, tone, view))

    async def _watch(self, track: rtc.RemoteVideoTrack, nonce: int, view: View) -> None:
        from livekit import rtc

        from .call_pattern import SMALLEST, decode

        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            await asyncio.sleep(0)  # a queue that is never empty would let nobody else go on
            frame = event.frame
            if frame.width < SMALLEST:  # the black frame with which the SDK ends a stream
                continue
            found = decode(frame.data, frame.width, frame.height)
            if found is None or found[0] != nonce:
                self.report.strange += 1
                continue
            self.report.frames += 1
            self.report.first_frame = self.report.first_frame or self._since_start()
            view.frames += 1
            view.first_frame = view.first_frame or self._since_start()
            self._numbers.setdefault(nonce, set()).add(found[1])

    async def _listen(self, track: rtc.RemoteAudioTrack, tone: float, view: View) -> None:
        import numpy
        from livekit import rtc

        from .call_tone import RATE, WINDOW, is_tone, strongest

        pieces: list[Any] = []
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=AUDIO_PIECE)
        async for event in stream:
            await asyncio.sleep(0)
            pieces.append(numpy.frombuffer(event.frame.data, numpy.int16))
            if sum(len(piece) for piece in pieces) < WINDOW:
                continue
            samples = numpy.concatenate(pieces)
            pieces.clear()
            if is_tone(samples, tone):
                self.report.tone_seconds += len(samples) / RATE
                self.report.first_tone = self.report.first_tone or self._since_start()
                view.tone_seconds += len(samples) / RATE
                view.first_tone = view.first_tone or self._since_start()
            elif strongest(samples)[0]:
                self.report.other_sound_seconds += len(samples) / RATE

    async def connect(self, timeout: float) -> None:
        """Join with encryption on. Raises livekit.rtc.ConnectError and asyncio.TimeoutError."""
        from livekit import rtc

        # HKDF is what the JS SDK does with a key that is not a passphrase.
        keys = rtc.KeyProviderOptions(key_derivation_function=rtc.KeyDerivationFunction.HKDF)
        options = rtc.RoomOptions(auto_subscribe=True, encryption=rtc.E2EEOptions(key_provider_options=keys))
        if self.seat.relay_only:
            relay = rtc.IceTransportType.TRANSPORT_RELAY
            servers = [
                rtc.IceServer(urls=[url], username=user, password=word)
                for url, user, word in self.seat.relays
            ]
            options.rtc_config = rtc.RtcConfiguration(ice_transport_type=relay, ice_servers=servers)
        await asyncio.wait_for(self._room.connect(self.seat.url, self.seat.jwt, options), timeout)
        provider = self._room.e2ee_manager.key_provider
        if provider is not None:
            provider.set_key(self.seat.identity, bytes.fromhex(self.seat.key), KEY_INDEX)
            for identity, key, _nonce, _tone in self.seat.others:
                provider.set_key(identity, bytes.fromhex(key), KEY_INDEX)
        self.report.connected = self._since_start()
        if self.seat.force_tcp:
            await self._change_to_tcp(timeout)

    def expect(self, identity: str, key: str, nonce: int, tone: float) -> None:
        """Look at one more participant, who may be there already."""
        self._known[identity] = (nonce, tone)
        provider = self._room.e2ee_manager.key_provider
        if provider is not None:
            provider.set_key(identity, bytes.fromhex(key), KEY_INDEX)
        present = self._room.remote_participants.get(identity)
        for publication in present.track_publications.values() if present else ():
            if present and publication.track:
                self._subscribed(publication.track, publication, present)

    async def _change_to_tcp(self, timeout: float) -> None:
        """Have the SFU start over and offer its TCP address only, as it does for clients whose UDP fails.

        Now and then a participant comes back over UDP all the same, and is asked once more.
        """
        from livekit import rtc

        back = asyncio.Event()
        self._room.on("reconnected", back.set)
        for _attempt in range(TCP_ATTEMPTS):
            back.clear()
            await self._room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FORCE_TCP)
            await asyncio.wait_for(back.wait(), timeout)
            await self.measure()
            if all(path.protocol == "tcp" for path in self.report.paths):
                return

    async def publish(self) -> None:
        """Start to send the picture, and the tone if there is one."""
        from livekit import rtc

        from .call_pattern import HEIGHT, WIDTH
        from .call_tone import RATE

        camera = rtc.VideoSource(WIDTH, HEIGHT)
        picture = rtc.LocalVideoTrack.create_video_track("camera", camera)
        await self._room.local_participant.publish_track(
            picture,
            rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_CAMERA, video_codec=rtc.VideoCodec.VP8, simulcast=False
            ),
        )
        self._spawn(self._film(camera))
        if not self.seat.tone:
            return
        microphone = rtc.AudioSource(RATE, 1)
        sound = rtc.LocalAudioTrack.create_audio_track("microphone", microphone)
        await self._room.local_participant.publish_track(
            sound, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        )
        self._spawn(self._hum(microphone))

    async def try_to_publish(self, timeout: float) -> str:
        """Why the SFU does not take a track of ours; '' when it does. It is taken back at once.

        The SDK does not hear of a refusal: then there is no answer.
        """
        from livekit import rtc
        from livekit.rtc.participant import PublishTrackError

        from .call_tone import RATE

        track = rtc.LocalAudioTrack.create_audio_track("trial", rtc.AudioSource(RATE, 1))
        room = self._room.local_participant
        try:
            publication = await asyncio.wait_for(room.publish_track(track), timeout)
        except PublishTrackError as error:
            return str(error.message)
        except asyncio.TimeoutError:  # noqa: UP041
            return f"no answer after {timeout:.0f} s"
        await room.unpublish_track(publication.sid)
        return ""

    def sees_tracks_of(self, identity: str) -> bool:
        """Whether the SFU has told of anything that a participant sends."""
        present = self._room.remote_participants.get(identity)
        return bool(present and present.track_publications)

    async def _film(self, camera: rtc.VideoSource) -> None:
        from livekit import rtc

        from .call_pattern import HEIGHT, WIDTH, encode

        number = 0
        while True:
            data = encode(self.seat.nonce, number)
            camera.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, data))
            number += 1
            await asyncio.sleep(1 / frames_per_second(len(self.seat.others)))

    async def _hum(self, microphone: rtc.AudioSource) -> None:
        from livekit import rtc

        from .call_tone import PIECE, RATE, piece

        number = 0
        while True:
            await microphone.capture_frame(rtc.AudioFrame(piece(self.seat.tone, number), RATE, 1, PIECE))
            number += 1

    async def exchange(self, seconds: float, timeout: float) -> None:
        """Wait until everybody's media was recognised for some seconds, or until the time is over."""
        end = time.monotonic() + timeout
        counted = await self._count()
        while time.monotonic() < end:
            self._raise_errors()
            if self._since_start() - counted.at >= SAMPLE:
                before, counted = counted, await self._count()
                self.report.points.append(point(before, counted))
            begun = self._begun()
            if begun and self._since_start() - begun >= seconds:
                return
            await asyncio.sleep(POLL)

    def _begun(self) -> float:
        """When picture and tone of everybody were there, 0 as long as somebody's are missing."""
        moments: list[float] = []
        for identity, (_nonce, tone) in self._known.items():
            view = self.report.views.get(identity, View())
            moments += (
                [view.first_frame, view.first_tone] if tone and self.seat.listens else [view.first_frame]
            )
        return max(moments) if moments and all(moments) else 0.0

    def _raise_errors(self) -> None:
        """A mistake of our own in the background must not pass for missing media."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def run(self, seconds: float, timeout: float) -> Report:
        """Join, send, receive for some seconds, and report. Goes on sending until leave()."""
        from livekit import rtc

        try:
            await self.connect(timeout)
            if self.seat.publishes:
                await self.publish()
                await self.exchange(seconds, timeout)
                await self.measure()
        except rtc.ConnectError as error:
            self.report.error = without_tokens(str(error.message))
        except asyncio.TimeoutError:  # not the builtin before Python 3.11  # noqa: UP041
            self.report.error = f"no connection after {timeout:.0f} s"
        return self.report

    async def _statistics(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """WebRTC's statistics of the publisher's connection and of the subscriber's."""
        from google.protobuf.json_format import MessageToDict

        stats = await self._room.get_rtc_stats()
        sent, came = (
            [MessageToDict(entry, preserving_proto_field_name=True) for entry in side]
            for side in (stats.publisher_stats, stats.subscriber_stats)
        )
        return sent, came

    async def _count(self) -> Count:
        """What has come in so far."""
        sent, came = await self._statistics()
        trips = [path.round_trip for path in (selected_path(sent), selected_path(came)) if path]
        total = received(sent + came, "video") + received(sent + came, "audio")
        return Count(self._since_start(), total, max(trips, default=0.0))

    async def measure(self) -> None:
        """Add the statistics to the report."""
        sent, came = await self._statistics()
        # A current SDK uses one connection for both directions and calls it the publisher's.
        self.report.paths = [path for path in (selected_path(sent), selected_path(came)) if path]
        self.report.video, self.report.audio = received(sent + came, "video"), received(sent + came, "audio")
        self.report.missed = sum(
            max(numbers) - min(numbers) + 1 - len(numbers) for numbers in self._numbers.values()
        )

    async def leave(self) -> None:
        """End the session with the SFU; the homeserver is told nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._room.disconnect()


class ChildParticipant:
    """One seat of the call in a process of its own, which can be killed."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, seconds: float, timeout: float) -> Report:
        """As Participant.run. The token goes to the child through a pipe."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD_PROGRAM,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            limit=LONGEST_LINE,
        )
        order = json.dumps({"seat": asdict(self.seat), "seconds": seconds, "timeout": timeout})
        if self._process.stdin is None or self._process.stdout is None:
            return Report(self.seat.name, error="the participant's process has no pipes")
        self._process.stdin.write(order.encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            return Report(self.seat.name, error="the participant's process ended by itself")
        return report_from(json.loads(line))

    async def leave(self) -> None:
        """Kill the process: no goodbye to anybody."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()


async def _child(order: dict[str, Any]) -> None:
    seat = order["seat"]
    seat["others"] = tuple(tuple(other) for other in seat["others"])
    report = await Participant(Seat(**seat)).run(order["seconds"], order["timeout"])
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends when the parent does


def child() -> None:
    """The child's program: orders on standard input, a report on standard output, then stay until killed."""
    asyncio.run(_child(json.loads(sys.stdin.readline())))
