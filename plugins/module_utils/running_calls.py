# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""How many people a restart would throw out of calls, and the rooms that they come back to after one.

LiveKit's list of rooms is asked on loopback, signed with the API key on the host: a default deployment has no
metrics port, and none has to be opened for this. In a cluster that list is of all nodes, so a node whose
metrics are there is asked for its own gauge instead. An SFU that does not answer is not an idle one.

LiveKit without Redis forgets its rooms when it is restarted, and refuses whoever comes back to one that is
not there: Element Call's livekit-client then gives up for good (on a 404 "requested room does not exist",
livekit-client 2.22). With the room there again it is back in the call with the token that it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .endpoint_livekit import key_pairs
from .files import read_bytes
from .http_client import HttpClient
from .stuck_sfu import Sfu, SfuError

GAUGE = re.compile(r"^livekit_participant_total(?:\{[^}]*\})?\s+([0-9.eE+]+)", re.MULTILINE)
ANSWER_SECONDS = 5.0
Found = TypeVar("Found")


@dataclass(frozen=True)
class Source:
    """Where participants are counted: LiveKit's API and its key file, or the page of its own metrics."""

    livekit_url: str
    key_file: str
    metrics_url: str = ""


@dataclass(frozen=True)
class Calls:
    """Who is connected, or why nobody can tell (`fault`). `rooms` is not known from metrics, then it is 0."""

    participants: int = 0
    rooms: int = 0
    fault: str = ""

    @property
    def busy(self) -> bool:
        """Whether a restart may end a call."""
        return bool(self.fault) or self.participants > 0

    def __str__(self) -> str:
        if self.fault:
            return f"nobody can tell how many people are in calls ({self.fault.rstrip('.')})"
        people = f"{self.participants} participant{'' if self.participants == 1 else 's'}"
        where = f" in {self.rooms} room{'' if self.rooms == 1 else 's'}" if self.rooms else " in calls"
        return people + where


def running_calls(source: Source, kept_keys: bytes = b"") -> Calls:
    """Count who is connected now. `kept_keys`: the key file that LiveKit was started with, if it is known."""
    try:
        if source.metrics_url:
            return _from_metrics(source.metrics_url)
        found = _asked(source, kept_keys, Sfu.connected)
    except (SfuError, OSError) as error:
        return Calls(fault=str(error))
    occupied = [people for people in found.values() if people]
    return Calls(sum(map(len, occupied)), len(occupied))


def rooms_of(source: Source, kept_keys: bytes = b"") -> list[dict[str, object]]:
    """The settings of all rooms; none if the SFU does not answer, as nobody is connected to it then."""
    try:
        return _asked(source, kept_keys, Sfu.rooms)
    except (SfuError, OSError):
        return []


def make_rooms(source: Source, rooms: Sequence[Mapping[str, object]]) -> str:
    """Make rooms that are not there any more; '' or why that could not be done."""
    try:
        _asked(source, b"", lambda sfu: sfu.make(rooms))
    except (SfuError, OSError) as error:
        return str(error)
    return ""


def _from_metrics(url: str) -> Calls:
    answer = HttpClient(timeout=ANSWER_SECONDS).request("GET", url)
    if answer.status != 200:
        raise SfuError(f"LiveKit's metrics at {url} cannot be read: {answer.summary()}")
    found = GAUGE.findall(answer.body.decode("utf-8", "replace"))
    if not found:
        raise SfuError(f"{url} has no livekit_participant_total")
    return Calls(participants=round(sum(map(float, found))))


def _asked(source: Source, kept_keys: bytes, question: Callable[[Sfu], Found]) -> Found:
    """Ask with each key until one is taken: the file may hold keys that LiveKit was not started with yet."""
    texts = [text.decode("utf-8", "replace") for text in (kept_keys, read_bytes(source.key_file) or b"")]
    pairs = dict.fromkeys(pair for text in texts for pair in key_pairs(text).items())
    fault = SfuError(f"{source.key_file} has no line 'key: secret'")
    for key, secret in pairs:
        try:
            return question(Sfu(source.livekit_url, key, secret, HttpClient(timeout=ANSWER_SECONDS)))
        except SfuError as error:
            fault = error
    raise fault
