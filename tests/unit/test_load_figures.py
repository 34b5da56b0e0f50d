"""What a load says about an SFU, and that a limit is named where there was one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import check_inputs
from ansible_collections.matrixrtc.backend.plugins.module_utils.load_figures import (
    Step,
    capacity,
    largest_call,
    step_of,
    table,
    usage,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.load_media import Totals, add, moving, noise
from inputs_support import GOOD_INPUTS, SITE

LOAD = {
    "start": 1000.0,
    "end": 1010.0,
    "participants": 4,
    "publishers": 2,
    "bytes_sent": 2_500_000,
    "bytes_received": 7_500_000,
    "packets": 9_900,
    "lost": 100,
    "tracks": 6,
    "client_cpu": 10.0,
    "client_processors": 2,
}
SAMPLES = [{"time": 995.0 + n, "cpu": 5.0 + n / 4, "memory": 1e8 + n} for n in range(20)]
STEP = step_of(LOAD, SAMPLES)


def grown(sent: float, tracks: int, cores: float) -> Step:
    return replace(STEP, sent=sent, forwarded=tracks, sfu_cores=cores)


def test_a_step_is_what_both_hosts_saw_in_the_same_time() -> None:
    assert (STEP.received, STEP.sent, STEP.loss) == (2.0, 6.0, 0.01)
    assert (STEP.forwarded, STEP.missing) == (6, 0)
    assert STEP.sfu_cores == pytest.approx(0.25)
    assert STEP.sfu_memory == 100_000_015
    assert (STEP.client_cores, STEP.client_share, STEP.limit) == (1.0, 0.5, "")


def test_a_host_with_another_clock_is_told() -> None:
    with pytest.raises(ValueError, match="clocks"):
        usage(SAMPLES, 5000.0, 5010.0)


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({"tracks": 4}, "2 video tracks did not arrive"),
        ({"lost": 990}, "9.1 % of the packets were lost"),
        ({"client_cpu": 18.0}, "the machine of the participants, not the SFU"),
    ],
)
def test_what_was_at_its_end_is_named(change: dict[str, float], limit: str) -> None:
    step = step_of({**LOAD, **change}, SAMPLES)
    assert step.limit == limit
    assert f"LIMIT: {limit}" in "\n".join(table([step]))


def test_how_far_a_core_and_a_gigabit_carry() -> None:
    """0.1 cores without a load, and one more for each 200 Mbit/s; 2 Mbit/s for a track."""
    found = capacity([grown(20.0, 10, 0.2), grown(40.0, 20, 0.3), grown(80.0, 40, 0.5)])
    assert found is not None
    assert (found.rate, found.per_core) == (pytest.approx(2.0), pytest.approx(200.0))
    assert found.core_participants == 10  # 10 * 9 tracks of 2 Mbit/s are 180, 11 * 10 are 220
    assert found.gigabit_participants == 22


def test_calls_grow_with_the_square() -> None:
    assert [largest_call(tracks) for tracks in (0, 1, 2, 5, 6, 89, 90)] == [1, 1, 2, 2, 3, 9, 10]


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [grown(20.0, 10, 0.2)],
        [grown(20.0, 10, 0.2), grown(21.0, 10, 0.3)],
        [grown(20.0, 10, 0.5), grown(80.0, 40, 0.2)],
        [grown(20.0, 10, 0.2), replace(grown(80.0, 40, 0.5), missing=1)],
    ],
)
def test_too_little_says_nothing(steps: list[Step]) -> None:
    assert capacity(steps) is None
    assert "Too few steps" in table(steps)[-1]


def inbound(number: str, frames: int, kind: str = "video") -> dict[str, Any]:
    return {
        "inbound_rtp": {
            "rtc": {"id": number},
            "stream": {"kind": kind},
            "received": {"packets_received": "100", "packets_lost": "2"},
            "inbound": {"bytes_received": "5000", "frames_decoded": frames},
        }
    }


def test_counters_come_from_the_statistics_of_all() -> None:
    before, after = Totals(), Totals()
    outbound = {"outbound_rtp": {"sent": {"bytes_sent": "700"}, "outbound": {}}}
    add(before, "0", [inbound("a", 5), outbound])
    add(after, "0", [inbound("a", 9), inbound("b", 0), inbound("c", 3, "audio"), outbound])
    add(after, "1", [inbound("a", 4)])
    assert (after.bytes_received, after.packets, after.lost, after.bytes_sent) == (20000, 400, 8, 700)
    assert moving(before, after) == 2


def test_pictures_are_of_the_right_size_and_differ() -> None:
    pictures = noise(320, 180)
    assert {len(picture) for picture in pictures} == {320 * 180 * 3 // 2}
    assert len(set(pictures)) == len(pictures)


GOOD = {**SITE, **GOOD_INPUTS["matrixrtc_load"]}


def test_a_good_load_is_not_refused() -> None:
    assert check_inputs("matrixrtc_load", GOOD).problems == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("confirm", "", "matrixrtc_load_confirm: '' is not 'rtc.example.org'"),
        ("confirm", "rtc.example.net", "'rtc.example.net' is not 'rtc.example.org'"),
        ("steps", [], "matrixrtc_load_steps is"),
        ("steps", [[101, 1]], "101 participants are not 2 to 100"),
        ("steps", [[4, 5]], "5 of 4 cannot send"),
        ("steps", [[4]], "is not a pair of numbers"),
        ("steps", [[2, 1]] * 13, "13 steps"),
        ("seconds", 301, "301 s are not 5 to 300 s"),
        ("video", "1080p", "is none of 720p, 360p, 180p"),
        ("during_calls", "perhaps", "matrixrtc_load_during_calls"),
        ("accounts", 0, "matrixrtc_probe_users has no account"),
    ],
)
def test_what_is_unbounded_or_not_confirmed_is_refused(key: str, value: object, said: str) -> None:
    problems = check_inputs("matrixrtc_load", {**GOOD, key: value}).problems
    assert len(problems) == 1
    assert said in problems[0].message
