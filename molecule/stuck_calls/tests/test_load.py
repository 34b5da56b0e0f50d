"""load_test.yml puts participants on the SFU, says what it took, and stops where it should."""

from __future__ import annotations

import json

from lab_playbooks import play

CONFIRMED = ("-e", "matrixrtc_load_confirm=rtc.stuck.test")
SHORT = ("-e", '{"matrixrtc_load_steps": [[2, 1], [4, 1]], "matrixrtc_load_seconds": 5}')


def test_every_participant_gets_the_picture_and_the_sfu_is_measured(tmp_path):
    file = tmp_path / "figures.json"
    run = play("load_test", *CONFIRMED, *SHORT, "-e", f"matrixrtc_load_file={file}").ok()
    assert "Load on stuck.test, rtc.stuck.test, 720p" in run.output
    first, second = json.loads(file.read_text())["steps"]
    assert (first["forwarded"], second["forwarded"]) == (1, 3)
    assert first["missing"] == second["missing"] == 0
    for step in (first, second):
        assert 0.2 < step["received"] < 4, step  # three layers and a sound
        assert 0 < step["sfu_cores"] < 1, step
        assert step["sfu_memory"] > 2**24, step
    assert second["sent"] > 1.5 * first["sent"]


def test_nobody_is_left_in_the_call():
    """The run would stop if somebody was."""
    play(
        "load_test", *CONFIRMED, "-e", '{"matrixrtc_load_steps": [[2, 1]], "matrixrtc_load_seconds": 5}'
    ).ok()


def test_a_load_is_only_for_a_site_of_ones_own():
    run = play("load_test", *SHORT)
    assert run.status != 0
    assert "matrixrtc_load_confirm: '' is not 'rtc.stuck.test'" in run.output, run.output


def test_an_sfu_that_is_down_is_named(rtc):
    rtc.check_output("systemctl stop livekit")
    try:
        run = play("load_test", *CONFIRMED, *SHORT)
    finally:
        rtc.check_output("systemctl start livekit")
    assert run.status != 0
    assert "does not answer ListRooms" in " ".join(run.output.split()), run.output
