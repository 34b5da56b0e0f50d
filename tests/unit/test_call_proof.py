"""A call against a homeserver that remembers: order, delegation, the break, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import call_proof
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ipv6 import IPV6
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import Seat, View
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_proof import KILL, Plan, place_call
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_room import Caller
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_verdicts import IN_ORDER, SIGHT
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from call_support import DELAYED, FakeHomeserver, FakeParticipant, healthy_survey
from endpoint_support import HOMESERVER, answer, site

MEMBER = "/state/org.matrix.msc3401.call.member/"


async def well_over_ipv6(_site: object, _survey: object, callers: Sequence[Caller], _timeout: float) -> Check:
    return IPV6.ok("a call") if callers else IPV6.skip("no call")


@pytest.fixture
def homeserver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHomeserver]:
    made = FakeHomeserver()
    FakeParticipant.homeserver, FakeParticipant.outcomes, FakeParticipant.seats = made, {}, []
    monkeypatch.setattr(call_proof, "Participant", FakeParticipant)
    monkeypatch.setattr(call_proof, "ChildParticipant", FakeParticipant)
    monkeypatch.setattr(call_proof, "survey", healthy_survey)
    monkeypatch.setattr(call_proof, "prove_ipv6", well_over_ipv6)
    monkeypatch.setattr(call_proof, "POLL", 0.001)
    monkeypatch.setattr(call_proof, "SETTLE", 0.0)
    yield made
    # Whatever happened in between: the room is left and forgotten, no membership and no delayed event stays.
    assert made.members == set()
    assert made.call_members() == []
    assert made.scheduled == {}


def place(homeserver: FakeHomeserver, **changes: Any) -> dict[str, Check]:
    plan = Plan(site(homeserver), ("token-a", "token-b"), leave_timeout=0.05)
    checks, figures = place_call(replace(plan, **changes))
    expected = [outline.id for outline in IN_ORDER if outline is not SIGHT or "participants" in changes]
    assert [check.id for check in checks] == expected
    place.figures = figures  # type: ignore[attr-defined]
    return {check.id: check for check in checks}


def test_a_healthy_call_passes_and_leaves_nothing(homeserver: FakeHomeserver) -> None:
    checks = place(homeserver)
    assert {check.status for check in checks.values()} == {OK}
    assert homeserver.forgotten == {"@alice:example.org", "@bob:example.org"}
    figures = place.figures  # type: ignore[attr-defined]
    assert figures.users == ["@alice:example.org", "@bob:example.org"]
    assert figures.frames == 90
    assert figures.room_id == "!room"


def test_leaves_are_scheduled_before_memberships_are_written(homeserver: FakeHomeserver) -> None:
    place(homeserver)
    writes = [path for method, path in homeserver.log if method == "PUT" and MEMBER in path]
    delayed = ["org.matrix.msc4140.delay" in path for path in writes]
    assert delayed == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]  # two leaves, two memberships, two final leaves
    assert all(
        "_@alice:example.org_DEVICEA_m.call" in path or "_@bob:example.org_DEVICEB_m.call" in path
        for path in writes
    )


def test_only_the_legacy_identity_delegates_its_leave(homeserver: FakeHomeserver) -> None:
    homeserver.webhook = False
    place(homeserver)
    assert list(homeserver.delegated) == ["@bob:example.org:DEVICEB"]


def test_everybody_has_keys_of_their_own_and_the_listener_has_wrong_ones(homeserver: FakeHomeserver) -> None:
    place(homeserver)
    first, second, spy = FakeParticipant.seats
    assert first.key != second.key
    assert first.others[0][:2] == (second.identity, second.key)
    assert second.others[0][:2] == (first.identity, first.key)
    assert {identity for identity, *_rest in spy.others} == {first.identity, second.identity}
    assert {first.key, second.key}.isdisjoint({key for _identity, key, *_rest in spy.others} | {spy.key})
    assert first.identity != f"{first.name}:DEVICEA"  # hashed, from /get_token
    assert not spy.publishes


def everybody_in_sight(seat: Seat, but: str = "") -> dict[str, View]:
    """What somebody sees who sees all but one."""
    return {other[0]: View(0.4, 0.5, 45, 3.0) for other in seat.others if other[0] != but}


def test_more_participants_than_accounts_are_further_sessions(
    homeserver: FakeHomeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(self: FakeParticipant, _seconds: float, _timeout: float) -> Any:
        return replace(self.report, views=everybody_in_sight(self.seat))

    monkeypatch.setattr(FakeParticipant, "run", run)
    checks = place(homeserver, participants=5)
    assert {check.status for check in checks.values()} == {OK}
    assert checks["call_sight"].seen == "everybody sees each of the 4 others"
    *talking, spy = sorted(FakeParticipant.seats, key=lambda seat: seat.publishes, reverse=True)
    assert [seat.name for seat in talking] == [
        "@alice:example.org (DEVICEA)",
        "@bob:example.org (DEVICEB)",
        "@alice:example.org (PROBE0)",
        "@bob:example.org (PROBE1)",
        "@alice:example.org (PROBE2)",
    ]
    assert len({seat.identity for seat in talking}) == len({seat.key for seat in talking}) == 5
    assert [bool(seat.tone) for seat in talking] == [True, True, False, False, False]
    for seat in talking:
        known = {
            (other.identity, other.key, other.nonce, other.tone) for other in talking if other is not seat
        }
        assert set(seat.others) == known
    assert {key for _identity, key, *_rest in spy.others}.isdisjoint({seat.key for seat in talking})
    assert place.figures.users == [seat.name for seat in talking]  # type: ignore[attr-defined]
    writes = [path for method, path in homeserver.log if method == "PUT" and "PROBE" in path]
    assert writes == [], "the homeserver is told of accounts alone"


def test_who_does_not_see_whom_is_named(homeserver: FakeHomeserver, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: FakeParticipant, _seconds: float, _timeout: float) -> Any:
        unseen = "@alice:example.org:PROBE0" if self.place == 1 else ""
        return replace(self.report, views=everybody_in_sight(self.seat, unseen))

    monkeypatch.setattr(FakeParticipant, "run", run)
    checks = place(homeserver, participants=3)
    assert [check.id for check in checks.values() if check.status != OK] == ["call_sight"]
    assert checks["call_sight"].seen == "@bob:example.org does not see @alice:example.org (PROBE0)"
    assert "matrixrtc_probe_participants" in checks["call_sight"].fix


def test_a_missing_webhook_is_the_only_thing_that_fails(homeserver: FakeHomeserver) -> None:
    homeserver.webhook = False
    checks = place(homeserver)
    assert [check.id for check in checks.values() if check.status != OK] == ["call_leave"]
    assert "still there" in checks["call_leave"].seen
    assert "webhook" in checks["call_leave"].cause


def test_a_leave_while_the_call_is_on_is_found(
    homeserver: FakeHomeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left_early(*arguments: object) -> object:
        homeserver.gone("@bob:example.org:DEVICEB")
        return healthy_survey(*arguments)

    monkeypatch.setattr(call_proof, "survey", left_early)
    assert "sent too early" in place(homeserver)["call_leave"].cause


def test_a_killed_user_is_named_as_such(homeserver: FakeHomeserver) -> None:
    assert "was killed" in place(homeserver, break_off=KILL)["call_leave"].seen


def test_with_forced_tcp_the_leave_is_handed_over_late(homeserver: FakeHomeserver) -> None:
    """The change to TCP looks like a leave to the token service, which would then send the real one."""
    seen: list[int] = []
    before = FakeParticipant.run

    async def run(self: FakeParticipant, seconds: float, timeout: float) -> Any:
        seen.append(len(homeserver.delegated))
        return await before(self, seconds, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeParticipant, "run", run)
        checks = place(homeserver, force_tcp=True)
    assert seen == [0, 0, 0]
    assert checks["call_leave"].status == OK


def test_without_delayed_events_the_call_goes_on(homeserver: FakeHomeserver) -> None:
    homeserver.longest_delay = 0
    checks = place(homeserver)
    assert checks["call_membership"].status == WARN
    assert checks["call_video"].status == OK
    assert checks["call_leave"].status == WARN
    assert "max_event_delay_duration" in checks["call_leave"].cause


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("synapse", FAIL),
        ("ess", FAIL),
        ("mdad", FAIL),
        ("continuwuity", WARN),
        ("tuwunel", WARN),
        ("other", WARN),
    ],
)
def test_a_call_without_state_after(homeserver: FakeHomeserver, kind: str, expected: str) -> None:
    homeserver.state_after = False
    checks = place(homeserver, site=replace(site(homeserver), homeserver_kind=kind))
    assert checks["call_state_after"].status == expected
    assert {check.status for check in checks.values() if check.id != "call_state_after"} == {OK}


@pytest.mark.parametrize(
    ("kind", "expected"), [("synapse", FAIL), ("mdad", FAIL), ("continuwuity", FAIL), ("other", WARN)]
)
def test_a_call_without_the_endpoint_for_transports(
    homeserver: FakeHomeserver, kind: str, expected: str
) -> None:
    """Where there is none, clients go by the client well-known, and so does the call."""
    homeserver.has_transports = False
    checks = place(homeserver, site=replace(site(homeserver), homeserver_kind=kind))
    assert checks["call_discovery"].status == expected
    assert checks["call_video"].status == (OK if expected == WARN else SKIP)


def test_a_homeserver_that_can_nothing_of_this_gives_warnings_only(homeserver: FakeHomeserver) -> None:
    homeserver.has_transports, homeserver.state_after, homeserver.longest_delay = False, False, 0
    checks = place(homeserver, site=replace(site(homeserver), homeserver_kind="other"))
    unusual = {check.id: check.status for check in checks.values() if check.status != OK}
    wanting = ("call_discovery", "call_state_after", "call_membership", "call_leave")
    assert unusual == dict.fromkeys(wanting, WARN)
    assert "has not got" in checks["call_leave"].cause


def test_without_any_announcement_there_is_no_call(homeserver: FakeHomeserver) -> None:
    homeserver.has_transports = False
    url = "https://example.org/.well-known/matrix/client"
    homeserver.answers[("GET", url)] = answer(200, {"m.homeserver": {"base_url": HOMESERVER}})
    check = place(homeserver, site=replace(site(homeserver), homeserver_kind="other"))["call_discovery"]
    assert check.status == FAIL
    assert "in the client well-known" in check.fix


def test_a_room_that_is_not_synced_yet_says_nothing(homeserver: FakeHomeserver) -> None:
    homeserver.refused = "/sync"
    assert place(homeserver)["call_state_after"].status == SKIP


def test_no_connection_leaves_the_rest_untried(homeserver: FakeHomeserver) -> None:
    FakeParticipant.outcomes = {1: {"error": "no connection after 12 s"}}
    checks = place(homeserver)
    assert checks["call_connected"].status == FAIL
    assert checks["call_leave"].status == checks["call_ipv6"].status == SKIP
    assert checks["call_cleanup"].status == OK


def test_listening_in_can_be_left_out(homeserver: FakeHomeserver) -> None:
    assert place(homeserver, prove_encryption=False)["call_encryption"].status == OK
    assert len(FakeParticipant.seats) == 2


@pytest.mark.parametrize(
    ("refused", "failed"),
    [
        ("/whoami", "call_accounts"),
        ("rtc/transports", "call_discovery"),
        ("/createRoom", "call_room"),
        ("/join/", "call_room"),
        ("/capabilities", "call_membership"),
        (r"PUT.*msc4140\.delay", "call_membership"),
        (r"PUT.*m\.call$", "call_membership"),
        ("/openid/request_token", "call_tokens"),
        (r"GET .*/state/", "call_leave"),
    ],
)
def test_a_step_that_fails_ends_the_call_tidily(
    homeserver: FakeHomeserver, refused: str, failed: str
) -> None:
    homeserver.refused = refused
    checks = place(homeserver)
    assert checks[failed].status == FAIL
    ids = list(checks)
    for check_id in ids[ids.index(failed) + 1 :]:
        if check_id not in ("call_cleanup", "call_ipv6" if failed == "call_leave" else ""):
            assert checks[check_id].status == SKIP
            assert failed in checks[check_id].seen


def test_what_cannot_be_taken_back_is_named(homeserver: FakeHomeserver) -> None:
    homeserver.refused = "/leave$"
    check = place(homeserver)["call_cleanup"]
    homeserver.members.clear()
    assert check.status == WARN
    assert "!room of @alice:example.org" in check.seen


def test_an_unforeseen_error_still_tidies_up(
    homeserver: FakeHomeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnforeseenError(Exception):
        pass

    async def run(_self: FakeParticipant, _seconds: float, _timeout: float) -> Any:
        raise UnforeseenError

    monkeypatch.setattr(FakeParticipant, "run", run)
    with pytest.raises(UnforeseenError):
        place(homeserver)


def test_the_delay_is_element_calls_unless_the_homeserver_allows_less(homeserver: FakeHomeserver) -> None:
    homeserver.longest_delay = 60_000
    assert place(homeserver)["call_membership"].seen == "leaves scheduled 60 s ahead"
    assert not [path for _method, path in homeserver.log if path.startswith(DELAYED) and "restart" in path]
