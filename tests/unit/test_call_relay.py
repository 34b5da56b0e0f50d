"""What a call over a relay alone says: that it went over the relay, or why it did not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import Report
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_relay import (
    RelayPlan,
    is_meant,
    judged,
    seats,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_stats import Path, selected_path
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_token import Access
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import check_inputs
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import Account
from inputs_support import GOOD_INPUTS, SITE

PLAN = RelayPlan(Site("example.org", "rtc.example.org", "", "", HttpClient()), ("a", "b"))
RELAYED = Path("", "", "192.0.2.7", 7882, "host", "udp", 0.0, local_kind="relay", relay_protocol="udp")
GOOD = Report("@alice:example.org", frames=20, paths=[RELAYED])


def test_a_call_over_the_relay() -> None:
    check = judged(PLAN, [GOOD, GOOD])
    assert (check.status, check.seen) == ("ok", "relay over udp; 40 pictures")


@pytest.mark.parametrize(
    ("report", "cause"),
    [
        (replace(GOOD, error="no connection after 15 s", paths=[]), "3478/udp is closed on the way"),
        (replace(GOOD, paths=[]), "LiveKit's TURN is off"),
        (replace(GOOD, paths=[replace(RELAYED, local_kind="host")]), "not go over the relay alone"),
        (replace(GOOD, paths=[replace(RELAYED, relay_protocol="tcp")]), "LiveKit's TURN is off"),
        (replace(GOOD, frames=2), "may not send to the SFU's address"),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(report: Report, cause: str) -> None:
    check = judged(PLAN, [GOOD, report])
    assert check.status == "fail"
    assert cause in check.cause
    assert check.fix


def test_a_call_over_tls_goes_through_the_door_in_tcp() -> None:
    plan = replace(PLAN, relay="tls", port=443, host="turn.example.org")
    over_tcp = replace(GOOD, paths=[replace(RELAYED, relay_protocol="tcp")])
    check = judged(plan, [over_tcp, over_tcp])
    assert (check.status, check.seen) == ("ok", "relay over tls; 40 pictures")
    assert judged(plan, [GOOD, over_tcp]).status == "fail"
    assert is_meant(plan, "turns:turn.example.org:443?transport=tcp")
    for other in ("turns:turn.example.net:443?transport=tcp", "turn:turn.example.org:443?transport=tcp"):
        assert not is_meant(plan, other)


def test_each_knows_the_other_and_may_use_the_relay_alone() -> None:
    people = [(Account(f"@{name}:example.org", "D"), Access("wss://x", "t")) for name in ("a", "b")]
    first, second = seats(people)
    assert first.relay_only
    assert second.relay_only
    assert first.others == ((second.identity, second.key, second.nonce, second.tone),)
    assert second.others == ((first.identity, first.key, first.nonce, first.tone),)


def test_the_statistics_name_the_relay() -> None:
    stats = [
        {"transport": {"rtc": {"id": "T"}, "transport": {"selected_candidate_pair_id": "P"}}},
        {
            "candidate_pair": {
                "rtc": {"id": "P"},
                "candidate_pair": {"local_candidate_id": "L", "remote_candidate_id": "R"},
            }
        },
        {
            "local_candidate": {
                "rtc": {"id": "L"},
                "candidate": {"candidate_type": "RELAY", "relay_protocol": "TRANSPORT_UDP"},
            }
        },
        {"remote_candidate": {"rtc": {"id": "R"}, "candidate": {"address": "192.0.2.7", "port": 7882}}},
    ]
    found = selected_path(stats)
    assert found is not None
    assert (found.local_kind, found.relay_protocol) == ("relay", "udp")


def test_a_release_that_relays_into_private_networks_is_refused_even_when_others_are_tried() -> None:
    given = {**SITE, **GOOD_INPUTS["livekit"], "version": "1.11.0"}
    found = check_inputs("livekit", given, versions={"tested": ["1.13.5"]}, allow_untested=True)
    assert any("would relay into private networks" in problem.message for problem in found.problems)
    off = check_inputs(
        "livekit",
        {**given, "turn_udp": False, "turn_tls": ""},
        versions={"tested": ["1.13.5"]},
        allow_untested=True,
    )
    assert not any("relay" in problem.message for problem in off.problems)


def test_credentials_are_in_no_message() -> None:
    wrong = [
        {"host": "turn.example.org", "port": 3478, "protocol": "udp", "secret": "hush", "credential": "hush"}
    ]
    wrong[0]["username"] = "u"
    found = check_inputs("livekit", {**SITE, **GOOD_INPUTS["livekit"], "turn_servers": wrong})
    messages = [problem.message for problem in found.problems]
    assert any("needs either a secret" in message for message in messages)
    assert "hush" not in str(messages)
