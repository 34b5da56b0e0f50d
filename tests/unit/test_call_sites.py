"""A call between sites: who publishes and watches where, what others may do, and whom a fault affects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import call_attendee, call_sites
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import MATRIX_2_0
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_sites import SitesPlan, place_sites_call
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_sites_figures import SitesFigures
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from sites_support import ALPHA, BETA, FakeConnection, FakeFederation, FakeListener, homes, sfu


@pytest.fixture
def federation(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFederation]:
    made = FakeFederation()
    FakeConnection.federation, FakeConnection.all = made, []
    monkeypatch.setattr(call_attendee, "Participant", FakeConnection)
    monkeypatch.setattr(call_attendee, "LONG_POLL", 0.0)
    monkeypatch.setattr(call_sites, "Listener", FakeListener)
    monkeypatch.setattr(call_sites, "POLL", 0.001)
    yield made
    assert made.inside == set(), "everybody left the room"
    assert made.scheduled == {}, "no leave stays scheduled"


def place(federation: FakeFederation, **changes: Any) -> tuple[dict[str, Check], SitesFigures]:
    plan = SitesPlan(homes(federation), federation, media_seconds=0.0, timeout=0.6, leave_timeout=0.5)
    checks, figures = place_sites_call(replace(plan, **changes))
    return {check.id: check for check in checks}, figures


def wrong(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.status for name, check in checks.items() if check.status != OK}


@pytest.mark.parametrize("mode", ["compatibility", MATRIX_2_0])
def test_everybody_publishes_at_home_and_watches_where_events_say(
    federation: FakeFederation, mode: str
) -> None:
    for server in federation.servers.values():
        server.sticky = True
    checks, figures = place(federation, mode=mode)
    assert wrong(checks) == {}
    for one in figures.participants:
        assert one["published_on"] == f"rtc.{one['server_name']}"
        watched = {str(other["user_id"]): other["on"] for other in one["watched"]}  # type: ignore[attr-defined]
        assert len(watched) == 3
        assert all(on == f"rtc.{name.partition(':')[2]}" for name, on in watched.items())
    assert {(seat.seat.name, seat.seat.url) for seat in FakeConnection.all} == {
        (f"@{user}:{home}", sfu(place_))
        for user in ("anna", "bert")
        for home in (ALPHA, BETA)
        for place_ in (ALPHA, BETA)
    }, "one connection of each user to each SFU"
    assert figures.first_frame > 0


def test_identities_and_endpoints_are_those_of_the_mode(federation: FakeFederation) -> None:
    place(federation)
    own = [path for _method, host, path in federation.asked if host == f"rtc.{ALPHA}"]
    assert own.count("/livekit/jwt/sfu/get") == 2, "one for each user of the site"
    assert own.count("/livekit/jwt/get_token") == 3, "two who watch, and one who knocks"
    identities = {seat.seat.identity for seat in FakeConnection.all if seat.seat.name == f"@anna:{ALPHA}"}
    assert f"@anna:{ALPHA}:PHONE" in identities
    assert len(identities) == 2, "on others' SFUs the identity is hashed"


def test_an_old_token_service_is_asked_the_old_way(federation: FakeFederation) -> None:
    federation.servers[BETA].legacy_only = True
    checks, _figures = place(federation)
    assert wrong(checks) == {}


def test_memberships_are_read_from_events_and_from_nothing_else(federation: FakeFederation) -> None:
    federation.servers[BETA].federates = False
    checks, _figures = place(federation)
    assert checks[f"cross_join:{BETA}"].status == FAIL
    assert "do not reach each other" in checks[f"cross_join:{BETA}"].cause
    assert checks[f"cross_watch:{ALPHA}"].status == OK, "the others go on among themselves"
    assert checks["cross_leave"].status == SKIP


@pytest.mark.parametrize(
    ("change", "error", "cause"),
    [
        ({"token_status": 500}, "OPEN_ID_ERROR", f"the SFU of {BETA} is down"),
        ({"token_status": 401}, "OPEN_ID_ERROR", "cannot verify users of its own homeserver"),
        ({"announces": False}, "MISSING_MATRIX_RTC_TRANSPORT", "announces no SFU"),
    ],
)
def test_a_broken_site_is_named_and_disturbs_nobody(
    federation: FakeFederation, change: dict[str, Any], error: str, cause: str
) -> None:
    federation.servers[BETA] = replace(federation.servers[BETA], **change)
    checks, figures = place(federation)
    failed = checks[f"cross_join:{BETA}"]
    assert failed.status == FAIL
    assert f"@anna:{BETA}, @bert:{BETA} are not in the call" in failed.seen
    assert error in failed.shows
    assert cause in failed.cause
    assert f"cross_join:{BETA}" in checks[f"cross_watch:{BETA}"].seen
    assert checks[f"cross_watch:{ALPHA}"].status == OK
    assert {one["user_id"] for one in figures.participants if one["trouble"]} == {
        f"@anna:{BETA}",
        f"@bert:{BETA}",
    }


def test_a_token_service_that_refuses_strangers_blinds_them_alone(federation: FakeFederation) -> None:
    federation.servers[BETA].strangers_status = 401
    checks, _figures = place(federation)
    assert wrong(checks) == {f"cross_watch:{ALPHA}": FAIL, f"cross_access:{BETA}": SKIP}
    assert f"cannot verify users of {ALPHA}" in checks[f"cross_watch:{ALPHA}"].cause


def test_only_whoever_is_listed_publishes_and_opens_rooms(federation: FakeFederation) -> None:
    checks, _figures = place(federation)
    assert checks[f"cross_access:{ALPHA}"].expected == f"{BETA} watches only"
    federation.servers[ALPHA].full_access = (ALPHA, BETA)
    checks, _figures = place(federation)
    assert wrong(checks) == {f"cross_access:{ALPHA}": FAIL}
    assert "for calls of their own" in checks[f"cross_access:{ALPHA}"].cause
    for listed in ((ALPHA, BETA), ("*",)):
        federation.servers[ALPHA].full_access = listed
        alpha, beta = homes(federation)
        checks, _figures = place(federation, homes=(replace(alpha, full_access=listed), beta))
        assert wrong(checks) == {}
        assert checks[f"cross_access:{ALPHA}"].expected == f"{BETA} publishes and opens rooms"


def test_a_list_that_is_not_in_effect_is_found(federation: FakeFederation) -> None:
    alpha, beta = homes(federation)
    checks, _figures = place(federation, homes=(replace(alpha, full_access=(ALPHA, BETA)), beta))
    assert wrong(checks) == {f"cross_access:{ALPHA}": FAIL}
    assert "runs on another list" in checks[f"cross_access:{ALPHA}"].cause


def test_an_sfu_that_lets_tokens_make_rooms_is_found(federation: FakeFederation) -> None:
    federation.servers[ALPHA].auto_create = True
    checks, _figures = place(federation)
    assert wrong(checks) == {f"cross_access:{ALPHA}": FAIL}
    assert "opens a room" in checks[f"cross_access:{ALPHA}"].seen
    assert "auto_create" in checks[f"cross_access:{ALPHA}"].fix


def test_where_nobody_knows_the_list_it_is_only_told(federation: FakeFederation) -> None:
    federation.servers[BETA].full_access = (ALPHA, BETA)
    alpha, beta = homes(federation)
    checks, _figures = place(federation, homes=(alpha, replace(beta, full_access=())))
    assert wrong(checks) == {}
    assert f"{ALPHA} gets a token to publish, publishes, opens a room" in checks[f"cross_access:{BETA}"].seen


def test_matrix_2_0_needs_sticky_events_at_every_homeserver(federation: FakeFederation) -> None:
    federation.servers[ALPHA].sticky = True
    checks, _figures = place(federation, mode=MATRIX_2_0)
    assert checks[f"cross_join:{ALPHA}"].status == OK
    assert "STICKY_EVENTS_NOT_SUPPORTED" in checks[f"cross_join:{BETA}"].shows


def wire(federation: FakeFederation) -> FakeFederation:
    for server in federation.servers.values():
        server.sticky = server.wired = True
    return federation


def test_homeservers_before_their_token_services_are_asked_and_nobody_else(
    federation: FakeFederation,
) -> None:
    checks, _figures = place(wire(federation), mode=MATRIX_2_0)
    assert wrong(checks) == {}
    asked = [path for _method, host, path in federation.asked if host == f"rtc.{ALPHA}"]
    assert asked == ["/livekit/jwt/get_token"], "one who knocks at the door that is still there"
    behind = [
        path for _method, host, path in federation.asked if host == f"matrix.{ALPHA}" and "/rtc/" in path
    ]
    assert [path.rpartition("/")[2] for path in behind].count("delegate_delayed_leave") == 2
    told = f"{ALPHA} through the homeservers watches, in a room made for it (and not: gets a token to publish"
    assert told in checks[f"cross_access:{BETA}"].seen


@pytest.mark.parametrize("wired", [ALPHA, BETA])
def test_the_token_service_is_asked_where_one_of_two_homeservers_cannot(
    federation: FakeFederation, wired: str
) -> None:
    for server in federation.servers.values():
        server.sticky, server.wired = True, server.name == wired
    checks, _figures = place(federation, mode=MATRIX_2_0)
    assert wrong(checks) == {}
    assert all("homeservers" not in checks[f"cross_access:{name}"].seen for name in (ALPHA, BETA))


def test_compatibility_mode_does_not_ask_the_homeserver(federation: FakeFederation) -> None:
    checks, _figures = place(wire(federation))
    assert wrong(checks) == {}
    assert not any("/rtc/livekit/" in path for _method, _host, path in federation.asked)


def test_a_list_of_full_access_does_not_count_through_homeservers(federation: FakeFederation) -> None:
    wire(federation).servers[ALPHA].lends_seats = True
    checks, _figures = place(federation, mode=MATRIX_2_0)
    assert wrong(checks) == {f"cross_access:{ALPHA}": FAIL}
    assert (
        "through the homeservers gets a token to publish, publishes" in checks[f"cross_access:{ALPHA}"].seen
    )


@pytest.mark.parametrize(
    ("answered", "cause"),
    [
        ((404, "M_UNRECOGNIZED"), "msc4512_enabled is off"),
        ((401, "M_UNKNOWN_TOKEN"), "the token service does not know Synapse"),
        ((500, "M_UNKNOWN"), "Synapse does not reach the token service"),
        ((502, "M_UNKNOWN"), "msc4502_enabled is off"),
    ],
)
def test_a_broken_wiring_is_named_and_disturbs_nobody(
    federation: FakeFederation, answered: tuple[int, str], cause: str
) -> None:
    wire(federation).servers[BETA].wiring = answered
    checks, _figures = place(federation, mode=MATRIX_2_0)
    join = checks[f"cross_join:{BETA}"]
    assert join.status == FAIL
    assert cause in join.cause
    assert checks[f"cross_watch:{ALPHA}"].status == OK


def test_a_leave_that_never_comes_is_found(federation: FakeFederation) -> None:
    federation.servers[BETA].webhook = False
    checks, _figures = place(federation, leave_timeout=0.1)
    assert wrong(checks) == {"cross_leave": FAIL}
    assert "was still there after" in checks["cross_leave"].seen


def test_slow_pictures_are_a_warning(federation: FakeFederation) -> None:
    checks, _figures = place(federation, first_frame_limit=0.001)
    assert {check.status for check in checks.values()} == {OK, WARN}
    assert checks[f"cross_watch:{ALPHA}"].status == WARN


def test_tokens_of_somebody_else_are_named(federation: FakeFederation) -> None:
    alpha, beta = homes(federation)
    strangers = replace(beta, tokens=(f"@anna:{ALPHA}",))
    checks, _figures = place(federation, homes=(alpha, strangers))
    assert checks[f"cross_accounts:{BETA}"].status == FAIL
    assert "is no user with a device of it" in checks[f"cross_accounts:{BETA}"].seen
    assert checks[f"cross_watch:{ALPHA}"].status == OK
    checks, _figures = place(federation, homes=(alpha, replace(beta, user_ids=(f"@carl:{BETA}",))))
    assert "no token is that of" in checks[f"cross_accounts:{BETA}"].seen
