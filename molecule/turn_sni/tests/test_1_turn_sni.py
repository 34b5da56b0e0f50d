"""The relay and the sites share port 443 by name, and who asks the sites stays known."""

from __future__ import annotations

import re

import steps
from figures import record
from lab_playbooks import play

SITE = "sni.test"
HEALTH = f"https://rtc.{SITE}/livekit/jwt/healthz"
QUICK = 5.0  # s
ADMINISTRATION = f"https://rtc.{SITE}/livekit/sfu/twirp/livekit.RoomService/ListRooms"
STATUS = "curl -s -o /dev/null -w '%{http_code}'"
ASK = f"{STATUS} -H 'Content-Type: application/json' -d '{{}}' {ADMINISTRATION}"


def test_calls_directly_and_over_the_relay_alone():
    run = play("verify").ok()
    found = re.search(r"ok +turn_tls .* ([0-9.]+) s$", run.output, re.MULTILINE)
    assert found, run.output
    assert float(found.group(1)) <= QUICK
    record("first picture over TURN/TLS, port shared by name", float(found.group(1)), budget=QUICK)


def test_sites_answer_and_know_who_asks(client, rtc):
    """The SFU's administration is for the host itself: the split must not make everybody look like it."""
    assert client.check_output(f"{STATUS} {HEALTH}") == "200"
    assert client.check_output(ASK) == "403"
    address = client.check_output("hostname -I").split()[0]
    assert f"{address} [" in rtc.check_output("tail -n 1 /var/log/nginx/matrixrtc_access.log")
    assert rtc.check_output(ASK) == "401"  # LiveKit itself, which wants a token


def test_nothing_but_port_443_is_reached_from_outside(rtc):
    listening = rtc.check_output("ss -ltnH")
    for port in (8443, 5350, 5351):
        assert f"127.0.0.1:{port} " in listening, listening
        assert not re.search(rf"(0\.0\.0\.0|\*|\[::\]):{port} ", listening), listening


def test_it_is_switched_off_and_on_again():
    play("site", "-e", "matrixrtc_turn_tls=").ok()
    steps.assert_calls_work("-e", "matrixrtc_turn_tls=")
    play("site").ok()


def test_the_next_run_does_nothing():
    steps.assert_the_next_run_does_nothing()


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
