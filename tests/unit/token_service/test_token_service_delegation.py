"""Delegated delayed leave and the webhook that drives it (token-service.md, "Delayed-leave rules")."""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import time
from typing import Any

import httpx
import jwt
import pytest

from lab.token_service import delegation, tokens
from tests.unit.token_service.conftest import Starter
from tests.unit.token_service.fakes import (
    KEY,
    SECRET,
    Answer,
    FakeServer,
    Homeserver,
    Network,
    RunningService,
    Seen,
    wait_for,
)

ROOM = tokens.room_name("!r:site.test", "m.call#ROOM")
LEGACY_IDENTITY = "@alice:site.test:DEV"
IDENTITY = tokens.identity("@alice:site.test", "DEV", "m1")
OPENID = {"access_token": "alice-token", "matrix_server_name": "site.test"}
MEMBER = {"id": "m1", "claimed_user_id": "@alice:site.test", "claimed_device_id": "DEV"}
BODIES: dict[str, dict[str, Any]] = {
    "/sfu/get": {"room": "!r:site.test", "device_id": "DEV", "openid_token": OPENID},
    "/get_token": {
        "room_id": "!r:site.test",
        "slot_id": "m.call#ROOM",
        "openid_token": OPENID,
        "member": MEMBER,
    },
}
BODIES["/delegate_delayed_leave"] = BODIES["/get_token"]
PRESENT = "/livekit/sfu/twirp/livekit.RoomService/GetParticipant"


def delegate(service: RunningService, delay_ms: int, path: str = "/sfu/get", delay_id: str = "d1") -> None:
    answer = service.http.post(path, json={**BODIES[path], "delay_id": delay_id, "delay_timeout": delay_ms})
    assert answer.status_code == 200, answer.text


def signed(body: bytes, secret: str = SECRET, **changes: Any) -> str:
    """The Authorization header LiveKit would send with this body, with other claims or another secret."""
    now = int(time.time())
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return jwt.encode(
        {"iss": KEY, "nbf": now, "exp": now + 300, "sha256": digest, **changes}, secret, "HS256"
    )


def webhook(service: RunningService, event: str, identity: str = LEGACY_IDENTITY, **participant: str) -> None:
    document = {"event": event, "room": {"name": ROOM}, "participant": {"identity": identity, **participant}}
    body = json.dumps(document).encode()
    answer = service.http.post("/sfu_webhook", content=body, headers={"Authorization": signed(body)})
    assert (answer.status_code, answer.content) == (200, b"")


def actions(homeserver: Homeserver, delay_id: str = "d1") -> list[str]:
    """What was done with the delayed event, in order."""
    return [seen.path.rsplit("/", 1)[1] for seen in list(homeserver.api.seen) if f"/{delay_id}/" in seen.path]


@pytest.fixture(autouse=True)
def delayed_event(homeserver: Homeserver) -> None:
    homeserver.delayed_event("d1")


@pytest.mark.parametrize(
    ("path", "identity"),
    [("/sfu/get", LEGACY_IDENTITY), ("/get_token", IDENTITY), ("/delegate_delayed_leave", IDENTITY)],
)
def test_join_restarts_leave_sends(
    service: RunningService, homeserver: Homeserver, path: str, identity: str
) -> None:
    delegate(service, 60_000, path)
    time.sleep(0.05)
    assert actions(homeserver) == []
    webhook(service, "participant_joined", identity)
    wait_for(lambda: actions(homeserver) == ["restart"], 0.4)  # a lookup comes later
    webhook(service, "participant_left", identity, disconnectReason="CLIENT_INITIATED")
    wait_for(lambda: actions(homeserver) == ["restart", "send"], 1)
    webhook(service, "participant_left", identity)
    time.sleep(0.1)
    assert actions(homeserver) == ["restart", "send"]
    for seen in homeserver.api.asked("/restart") + homeserver.api.asked("/send"):
        assert (seen.method, seen.json) == ("POST", {})
        assert "Authorization" not in seen.headers


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("participant_left", "CLIENT_INITIATED"),
        ("participant_left", "DUPLICATE_IDENTITY"),
        ("participant_left", ""),
        ("participant_connection_aborted", ""),
    ],
)
def test_after_the_join_any_leave_counts(
    service: RunningService, homeserver: Homeserver, event: str, reason: str
) -> None:
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    webhook(service, event, disconnectReason=reason)
    wait_for(lambda: actions(homeserver)[-1:] == ["send"], 1)


