"""Whatever is broken, the doctor names it, and site.yml repairs what is the collection's."""

from __future__ import annotations

import re

import pytest
from faults import FAULTS
from lab_playbooks import Run, play


@pytest.fixture(scope="module", autouse=True)
def healthy():
    """Nothing is wrong before anything is broken, with a call."""
    play("verify").ok()


def failed_ids(run: Run) -> list[str]:
    """The checks that failed, in the order in which a client needs things."""
    found = re.search(r"checks failed: ([a-z_0-9, ]+)", " ".join(run.output.split()))
    assert found, run.output
    return found.group(1).split(", ")


@pytest.fixture(params=list(FAULTS))
def fault(request, rtc):
    """A fault, made now, and taken back whatever the test finds."""
    chosen = FAULTS[request.param]
    rtc.run_expect([0], chosen.make)
    yield chosen
    if chosen.undo:
        rtc.run_expect([0], chosen.undo)
    play("site").ok()
    play("verify", "-e", "matrixrtc_probe_depth=token").ok()


def test_the_doctor_names_the_cause(fault):
    run = play("verify", "-e", "matrixrtc_probe_depth=token")
    assert run.status != 0, run.output
    failed = failed_ids(run)
    assert failed[0] == fault.first, run.output
    assert fault.cause in " ".join(run.output.split()), run.output
    assert not fault.named_by or fault.named_by in failed, run.output
