"""A call that may use nothing but LiveKit's own relay works, and the relay sends to nobody it should not."""

from __future__ import annotations

import json
import re

import pytest
import steps
import yaml
from lab_playbooks import INVENTORY, play
from on_host import program, put

SITE = "turn.test"
CA = "/usr/local/share/ca-certificates/matrixrtc-lab.crt"
# Cloud metadata, private, loopback, shared and other special networks, none of which a relay is for.
FORBIDDEN = (
    "169.254.169.254",
    "10.0.0.1",
    "192.168.0.1",
    "127.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.1",
    "198.18.0.1",
    "0.0.0.1",
    "224.0.0.1",
)

ELSEWHERE = "8.8.8.8"  # a public address; a channel to it is bound, and nothing is sent


@pytest.fixture(scope="module")
def client():
    (host,) = steps.hosts("lab_client")
    return host


@pytest.fixture(scope="module")
def sfu():
    (host,) = steps.hosts("matrixrtc_rtc")
    return host


@pytest.fixture(scope="module")
def address(sfu):
    return sfu.check_output("hostname -I").split()[0]


def test_a_call_over_the_relay_alone():
    run = play("verify").ok()
    assert re.search(r"ok +turn_udp", run.output), run.output


def test_a_relay_that_nobody_reaches_is_named_with_the_remedy(sfu):
    """The firewall closes 3478/udp: the call as such still works, the one over the relay does not."""
    sfu.check_output("nft insert rule inet filter input udp dport 3478 drop")
    try:
        run = play("verify")
    finally:
        play("site", "--tags", "firewall").ok()
        sfu.check_output("systemctl reload nftables")
    assert run.status != 0
    assert re.search(r"FAIL +turn_udp", run.output), run.output
    assert "3478/udp is closed" in " ".join(run.output.split())
    assert re.search(r"ok +call_video", run.output), run.output


def test_the_relay_sends_to_the_sfu_and_to_no_forbidden_network(client, address):
    users = yaml.safe_load((INVENTORY / "host_vars" / "matrix" / "users.yml").read_text())
    given = {
        "server_name": SITE,
        "domain": f"rtc.{SITE}",
        "token": users["matrixrtc_probe_users"][0]["access_token"],
        "ca": CA,
        "relay": [address, 3478],
        "peers": [address, *FORBIDDEN, ELSEWHERE],
    }
    put(client, "/run/relayed_peers.py", program("relayed_peers.py"))
    put(client, "/run/relayed_peers.json", json.dumps(given).encode())
    said = json.loads(
        client.check_output("/opt/probe/bin/python /run/relayed_peers.py /run/relayed_peers.json")
    )
    assert (said.pop(address), said.pop(ELSEWHERE)) == ("relayed", "relayed"), said
    assert said == dict.fromkeys(FORBIDDEN, "refused: 401")  # what LiveKit's relay says of a peer it denies


def test_what_is_reachable_from_outside_is_the_relay_and_not_its_ports(sfu):
    rules = sfu.check_output("nft list ruleset")
    assert "udp dport { 3478, 7882-7885 } accept" in rules
    assert "30000" not in rules


def test_secrets_of_other_relays_are_only_where_livekit_reads_them(sfu):
    relays = {
        "matrixrtc_turn_servers": [
            {"host": "turn.example.org", "port": 3478, "protocol": "udp", "secret": "shared-with-the-relay"},
            {
                "host": "turn.example.net",
                "port": 443,
                "protocol": "tls",
                "username": "somebody",
                "credential": "known-to-the-relay",
            },
        ]
    }
    wishes = ("-e", json.dumps(relays), "--tags", "livekit", "--diff", "-vvv")
    run = play("site", *wishes)
    try:
        assert run.status == 0, run.output
        file = sfu.file("/etc/matrixrtc/livekit/turn/secret_0")
        assert (file.user, file.group, file.mode) == ("root", "livekit", 0o640)
        assert file.content_string == "shared-with-the-relay"
        config = yaml.safe_load(sfu.file("/etc/matrixrtc/livekit/livekit.yaml").content_string)
        assert config["rtc"]["turn_servers"][0]["secret_file"] == file.path
        assert config["rtc"]["turn_servers"][1]["credential"] == "known-to-the-relay"
        shown = run.output.replace(json.dumps(relays), "")
        assert "known-to-the-relay" not in shown
        assert "shared-with-the-relay" not in shown
    finally:
        play("site", "--tags", "livekit").ok()
    assert not sfu.file("/etc/matrixrtc/livekit/turn").exists


def test_the_next_run_does_nothing():
    steps.assert_the_next_run_does_nothing()


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
