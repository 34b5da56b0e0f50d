"""Calls across the sites: who publishes where, who may do what elsewhere, and whom a fault affects."""

from __future__ import annotations

import re

import pytest
import steps
from cross_calls import call, measured, plain, status, variables
from lab_playbooks import Run, play
from testinfra.host import Host

ALPHA, BETA = "alpha.test", "beta.test"
SETTINGS = "/etc/matrix-synapse/conf.d/zz-matrixrtc.yaml"
VISITOR = "\"{{ hostvars['matrix-beta'].matrixrtc_probe_users[0] }}\""


@pytest.fixture
def alpha() -> Host:
    (host,) = steps.hosts("matrix-alpha")
    return host


@pytest.fixture
def beta() -> Host:
    (host,) = steps.hosts("matrix-beta")
    return host


def test_everybody_publishes_at_home_and_sees_everybody_there():
    run = measured("call between two sites, first picture of the other site", "compatibility")
    for name, own, other in (("alice", ALPHA, BETA), ("bob", ALPHA, BETA), ("alice", BETA, ALPHA)):
        told = re.search(
            rf"@{name}:{own} published on rtc\.{own}; saw (.*?) (?:@\w+:\S+ published|pictures)", plain(run)
        )
        assert told, run.output
        for colleague in ("alice", "bob"):
            assert f"@{colleague}:{other} on rtc.{other} after" in told[1]
    for site in (ALPHA, BETA):
        for check in ("accounts", "join", "watch", "access"):
            assert status(run, f"cross_{check}:{site}") == ["ok"]
    assert status(run, "cross_leave") == ["ok"], "the end of a membership reaches the other site"


def test_matrix_2_0_mode_takes_sticky_events_at_every_homeserver():
    try:
        with variables("group_vars/all", "synapse_config_sticky_events: true\n"):
            missing = call("matrix_2_0")
            assert status(missing, f"cross_join:{BETA}") == ["FAIL"]
            assert "STICKY_EVENTS_NOT_SUPPORTED" in missing.output
            play("site", "--tags", "synapse_config").ok()
            run = measured("the same in mode matrix_2_0", "matrix_2_0")
            assert status(run, f"cross_watch:{ALPHA}") == ["ok"]
            assert status(run, "cross_leave") == ["ok"]
    finally:
        play("site", "--tags", "synapse_config").ok()


def test_only_whoever_is_listed_publishes_and_opens_rooms():
    deploy = ("site", "--limit", "matrix-alpha", "--tags", "lk_jwt_service")
    place, listed = "host_vars/matrix-alpha", "matrixrtc_full_access_homeservers"
    with variables(place, f"{listed}: [{ALPHA}, {BETA}]\n"):
        play(*deploy).ok()
        assert status(call().ok(), f"cross_access:{BETA}") == ["ok"], "the other direction is as it was"
    late = call()
    assert status(late, f"cross_access:{ALPHA}") == ["FAIL"]
    assert f"{BETA} gets a token to publish, publishes, opens a room" in plain(late)
    play(*deploy).ok()


def test_everybody_takes_a_word_of_its_own():
    everybody = 'matrixrtc_full_access_homeservers: ["*"]\n'
    with variables("host_vars/matrix-alpha", everybody):
        refused = play("site", "--tags", "validate")
        assert refused.status != 0
        assert "matrixrtc_allow_any_homeserver" in refused.output
    with variables("host_vars/matrix-alpha", f"{everybody}matrixrtc_allow_any_homeserver: true\n"):
        play("site", "--tags", "validate").ok()


def assert_only_beta_is_affected(run: Run, cause: str, error: str) -> None:
    assert run.status != 0
    assert status(run, f"cross_join:{BETA}") == ["FAIL"]
    told = plain(run)
    assert f"@alice:{BETA}, @bob:{BETA} are not in the call" in told
    assert cause in told
    assert error in told, "what Element Call says to them"
    assert status(run, f"cross_join:{ALPHA}") == ["ok"]
    assert status(run, f"cross_watch:{ALPHA}") == ["ok"], "the others go on among themselves"
    assert status(run, "cross_cleanup") == ["ok"]


def test_a_site_whose_sfu_is_down_is_named_and_disturbs_nobody(beta: Host):
    # the first TERM would only begin to drain it
    beta.check_output("systemctl kill --signal=KILL livekit; systemctl stop livekit")
    try:
        assert_only_beta_is_affected(call(), f"the SFU of {BETA} is down", "OPEN_ID_ERROR")
    finally:
        beta.check_output("systemctl start livekit")


def test_a_site_that_announces_no_sfu_is_named_and_disturbs_nobody(beta: Host):
    beta.check_output(f"cp -p {SETTINGS} /run/settings.yaml")
    beta.check_output(
        f"sed -i '/^matrix_rtc:/,/livekit_service_url/d' {SETTINGS} && systemctl restart matrix-synapse"
    )
    try:
        cause = f"the homeserver of {BETA} announces no SFU"
        assert_only_beta_is_affected(call(), cause, "MISSING_MATRIX_RTC_TRANSPORT")
    finally:
        beta.check_output(f"cp -p /run/settings.yaml {SETTINGS} && systemctl restart matrix-synapse")


def test_what_is_closed_for_ipv6_alone_is_named(alpha: Host):
    rule = (
        "insert rule inet filter matrixrtc ip6 daddr ::/0 meta l4proto { tcp, udp } th dport 7881-7885 drop"
    )
    alpha.check_output(f"nft '{rule}'")
    try:
        run = play("verify", "--limit", "matrix-alpha", "-e", "{matrixrtc_probe_views: [outside]}")
    finally:
        alpha.check_output("systemctl reload nftables")
    assert run.status != 0
    assert status(run, "call_ipv6") == ["FAIL"], run.output
    assert "UDP 7882-7885 and TCP 7881 are closed for IPv6" in plain(run)
    assert status(run, "call_video") == ["ok"], "the call took IPv4"


def test_all_of_verify_is_well_again():
    with variables("host_vars/matrix-alpha", f"matrixrtc_probe_foreign_user: {VISITOR}\n"):
        run = play("verify", "-e", "matrixrtc_probe_participants=4").ok()
    assert sorted(status(run, "call_ipv6")) == ["ok", "skip"], "one site has IPv6, the other has not"
    assert status(run, "call_sight") == ["ok", "ok"], "four participants see each other, at each site"
    assert status(run, "visitor_rights") == ["ok"]
    assert status(run, "visitor_sight") == ["ok"]
    assert run.output.count("first picture after") == 2, "a call at each site"
    assert plain(run).count("pictures of other sites within") == 1, "and one between them"
