"""WebRTC's statistics, in the form in which the SDK's messages arrive: 64-bit numbers are text."""

from __future__ import annotations

from typing import Any

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_stats import (
    Count,
    Point,
    Received,
    point,
    received,
    selected_path,
)


def entry(kind: str, key: str, **parts: Any) -> dict[str, Any]:
    return {kind: {"rtc": {"id": key}, **parts}}


def candidate(
    kind: str, key: str, address: str, port: int, protocol: str, candidate_type: str
) -> dict[str, Any]:
    values = {"address": address, "port": port, "protocol": protocol, "candidate_type": candidate_type}
    return entry(kind, key, candidate=values)


STATS = [
    entry("transport", "T", transport={"selected_candidate_pair_id": "P2"}),
    entry("candidate_pair", "P1", candidate_pair={"local_candidate_id": "L1", "remote_candidate_id": "R1"}),
    entry(
        "candidate_pair",
        "P2",
        candidate_pair={
            "local_candidate_id": "L1",
            "remote_candidate_id": "R2",
            "current_round_trip_time": 0.004,
        },
    ),
    candidate("local_candidate", "L1", "192.0.2.1", 5000, "udp", "HOST"),
    candidate("remote_candidate", "R1", "203.0.113.5", 7881, "tcp", "HOST"),
    candidate("remote_candidate", "R2", "203.0.113.5", 7882, "udp", "HOST"),
    entry(
        "inbound_rtp",
        "I1",
        stream={"kind": "video"},
        received={"packets_received": "90", "packets_lost": "10"},
        inbound={"frames_decoded": 45, "frames_dropped": 2},
    ),
    entry(
        "inbound_rtp",
        "I2",
        stream={"kind": "audio"},
        received={"packets_received": "150", "packets_lost": "-1"},
        inbound={},
    ),
]


def test_the_selected_pair_is_found_among_others() -> None:
    path = selected_path(STATS)
    assert path is not None
    assert (path.remote_address, path.remote_port, path.remote_kind, path.protocol) == (
        "203.0.113.5",
        7882,
        "host",
        "udp",
    )
    assert path.round_trip == 0.004
    assert path.remote == "udp 203.0.113.5:7882 (host)"


def test_without_a_selected_pair_there_is_no_way() -> None:
    assert selected_path(STATS[1:]) is None
    assert selected_path([]) is None
    assert selected_path([entry("transport", "T", transport={})]) is None


def test_a_hidden_address_is_called_so() -> None:
    hidden = [*STATS[:5], candidate("remote_candidate", "R2", "", 7882, "udp", "PRFLX")]
    path = selected_path(hidden)
    assert path is not None
    assert path.remote == "udp unnamed address:7882 (prflx)"


def test_what_came_in_is_counted_by_kind() -> None:
    assert received(STATS, "video") == Received(90, 10, 45, 2)
    assert received(STATS, "audio") == Received(150, -1)
    assert received([], "video").loss == 0.0
    assert received(STATS, "video").loss == 0.1
    assert received(STATS, "video") + received(STATS, "audio") == Received(240, 9, 45, 2)


def test_bytes_are_counted() -> None:
    stat = entry("inbound_rtp", "I", stream={"kind": "video"}, inbound={"bytes_received": "5000"})
    assert received([stat, stat], "video").bytes_received == 10_000


def test_a_point_is_what_came_between_two_counts() -> None:
    before = Count(1.0, Received(100, 10, 30, 0, 20_000), 0.02)
    after = Count(1.5, Received(145, 15, 37, 0, 26_250), 0.03)
    assert point(before, after) == Point(
        at=1.5, frames_per_second=14.0, bits_per_second=100_000, loss=0.1, round_trip=0.03
    )


def test_packets_that_come_late_make_no_negative_loss() -> None:
    before, after = Count(1.0, Received(100, 10), 0.0), Count(2.0, Received(150, 8), 0.0)
    assert point(before, after).loss == 0.0


def test_two_counts_at_once_divide_by_nothing() -> None:
    assert point(Count(1.0, Received(), 0.0), Count(1.0, Received(), 0.0)).frames_per_second == 0.0
