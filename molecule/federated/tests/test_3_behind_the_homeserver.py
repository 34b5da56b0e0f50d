"""Token services behind their homeservers: wired, called through, broken part by part, and taken back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import steps
from cross_calls import measured, plain, status, variables
from lab_playbooks import Run, play
from testinfra.host import Host

ALPHA, BETA = "alpha.test", "beta.test"
BEHIND = "matrixrtc_token_service_mode: homeserver\nsynapse_config_sticky_events: true\n"
SETTINGS = "/etc/matrix-synapse/homeserver.yaml"
AT_SYNAPSE, AT_SERVICE = (
    "/etc/matrix-synapse/matrixrtc-registration.yaml",
    "/etc/matrixrtc/lk-jwt-service/registration.yaml",
)
LOOK = ("verify", "--limit", "matrix-alpha", "-e", "{matrixrtc_probe_views: [outside]}")
TOKENS = ("/etc/matrixrtc/as_token", "/etc/matrixrtc/hs_token")
CONFIGURATION = "find /etc/matrix-synapse /etc/matrixrtc /etc/nginx -type f -exec sha256sum {} + | sort -k 2"


@pytest.fixture(scope="module")
def alpha() -> Host:
    (host,) = steps.hosts("matrix-alpha")
    return host


@pytest.fixture(scope="module")
def before(alpha: Host) -> str:
    """Every file of the configuration as it is without."""
    return alpha.check_output(CONFIGURATION)


@pytest.fixture(scope="module", autouse=True)
def wired(before: str) -> Iterator[Run]:
    """Both sites are switched, and back in the end."""
    with variables("group_vars/all", BEHIND):
        yield play("site", "--diff", "-vvv").ok()


def test_half_of_it_is_refused_before_anything_changes():
    with variables("host_vars/matrix-alpha", f"matrixrtc_as_token: {'a' * 48}\n"):
        refused = play("site", "--tags", "validate")
    assert refused.status != 0
    assert "matrixrtc_hs_token is not set, but matrixrtc_as_token is" in plain(refused)
    assert "a" * 48 not in refused.output


def test_registrations_are_for_either_side_alone_and_tokens_for_nobody(alpha: Host, wired: Run):
    for path, owner, group, mode in (
        (AT_SYNAPSE, "matrix-synapse", "root", 0o400),
        (AT_SERVICE, "root", "lk-jwt-service", 0o640),
        *((path, "root", "root", 0o600) for path in TOKENS),
    ):
        file = alpha.file(path)
        assert (file.user, file.group, file.mode) == (owner, group, mode), path
    assert alpha.file(AT_SYNAPSE).content == alpha.file(AT_SERVICE).content
    logs = alpha.check_output(
        "journalctl --no-pager; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '"
    )
    for path in TOKENS:
        token = alpha.file(path).content_string.strip()
        assert len(token) == 48
        assert token not in wired.output
        assert token not in logs


def test_the_next_run_changes_and_restarts_nothing():
    steps.assert_the_next_run_does_nothing()


def test_calls_go_through_the_homeserver():
    run = play("verify", "--limit", "matrix-alpha", "-e", "matrixrtc_probe_participants=3").ok()
    for check in ("homeserver_route", "homeserver_tokens", "call_tokens", "call_sight", "call_leave"):
        assert status(run, check) == ["ok"], run.output


@pytest.mark.parametrize("mode", ["compatibility", "matrix_2_0"])
def test_calls_between_sites_go_through_both_homeservers(mode: str):
    run = measured(f"call between two homeservers with their token services behind them, mode {mode}", mode)
    for site in (ALPHA, BETA):
        for check in ("join", "watch", "access"):
            assert status(run, f"cross_{check}:{site}") == ["ok"]
    assert status(run, "cross_leave") == ["ok"]


@dataclass(frozen=True)
class Fault:
    """Something else in a file of alpha, which its service runs on, and how it shows."""

    path: str
    edit: str
    check: str
    seen: str
    cause: str

    @property
    def unit(self) -> str:
        """The service that reads the file."""
        return "lk-jwt-service" if self.path == AT_SERVICE else "matrix-synapse"

    @contextmanager
    def on(self, host: Host) -> Iterator[None]:
        """While the fault is there."""
        host.check_output(f"cp -p {self.path} /run/kept && sed -i '{self.edit}' {self.path}")
        host.check_output(f"! cmp {self.path} /run/kept && systemctl restart {self.unit}")
        try:
            yield
        finally:
            host.check_output(f"cp -p /run/kept {self.path} && systemctl restart {self.unit}")


ROUTE, WAY = "homeserver_route", "homeserver_tokens"
FAULTS = {
    "flag of MSC4512": Fault(SETTINGS, "s/msc4512_enabled: true//", ROUTE, "404", "msc4512_enabled is off"),
    "flag of MSC4502": Fault(SETTINGS, "s/msc4502_enabled: true//", WAY, "502", "msc4502_enabled is off"),
    "keys": Fault(AT_SYNAPSE, "s/io.element.msc4512.//", ROUTE, "404", "lacks the registration"),
    "hs_token": Fault(AT_SERVICE, 's/^hs_token: "./&_/', WAY, "401", "service does not know Synapse"),
    "as_token": Fault(AT_SERVICE, 's/^as_token: "./&_/', WAY, "502", "as_token is another"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_broken_part_is_named(alpha: Host, fault: Fault):
    with fault.on(alpha):
        run = play(*LOOK)
    assert run.status != 0
    assert status(run, fault.check) == ["FAIL"], run.output
    assert re.search(rf"seen +HTTP {fault.seen}", plain(run))
    assert fault.cause in plain(run)


def test_a_token_service_that_is_down_is_named(alpha: Host):
    alpha.check_output("systemctl stop lk-jwt-service")
    try:
        run = play(*LOOK)
    finally:
        alpha.check_output("systemctl start lk-jwt-service")
    assert status(run, "homeserver_tokens") == ["FAIL"], run.output
    assert "Synapse does not reach the token service: it is down" in plain(run)


def test_back_to_standalone_leaves_nothing(alpha: Host, before: str):
    with variables(
        "host_vars/matrix-alpha",
        "matrixrtc_token_service_mode: standalone\nsynapse_config_sticky_events: false\n",
    ):
        play("site", "--limit", "matrix-alpha").ok()
        assert alpha.check_output(CONFIGURATION) == before
        assert not alpha.file("/var/lib/matrixrtc/synapse/wired").exists
        play("verify", "--limit", "matrix-alpha").ok()
