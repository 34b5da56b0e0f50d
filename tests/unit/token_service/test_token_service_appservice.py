"""Behind the homeserver: what it forwards, and what it is asked back (element-call.md 1.8, MSC4195)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from lab.token_service import tokens
from lab.token_service.appservice import CLIENT, FED_PROXY, FEDERATION, IS_JOINED, PING
from lab.token_service.config import ConfigError, parse
from tests.unit.token_service.conftest import Starter
from tests.unit.token_service.fakes import (
    SECRET,
    Answer,
    FakeServer,
    Homeserver,
    RunningService,
    Seen,
    wait_for,
)
from tests.unit.token_service.test_token_service_configuration import GOOD
from tests.unit.token_service.test_token_service_delegation import webhook
from tests.unit.token_service.test_token_service_http import CORS, cors_of

ROOM, USER = "!r:site.test", "@alice:site.test"
AS_TOKEN, HS_TOKEN = "as-token-of-the-tests", "hs-token-of-the-tests"
TOKENS = {
    "LIVEKIT_AS_TOKEN": AS_TOKEN,
    "LIVEKIT_HS_TOKEN": HS_TOKEN,
    "LIVEKIT_HS_SERVER_NAME": "site.test",
}
GET_TOKEN, DELEGATE = f"{CLIENT}/get_token", f"{CLIENT}/delegate_delayed_leave"
JOINED = IS_JOINED.format("%21r%3Asite.test")
DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/d1"


def bearer(seen: Seen) -> str:
    """The credentials of a request."""
    return next(value for name, value in seen.headers.items() if name.lower() == "authorization")


class Behind:
    """The service behind `site.test`, where alice and site.test are in the room unless `joined` says else."""

    def __init__(self, service: RunningService, homeserver: Homeserver, sfu: FakeServer) -> None:
        self.service, self.api, self.sfu = service, homeserver.api, sfu
        self.url = f"ws://127.0.0.1:{sfu.port}/livekit/sfu"
        self.joined: dict[str, bool] = {
            USER: True,
            "site.test": True,
            "other.test": True,
            "@bob:other.test": True,
        }
        self.api.answers[JOINED] = self._is_joined

    def _is_joined(self, seen: Seen) -> Answer:
        return Answer(document={"joined": self.joined[next(iter(seen.query.values()))]})

    def body(self, **more: Any) -> dict[str, Any]:
        return {"url": self.url, "room_id": ROOM, "slot_id": "m.call#ROOM", "member_id": "m1", **more}

    def post(
        self, path: str, body: Any, caller: str = USER, token: str | None = HS_TOKEN
    ) -> tuple[int, dict[str, Any]]:
        """Ask as the homeserver does; status and document."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if caller:
            headers["X-Matrix-Origin" if path == FEDERATION else "X-Matrix-User-Identifier"] = caller
        answer = self.service.http.post(path, content=json.dumps(body), headers=headers)
        assert cors_of(answer.headers) == ({} if path == FEDERATION else CORS)
        return answer.status_code, answer.json()

    def grants(self, answer: dict[str, Any]) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(answer["jwt"], SECRET, algorithms=["HS256"])
        return {"sub": claims["sub"], **claims["video"]}


@pytest.fixture
def behind(start: Starter, homeserver: Homeserver, sfu: FakeServer) -> Behind:
    return Behind(start(TOKENS), homeserver, sfu)


def test_without_it_the_paths_are_not_there(service: RunningService) -> None:
    for path in (PING, GET_TOKEN, DELEGATE, FEDERATION):
        answer = service.http.post(path, json={}, headers={"Authorization": f"Bearer {HS_TOKEN}"})
        assert answer.status_code == 404


def test_clients_still_reach_it_themselves(behind: Behind) -> None:
    openid = {"access_token": "alice-token", "matrix_server_name": "site.test"}
    answer = behind.service.http.post(
        "/sfu/get", json={"room": ROOM, "device_id": "D", "openid_token": openid}
    )
    assert (answer.status_code, set(answer.json())) == (200, {"url", "jwt"})


