"""The key is replaced while people call and join, and nobody is refused."""

from __future__ import annotations

import figures
import yaml
from held_calls import Calls
from lab_playbooks import INVENTORY, Begun, play
from on_host import until
from rotating import Joins, ledger, signing, started

SITE = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["hosts"]["matrix"][
    "matrixrtc_server_name"
]
ROTATE = "rotate_secrets"
LIFE = 60  # seconds, as the rotation is told; nobody keeps a token that long
AGE = 40
PICTURES_BACK = 10.0
PATIENCE = 400
SECONDS_BETWEEN = 60
TOKENS = ("-e", f"matrixrtc_rotation_token_life={LIFE}")


def test_nobody_is_refused_while_a_call_goes_on(rtc):
    """Cut short once, gone on with, and over when the call is."""
    old = signing(rtc)
    with Joins(rtc, SITE, AGE) as joins, Calls(SITE, 1, seconds=1200) as calls:
        calls.places()
        before = started(rtc, "livekit")
        with Begun(ROTATE, *TOKENS) as cut_short:
            until("LiveKit's restart", PATIENCE, lambda: started(rtc, "livekit") != before)
            cut_short.kill()
        assert ledger(rtc)["stage"] == "prepare"
        with Begun(ROTATE, *TOKENS, "-e", "matrixrtc_rotation_wait=600") as rotation:
            until("the new key", PATIENCE, lambda: ledger(rtc).get("since"))
            both = started(rtc, "livekit")
            until("the end of the last old token", LIFE + 60, lambda: _aged(rtc))
            assert (ledger(rtc)["stage"], started(rtc, "livekit")) == ("retire", both), "a call goes on"
            calls.end()
            run = rotation.wait().ok()
    assert "is the only key" in run.output
    assert ledger(rtc)["retired"][-1] == old

    told = joins.told
    refused = [what for _time, what, _answer in told["failed"]]
    figures.record("rotation: tokens refused", refused.count("token"), "", 0)
    figures.record("rotation: joins refused", len(refused) - refused.count("token"), "", 0)
    assert not told["failed"]
    assert not joins.refused, "nor a client of the call"
    assert told["counts"]["new"] + told["counts"]["kept"] == told["counts"]["token"]
    assert set(told["signed"]) == {old, signing(rtc)}
    longest = max(person.longest for person in calls.seen)
    figures.record(
        "rotation: requests for a token and joins with it, one a second", told["counts"]["token"], ""
    )
    figures.record("rotation: joins with a token that was kept for a while", told["counts"]["kept"], "")
    figures.record("rotation: longest wait for a token", told["slowest"]["token"])
    figures.record("rotation: longest wait for a join", told["slowest"]["join"])
    figures.record("rotation: longest time without pictures in a call", longest, "s", PICTURES_BACK)
    assert longest < PICTURES_BACK


def test_a_key_that_leaked_is_worth_nothing_at_once(rtc):
    old = signing(rtc)
    with Joins(rtc, SITE, AGE) as joins:
        run = play(ROTATE, "-e", "matrixrtc_rotation=emergency").ok()
    assert "is the only key" in run.output
    new = signing(rtc)
    assert new != old
    told = joins.told
    assert told["signed"].keys() == {old, new}
    refused = [what for _time, what, _answer in told["failed"]]
    assert "join with a kept token" in refused
    figures.record(
        "emergency: requests for a token refused between the two restarts", refused.count("token"), ""
    )
    # a token that was fetched in the moments between LiveKit's restart and the service's is of the old key
    assert refused.count("token") + refused.count("join with a new token") < SECONDS_BETWEEN


def _aged(rtc):
    """Whether the last token of the old key has run out."""
    return float(rtc.check_output("date +%s")) > ledger(rtc)["since"] + LIFE + 12
