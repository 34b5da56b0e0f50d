"""A homeserver of several processes: all of them read the settings, and calls work through the workers."""

from __future__ import annotations

import json

import pytest
import steps

SITE = "workers"

MAIN = "matrix-synapse"
WORKERS = {8083: "matrix-synapse-worker@generic_worker1", 8084: "matrix-synapse-worker@generic_worker2"}
FOCUS = {"type": "livekit", "livekit_service_url": f"https://rtc.{SITE}.test/livekit/jwt"}
TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"


def started(host, unit):
    """When a unit was started, in microseconds since boot; the moment at which it said that it is ready."""
    shown = host.check_output(
        f"systemctl show {unit} --property=ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic"
    )
    stamps = dict(line.split("=") for line in shown.splitlines())
    return int(stamps["ExecMainStartTimestampMonotonic"]), int(stamps["ActiveEnterTimestampMonotonic"])


def test_the_main_process_was_ready_before_the_workers_were_started(rtc):
    _begun, ready = started(rtc, MAIN)
    for worker in WORKERS.values():
        assert started(rtc, worker)[0] >= ready, worker


@pytest.mark.parametrize("port", [8008, *WORKERS])
def test_every_process_has_the_new_settings(rtc, port):
    token = rtc.ansible.get_variables()["matrixrtc_probe_users"][0]["access_token"]
    with_token = f"printf 'header = \"Authorization: Bearer %s\"' {token} | curl -sK - "
    answer = json.loads(rtc.check_output(f"{with_token} http://127.0.0.1:{port}{TRANSPORTS}"))
    assert answer == {"rtc_transports": [FOCUS]}
    # a longer delay than what was allowed before
    versions = json.loads(rtc.check_output(f"curl -s http://127.0.0.1:{port}/_matrix/client/versions"))
    assert versions["unstable_features"]["org.matrix.msc4140"] is True


def test_the_next_run_changes_and_restarts_nothing():
    steps.assert_the_next_run_does_nothing()


def test_a_call_works():
    steps.assert_calls_work()


def test_the_leave_of_the_call_was_scheduled_and_restarted_on_workers(rtc):
    units = " ".join(f"-u {unit}" for unit in WORKERS.values())
    journal = rtc.check_output(f"journalctl --no-pager -o cat {units}")
    # the endpoint checks ask for an event that there is not
    requests = [
        line
        for line in journal.splitlines()
        if "Processed request" in line and "/delayed_events/matrixrtc-probe" not in line
    ]
    assert any("org.matrix.msc4140.delay=" in line and '"PUT' in line for line in requests), requests[-20:]
    restarted = [line for line in requests if "/delayed_events/" in line and "/restart" in line]
    assert restarted, requests[-20:]
    assert all(" 200 " in line or "OPTIONS" in line for line in restarted), restarted
    # everything else about delayed events is the main process's
    assert not [line for line in requests if "/delayed_events/" in line and line not in restarted]


def test_removal_brings_everything_back(rtc):
    before = {unit: started(rtc, unit) for unit in (MAIN, *WORKERS.values())}
    steps.assert_removal_brings_everything_back()
    for unit, moments in before.items():
        assert started(rtc, unit) > moments, f"{unit} still runs on our settings"
