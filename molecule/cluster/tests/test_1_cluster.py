"""Three nodes are one SFU, and what joins them is for them alone."""

from __future__ import annotations

import json
import re

import pytest
import steps
import yaml
from calls import Calls, address_of
from lab_playbooks import INVENTORY, play
from testinfra.host import Host

CONNECT = "timeout 4 bash -c '</dev/tcp/{}/{}'"


@pytest.fixture
def host():
    def named(name: str) -> Host:
        (found,) = steps.hosts(name)
        return found

    return named


def redis(front: Host, words: str) -> list[str]:
    """What Redis answers to the password that the nodes have."""
    password = front.check_output(
        "sed -n 's/^REDIS_PASSWORD=\"\\(.*\\)\"$/\\1/p' /etc/matrixrtc/livekit/environment"
    )
    tls = "--tls --cacert /etc/matrixrtc/redis/certificate.pem --sni matrixrtc-redis"
    told = front.check_output(f"REDISCLI_AUTH={password} redis-cli {tls} -p 6380 {words}")
    return str(told).splitlines()


def test_a_call_works_whichever_node_has_it():
    steps.assert_calls_work()


def test_the_nodes_know_each_other(host):
    assert len(redis(host("matrix"), "hkeys nodes")) == 3


def test_only_the_front_reaches_signalling_and_only_nodes_reach_redis(host):
    node, front = address_of(host("sfu2")), address_of(host("matrix"))
    assert host("matrix").run(CONNECT.format(node, 7880)).rc == 0
    assert host("sfu3").run(CONNECT.format(node, 7880)).rc != 0
    assert host("client").run(CONNECT.format(node, 7880)).rc != 0
    assert host("sfu3").run(CONNECT.format(front, 6380)).rc == 0
    assert host("client").run(CONNECT.format(front, 6380)).rc != 0
    assert host("client").run(CONNECT.format(node, 7881)).rc == 0, "media goes straight to the node"


def test_rules_that_are_gone_are_noticed_and_come_back(host):
    host("sfu2").check_output("nft delete table inet matrixrtc_signalling")
    run = play("verify")
    assert re.search(r"FAIL +node_signalling_closed +sfu2", run.output), run.output
    play("site", "--tags", "livekit").ok()
    assert host("client").run(CONNECT.format(address_of(host("sfu2")), 7880)).rc != 0


def test_rules_outlive_a_reload_of_the_operators_own(host):
    host("sfu2").check_output("systemctl restart nftables")
    assert host("client").run(CONNECT.format(address_of(host("sfu2")), 7880)).rc != 0
    assert host("client").run(CONNECT.format(address_of(host("sfu2")), 7881)).rc == 0


def test_reports_of_nodes_are_heard_and_nobody_elses(host):
    url = "https://rtc.cluster.test/livekit/jwt/sfu_webhook"
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' -X POST {url}"
    assert host("client").check_output(ask) == "404"
    assert host("sfu2").check_output(ask) != "404"


def test_secrets_are_only_where_they_are_read(host):
    for name, path, mode in (
        ("sfu2", "/etc/matrixrtc/livekit/environment", 0o600),
        ("matrix", "/etc/matrixrtc/redis/password.conf", 0o640),
        ("matrix", "/etc/matrixrtc/redis/private_key.pem", 0o640),
    ):
        assert host(name).file(path).mode == mode
    vault = yaml.safe_load((INVENTORY / "group_vars" / "all" / "lab_vault.yml").read_text())
    password = vault["vault_redis_password"]
    assert password not in host("sfu2").file("/etc/matrixrtc/livekit/livekit.yaml").content_string
    changed = json.dumps({"matrixrtc_redis_password": "another-" + password[::-1]})
    shown = (
        play("site", "--tags", "livekit,livekit_redis", "--check", "--diff", "-vvv", "-e", changed)
        .ok()
        .output
    )
    assert password not in shown
    assert password[::-1] not in shown.replace(changed, "").replace(changed.replace('"', '\\"'), "")


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"port": 6380, "password": "somebody-elses-password"}, "does not take the password"),
        ({"port": 6399, "password": "x" * 20}, "(asked for 10 s)"),
    ],
)
def test_a_redis_that_does_not_do_is_named_before_anything_changes(host, wish, says):
    """As somebody with a Redis of their own would have it: no host in the group."""
    given = {
        "matrixrtc_site_redis": [],
        "matrixrtc_redis": {
            "address": f"127.0.0.1:{wish['port']}",
            "tls": True,
            "ca_file": "/etc/matrixrtc/livekit/redis_ca.pem",
            "server_name": "matrixrtc-redis",
        },
        "matrixrtc_redis_password": wish["password"],
    }
    run = play("site", "-e", json.dumps(given))
    assert run.status != 0
    assert run.changed == 0, run.output
    assert "matrixrtc_redis" in run.output
    assert says in run.output, run.output
    assert wish["password"] not in run.output.replace(json.dumps(given), "")


def test_rooms_go_to_the_node_of_the_region(host):
    """All signalling comes in at the front, which is in the north: the nodes in the south get no room."""
    front = address_of(host("matrix"))
    regions = [{"name": "north", "lat": 60, "lon": 10}, {"name": "south", "lat": -33, "lon": 18}]
    wish = {
        "matrixrtc_node_selector": {"kind": "regionaware", "sysload_limit": 1000, "regions": regions},
        "matrixrtc_region": "{{ 'north' if inventory_hostname == 'matrix' else 'south' }}",
        "nginx_proxy_sfu_nodes": [],
    }
    play("site", "-e", json.dumps(wish), "--tags", "livekit,nginx_proxy").ok()
    try:
        with Calls(3) as calls:
            assert set(calls.places().values()) == {front}
    finally:
        play("site", "--tags", "livekit,nginx_proxy").ok()