def test_restarts_come_after_80_percent_of_the_delay(service: RunningService, homeserver: Homeserver) -> None:
    delegate(service, 500)
    webhook(service, "participant_joined")
    wait_for(lambda: len(actions(homeserver)) == 4)
    times = [seen.at for seen in homeserver.api.asked("/restart")]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert 0.39 < min(gaps) < 0.45, gaps
    webhook(service, "participant_left")
    wait_for(lambda: actions(homeserver)[-1] == "send")
    time.sleep(0.5)
    assert actions(homeserver)[-2:] == ["restart", "send"]  # and no restart after it


def test_a_lookup_finds_the_participant_without_a_webhook(
    service: RunningService, homeserver: Homeserver, sfu: FakeServer
) -> None:
    sfu.on(PRESENT, {"identity": LEGACY_IDENTITY, "state": "ACTIVE"})
    begin = time.monotonic()
    delegate(service, 60_000)
    wait_for(lambda: actions(homeserver) == ["restart"], 1.5)
    assert time.monotonic() - begin > 0.4
    (seen,) = sfu.asked("GetParticipant")
    assert seen.json == {"room": ROOM, "identity": LEGACY_IDENTITY}
    token = jwt.decode(seen.headers["Authorization"].removeprefix("Bearer "), SECRET, algorithms=["HS256"])
    assert token["video"] == {"room": ROOM, "roomAdmin": True}


def test_who_never_comes_is_sent_off_when_the_delay_is_over(
    service: RunningService, homeserver: Homeserver, sfu: FakeServer
) -> None:
    sfu.on(PRESENT, {"identity": LEGACY_IDENTITY, "state": "JOINING"})
    begin = time.monotonic()
    delegate(service, 1300)
    wait_for(lambda: actions(homeserver) == ["send"], 2)
    assert 1.25 < time.monotonic() - begin < 1.7
    assert 1 <= len(sfu.asked("GetParticipant")) <= 2


def test_the_wait_is_capped_at_an_hour() -> None:
    assert delegation.LONGEST_WAIT_SECONDS == 3600


def test_delegating_for_a_legacy_identity_sends_under_a_living_participant(
    service: RunningService, homeserver: Homeserver
) -> None:
    """/delegate_delayed_leave only meets identities of /get_token, as measured."""
    delegate(service, 300, "/delegate_delayed_leave")
    webhook(service, "participant_joined", LEGACY_IDENTITY)
    wait_for(lambda: actions(homeserver) == ["send"], 1)


def test_before_the_join_only_an_abort_ends_the_job(service: RunningService, homeserver: Homeserver) -> None:
    homeserver.delayed_event("d2")
    delegate(service, 300)
    webhook(service, "participant_connection_aborted")
    delegate(service, 300, "/get_token", "d2")
    webhook(service, "participant_left", IDENTITY, disconnectReason="CLIENT_INITIATED")
    wait_for(lambda: actions(homeserver, "d2") == ["send"], 1)
    assert actions(homeserver) == []


def test_a_second_request_replaces_the_job(service: RunningService, homeserver: Homeserver) -> None:
    homeserver.delayed_event("d2")
    delegate(service, 60_000)
    delegate(service, 60_000, delay_id="d2")
    webhook(service, "participant_joined")
    wait_for(lambda: actions(homeserver, "d2") == ["restart"])
    webhook(service, "participant_left")
    wait_for(lambda: actions(homeserver, "d2") == ["restart", "send"])
    assert actions(homeserver) == []


def test_404_on_a_restart_is_final(
    service: RunningService, homeserver: Homeserver, caplog: pytest.LogCaptureFixture
) -> None:
    homeserver.api.on(Homeserver.action("d1", "restart"), {"errcode": "M_NOT_FOUND"}, status=404)
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    wait_for(lambda: "given up" in caplog.text, 0.4)
    webhook(service, "participant_left")
    time.sleep(0.1)
    assert actions(homeserver) == ["restart"]


