"""A host with no route to the internet: nothing even tries to leave it."""

from __future__ import annotations

import re

import steps


def strays(host):
    """Packets that tried to leave the lab since the host was started."""
    shown = host.check_output("nft list counter inet filter stray")
    return int(re.search(r"packets (\d+)", shown).group(1))


def test_the_next_run_changes_and_restarts_nothing():
    steps.assert_the_next_run_does_nothing()


def test_a_call_works():
    steps.assert_calls_work()


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()


def test_not_one_packet_tried_to_leave(rtc):
    # from the first deployment to the removal: no name was looked up, nothing was fetched
    assert strays(rtc) == 0, rtc.run("nft list ruleset").stdout


def test_a_packet_would_have_been_counted(rtc):
    mirror = rtc.check_output("getent hosts mirror.test").split()[0]
    for address in (mirror, "192.0.2.1"):
        before = strays(rtc)
        rtc.run(f"curl -s -m 1 http://{address}/")
        assert strays(rtc) > before, address
