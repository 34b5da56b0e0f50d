"""A user of another homeserver gets into calls that are there, and begins none unless listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import (
    call_attendee,
    call_sites,
    call_visitor,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_attendee import Home
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_visitor import VisitPlan, prove_visit
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from sites_support import ALPHA, BETA, FakeConnection, FakeFederation, FakeListener

HOST, VISITOR = f"@anna:{ALPHA}", f"@bert:{BETA}"


@pytest.fixture
def federation(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFederation]:
    made = FakeFederation()
    FakeConnection.federation, FakeConnection.all = made, []
    monkeypatch.setattr(call_attendee, "Participant", FakeConnection)
    monkeypatch.setattr(call_sites, "Listener", FakeListener)
    monkeypatch.setattr(call_visitor, "POLL", 0.001)
    yield made
    assert made.sent == {}, "everybody left the SFU"
    assert made.events == [], "nothing is written to a homeserver"


def visit(
    federation: FakeFederation, listed: tuple[str, ...] = (ALPHA,), visitor: str = VISITOR
) -> tuple[Check, Check]:
    site = Site(ALPHA, f"rtc.{ALPHA}", federation.servers[ALPHA].service, "", federation)
    host = Home(ALPHA, (HOST,), full_access=listed)
    rights, sight = prove_visit(VisitPlan(site, host, Home(BETA, (visitor,), (VISITOR,)), timeout=0.05))
    return rights, sight


def test_who_is_not_listed_watches_only(federation: FakeFederation) -> None:
    rights, sight = visit(federation)
    assert (rights.status, sight.status) == (OK, OK)
    assert rights.seen == f"{BETA} watches (and not: gets a token to publish, publishes, opens a room)"
    assert sight.seen.startswith(f"{VISITOR} sees and hears {HOST} after")


def test_who_is_listed_may_all(federation: FakeFederation) -> None:
    federation.servers[ALPHA].full_access = (ALPHA, BETA)
    assert visit(federation, (ALPHA, BETA))[0].status == OK
    rights, sight = visit(federation)
    assert (rights.status, sight.status) == (FAIL, OK)
    assert f"{BETA} is not in matrixrtc_full_access_homeservers of {ALPHA}" in rights.cause
    assert visit(federation, ())[0].status == OK, "where nobody knows the list it is only told"


def test_who_is_listed_and_may_not_is_told(federation: FakeFederation) -> None:
    assert "runs on another list" in visit(federation, (ALPHA, BETA))[0].cause


def test_an_sfu_that_makes_rooms_for_anybody_is_found(federation: FakeFederation) -> None:
    federation.servers[ALPHA].auto_create = True
    rights, _sight = visit(federation)
    assert rights.status == FAIL
    assert "auto_create" in rights.fix


def test_a_visitor_whom_the_token_service_cannot_verify_is_not_let_in(federation: FakeFederation) -> None:
    federation.servers[ALPHA].strangers_status = 401
    rights, sight = visit(federation)
    assert (rights.status, sight.status) == (SKIP, FAIL)
    assert f"cannot verify users of {BETA}" in sight.cause
    assert f"https://{BETA}/.well-known/matrix/server" in sight.fix


def test_pictures_that_do_not_come_are_told(
    federation: FakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConnection, "expect", lambda *_arguments: None)
    rights, sight = visit(federation)
    assert (rights.status, sight.status) == (OK, FAIL)
    assert f"media of {ALPHA} does not reach users of {BETA}" in sight.cause


def test_an_account_that_is_not_what_it_should_be_is_told(federation: FakeFederation) -> None:
    rights, sight = visit(federation, visitor=f"@carl:{BETA}")
    assert (rights.status, sight.status) == (FAIL, SKIP)
    assert "matrixrtc_probe_foreign_user" in rights.fix


def test_without_a_call_of_the_site_nothing_is_said_of_it(federation: FakeFederation) -> None:
    federation.servers[ALPHA] = replace(federation.servers[ALPHA], token_status=500)
    _rights, sight = visit(federation)
    assert sight.status == SKIP
    assert f"nobody of {ALPHA} can begin a call" in sight.seen