@pytest.mark.parametrize(
    ("headers", "document", "wait"),
    [
        ({"Retry-After": "1"}, {}, 1.0),
        ({}, {"retry_after_ms": 200}, 0.2),
        ({"Retry-After": "0"}, {"retry_after_ms": 300}, 0.3),
    ],
)
def test_429_is_tried_again_when_the_homeserver_says(
    service: RunningService,
    homeserver: Homeserver,
    headers: dict[str, str],
    document: dict[str, int],
    wait: float,
) -> None:
    def answer(seen: Seen) -> Answer:
        return Answer(429, document, headers) if len(homeserver.api.asked("/restart")) == 1 else Answer()

    homeserver.api.answers[Homeserver.action("d1", "restart")] = answer
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    wait_for(lambda: len(actions(homeserver)) == 2)
    first, second = (seen.at for seen in homeserver.api.asked("/restart"))
    assert wait - 0.01 < second - first < wait + 0.15


def test_other_errors_are_tried_again_after_about_a_second(
    service: RunningService, homeserver: Homeserver
) -> None:
    def answer(seen: Seen) -> Answer:
        return Answer(503, "<html>") if len(homeserver.api.asked("/restart")) == 1 else Answer()

    homeserver.api.answers[Homeserver.action("d1", "restart")] = answer
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    wait_for(lambda: len(actions(homeserver)) == 2)
    first, second = (seen.at for seen in homeserver.api.asked("/restart"))
    assert 0.45 < second - first < 1.7


def test_after_errors_for_the_whole_delay_a_leave_sends_nothing(
    service: RunningService, homeserver: Homeserver, caplog: pytest.LogCaptureFixture
) -> None:
    homeserver.api.on(Homeserver.action("d1", "restart"), status=500)
    delegate(service, 400)
    webhook(service, "participant_joined")
    wait_for(lambda: "given up" in caplog.text)
    webhook(service, "participant_left")
    time.sleep(0.1)
    assert actions(homeserver) == ["restart"]


def test_the_leave_is_tried_again(service: RunningService, homeserver: Homeserver) -> None:
    def answer(seen: Seen) -> Answer:
        tried = len(homeserver.api.asked("/send"))
        return Answer(429, {"retry_after_ms": 50}) if tried < 3 else Answer()

    homeserver.api.answers[Homeserver.action("d1", "send")] = answer
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    webhook(service, "participant_left")
    wait_for(lambda: actions(homeserver).count("send") == 3)
    time.sleep(0.15)
    assert actions(homeserver).count("send") == 3


@pytest.mark.parametrize(("interval", "sent"), [(0.2, True), (0, False)])
def test_the_sanity_check_heals_a_lost_webhook(
    start: Starter, homeserver: Homeserver, sfu: FakeServer, interval: float, sent: bool
) -> None:
    service = start(sanity_check_interval=interval)
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    time.sleep(0.4)
    assert (actions(homeserver)[-1] == "send") is sent
    assert bool(sfu.asked("GetParticipant")) is sent


def test_an_sfu_that_does_not_answer_is_no_absence(
    start: Starter, homeserver: Homeserver, sfu: FakeServer
) -> None:
    sfu.on(PRESENT, "<html>", status=502)
    service = start(sanity_check_interval=0.1)
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    wait_for(lambda: sfu.asked("GetParticipant"))
    time.sleep(0.1)
    assert actions(homeserver) == ["restart"]


def test_jobs_end_with_the_service(start: Starter, homeserver: Homeserver) -> None:
    service = start()
    delegate(service, 200)
    service.stop()
    time.sleep(0.3)
    assert actions(homeserver) == []


# --- where the client API is


