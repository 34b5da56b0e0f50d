"""A real call over every site, and no change by a further run."""

from __future__ import annotations

from lab_playbooks import play


def test_calls_work_on_every_platform():
    run = play("verify").ok()
    assert "first frame" in run.output.lower()
    assert run.output.lower().count("stand-in") or "released" in run.output.lower()


def test_a_call_works_over_tcp():
    play("verify", "-e", "matrixrtc_probe_force_tcp=true").ok()


def test_the_next_run_changes_nothing():
    assert play("site").ok().changed == 0
