"""Nodes come and go, and Redis too: who is in a call elsewhere notices nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import steps
from calls import Calls, Seen, address_of, docker
from figures import record
from lab_playbooks import INVENTORY, play

NODES = ("matrix", "sfu2", "sfu3")
LOST_BUDGET = 15.0  # seconds until everybody has a picture again
# A busy machine leaves everybody without a picture for up to 3 s: measured with linters beside the calls.
# A call that ends because of Redis or a node is without one for 5 to 60 s.
HICCUP = 5.0
SETTINGS = Path(INVENTORY, "group_vars", "all", "test.yml")


@pytest.fixture(scope="module", autouse=True)
def spread() -> Iterator[None]:
    """A new room goes to the node with the fewest, so that three calls are on three nodes."""
    SETTINGS.write_text("matrixrtc_node_selector: {kind: any, sort_by: rooms, algorithm: lowest}\n")
    play("site", "--tags", "livekit").ok()
    yield
    SETTINGS.unlink()


@pytest.fixture
def node_at():
    by_address = {address_of(host): name for name in NODES for host in steps.hosts(name)}
    return lambda address: by_address[address]


def begun(name: str) -> str:
    """Which start of LiveKit a node runs."""
    (host,) = steps.hosts(name)
    return str(host.check_output("systemctl show --property=InvocationID --value livekit"))


def assert_unnoticed(seen: list[Seen]) -> None:
    """Nobody had to come back, went to another node, or was without a picture for long."""
    assert seen
    assert [(one.made_anew, len(one.addresses)) for one in seen] == [(0, 1)] * len(seen), seen
    assert max(one.longest for one in seen) <= HICCUP, seen


def await_nodes() -> None:
    """Wait until every node is ready again."""
    deadline = time.monotonic() + 60
    for name in NODES:
        (host,) = steps.hosts(name)
        while host.run("curl -fs http://127.0.0.1:7880/").rc != 0:
            assert time.monotonic() < deadline, f"{name} is not ready"
            time.sleep(1)


def test_by_load_three_rooms_go_to_three_nodes(node_at):
    with Calls(3) as calls:
        assert {node_at(address) for address in calls.places().values()} == set(NODES)


def test_a_lost_node_is_not_missed_for_long(node_at):
    with Calls(3) as calls:
        places = {call: node_at(address) for call, address in calls.places().items()}
        ours = next(call for call, node in places.items() if node != "matrix")
        lost = f"matrixrtc-cluster-{places[ours]}"
        time.sleep(3)
        docker("kill", lost)
        try:
            time.sleep(LOST_BUDGET + 10)
        finally:
            docker("start", lost)
    await_nodes()
    waits = [one.longest for one in calls.of(ours)]
    record("cluster: picture back after a node is lost", max(waits), budget=LOST_BUDGET)
    assert 0 < max(waits) <= LOST_BUDGET, calls.seen
    assert all(len(one.addresses) == 2 for one in calls.of(ours)), calls.seen
    assert_unnoticed([one for one in calls.seen if one.call != ours])


def test_a_minute_without_redis_ends_no_call():
    (front,) = steps.hosts("matrix")
    with Calls(3) as calls:
        calls.places()
        front.check_output("systemctl stop matrixrtc-redis")
        try:
            time.sleep(60)
            assert front.run("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:7880/").stdout == "406"
        finally:
            front.check_output("systemctl start matrixrtc-redis")
        await_nodes()
        time.sleep(5)
    longest = max(one.longest for one in calls.seen)
    record("cluster: longest time without a picture, Redis gone for 60 s", longest, budget=HICCUP)
    assert_unnoticed(calls.seen)


def test_nothing_is_restarted_because_redis_is_away():
    (front,) = steps.hosts("matrix")
    before = [begun(name) for name in NODES]
    front.check_output("systemctl stop matrixrtc-redis")
    try:
        run = play("site", "--tags", "livekit")
    finally:
        front.check_output("systemctl start matrixrtc-redis")
    await_nodes()
    assert run.status != 0
    assert "does not answer" in run.output, run.output
    assert [begun(name) for name in NODES] == before


def test_a_drained_node_drops_nobody_and_takes_nobody(node_at):
    with Calls(3, seconds=75) as calls:
        places = {call: node_at(address) for call, address in calls.places().items()}
        drained = next(node for node in places.values() if node != "matrix")
        (host,) = steps.hosts(drained)
        run = play("drain_node", "-e", f"matrixrtc_node={drained}", "-e", "livekit_drain_timeout=10000")
        # comes back only when the calls have ended by themselves
        assert run.status == 0, run.output
    assert "FAILED - RETRYING" in run.output, "it had to wait for the call"
    assert host.check_output("systemctl show --property=ActiveState --value livekit") == "inactive"
    dropped = [one for one in calls.seen if one.longest > HICCUP or one.made_anew or len(one.addresses) > 1]
    record(
        "cluster: participants dropped while a node is drained", len(dropped), unit="participants", budget=0
    )
    assert not dropped, calls.seen
    with Calls(3) as later:
        assert drained not in {node_at(address) for address in later.places().values()}


def test_a_node_is_removed_and_another_added_while_people_talk(node_at):
    (gone,) = steps.hosts("sfu3")
    play("site", "--tags", "livekit,nginx_proxy,firewall").ok()
    play("drain_node", "-e", "matrixrtc_node=sfu3").ok()
    with Calls(2) as calls:
        assert "sfu3" not in {node_at(address) for address in calls.places().values()}
        play("uninstall", "--limit", "sfu3").ok()
        steps.assert_as_before(gone)
        play("site").ok()
        time.sleep(3)
    assert_unnoticed(calls.seen)
    steps.assert_calls_work()


def test_the_next_run_does_nothing():
    steps.assert_the_next_run_does_nothing()


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
