"""What a token grants, to whom, in which room, and how that room comes to be."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

import jwt
import pytest

from lab.token_service import tokens
from tests.unit.token_service.conftest import ServerMaker, Starter
from tests.unit.token_service.fakes import (
    KEY,
    SECRET,
    Answer,
    FakeServer,
    Homeserver,
    Network,
    RunningService,
)

OPENID = {"access_token": "alice-token", "matrix_server_name": "site.test"}
MEMBER = {"id": "m1", "claimed_user_id": "@alice:site.test", "claimed_device_id": "DEV"}
LEGACY: dict[str, Any] = {"room": "!r:site.test", "device_id": "DEV", "openid_token": OPENID}
SLOT: dict[str, Any] = {
    "room_id": "!r:site.test",
    "slot_id": "m.call#ROOM",
    "openid_token": OPENID,
    "member": MEMBER,
}
CREATE = "/livekit/sfu/twirp/livekit.RoomService/CreateRoom"


def claims_of(service: RunningService, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = service.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    claims: dict[str, Any] = jwt.decode(answer.json()["jwt"], SECRET, algorithms=["HS256"], issuer=KEY)
    return claims


def test_published_vector() -> None:
    """The one MSC4195 gives."""
    assert (
        tokens.room_name("!roomid:example.com", "slot1234") == "O8437W3+jmzMVjoIP3tNwbm+XxHQk2iKpOA7aqw3qSc"
    )


def test_an_identity_is_of_user_device_and_member_in_this_order() -> None:
    hashed = hashlib.sha256(b'["@alice:site.test","DEV","m1"]').digest()
    expected = base64.b64encode(hashed).decode().rstrip("=")
    assert tokens.identity("@alice:site.test", "DEV", "m1") == expected


def test_hashes_are_of_gos_json() -> None:
    assert tokens.go_json(["<a>&\u2028\u2029", 'é"\\\n\x7f']) == (
        b'["\\u003ca\\u003e\\u0026\\u2028\\u2029","\xc3\xa9\\"\\\\\\n\x7f"]'
    )


def test_full_access_token(service: RunningService, homeserver: Homeserver, environ: dict[str, str]) -> None:
    answer = service.http.post("/get_token", json=SLOT).json()
    assert answer["url"] == environ["LIVEKIT_URL"]
    claims = jwt.decode(answer["jwt"], SECRET, algorithms=["HS256"])
    assert claims["video"] == {
        "room": tokens.room_name("!r:site.test", "m.call#ROOM"),
        "roomJoin": True,
        "canPublish": True,
        "canSubscribe": True,
    }
    assert claims["sub"] == tokens.identity("@alice:site.test", "DEV", "m1")
    assert claims["iss"] == KEY
    assert claims["exp"] - claims["nbf"] == 3600
    assert abs(claims["nbf"] - time.time()) < 10


def test_both_endpoints_name_one_room(service: RunningService, homeserver: Homeserver) -> None:
    legacy, new = claims_of(service, "/sfu/get", LEGACY), claims_of(service, "/get_token", SLOT)
    assert legacy["video"] == new["video"]
    assert legacy["sub"] == "@alice:site.test:DEV"


def test_the_legacy_device_may_be_missing(service: RunningService, homeserver: Homeserver) -> None:
    body = {"room": "!r:site.test", "openid_token": OPENID}
    assert claims_of(service, "/sfu/get", body)["sub"] == "@alice:site.test:"


@pytest.mark.parametrize(("path", "body"), [("/sfu/get", LEGACY), ("/get_token", SLOT)])
def test_restricted_users_only_subscribe_and_make_no_room(
    start: Starter, homeserver: Homeserver, sfu: FakeServer, path: str, body: dict[str, Any]
) -> None:
    service = start({"LIVEKIT_FULL_ACCESS_HOMESERVERS": "other.test"})
    video = claims_of(service, path, body)["video"]
    assert (video["canPublish"], video["canSubscribe"], video["roomJoin"]) == (False, True, True)
    assert "roomCreate" not in video
    assert sfu.seen == []


def test_restricted_users_may_not_delegate(start: Starter, homeserver: Homeserver) -> None:
    service = start({"LIVEKIT_FULL_ACCESS_HOMESERVERS": "other.test"})
    delay = {"delay_id": "d1", "delay_timeout": 1000}
    answers = [
        service.http.post(path, json={**body, **delay})
        for path, body in (("/sfu/get", LEGACY), ("/get_token", SLOT), ("/delegate_delayed_leave", SLOT))
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 403]
    assert [answer.json()["errcode"] for answer in answers] == ["M_BAD_JSON", "M_BAD_JSON", "M_FORBIDDEN"]
    assert homeserver.apex.asked("/.well-known/matrix/client") == []


def test_the_metadata_grant(start: Starter, homeserver: Homeserver) -> None:
    assert claims_of(start({"LIVEKIT_CAN_UPDATE_OWN_METADATA": "true"}), "/get_token", SLOT)["video"][
        "canUpdateOwnMetadata"
    ]


def test_the_room_is_made_over_livekit_url(
    service: RunningService, homeserver: Homeserver, sfu: FakeServer
) -> None:
    room = claims_of(service, "/sfu/get", LEGACY)["video"]["room"]
    (seen,) = sfu.seen
    assert (seen.method, seen.path) == ("POST", CREATE)
    assert seen.json == {"name": room, "empty_timeout": 300, "departure_timeout": 20, "max_participants": 0}
    token = seen.headers["Authorization"].removeprefix("Bearer ")
    assert jwt.decode(token, SECRET, algorithms=["HS256"], issuer=KEY)["video"] == {"roomCreate": True}


def test_a_secure_url_and_its_trailing_slash(
    start: Starter, homeserver: Homeserver, network: Network, https_server: ServerMaker
) -> None:
    """wss becomes https with the same trust; the slash is kept and doubled, which LiveKit accepts."""
    sfu = https_server("sfu.test")
    network.routes["sfu.test", 443] = sfu.port
    sfu.on("//twirp/livekit.RoomService/CreateRoom")
    answer = start({"LIVEKIT_URL": "wss://sfu.test/"}).http.post("/get_token", json=SLOT)
    assert (answer.status_code, answer.json()["url"]) == (200, "wss://sfu.test/")
    assert len(sfu.seen) == 1


@pytest.mark.parametrize(
    "answer", [Answer(401, {"code": "unauthenticated"}), Answer(502, "<html>"), Answer(404)]
)
def test_a_failed_room_is_500_and_leaves_no_job(
    service: RunningService,
    homeserver: Homeserver,
    sfu: FakeServer,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    homeserver.delayed_event("d1")
    sfu.answers[CREATE] = answer
    failed = service.http.post("/sfu/get", json={**LEGACY, "delay_id": "d1", "delay_timeout": 100})
    assert (failed.status_code, failed.json()["errcode"]) == (500, "M_UNKNOWN")
    assert f"CreateLiveKitRoom: {answer.status}" in caplog.text
    time.sleep(0.2)
    assert len(sfu.seen) == 1  # not tried again
    assert homeserver.api.asked("/send") == []


def test_an_unreachable_sfu_is_500(start: Starter, homeserver: Homeserver) -> None:
    answer = start({"LIVEKIT_URL": "ws://nowhere.test"}).http.post("/get_token", json=SLOT)
    assert (answer.status_code, answer.json()["errcode"]) == (500, "M_UNKNOWN")


def test_the_user_is_checked_before_the_room(
    service: RunningService, homeserver: Homeserver, sfu: FakeServer
) -> None:
    openid = {**OPENID, "access_token": "wrong"}
    assert service.http.post("/get_token", json={**SLOT, "openid_token": openid}).status_code == 401
    assert sfu.seen == []
