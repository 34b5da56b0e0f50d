# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""How many people a restart would throw out of calls.

LiveKit's list of rooms is asked on loopback, signed with the API key on the host: a default deployment has no
metrics port, and none has to be opened for this. In a cluster that list is of all nodes, so a node whose
metrics are there is asked for its own gauge instead. An SFU that does not answer is not an idle one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .endpoint_livekit import key_pairs
from .files import read_bytes
from .http_client import HttpClient
from .stuck_sfu import Sfu, SfuError

GAUGE = re.compile(r"^livekit_participant_total(?:\{[^}]*\})?\s+([0-9.eE+]+)", re.MULTILINE)
ANSWER_SECONDS = 5.0


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
        return _from_rooms(source, [kept_keys, read_bytes(source.key_file) or b""])
    except (SfuError, OSError) as error:
        return Calls(fault=str(error))


def _from_metrics(url: str) -> Calls:
    answer = HttpClient(timeout=ANSWER_SECONDS).request("GET", url)
    if answer.status != 200:
        raise SfuError(f"LiveKit's metrics at {url} cannot be read: {answer.summary()}")
    found = GAUGE.findall(answer.body.decode("utf-8", "replace"))
    if not found:
        raise SfuError(f"{url} has no livekit_participant_total")
    return Calls(participants=round(sum(map(float, found))))


def _from_rooms(source: Source, key_files: Sequence[bytes]) -> Calls:
    """Ask with each key until one is taken: the file may hold keys that LiveKit was not started with yet."""
    pairs = dict.fromkeys(
        pair for text in key_files for pair in key_pairs(text.decode("utf-8", "replace")).items()
    )
    fault = SfuError(f"{source.key_file} has no line 'key: secret'")
    for key, secret in pairs:
        try:
            found = Sfu(source.livekit_url, key, secret, HttpClient(timeout=ANSWER_SECONDS)).connected()
        except SfuError as error:
            fault = error
            continue
        occupied = [people for people in found.values() if people]
        return Calls(sum(map(len, occupied)), len(occupied))
    raise fault