def test_the_client_api_is_looked_up_once_in_four_hours(
    service: RunningService, homeserver: Homeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        delegate(service, 60_000)
    assert len(homeserver.apex.asked("/.well-known/matrix/client")) == 1
    now = time.monotonic()
    monkeypatch.setattr("lab.token_service.csapi.time.monotonic", lambda: now + 4 * 3600 + 1)
    delegate(service, 60_000)
    assert len(homeserver.apex.asked("/.well-known/matrix/client")) == 2


def test_an_override_is_used_instead(start: Starter, homeserver: Homeserver, network: Network) -> None:
    network.routes["internal.test", 8008] = homeserver.api.port
    service = start({"LIVEKIT_CS_API_URL_OVERRIDES": "site.test=https://matrix.site.test/"})
    homeserver.apex.on("/.well-known/matrix/client", status=404)
    delegate(service, 60_000)
    webhook(service, "participant_joined")
    wait_for(lambda: actions(homeserver) == ["restart"])
    assert homeserver.apex.asked("/.well-known/matrix/client") == []


NO_CLIENT_API: list[dict[str, Any]] = [
    {"status": 404},
    {"document": "<html>"},
    {"document": []},
    {"document": {"m.homeserver": {}}},
    {"document": {"m.homeserver": {"base_url": "matrix.site.test"}}},
    {"document": {"m.homeserver": {"base_url": 1}}},
]


def test_without_a_client_api_delegation_is_400(
    service: RunningService, homeserver: Homeserver, sfu: FakeServer
) -> None:
    for answer in NO_CLIENT_API:
        homeserver.apex.on("/.well-known/matrix/client", **answer)
        for path, body in BODIES.items():
            refused = service.http.post(path, json={**body, "delay_id": "d1", "delay_timeout": 100})
            assert (refused.status_code, refused.json()["errcode"]) == (400, "M_BAD_JSON"), answer
    assert sfu.seen == []
    asked = len(homeserver.apex.asked("/.well-known/matrix/client"))
    assert asked == len(NO_CLIENT_API) * len(BODIES)  # a failure is not remembered


def test_the_delay_id_is_never_looked_up(service: RunningService, homeserver: Homeserver) -> None:
    delegate(service, 60_000, delay_id="no such id")


def test_a_delay_id_cannot_leave_its_path(service: RunningService, homeserver: Homeserver) -> None:
    """The real service lets `..` climb; that is not copied."""
    for delay_id in ("../../x", "a/b", "..", "."):
        body = {**BODIES["/sfu/get"], "delay_id": delay_id, "delay_timeout": 1000}
        refused = service.http.post("/sfu/get", json=body)
        assert (refused.status_code, refused.json()["errcode"]) == (400, "M_BAD_JSON")
    delegate(service, 60_000, delay_id="a?b#c")
    webhook(service, "participant_joined")
    wait_for(lambda: homeserver.api.seen[-1].path == Homeserver.action("a%3Fb%23c", "restart"))


# --- the webhook itself


def joined() -> bytes:
    participant = {"identity": LEGACY_IDENTITY}
    return json.dumps(
        {"event": "participant_joined", "room": {"name": ROOM}, "participant": participant}
    ).encode()


def bad_webhooks() -> list[tuple[bytes, str]]:
    body = joined()
    return [
        (body, ""),
        (body, "nonsense"),
        (body, signed(body, secret="another-secret-that-is-also-long-enough")),
        (body, signed(body, iss="another-key")),
        (body, signed(body, sha256="")),
        (body + b" ", signed(body)),
        (body, signed(body, exp=1)),
        (body, jwt.encode({"iss": KEY, "exp": 9e9}, "", "none")),
        (b"not JSON", signed(b"not JSON")),
        (b"[]", signed(b"[]")),
    ]


def test_a_bad_webhook_is_silent_but_logged(
    service: RunningService, homeserver: Homeserver, caplog: pytest.LogCaptureFixture
) -> None:
    delegate(service, 60_000)
    for body, authorization in bad_webhooks():
        caplog.clear()
        answer = service.http.post("/sfu_webhook", content=body, headers={"Authorization": authorization})
        assert (answer.status_code, answer.content) == (200, b"")
        assert "Webhook" in caplog.text, authorization
    time.sleep(0.05)
    assert actions(homeserver) == []


def test_the_webhook_takes_any_method(service: RunningService) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        answer = service.http.request(method, "/sfu_webhook")
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("event", "closed"),
    [
        ({"event": "egress_started", "egressInfo": {}}, True),
        ({}, True),
        ({"event": "participant_joined", "room": {"name": ROOM}}, True),
        ({"event": "room_started", "room": {"name": ROOM}}, False),
        ({"event": "track_published", "room": {"name": ROOM}, "participant": {"identity": "x"}}, False),
    ],
)
def test_signed_events_without_room_or_participant_are_not_answered(
    service: RunningService, event: dict[str, Any], closed: bool
) -> None:
    """But room events are: LiveKit would retry them first, and the real service gets leaves at once."""
    body = json.dumps(event).encode()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=3)
    connection.request("POST", "/sfu_webhook", body, {"Authorization": signed(body)})
    if closed:
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
    else:
        assert connection.getresponse().status == 200
    connection.close()
    assert httpx.get(f"{service.url}/healthz").status_code == 200
