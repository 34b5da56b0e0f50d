"""A real call over every site, and no change by a further run."""

from __future__ import annotations

import steps
from lab_playbooks import play


def test_calls_work_on_every_platform():
    run = play("verify").ok()
    assert run.output.count("first picture after") == 2
    assert run.output.count("token_service: ") == 3, (
        "the reports of both sites and of the call between them say which token service ran"
    )


def test_a_call_works_over_tcp():
    play("verify", "-e", "matrixrtc_probe_force_tcp=true").ok()


def test_the_next_run_changes_and_restarts_nothing():
    steps.assert_the_next_run_does_nothing()
