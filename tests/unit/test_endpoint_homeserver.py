"""The checks on Synapse's host: what is wrong in its files is named, and no secret is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import endpoint_homeserver, endpoint_host
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_homeserver import (
    SynapseFiles,
    homeserver_checks,
)

SERVICE = "https://rtc.example.org/livekit/jwt"
SECRET = "kXq7vN2mR8tYc4Zb9LwF3sHd"
LISTENER = """\
listeners:
- port: 8008
  type: http
  x_forwarded: true
  bind_addresses: [127.0.0.1]
  resources:
  - names: [client, federation]
"""
HOMESERVER = f"server_name: example.org\nmacaroon_secret_key: {SECRET}\n{LISTENER}"
OURS = """\
max_event_delay_duration: 24h
experimental_features:
  msc4143_enabled: true
matrix_rtc:
  transports:
  - type: livekit
    livekit_service_url: https://rtc.example.org/livekit/jwt
rc_message:
  per_second: 0.5
  burst_count: 30
rc_delayed_event_mgmt:
  per_second: 1
  burst_count: 20
"""


class Synapse:
    """A Synapse of two files and two units, as it should be until a test changes something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.homeserver, self.ours = HOMESERVER, OURS
        self.states = (0, "active\nactive\n")
        self.worker = ""

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        return self.states if words[0] == "systemctl" else (0, "bad luck\n")

    def show(self, _words: Sequence[str]) -> Completed:
        own = self.folder / "worker.yaml"
        own.write_text(self.worker)
        argv = f"ExecStart={{ path=/x ; argv[]=/x -c {own} ; }}"
        return Completed(0, f"Id=a\nLoadState=loaded\n\nId=b\nLoadState=loaded\n{argv}\n")

    def checks(self) -> dict[str, Check]:
        drop_ins = self.folder / "conf.d"
        drop_ins.mkdir()
        (self.folder / "homeserver.yaml").write_text(self.homeserver)
        (drop_ins / "ours.yaml").write_text(self.ours)
        config = (str(self.folder / "homeserver.yaml"), str(drop_ins))
        place = SynapseFiles(config, str(self.folder), ("matrix-synapse", "worker"))
        found = homeserver_checks(place, SERVICE)
        assert SECRET not in repr(found)
        return {check.id: check for check in found}


@pytest.fixture
def synapse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Synapse:
    made = Synapse(tmp_path)
    monkeypatch.setattr(endpoint_host, "run_command", made.run)
    monkeypatch.setattr(endpoint_homeserver, "run_on_host", made.show)
    return made


def test_a_healthy_homeserver_passes(synapse: Synapse) -> None:
    checks = synapse.checks()
    assert {check.status for check in checks.values()} == {OK}
    assert list(checks) == ["homeserver_services", "homeserver_settings", "homeserver_listeners"]


@pytest.mark.parametrize(
    ("old", "new", "status", "said"),
    [
        ("msc4143_enabled: true", "msc4222_enabled: true", FAIL, "msc4143_enabled is off"),
        ("msc4143_enabled: true", "msc4143_enabled: false", FAIL, "msc4143_enabled is off"),
        (OURS[OURS.index("matrix_rtc") : OURS.index("rc_message")], "", FAIL, "transports is empty"),
        ("duration: 24h", "duration: 0", FAIL, "max_event_delay_duration is not set"),
        ("max_event_delay_duration: 24h\n", "", FAIL, "max_event_delay_duration is not set"),
        ("max_event_delay", "msc4140_enabled: true\nmax_event_delay", WARN, "msc4140_enabled does nothing"),
        ("  msc4143", "  msc4140_enabled: true\n  msc4143", WARN, "msc4140_enabled does nothing"),
        ("matrix_rtc:", "rtc: {focus: x}\nlivekit_jwt_sso: x\nmatrix_rtc:", WARN, "livekit_jwt_sso, rtc"),
        ("burst_count: 30", "burst_count: 29", WARN, "rc_message 0.5 per second, 29 at once"),
        (OURS[OURS.index("rc_delayed") :], "", WARN, "rc_delayed_event_mgmt 1 per second, 5 at once"),
    ],
)
def test_settings_that_do_not_do_what_calls_need(
    synapse: Synapse, old: str, new: str, status: str, said: str
) -> None:
    assert old in OURS
    synapse.ours = OURS.replace(old, new)
    checks = synapse.checks()
    check = checks["homeserver_settings"]
    assert check.status == status
    assert said in check.cause
    assert {one.status for name, one in checks.items() if name != check.id} == {OK}


def test_everything_that_is_wrong_is_told_at_once(synapse: Synapse) -> None:
    synapse.ours = "rtc: {}\n"
    check = synapse.checks()["homeserver_settings"]
    assert check.status == FAIL
    assert "MISSING_MATRIX_RTC_TRANSPORT" in check.shows
    for said in ("msc4143_enabled is off", "max_event_delay_duration", "rtc does nothing", "rc_message"):
        assert said in check.cause


def test_people_behind_a_proxy_are_one_to_a_listener_that_is_not_told(synapse: Synapse) -> None:
    synapse.homeserver = HOMESERVER.replace("  x_forwarded: true\n", "")
    check = synapse.checks()["homeserver_listeners"]
    assert check.status == WARN
    assert "8008" in check.seen
    assert "rate limits" in check.cause


def test_a_homeserver_that_answers_no_openid_question_is_found(synapse: Synapse) -> None:
    synapse.homeserver = HOMESERVER.replace("[client, federation]", "[client]")
    check = synapse.checks()["homeserver_listeners"]
    assert check.status == FAIL
    assert "OPEN_ID_ERROR" in check.shows


def test_a_worker_may_answer_it(synapse: Synapse) -> None:
    synapse.homeserver = HOMESERVER.replace("[client, federation]", "[client]")
    synapse.worker = LISTENER.replace("listeners", "worker_listeners").replace("client, ", "")
    assert synapse.checks()["homeserver_listeners"].status == OK


def test_a_stopped_worker_is_named_with_its_last_words(synapse: Synapse) -> None:
    synapse.states = (3, "active\nfailed\n")
    check = synapse.checks()["homeserver_services"]
    assert check.status == FAIL
    assert check.seen == "matrix-synapse active, worker failed; worker: bad luck"
    assert check.fix == "journalctl -u worker -n 50 says why; systemctl start worker"


@pytest.mark.parametrize("broken", ["a: [", f"{SECRET}: a: b"])
def test_settings_that_cannot_be_read_are_not_judged(synapse: Synapse, broken: str) -> None:
    synapse.homeserver = broken
    checks = synapse.checks()
    assert checks["homeserver_settings"].status == checks["homeserver_listeners"].status == SKIP
    assert "homeserver.yaml, line 1" in checks["homeserver_settings"].seen
