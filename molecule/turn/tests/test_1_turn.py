"""A call that may use nothing but LiveKit's own relay works, and the relay sends to nobody it should not."""

from __future__ import annotations

import json
import re

import pytest
import steps
import yaml
from figures import record
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
    "240.0.0.1",
    "255.255.255.255",
)
PAGES = (
    f"https://{SITE}/",
    f"https://matrix.{SITE}/_matrix/client/versions",
    f"https://rtc.{SITE}/livekit/jwt/healthz",
)
NARROW = b"""\
table inet narrow {
    chain out {
        type filter hook output priority -10; policy accept;
        oifname lo accept
        meta l4proto udp drop
        tcp dport != 443 drop
    }
}
"""
LISTED = "ls -l --time-style=full-iso /etc/nginx/modules-enabled /etc/nginx/sites-available"
ASK_CERTIFICATE = (
    f"echo | openssl s_client -connect turn.{SITE}:443 -servername turn.{SITE} 2>/dev/null"
    " | openssl x509 -noout -fingerprint"
)
QUICK = 5.0  # s, from joining to the other's first picture
CERTIFICATE = f"/etc/ssl/lab/turn.{SITE}.crt"

ELSEWHERE = "8.8.8.8"  # a public address; a channel to it is bound, and nothing is sent


@pytest.fixture
def address(rtc):
    return rtc.check_output("hostname -I").split()[0]


def test_calls_over_each_relay_alone():
    run = play("verify").ok()
    assert re.search(r"ok +turn_udp .*", run.output), run.output
    assert re.search(r"ok +turn_tls .*", run.output), run.output
    quick = figure_of("turn_tls", run.output)
    assert quick <= QUICK
    record("first picture over TURN/TLS", quick, budget=QUICK)


def figure_of(check, output):
    """The seconds in the line of a check."""
    return float(re.search(rf"{check} .* ([0-9.]+) s$", output, re.MULTILINE).group(1))


