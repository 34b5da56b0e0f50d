"""Who may end what, the way of an administrator, and what becomes of it, on a homeserver that is a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import MEMBER_TYPE, joined
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_stuck_calls import seconds
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_values import InvalidValueError
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import MatrixError
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_ending import Visit
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_homeserver import (
    Homeserver,
    PatientClient,
    Room,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_memberships import (
    StateEvent,
    from_event,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_power import (
    REDACT,
    WRITE,
    Powers,
    powers_of,
    way_for,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_sfu import Sfu, SfuError, signed_token
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_table import diff, merged, table
from endpoint_support import HOMESERVER, FakeHttp, answer, refusal

ALICE, BOB, EVE = "@alice:example.org", "@bob:example.org", "@eve:elsewhere.org"
ROOM = "!r:example.org"
ADMIN = f"{HOMESERVER}/_synapse/admin"
CLIENT = f"{HOMESERVER}/_matrix/client/v3"


def event(key: str, sender: str) -> StateEvent:
    content = joined(sender, "D", {"type": "livekit", "livekit_service_url": "https://x/jwt"})
    raw = {"type": MEMBER_TYPE, "state_key": key, "sender": sender, "event_id": "$e", "content": content}
    found = from_event(ROOM, raw)
    assert found is not None
    return found


def levels(member: int = 0, **more: Any) -> dict[str, Any]:
    return {"events": {MEMBER_TYPE: member}, "users": {ALICE: 100}, **more}


@pytest.mark.parametrize(
    ("key", "sender", "user", "powers", "action"),
    [
        ("_@bob:example.org_D_m.call", BOB, ALICE, Powers("11", levels=levels()), WRITE),
        ("_@eve:elsewhere.org_D_m.call", EVE, BOB, Powers("11", levels=levels()), WRITE),
        ("_@bob:example.org_D_m.call", BOB, EVE, Powers("11", levels=levels(50)), ""),
        ("_@bob:example.org_D_m.call", BOB, EVE, Powers("11", levels={}), ""),
        ("_@bob:example.org_D_m.call", BOB, BOB, Powers("11", levels=levels(50)), REDACT),
        (BOB, BOB, BOB, Powers("11", levels=levels()), WRITE),
        (BOB, BOB, ALICE, Powers("11", levels=levels()), REDACT),
        (BOB, BOB, EVE, Powers("11", levels=levels()), ""),
        (BOB, BOB, EVE, Powers("11", levels=levels(redact=0)), REDACT),
        (BOB, BOB, ALICE, Powers("11", levels=levels(redact=101)), ""),
        ("@bob:example.org_D_m.call", BOB, BOB, Powers("org.matrix.msc3757.11", levels=levels()), WRITE),
        ("@bob:example.org_D_m.call", BOB, ALICE, Powers("org.matrix.msc3757.11", levels=levels()), REDACT),
        ("@bob:example.org_D_m.call", BOB, BOB, Powers("11", levels=levels()), REDACT),
        ("_@bob:example.org_D", BOB, EVE, Powers("12", frozenset({EVE}), levels(100)), WRITE),
        ("_@bob:example.org_D", BOB, EVE, Powers("11", frozenset({EVE}), levels(100)), ""),
        ("_@bob:example.org_D", BOB, EVE, Powers("11", frozenset({EVE}), None), WRITE),
    ],
)
def test_the_way_with_the_least_power(key: str, sender: str, user: str, powers: Powers, action: str) -> None:
    way = way_for(event(key, sender), user, powers)
    assert way.action == action
    assert bool(way.refusal) == (not action)


def test_powers_of_a_room() -> None:
    create: dict[str, Any] = {"type": "m.room.create", "state_key": "", "sender": ALICE}
    create["content"] = {"room_version": "12", "additional_creators": [BOB]}
    found = powers_of(
        [create, {"type": "m.room.power_levels", "state_key": "", "content": {"users": {EVE: "7"}}}]
    )
    assert found.of(ALICE) == found.of(BOB) == math.inf
    assert found.of(EVE) == 7, "old rooms have levels as text"
    assert found.for_state(MEMBER_TYPE) == 50
    without = powers_of([{**create, "content": {}}])
    assert (without.of(ALICE), without.of(BOB), without.for_state(MEMBER_TYPE)) == (100, 0, 0)


def test_every_wait_is_kept_and_all_of_it_is_bounded() -> None:
    limited = refusal(429, "M_LIMIT_EXCEEDED", (("Retry-After", "2"),))
    answers = iter([limited, answer(429, {"retry_after_ms": 1500}), answer(200, {"ok": 1}), limited])
    http = FakeHttp(answers={("GET+", f"{HOMESERVER}/x"): lambda _body: next(answers)})
    slept: list[float] = []
    client = PatientClient(HOMESERVER, "t", http, patience=4, sleep=slept.append)
    assert client.call("x", "GET", "/x") == {"ok": 1}
    assert slept == pytest.approx([2.05, 1.55])
    with pytest.raises(MatrixError):
        client.call("x", "GET", "/x")
    assert client.exhausted
    assert len(slept) == 2


def test_an_answer_that_is_cut_off_is_an_error() -> None:
    http = FakeHttp(answers={("GET+", f"{HOMESERVER}/x"): answer(200, '[{"type": "m.ro')})
    with pytest.raises(MatrixError, match="not JSON, or too long"):
        PatientClient(HOMESERVER, "t", http).call("x", "GET", "/x")


def server(answers: Mapping[tuple[str, str], object], admin: bool = True) -> tuple[Homeserver, FakeHttp]:
    http = FakeHttp(answers={(f"{method}+", url): reply for (method, url), reply in answers.items()})
    return Homeserver(PatientClient(HOMESERVER, "t", http), admin), http


def test_all_rooms_page_by_page_each_once_and_only_with_people_of_ours() -> None:
    def room(name: str, ours: int = 1) -> dict[str, object]:
        return {"room_id": name, "joined_local_members": ours}

    pages = {
        ("GET", f"{ADMIN}/v1/rooms?from=0&limit=100"): answer(
            200, {"rooms": [room("!a"), room("!b", 0)], "next_batch": 2}
        ),
        ("GET", f"{ADMIN}/v1/rooms?from=2&limit=100"): answer(200, {"rooms": [room("!a"), room("!c")]}),
    }
    found, _http = server(pages)
    assert list(found.rooms()) == ["!a", "!c"]
    assert found.without_us == 1


def test_a_user_who_is_gone_has_no_devices_and_those_of_other_servers_cannot_be_seen() -> None:
    found, _http = server(
        {("GET", f"{ADMIN}/v2/users/%40bob%3Aexample.org/devices"): refusal(404, "M_NOT_FOUND")}
    )
    assert found.devices(BOB, ALICE) == frozenset()
    assert found.devices(EVE, ALICE) is None
    assert server({}, admin=False)[0].devices(BOB, ALICE) is None


def visit(answers: Mapping[tuple[str, str], Response]) -> tuple[Visit, FakeHttp]:
    room = "%21r%3Aexample.org"
    usual = {
        ("POST", f"{ADMIN}/v1/rooms/{room}/make_room_admin"): answer(200, {}),
        ("POST", f"{CLIENT}/join/{room}"): answer(200, {}),
        ("POST", f"{CLIENT}/rooms/{room}/leave"): answer(200, {}),
        ("POST", f"{CLIENT}/rooms/{room}/forget"): answer(200, {}),
        ("PUT", f"{CLIENT}/rooms/{room}/state/m.room.power_levels/"): answer(200, {}),
        ("GET", f"{ADMIN}/v1/rooms/{room}/members"): answer(200, {"members": [ALICE, BOB]}),
        ("GET", f"{ADMIN}/v1/rooms/{room}/state?type=m.room.create"): answer(200, {"state": []}),
        ("GET", f"{ADMIN}/v1/rooms/{room}/state?type={MEMBER_TYPE}"): answer(200, {"state": []}),
        ("GET", f"{ADMIN}/v1/rooms/{room}/state?type=m.room.power_levels"): answer(
            200, {"state": [{"type": "m.room.power_levels", "state_key": "", "content": levels(users={})}]}
        ),
    }
    found, http = server({**usual, **answers})
    return Visit(found, ALICE, Room(ROOM, (), frozenset({BOB}), Powers("11", levels=levels()))), http


def test_an_administrator_leaves_the_room_as_it_was() -> None:
    made, http = visit({})
    with made as inside:
        assert ALICE in inside.joined
    asked = [url.rpartition("/rooms/")[2] for method, url in http.asked if method == "PUT+"]
    assert asked == ["%21r%3Aexample.org/state/m.room.power_levels/"]
    assert http.asked[-1][1].endswith("/forget")
    assert made.leftovers == []


def test_what_was_begun_is_put_back_when_joining_fails() -> None:
    made, http = visit({("POST", f"{CLIENT}/join/%21r%3Aexample.org"): refusal(403, "M_FORBIDDEN")})
    with pytest.raises(MatrixError), made:
        pytest.fail("did not come in")
    assert any(method == "PUT+" for method, _url in http.asked)
    assert made.leftovers == []


def test_what_could_not_be_put_back_is_said() -> None:
    url = f"{CLIENT}/rooms/%21r%3Aexample.org/state/m.room.power_levels/"
    made, _http = visit({("PUT", url): refusal(403, "M_FORBIDDEN")})
    with made:
        pass
    assert len(made.leftovers) == 1
    assert made.leftovers[0].startswith(f"{ROOM} is not as it was")


def test_the_sfu_is_asked_for_every_room_and_its_silence_is_an_error() -> None:
    service = "http://127.0.0.1:7880/twirp/livekit.RoomService"
    people = [{"identity": "a", "state": "ACTIVE"}, {"identity": "b", "state": "DISCONNECTED"}]
    http = FakeHttp(
        answers={
            ("POST+", f"{service}/ListRooms"): answer(200, {"rooms": [{"name": "x"}]}),
            ("POST+", f"{service}/ListParticipants"): answer(200, {"participants": people}),
        }
    )
    assert Sfu("http://127.0.0.1:7880/", "k", "s", http).connected() == {"x": frozenset({"a"})}
    http.answers[("POST+", f"{service}/ListRooms")] = answer(503, {})
    with pytest.raises(SfuError, match="does not answer ListRooms: HTTP 503"):
        Sfu("http://127.0.0.1:7880", "k", "s", http).connected()


def test_tokens_for_the_sfu_are_what_libraries_accept() -> None:
    jwt = pytest.importorskip("jwt")
    secret = "s" * 32
    claims = jwt.decode(signed_token("k", secret, {"roomList": True}), secret, algorithms=["HS256"])
    assert (claims["iss"], claims["video"]) == ("k", {"roomList": True})


def test_rounds_become_one_table() -> None:
    def one(room: str, outcome: str) -> dict[str, object]:
        return {
            "room_id": room,
            "user_id": BOB,
            "devices": ["D"],
            "state_key": f"_{BOB}_D_m.call",
            "state": "suspected",
            "reason": "r",
            "age": 3600,
            "outcome": outcome,
            "said": "by writing it empty",
        }

    first = {
        "memberships": [one("!a", "would_end"), one("!b", "kept")],
        "rooms": 2,
        "waited": 1.0,
        "problems": [],
    }
    both = merged(
        first, {"memberships": [one("!a", "ended")], "changed": True, "waited": 2.5, "problems": ["p"]}
    )
    assert (both["changed"], both["waited"], both["rooms"]) == (True, 3.5, 2)
    assert table(both) == [
        "!b",
        "  suspected          1 h  @bob:example.org (D): r",
        "!a",
        "  suspected          1 h  @bob:example.org (D): r",
        "                          ended: by writing it empty",
        "2 memberships in 2 rooms: 2 suspected",
        "PROBLEM: p",
    ]
    found = both["memberships"]
    assert isinstance(found, list)
    assert diff(found)["before"] == "!a _@bob:example.org_D_m.call\n"


@pytest.mark.parametrize(
    ("text", "value"), [("12h", 43200), ("30min", 1800), (90, 90), ("0s", 0), ("1.5 h", 5400)]
)
def test_time_spans(text: object, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["soon", "-1h", True, "", "1 week", "inf"])
def test_what_is_no_time_span(text: object) -> None:
    with pytest.raises(InvalidValueError):
        seconds(text)
