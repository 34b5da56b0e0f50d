# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What WebRTC's statistics say about a connection: the way it took, what arrived and what was lost.

Works on plain dictionaries of the form {kind: {"rtc": {"id": ...}, ...}}, in which the SDK's protobuf
messages are when converted with their own field names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Entry = Mapping[str, object]


@dataclass(frozen=True)
class Path:
    """The selected candidate pair of one connection. Kinds are host, srflx, prflx, relay.

    `relay_protocol`: how the own TURN server is reached, udp, tcp or tls, '' without one.

    `round_trip` is in seconds, but in steps of a millisecond, so 0 on a local network.
    """

    local: str
    remote: str
    remote_address: str
    remote_port: int
    remote_kind: str
    protocol: str
    round_trip: float
    local_kind: str = ""
    relay_protocol: str = ""


@dataclass(frozen=True)
class Received:
    """What came in on one connection. `lost`: packets that the receiver missed."""

    packets: int = 0
    lost: int = 0
    frames: int = 0
    dropped: int = 0
    bytes_received: int = 0

    @property
    def loss(self) -> float:
        """The share of packets that were lost, 0 to 1."""
        return self.lost / (self.packets + self.lost) if self.packets + self.lost else 0.0

    def __add__(self, other: Received) -> Received:
        return Received(
            self.packets + other.packets,
            self.lost + other.lost,
            self.frames + other.frames,
            self.dropped + other.dropped,
            self.bytes_received + other.bytes_received,
        )

    def __sub__(self, other: Received) -> Received:
        return Received(
            self.packets - other.packets,
            self.lost - other.lost,
            self.frames - other.frames,
            self.dropped - other.dropped,
            self.bytes_received - other.bytes_received,
        )


@dataclass(frozen=True)
class Count:
    """What had come in up to a moment; `at` and `round_trip` in seconds."""

    at: float
    received: Received
    round_trip: float


@dataclass(frozen=True)
class Point:
    """What came in during the moments before `at`, in seconds since the participant began to join."""

    at: float
    frames_per_second: float
    bits_per_second: float
    loss: float
    round_trip: float


def point(before: Count, after: Count) -> Point:
    """What came in between two counts."""
    seconds = max(after.at - before.at, 0.001)
    came = after.received - before.received
    return Point(
        at=round(after.at, 2),
        frames_per_second=round(came.frames / seconds, 1),
        bits_per_second=round(8 * came.bytes_received / seconds),
        # A packet that comes late is taken off the lost ones again.
        loss=round(max(0.0, came.loss), 4),
        round_trip=round(after.round_trip, 4),
    )


def _part(entry: Entry, name: str) -> Mapping[str, object]:
    found = entry.get(name)
    return found if isinstance(found, Mapping) else {}


def _whole(value: object) -> int:
    """Numbers of 64 bits come as text."""
    return int(value) if isinstance(value, (int, float, str)) and str(value).lstrip("-").isdigit() else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def by_id(stats: Iterable[Entry]) -> dict[str, tuple[str, Entry]]:
    """Every entry with its kind, by its id."""
    found = {}
    for stat in stats:
        for kind, entry in stat.items():
            if isinstance(entry, Mapping):
                found[str(_part(entry, "rtc").get("id"))] = (kind, entry)
    return found


def _entry(entries: Mapping[str, tuple[str, Entry]], key: object, name: str) -> Mapping[str, object]:
    return _part(entries[str(key)][1], name) if str(key) in entries else {}


def selected_path(stats: Iterable[Entry]) -> Path | None:
    """The way that a connection took, or None when it has none."""
    entries = by_id(stats)
    for kind, entry in entries.values():
        pair = _entry(entries, _part(entry, "transport").get("selected_candidate_pair_id"), "candidate_pair")
        if kind != "transport" or not pair:
            continue
        local = _entry(entries, pair.get("local_candidate_id"), "candidate")
        remote = _entry(entries, pair.get("remote_candidate_id"), "candidate")
        return Path(
            local=described(local),
            remote=described(remote),
            remote_address=str(remote.get("address", "")),
            remote_port=_whole(remote.get("port")),
            remote_kind=str(remote.get("candidate_type", "")).lower(),
            protocol=str(remote.get("protocol", "")).lower(),
            round_trip=_real(pair.get("current_round_trip_time")),
            local_kind=str(local.get("candidate_type", "")).lower(),
            relay_protocol=str(local.get("relay_protocol", "")).lower().removeprefix("transport_"),
        )
    return None


def described(candidate: Mapping[str, object]) -> str:
    """A candidate in words: 'udp 203.0.113.5:7882 (host)'."""
    if not candidate:
        return "unknown"
    # WebRTC hides the address of a peer-reflexive candidate.
    return (
        f"{candidate.get('protocol')} {candidate.get('address') or 'unnamed address'}:{candidate.get('port')}"
        f" ({str(candidate.get('candidate_type', '')).lower()})"
    )


def received(stats: Iterable[Entry], kind: str) -> Received:
    """What came in of one kind, 'audio' or 'video', over all its streams."""
    total = Received()
    for stat in stats:
        entry = _part(stat, "inbound_rtp")
        if not entry or _part(entry, "stream").get("kind") != kind:
            continue
        packets, inbound = _part(entry, "received"), _part(entry, "inbound")
        total += Received(
            _whole(packets.get("packets_received")),
            _whole(packets.get("packets_lost")),
            _whole(inbound.get("frames_decoded")),
            _whole(inbound.get("frames_dropped")),
            _whole(inbound.get("bytes_received")),
        )
    return total