def test_where_nothing_but_443_passes_calls_work_and_sites_answer(client):
    """The caller's network drops all UDP and every TCP port but 443."""
    put(client, "/run/narrow.nft", NARROW)
    client.check_output("nft -f /run/narrow.nft")
    try:
        run = play("verify")
        pages = [client.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {page}") for page in PAGES]
    finally:
        client.check_output("nft delete table inet narrow")
    assert re.search(r"ok +turn_tls", run.output), run.output
    assert re.search(r"FAIL +turn_udp", run.output), run.output
    assert pages == ["200"] * len(PAGES)


def test_a_relay_over_tls_that_does_not_answer_is_named_with_the_remedy(rtc):
    """LiveKit's port behind nginx is closed: everything else works, the call over TLS does not."""
    rtc.check_output("nft insert rule inet filter input iifname lo tcp dport 5349 drop")
    try:
        run = play("verify")
    finally:
        rtc.check_output("systemctl reload nftables")
    assert run.status != 0
    assert re.search(r"FAIL +turn_tls", run.output), run.output
    assert "nobody answers TURN at its name on 443" in " ".join(run.output.split())
    assert re.search(r"ok +turn_udp", run.output), run.output


def test_a_renewed_certificate_needs_a_reload_of_nginx_and_nothing_else(rtc, client):
    ask = ASK_CERTIFICATE
    before, livekit = client.check_output(ask), rtc.check_output("systemctl show -P InvocationID livekit")
    rtc.check_output(f"cp -p {CERTIFICATE} /run/turn.crt && cp -p {CERTIFICATE[:-3]}key /run/turn.key")
    try:
        rtc.check_output(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            f"-subj /CN=turn.{SITE} -addext subjectAltName=DNS:turn.{SITE} "
            f"-out {CERTIFICATE} -keyout {CERTIFICATE[:-3]}key"
        )
        rtc.check_output("systemctl reload nginx && sleep 1")
        assert client.check_output(ask) != before
    finally:
        rtc.check_output(f"mv /run/turn.crt {CERTIFICATE} && mv /run/turn.key {CERTIFICATE[:-3]}key")
        rtc.check_output("systemctl reload nginx && sleep 1")
    assert client.check_output(ask) == before
    assert rtc.check_output("systemctl show -P InvocationID livekit") == livekit


def test_a_split_by_name_is_refused_where_others_share_the_port(rtc):
    before = rtc.check_output(LISTED)
    run = play("site", "-e", "matrixrtc_turn_tls=sni")
    said = " ".join(run.output.split())
    assert run.status != 0
    assert "matrixrtc_turn_tls: /etc/nginx/sites-enabled/operator.conf:19 listens on port 443" in said
    assert "Ways out: a second address of this host" in said
    assert run.changed == 0
    assert rtc.check_output(LISTED) == before


def test_a_relay_that_nobody_reaches_is_named_with_the_remedy(rtc):
    """The firewall closes 3478/udp: the call as such still works, the one over the relay does not."""
    rtc.check_output("nft insert rule inet filter input udp dport 3478 drop")
    try:
        run = play("verify")
    finally:
        play("site", "--tags", "firewall").ok()
        rtc.check_output("systemctl reload nftables")
    assert run.status != 0
    assert re.search(r"FAIL +turn_udp", run.output), run.output
    assert "3478/udp is closed" in " ".join(run.output.split())
    assert re.search(r"ok +call_video", run.output), run.output


@pytest.mark.parametrize("way", ["udp", "tls"])
def test_the_relay_sends_to_the_sfu_and_to_no_forbidden_network(client, address, way):
    users = yaml.safe_load((INVENTORY / "host_vars" / "matrix" / "users.yml").read_text())
    given = {
        "server_name": SITE,
        "domain": f"rtc.{SITE}",
        "token": users["matrixrtc_probe_users"][0]["access_token"],
        "ca": CA,
        "relay": [address, 3478, "udp"] if way == "udp" else [f"turn.{SITE}", 443, "tls"],
        "peers": [address, *FORBIDDEN, ELSEWHERE],
    }
    put(client, "/run/relayed_peers.py", program("relayed_peers.py"))
    put(client, "/run/relayed_peers.json", json.dumps(given).encode())
    said = json.loads(
        client.check_output("/opt/probe/bin/python /run/relayed_peers.py /run/relayed_peers.json")
    )
    assert (said.pop(address), said.pop(ELSEWHERE)) == ("relayed", "relayed"), said
    assert said == dict.fromkeys(FORBIDDEN, "refused: 401")  # what LiveKit's relay says of a peer it denies


def test_what_is_reachable_from_outside_is_the_relay_and_not_its_ports(rtc):
    rules = rtc.check_output("nft list ruleset")
    assert "udp dport { 3478, 7882-7885 } accept" in rules
    assert "30000" not in rules
    assert "5349" not in rules


def test_secrets_of_other_relays_are_only_where_livekit_reads_them(rtc):
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
        file = rtc.file("/etc/matrixrtc/livekit/turn/secret_0")
        assert (file.user, file.group, file.mode) == ("root", "livekit", 0o640)
        assert file.content_string == "shared-with-the-relay"
        config = yaml.safe_load(rtc.file("/etc/matrixrtc/livekit/livekit.yaml").content_string)
        assert config["rtc"]["turn_servers"][0]["secret_file"] == file.path
        assert config["rtc"]["turn_servers"][1]["credential"] == "known-to-the-relay"
        shown = run.output.replace(json.dumps(relays), "")
        assert "known-to-the-relay" not in shown
        assert "shared-with-the-relay" not in shown
    finally:
        play("site", "--tags", "livekit").ok()
    assert not rtc.file("/etc/matrixrtc/livekit/turn").exists


def test_the_next_run_does_nothing():
    steps.assert_the_next_run_does_nothing()


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
