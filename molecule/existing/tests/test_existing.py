"""A hand-made server full of other things: ours is added, nothing of theirs is lost."""

from __future__ import annotations

import json

import steps

SITE = "existing"


def test_the_next_run_changes_and_restarts_nothing():
    steps.assert_the_next_run_does_nothing()


def test_a_call_works():
    steps.assert_calls_work()


def test_the_operators_sites_answer_as_before_beside_ours():
    # the well-known document and the homeserver's versions now speak of calls; everything else is as it was
    steps.assert_answers_are_as_before(but=("/.well-known/matrix/client", "/_matrix/client/versions"))


def test_the_well_known_file_keeps_what_was_there(rtc):
    document = json.loads(rtc.file("/srv/www/matrix/client.json").content_string)
    foci = document.pop("org.matrix.msc4143.rtc_foci")
    assert foci == [{"type": "livekit", "livekit_service_url": f"https://rtc.{SITE}.test/livekit/jwt"}]
    assert list(document) == ["m.homeserver", "org.matrix.msc3575.proxy", "io.element.e2ee", "zz.last"]


def test_synapse_runs_as_before_on_its_one_file(rtc):
    file = rtc.file("/srv/synapse/homeserver.yaml")
    assert (file.user, file.group, file.mode) == ("synapse-op", "synapse-op", 0o600)
    assert "(some day)" in file.content_string
    assert "msc3266_enabled" in file.content_string
    assert "on-failure" in rtc.check_output("systemctl show synapse --property=Restart")


def test_the_firewall_is_still_the_operators(rtc):
    status = rtc.check_output("ufw status verbose")
    assert "Status: active" in status
    assert "deny (incoming)" in status
    for port in ("22/tcp", "80,443/tcp", "7881/tcp", "7882:7885/udp"):
        assert port in status, status


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
