"""A changed address comes into LiveKit by itself, clients are told it, and runs in between change nothing."""

from __future__ import annotations

import json
import time

import steps
from lab_playbooks import play
from on_host import until
from testinfra.host import Host

WATCHED = ("-e", '{"matrixrtc_address_watch": "interface", "matrixrtc_address_watch_interval": 10}')
RECORD = "/var/lib/matrixrtc/address_watch.json"
NEW_HOST_NUMBER = "77"
PATIENCE = 40  # seconds until the watch has done what it is to do


def node_ip(rtc: Host) -> str:
    return str(rtc.check_output("sed -n 's/^  node_ip: //p' /etc/matrixrtc/livekit/livekit.yaml"))


def invocation(rtc: Host) -> str:
    return str(rtc.check_output("systemctl show --property=InvocationID livekit"))


def journal(rtc: Host) -> str:
    return str(rtc.check_output("journalctl --unit=matrixrtc-address-watch --output=cat --no-pager"))


def gateway_and_network(rtc: Host) -> tuple[str, str]:
    """The default route's gateway, and the length of the network's prefix."""
    (route,) = json.loads(rtc.check_output("ip -json -4 route show default"))
    (link,) = json.loads(rtc.check_output("ip -json -4 address show dev eth0"))
    return route["gateway"], link["addr_info"][0]["prefixlen"]


def take_route(rtc: Host, address: str) -> None:
    gateway, _length = gateway_and_network(rtc)
    rtc.check_output(f"ip route replace default via {gateway} dev eth0 src {address}")


def test_a_host_with_a_watch_is_left_alone_while_nothing_changes(rtc):
    before = invocation(rtc)
    assert play("site", *WATCHED).ok().changed > 0
    assert invocation(rtc) == before, "watching needs no restart"
    assert play("site", *WATCHED).ok().changed == 0
    time.sleep(12)
    assert journal(rtc) in ("", "-- No entries --")
    assert not rtc.file(RECORD).exists


def test_livekit_comes_to_the_new_address(rtc):
    old, before = node_ip(rtc), invocation(rtc)
    new = f"{old.rpartition('.')[0]}.{NEW_HOST_NUMBER}"
    _gateway, length = gateway_and_network(rtc)
    rtc.check_output(f"ip address add {new}/{length} dev eth0")
    take_route(rtc, new)
    until(
        "the restart",
        PATIENCE,
        lambda: f"{new} now" in journal(rtc) and "restarted and is healthy" in journal(rtc),
    )
    assert node_ip(rtc) == new
    assert invocation(rtc) != before
    assert rtc.file(RECORD).mode == 0o600


def test_clients_are_told_the_new_address(rtc):
    """The checks of a call compare what clients hear with what the role tells."""
    steps.assert_calls_work(*WATCHED)


def test_a_run_changes_nothing_about_it(rtc):
    told, before = node_ip(rtc), steps.running(rtc)
    assert play("site", *WATCHED).ok().changed == 0
    assert play("site", *WATCHED, "--check").ok().changed == 0
    assert (node_ip(rtc), steps.running(rtc)) == (told, before)


def test_no_route_changes_nothing_and_is_said(rtc):
    gateway, _length = gateway_and_network(rtc)
    told, before = node_ip(rtc), invocation(rtc)
    rtc.check_output("ip route delete default")
    try:
        until("what the journal says", PATIENCE, lambda: "no default route for IPv4" in journal(rtc))
        time.sleep(12)
    finally:
        rtc.check_output(f"ip route replace default via {gateway} dev eth0 src {told}")
    assert (node_ip(rtc), invocation(rtc)) == (told, before)
    assert journal(rtc).count("no default route for IPv4") == 1


def test_nothing_is_left_of_a_watch_that_is_no_longer_wanted(rtc):
    assert play("site").ok().changed > 0
    folders = "/etc/systemd /etc/matrixrtc /opt/matrixrtc /var/lib/matrixrtc"
    assert rtc.check_output(f"find {folders} -name '*address?watch*' -o -name '*.watch'") == ""
    assert rtc.check_output("systemctl list-units --all --no-legend 'matrixrtc-address*'") == ""
    assert play("site").ok().changed == 0
