"""Three hosts, one of them out of reach: its owner is told what to publish, and then calls work."""

from __future__ import annotations

import json

import pytest
import steps
import testinfra
from cross_calls import plain, status, variables
from lab_playbooks import INVENTORY, play

SITE = "split.test"
SNIPPET = INVENTORY.parent / "matrixrtc-snippets" / SITE / "well-known-client.json.txt"
DOCUMENT = "/var/www/apex/.well-known/matrix/client"
FOCUS = {"type": "livekit", "livekit_service_url": f"https://rtc.{SITE}/livekit/jwt"}


@pytest.fixture(scope="module")
def apex():
    """The web server that only its owner may touch: not in the inventory."""
    return testinfra.get_host("docker://matrixrtc-split-web")


def test_the_document_to_publish_was_written_down_and_not_published(apex):
    served = json.loads(apex.file(DOCUMENT).content_string)
    wanted = json.loads(SNIPPET.read_text(encoding="utf-8"))
    assert wanted == {**served, "org.matrix.msc4143.rtc_foci": [FOCUS]}
    assert list(wanted)[: len(served)] == list(served)
    assert "org.matrix.msc4143.rtc_foci" not in served


def test_verify_insists_on_it_until_it_is_published():
    run = play("verify")
    assert run.status != 0, run.output
    assert "well_known" in run.output, run.output


def test_calls_work_when_its_owner_has_published_it(apex):
    apex.run_expect([0], f"cp -a {DOCUMENT} /root/client.before")
    apex.run_expect([0], f"cat > {DOCUMENT} <<'END'\n{SNIPPET.read_text(encoding='utf-8')}END\n")
    steps.assert_calls_work()


def test_the_next_run_changes_and_restarts_nothing():
    steps.assert_the_next_run_does_nothing()


def test_firewalld_has_our_ports_in_its_own_zone(rtc):
    for state in ("", "--permanent"):
        zone = rtc.check_output(f"firewall-cmd {state} --zone=public --list-all")
        for what in ("ssh", "http", "https", "7881/tcp", "7882-7885/udp"):
            assert what in zone, zone
    assert rtc.check_output("firewall-cmd --get-default-zone") == "public"


def test_each_host_has_only_its_own_part(rtc):
    (homeserver,) = steps.hosts("homeserver")
    assert not rtc.file("/etc/matrix-synapse").exists
    for ours in ("/etc/matrixrtc", "/opt/matrixrtc"):
        assert rtc.file(ours).exists
        assert not homeserver.file(ours).exists


def test_the_token_service_may_stand_behind_a_homeserver_on_another_host():
    tokens = {"matrixrtc_as_token": "a1" * 24, "matrixrtc_hs_token": "b2" * 24}
    with variables("group_vars/all", "matrixrtc_token_service_mode: homeserver\n"):
        refused = play("site", "--tags", "validate")
        assert refused.status != 0
        assert "set matrixrtc_as_token and matrixrtc_hs_token" in plain(refused), (
            "no host could make them for both"
        )
    with variables("group_vars/all", json.dumps({"matrixrtc_token_service_mode": "homeserver", **tokens})):
        play("site").ok()
        steps.assert_the_next_run_does_nothing()
        run = play("verify").ok()
        for check in ("homeserver_route", "homeserver_tokens", "call_tokens"):
            assert status(run, check) == ["ok"], run.output
    url = f"https://rtc.{SITE}/livekit/jwt/_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token"
    (client,) = steps.hosts("lab_client")
    assert client.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' -d '{{}}' {url}") == "401"


def test_removal_brings_everything_back(apex):
    # the owner takes the SFU out first, so that nobody is sent to one that is gone
    apex.run_expect([0], f"cp -a /root/client.before {DOCUMENT}")
    steps.assert_removal_brings_everything_back()
    assert not SNIPPET.exists()
