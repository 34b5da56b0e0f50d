"""A site goes to other releases and back while people talk, and what they notice of it is counted."""

from __future__ import annotations

import re
import time

import steps
from figures import record
from held_calls import Calls, Seen
from lab_playbooks import Begun, Run, play
from mirror_releases import ENDS_AT_ONCE, NO_MEDIA, offer_livekit

SITE = "day.test"
OWN, OLDER = "1.13.5", "1.9.11"
BROKEN, MUTE = "1.13.90", "1.13.91"
ALLOWED = ("-e", "matrixrtc_allow_untested_versions=true")
GOOD = f"/opt/matrixrtc/livekit/{OWN}/livekit-server"
# A busy machine leaves everybody without a picture for up to 3 s, as measured in the scenario of the cluster.
HICCUP = 5.0
BACK_BUDGET = 10.0  # seconds until everybody has a picture again after a restart at once
TREES = "/opt/matrixrtc /etc/matrixrtc /etc/systemd/system /etc/nginx /var/lib/matrixrtc"


def upgrade(version: str, *arguments: str) -> Run:
    """Go to a release of LiveKit, newer or older."""
    return play("upgrade", "-e", f"livekit_version={version}", *arguments)


def version_that_runs(rtc) -> str:
    """As LiveKit itself said when it was started."""
    start = rtc.check_output("systemctl show --property=InvocationID --value livekit")
    said = rtc.check_output(f"journalctl --output=cat _SYSTEMD_INVOCATION_ID={start}")
    return re.findall(r'starting LiveKit server.*"version": "([^"]+)"', said)[-1]


def files(rtc) -> str:
    """Every file that a run might change, with its size, its time and where a link leads."""
    return str(rtc.check_output(f"find {TREES} -printf '%p %s %T@ %m %l\\n' | sort"))


def dropped(seen: list[Seen]) -> list[Seen]:
    """Who noticed something: had to join anew, or was without a picture for long."""
    assert len(seen) == 2, seen
    return [one for one in seen if one.made_anew or one.longest > HICCUP]


def test_releases_that_are_bad_or_unknown_are_refused_with_the_reason_and_the_way_round(rtc):
    before = files(rtc)
    bad = upgrade("1.10.0")
    assert bad.status != 0
    assert "malformed TURN addresses on hosts without IPv6 (livekit#4397)" in bad.output, bad.output
    assert "matrixrtc_allow_bad_versions to ['1.10.0']" in " ".join(bad.output.split()), bad.output
    unknown = upgrade(OLDER)
    assert unknown.status != 0
    assert f"'{OLDER}' is unknown to this collection" in unknown.output, unknown.output
    assert "set matrixrtc_allow_untested_versions to true" in unknown.output, unknown.output
    assert files(rtc) == before


def test_the_plan_comes_first_and_check_mode_changes_nothing(rtc):
    with Calls(SITE, 1) as calls:
        calls.places()
        before = (steps.running(rtc), files(rtc))
        run = upgrade(OLDER, *ALLOWED, "--check").ok()
        assert (steps.running(rtc), files(rtc)) == before
    assert f"LiveKit: {OWN} -> {OLDER}, restarted (immediate)" in run.output, run.output
    assert "Token service: 0.8.0 stays" in run.output, run.output
    assert "Calls now: 2 participants in 1 room" in run.output, run.output
    assert not dropped(calls.seen), calls.seen


def test_when_idle_lets_everybody_finish_and_goes_back_to_an_older_release(rtc):
    policy = ("-e", "matrixrtc_restart=when_idle", *ALLOWED)
    with Calls(SITE, 1, seconds=600) as calls:
        calls.places()
        impatient = upgrade(OLDER, *policy, "-e", "matrixrtc_restart_wait=2").ok()
        assert "Not restarted, and on the release of before: LiveKit on matrix." in impatient.output
        assert version_that_runs(rtc) == OWN
        with Begun("upgrade", "-e", f"livekit_version={OLDER}", *policy) as patient:
            patient.wait_for("waits for calls to end: 2 participants in 1 room", 300)
            assert f"LiveKit: {OWN} -> {OLDER}, restarted (when_idle)" in patient.printed, patient.printed
            over = time.time()
            calls.end()
            patient.wait().ok()
    assert version_that_runs(rtc) == OLDER
    started = rtc.check_output(
        'date +%s --date="$(systemctl show --property=ExecMainStartTimestamp --value livekit)"'
    )
    assert float(started) >= over
    record(
        "upgrade under when_idle: participants dropped", len(dropped(calls.seen)), "participants", budget=0
    )
    assert not dropped(calls.seen), calls.seen


def test_at_once_means_that_everybody_is_back_within_seconds(rtc):
    if version_that_runs(rtc) != OLDER:
        upgrade(OLDER, *ALLOWED).ok()
    with Calls(SITE, 2) as calls:
        calls.places()
        upgrade(OWN).ok()
        time.sleep(5)
    assert version_that_runs(rtc) == OWN
    assert len(calls.seen) == 4, calls.seen
    longest = max(one.longest for one in calls.seen)
    anew = sum(one.made_anew for one in calls.seen)
    lost = sum(one.frames_lost for one in calls.seen) / len(calls.seen)
    record(
        "upgrade under immediate: longest time without a picture, 4 participants", longest, budget=BACK_BUDGET
    )
    record("upgrade under immediate: frames lost by each participant", lost, "frames")
    record("upgrade under immediate: participants who had to join anew", anew, "participants", budget=0)
    assert longest <= BACK_BUDGET, calls.seen
    assert anew == 0, calls.seen


def test_a_release_that_does_not_start_is_taken_back(rtc):
    offer_livekit(BROKEN, ENDS_AT_ONCE, GOOD)
    run = upgrade(BROKEN, *ALLOWED)
    assert run.status != 0
    assert "The upgrade was taken back" in run.output, run.output
    assert "cannot run on this machine" in run.output, run.output
    assert version_that_runs(rtc) == OWN


def test_a_release_over_which_no_media_comes_is_taken_back_and_the_site_is_green(rtc):
    offer_livekit(MUTE, NO_MEDIA, GOOD)
    run = upgrade(MUTE, *ALLOWED)
    assert run.status != 0
    assert "The upgrade was taken back" in run.output, run.output
    assert version_that_runs(rtc) == OWN
    steps.assert_calls_work()