def test_ping(behind: Behind) -> None:
    for method in ("GET", "POST", "PUT"):
        answer = behind.service.http.request(method, PING, headers={"Authorization": f"Bearer {HS_TOKEN}"})
        assert (answer.status_code, answer.json(), cors_of(answer.headers)) == (200, {}, {})
    assert behind.service.http.post(PING).json()["errcode"] == "M_MISSING_TOKEN"
    wrong = behind.service.http.post(PING, headers={"Authorization": "Bearer other"})
    assert (wrong.status_code, wrong.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")


@pytest.mark.parametrize("path", [GET_TOKEN, DELEGATE, FEDERATION])
def test_order_of_the_checks(behind: Behind, path: str) -> None:
    http = behind.service.http
    assert http.get(path).status_code == 405
    assert http.options(path).status_code == 200
    assert behind.post(path, "no object", token=None)[1]["errcode"] == "M_MISSING_TOKEN"
    assert behind.post(path, "no object", token="other") == (
        401,
        {"errcode": "M_UNKNOWN_TOKEN", "error": "This is not our homeserver's token."},
    )
    good = behind.body(**{DELEGATE: {"delay_id": "d1"}, FEDERATION: {"user_id": USER}}.get(path, {}))
    assert behind.post(path, "no object", caller="")[1]["errcode"] == "M_NOT_JSON"
    assert behind.post(path, {**good, "member": {"id": "m1"}})[1]["errcode"] == "M_NOT_JSON"
    for name in good:
        assert behind.post(path, {**good, name: ""}, caller="")[1]["errcode"] == "M_BAD_JSON"
    status, answer = behind.post(path, good, caller="")
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")
    assert not behind.api.asked("is_joined")


def test_a_user_of_ours_publishes(behind: Behind) -> None:
    for more in ({}, {"server_name": "site.test"}):
        status, answer = behind.post(GET_TOKEN, behind.body(**more))
        assert (status, set(answer)) == (200, {"jwt"})
        assert behind.grants(answer) == {
            "sub": tokens.digest(USER, "m1"),  # no device in it
            "room": tokens.room_name(ROOM, "m.call#ROOM"),
            "roomJoin": True,
            "canPublish": True,
            "canSubscribe": True,
        }
    asked = behind.api.asked("is_joined")
    assert [(seen.path, seen.query) for seen in asked] == [(JOINED, {"mxid": USER})] * 2
    assert {bearer(seen) for seen in asked} == {f"Bearer {AS_TOKEN}"}
    assert len(behind.sfu.asked("CreateRoom")) == 2


def test_whom_the_access_list_leaves_out_publishes_all_the_same(
    start: Starter, homeserver: Homeserver, sfu: FakeServer
) -> None:
    behind = Behind(start({**TOKENS, "LIVEKIT_FULL_ACCESS_HOMESERVERS": "other.test"}), homeserver, sfu)
    assert behind.grants(behind.post(GET_TOKEN, behind.body())[1])["canPublish"] is True


def test_who_is_not_in_the_room_gets_nothing(behind: Behind) -> None:
    behind.joined[USER] = False
    status, answer = behind.post(GET_TOKEN, behind.body())
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert not behind.sfu.seen


def test_the_url_is_compared_by_character(behind: Behind) -> None:
    for url in (f"{behind.url}/", behind.url.upper(), "wss://elsewhere.test"):
        for path, more in (
            (GET_TOKEN, {}),
            (DELEGATE, {"delay_id": "d1"}),
            (FEDERATION, {"user_id": "@bob:other.test"}),
        ):
            caller = "other.test" if path == FEDERATION else USER
            status, answer = behind.post(path, behind.body(**more, url=url), caller)
            assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM"), (path, url)
    assert not behind.sfu.seen


def test_a_homeserver_that_does_not_say_is_502(behind: Behind) -> None:
    for answer in (
        Answer(401, {"errcode": "M_UNKNOWN_TOKEN"}),
        Answer(403, {"errcode": "M_FORBIDDEN"}),
        Answer(404, {"errcode": "M_UNRECOGNIZED"}),
        Answer(200, {"joined": "yes"}),
        Answer(200, "<html>"),
    ):
        behind.api.answers[JOINED] = answer
        status, said = behind.post(GET_TOKEN, behind.body())
        assert (status, said["errcode"]) == (502, "M_UNKNOWN")
    assert not behind.sfu.seen


def test_a_client_api_that_cannot_be_found_is_400(
    start: Starter, homeserver: Homeserver, sfu: FakeServer
) -> None:
    behind = Behind(start(TOKENS), homeserver, sfu)
    homeserver.apex.on("/.well-known/matrix/client", status=404)
    status, answer = behind.post(GET_TOKEN, behind.body())
    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


def test_the_as_token_goes_to_our_homeserver_alone(behind: Behind, homeserver: Homeserver) -> None:
    """A header that names a user of another server must not send the token there."""
    behind.joined["@eve:evil.test"] = False
    assert behind.post(GET_TOKEN, behind.body(), "@eve:evil.test")[0] == 403
    assert [seen.query for seen in homeserver.api.asked("is_joined")] == [{"mxid": "@eve:evil.test"}]
    assert behind.post(GET_TOKEN, behind.body(), "no user")[1]["errcode"] == "M_INVALID_PARAM"


def test_users_of_other_servers_may_only_subscribe(behind: Behind) -> None:
    status, answer = behind.post(FEDERATION, behind.body(user_id="@bob:other.test"), "other.test")
    assert (status, set(answer)) == (200, {"jwt"})
    grants = behind.grants(answer)
    assert (grants["canPublish"], grants["canSubscribe"]) == (False, True)
    assert grants["sub"] == tokens.digest("@bob:other.test", "m1")
    asked = [seen.query for seen in behind.api.asked("is_joined")]
    assert asked == [{"server_name": "site.test"}, {"mxid": "@bob:other.test"}]
    assert len(behind.sfu.asked("CreateRoom")) == 1


@pytest.mark.parametrize("who", ["site.test", "@bob:other.test"])
def test_other_servers_get_nothing_for_rooms_without_them_or_us(behind: Behind, who: str) -> None:
    behind.joined[who] = False
    status, answer = behind.post(FEDERATION, behind.body(user_id="@bob:other.test"), "other.test")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert not behind.sfu.seen


def test_a_server_speaks_for_its_own_users_only(behind: Behind) -> None:
    assert behind.post(FEDERATION, behind.body(user_id="@bob:third.test"), "other.test")[0] == 403
    assert behind.post(FEDERATION, behind.body(user_id="bob"), "other.test")[0] == 400
    assert not behind.api.asked("is_joined")


def test_tokens_for_the_sfu_of_another_server_come_over_federation(behind: Behind) -> None:
    behind.api.on(FED_PROXY, {"status": 200, "content": {"jwt": "theirs"}})
    body = behind.body(url="wss://rtc.other.test/sfu", server_name="other.test")
    assert behind.post(GET_TOKEN, body) == (200, {"jwt": "theirs"})
    (asked,) = behind.api.asked("fed_proxy")
    del body["server_name"]
    wanted = {
        "destination": "other.test",
        "method": "POST",
        "path": FEDERATION,
        "body": {**body, "user_id": USER},
    }
    assert (asked.json, bearer(asked)) == (wanted, f"Bearer {AS_TOKEN}")
    assert not behind.sfu.seen


FOREIGN = [
    ({"status": 403, "content": {"errcode": "M_FORBIDDEN"}}, 403, "M_FORBIDDEN"),
    ({"status": 400, "content": {"errcode": "M_INVALID_PARAM"}}, 400, "M_INVALID_PARAM"),
    ({"status": 400, "content": {"errcode": "M_BAD_JSON"}}, 502, "M_UNKNOWN"),
    ({"status": 404, "content": {"errcode": "M_UNRECOGNIZED"}}, 502, "M_UNKNOWN"),
    ({"status": 200, "content": {}}, 502, "M_UNKNOWN"),
    ({"status": 500, "content": None}, 502, "M_UNKNOWN"),
]


@pytest.mark.parametrize(("said", "status", "code"), FOREIGN)
def test_refusals_of_another_server(behind: Behind, said: dict[str, Any], status: int, code: str) -> None:
    behind.api.on(FED_PROXY, said)
    found, answer = behind.post(GET_TOKEN, behind.body(server_name="other.test", url="wss://rtc.other.test"))
    assert (found, answer["errcode"]) == (status, code)


def test_another_server_that_cannot_be_reached_or_is_not_in_the_room(behind: Behind) -> None:
    body = behind.body(server_name="other.test", url="wss://rtc.other.test")
    behind.api.on(FED_PROXY, {"errcode": "M_UNKNOWN"}, status=502)
    assert behind.post(GET_TOKEN, body)[0] == 502
    behind.joined["other.test"] = False
    assert behind.post(GET_TOKEN, body)[0] == 403


def test_a_delegated_leave_is_sent_in_the_users_name(behind: Behind, homeserver: Homeserver) -> None:
    homeserver.delayed_event("d1")
    behind.api.on(DELAYED, {"delay_ms": 60_000, "room_id": ROOM})
    assert behind.post(DELEGATE, behind.body(delay_id="d1")) == (200, {})
    (asked,) = behind.api.asked("/d1")
    assert (asked.query, bearer(asked)) == ({"user_id": USER}, f"Bearer {AS_TOKEN}")
    identity = tokens.digest(USER, "m1")
    for event, action in (("participant_joined", "restart"), ("participant_left", "send")):
        webhook(behind.service, event, identity)
        wait_for(lambda action=action: behind.api.asked(f"/d1/{action}"))
        (done,) = behind.api.asked(f"/d1/{action}")
        assert (done.query, bearer(done)) == ({"user_id": USER}, f"Bearer {AS_TOKEN}")


DELAYS = [
    (Answer(404, {"errcode": "M_NOT_FOUND"}), 400, "M_INVALID_PARAM"),
    (Answer(200, {"delay_ms": 60_000, "room_id": "!other:site.test"}), 400, "M_INVALID_PARAM"),
    (Answer(200, {"room_id": ROOM}), 503, "M_UNKNOWN"),
    (Answer(500, {}), 503, "M_UNKNOWN"),
]


@pytest.mark.parametrize(("found", "status", "code"), DELAYS)
def test_delays_that_cannot_be_taken(behind: Behind, found: Answer, status: int, code: str) -> None:
    behind.api.answers[DELAYED] = found
    said, answer = behind.post(DELEGATE, behind.body(delay_id="d1"))
    assert (said, answer["errcode"]) == (status, code)


def test_no_token_in_the_log(behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
    for logger in (None, "token_service"):
        caplog.set_level("DEBUG", logger=logger)
    behind.post(GET_TOKEN, behind.body())
    behind.post(GET_TOKEN, behind.body(), token="a-wrong-one")
    behind.api.on(JOINED, {"errcode": "M_UNKNOWN_TOKEN"}, status=401)
    behind.post(GET_TOKEN, behind.body())
    assert "is_joined: HTTP 401 M_UNKNOWN_TOKEN" in caplog.text
    assert "another hs_token" in caplog.text
    for secret in (AS_TOKEN, HS_TOKEN, "a-wrong-one"):
        assert secret not in caplog.text


# The configuration -----------------------------------------------------------------------------------

REGISTRATION = f"""id: matrixrtc
as_token: "{AS_TOKEN}"
hs_token: {HS_TOKEN}
url: null
"""


@pytest.fixture
def registration(tmp_path: Path) -> Path:
    path = tmp_path / "registration.yaml"
    path.write_text(REGISTRATION)
    return path


def configured(ca_folder: Path, **variables: str) -> Any:
    return parse({**GOOD, "SSL_CERT_FILE": str(ca_folder / "ca.crt"), **variables})


def test_the_registration_wins_over_the_tokens(ca_folder: Path, registration: Path) -> None:
    variables = {**TOKENS, "LIVEKIT_AS_TOKEN": "x", "LIVEKIT_AS_REGISTRATION_FILE": str(registration)}
    config = configured(ca_folder, **variables)
    assert (config.as_token, config.hs_token, config.hs_server_name) == (AS_TOKEN, HS_TOKEN, "site.test")
    assert AS_TOKEN not in repr(config)
    assert HS_TOKEN not in repr(config)
    assert config.is_application_service


@pytest.mark.parametrize(
    "content",
    [
        "",
        "as_token: a\n",
        "as_token: a\nhs_token: ''\n",
        "as_token: a\n  hs_token: h\n",
        "as_token: a\nas_token: b\nhs_token: c\n",
    ],
)
def test_a_registration_without_both_tokens_is_refused(ca_folder: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "registration.yaml").write_text(content)
    with pytest.raises(ConfigError) as refused:
        configured(
            ca_folder,
            LIVEKIT_AS_REGISTRATION_FILE=str(tmp_path / "registration.yaml"),
            LIVEKIT_HS_SERVER_NAME="site.test",
        )
    assert all("LIVEKIT_AS_REGISTRATION_FILE" in problem for problem in refused.value.problems)


def test_a_registration_that_cannot_be_read_is_refused(ca_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        configured(
            ca_folder,
            LIVEKIT_AS_REGISTRATION_FILE=str(tmp_path / "missing.yaml"),
            LIVEKIT_HS_SERVER_NAME="site.test",
        )


def test_a_registration_without_the_homeservers_name_is_half(ca_folder: Path, registration: Path) -> None:
    with pytest.raises(ConfigError, match="half an application-service configuration"):
        configured(ca_folder, LIVEKIT_AS_REGISTRATION_FILE=str(registration))
