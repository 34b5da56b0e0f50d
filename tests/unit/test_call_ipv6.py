"""A call over IPv6: only where both sides have it, and what is wrong is told from what nobody can know."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import call_ipv6
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ice import (
    ANSWERED,
    NO_ROUTE,
    SILENT,
    Reach,
    Survey,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ipv6 import (
    IPv6Site,
    leads_there,
    prove_ipv6,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import Report
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_room import Caller
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import Advertisement, Candidate
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_stats import Path
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import CERTIFICATE, TIMEOUT, Peer
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import Account, MatrixClient
from endpoint_support import DOMAIN, FakeHttp, site

SIX, OWN = "2001:db8::7", "2001:db8::99"
PATH = Path(f"udp {OWN}:5", f"udp {SIX}:7882 (host)", SIX, 7882, "host", "udp", 0.001)
GOOD = Report("@alice:example.org", frames=20, paths=[PATH])


def reach(outcome: str, protocol: str = "udp", address: str = SIX) -> Reach:
    return Reach(Candidate(address, 7882, protocol, "host"), outcome)


def over_ipv6(
    monkeypatch: pytest.MonkeyPatch,
    *reaches: Reach,
    record: str = SIX,
    own: str = OWN,
    peer: Peer | None = None,
    reports: Sequence[Report] = (GOOD, GOOD),
    callers: int = 2,
    error: str = "",
) -> Check:
    """The check of a site whose name has an AAAA record and whose SFU advertises what is given."""

    async def call(_found: IPv6Site, _callers: Sequence[Caller], _timeout: float) -> list[Report]:
        return list(reports)

    monkeypatch.setattr(call_ipv6, "record_of", lambda _host: record)
    monkeypatch.setattr(call_ipv6, "own_address", lambda _there: own)
    monkeypatch.setattr(call_ipv6, "reports_of", call)
    http = FakeHttp(peers={DOMAIN: peer} if peer else {})
    survey = Survey(Advertisement(), reaches, error)
    people = [Caller(MatrixClient("", "", http), Account("@alice:example.org", "A"))] * callers
    return asyncio.run(prove_ipv6(site(http), survey, people, 1.0))


def test_a_call_over_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    check = over_ipv6(monkeypatch, reach(ANSWERED), reach(ANSWERED, "tcp"))
    assert (check.status, check.seen) == (OK, f"udp {SIX}:7882 (host); 40 pictures")


def test_without_a_record_the_entrance_was_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the signalling came over IPv4" in over_ipv6(monkeypatch, reach(ANSWERED), record="").seen


@pytest.mark.parametrize("own", ["", "fd00::2"])
def test_a_host_without_ipv6_looks_at_nothing(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    check = over_ipv6(monkeypatch, reach(NO_ROUTE), own=own, peer=Peer(error=TIMEOUT))
    assert check.status == SKIP
    assert f"this host has no IPv6 that leads to {SIX}" in check.seen


def test_a_site_without_ipv6_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    check = over_ipv6(
        monkeypatch, reach(ANSWERED, address="203.0.113.5"), reach(SILENT, address="fe80::1"), record=""
    )
    assert check.status == SKIP
    assert "no name of the site has an AAAA record" in check.seen


@pytest.mark.parametrize(
    ("reaches", "peer", "status", "said"),
    [
        ([SILENT, SILENT], Peer(error=TIMEOUT), WARN, "the network that this was looked at from"),
        ([SILENT, SILENT], Peer(SIX), FAIL, f"the SFU advertises {SIX}, and nobody answers there"),
        ([ANSWERED], Peer(error=TIMEOUT, detail="timed out"), FAIL, "not to be reached there: timed out"),
        ([ANSWERED], Peer(error=CERTIFICATE, detail="hostname mismatch"), FAIL, "hostname mismatch"),
        ([], Peer(SIX), WARN, "the SFU advertises no IPv6 address"),
        ([], Peer(error=TIMEOUT), WARN, "a firewall that drops IPv6"),
    ],
)
def test_what_keeps_a_call_from_being_placed(
    monkeypatch: pytest.MonkeyPatch, reaches: list[str], peer: Peer, status: str, said: str
) -> None:
    check = over_ipv6(monkeypatch, *map(reach, reaches), peer=peer)
    assert check.status == status
    assert said in check.cause
    assert check.fix


def test_if_there_was_no_call_the_entrance_alone_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert over_ipv6(monkeypatch, callers=0, peer=Peer(SIX), error="no websocket").status == SKIP
    assert over_ipv6(monkeypatch, callers=0, peer=Peer(error=TIMEOUT), error="no websocket").status == WARN


@pytest.mark.parametrize(
    "report",
    [
        replace(GOOD, error="no connection after 12 s"),
        replace(GOOD, frames=0),
        replace(GOOD, paths=[]),
        replace(GOOD, paths=[replace(PATH, remote_address="203.0.113.5")]),
    ],
)
def test_a_call_that_does_not_come_about_fails(monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    check = over_ipv6(monkeypatch, reach(ANSWERED), reports=(GOOD, report))
    assert check.status == FAIL
    assert "no call over IPv6 comes about" in check.cause


def test_local_addresses_lead_to_local_ones_alone() -> None:
    assert leads_there("fd00::2", "fd00::9")
    assert leads_there(OWN, SIX)
    assert not leads_there("fd00::2", SIX)
    assert not leads_there("", SIX)
