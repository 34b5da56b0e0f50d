"""The report of a load test ends at the first step that failed, and says why."""

from __future__ import annotations

import os

import pytest
from ansible_collections.matrixrtc.backend.plugins.action.load_report import read
from ansible_collections.matrixrtc.backend.plugins.modules.service_usage import sample
from test_load_figures import LOAD, SAMPLES

GOOD = {"load": {"load": LOAD}, "usage": {"samples": SAMPLES}}


def test_good_steps_are_all_there() -> None:
    steps, fault = read([GOOD, GOOD])
    assert (len(steps), fault) == (2, "")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"load": {"msg": "The SFU takes no more: 503"}, "usage": {"samples": SAMPLES}}, "takes no more"),
        ({"load": {"load": LOAD}, "usage": {"msg": "livekit ended while it was watched"}}, "ended while"),
        ({"load": {}, "usage": {}}, "not measured"),
        ({"load": {"load": {**LOAD, "start": 9000, "end": 9010}}, "usage": {"samples": SAMPLES}}, "clocks"),
    ],
)
def test_a_step_that_failed_is_the_last_one(bad: dict[str, object], said: str) -> None:
    steps, fault = read([GOOD, bad, GOOD])
    assert len(steps) == 1
    assert said in fault


def test_a_process_is_looked_at() -> None:
    found = sample(str(os.getpid()))
    times = os.times()
    assert found["cpu"] == pytest.approx(times.user + times.system, abs=0.2)
    assert found["memory"] > 2**20
