"""Renewals reach nginx, and calls go on meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab_playbooks import play
from views import served

testinfra_hosts = ["ansible://matrixrtc_rtc"]

RENEWAL = "matrixrtc-certificate-renewal"
LOADED_SECONDS = 10


def await_other(name: str, before: str) -> str:
    """The serial number once it differs."""
    deadline = time.monotonic() + LOADED_SECONDS
    while served(name) == before and time.monotonic() < deadline:
        time.sleep(0.3)
    return served(name)


@pytest.fixture
def name(host):
    return f"rtc.{host.ansible.get_variables()['matrixrtc_server_name']}"


def test_the_timer_is_set(host):
    assert host.service(f"{RENEWAL}.timer").is_enabled
    assert host.service(f"{RENEWAL}.timer").is_running


def test_a_renewal_in_the_middle_of_a_call(host, name):
    """The authority's certificates last 20 days, so to certbot every renewal is due."""
    before = served(name)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(play, "verify")
        serials = []
        while not call.done():
            host.check_output(f"systemctl start {RENEWAL}.service")
            serials.append(await_other(name, before))
            before = serials[-1]
        call.result().ok()
    assert len(set(serials)) == len(serials) >= 2, serials


def test_a_broken_configuration_is_not_loaded(host, name):
    """nginx keeps what it has until it accepts its configuration again."""
    before = served(name)
    host.check_output("echo 'nonsense;' > /etc/nginx/sites-enabled/broken.conf")
    host.check_output(f"systemctl start {RENEWAL}.service")
    time.sleep(1)
    assert served(name) == before
    host.check_output("rm /etc/nginx/sites-enabled/broken.conf")
    host.check_output(f"systemctl start {RENEWAL}.service")
    assert await_other(name, before) != before


def test_the_run_after_it_changes_nothing():
    assert play("site").ok().changed == 0
