"""Routes, methods, status codes, CORS and bodies: what any client or proxy sees (element-call.md 1.4)."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from lab.token_service import SERVER_HEADER
from tests.unit.token_service.fakes import FakeServer, Homeserver, RunningService

MEBIBYTE = 1 << 20
POSTED = ("/sfu/get", "/get_token", "/delegate_delayed_leave")
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token",
}
OPENID = {"access_token": "alice-token", "matrix_server_name": "site.test"}
MEMBER = {"id": "m1", "claimed_user_id": "@alice:site.test", "claimed_device_id": "DEV"}
LEGACY: dict[str, Any] = {"room": "!r:site.test", "device_id": "DEV", "openid_token": OPENID}
SLOT: dict[str, Any] = {
    "room_id": "!r:site.test",
    "slot_id": "m.call#ROOM",
    "openid_token": OPENID,
    "member": MEMBER,
}
DELAY: dict[str, Any] = {"delay_id": "d1", "delay_timeout": 60_000}
COMPLETE = {"/sfu/get": LEGACY, "/get_token": SLOT, "/delegate_delayed_leave": {**SLOT, **DELAY}}


def cors_of(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def raw(service: RunningService, method: str, path: str) -> http.client.HTTPResponse:
    """A request whose path nobody tidies up on the way."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_healthz(service: RunningService) -> None:
    for method, status in (("GET", 200), ("HEAD", 200), ("POST", 405), ("OPTIONS", 405)):
        answer = service.http.request(method, "/healthz")
        assert (answer.status_code, answer.content, cors_of(answer.headers)) == (status, b"", {})


def test_every_answer_tells_the_stand_in(service: RunningService) -> None:
    assert service.http.get("/healthz").headers["server"] == SERVER_HEADER


@pytest.mark.parametrize("path", POSTED)
def test_other_methods(service: RunningService, path: str) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        answer = service.http.request(method, path)
        assert (answer.status_code, answer.content) == (405, b"")
        assert answer.headers["content-type"] == "application/json"
        assert "allow" not in answer.headers
        assert cors_of(answer.headers) == CORS
    answer = service.http.options(path)
    assert (answer.status_code, answer.content, cors_of(answer.headers)) == (200, b"", CORS)


def test_unknown_paths(service: RunningService) -> None:
    for path in ("/", "/get", "/sfu", "/sfu/get/", "/livekit/jwt/sfu/get", "/_matrix/app/v1/ping"):
        answer = service.http.post(path, json={})
        assert (answer.status_code, cors_of(answer.headers)) == (404, {})
        assert answer.headers["content-type"].startswith("text/plain")


UNTIDY = {"//sfu/get": "/sfu/get", "//get_token?a=b": "/get_token?a=b", "/sfu/../x/": "/x/", "//": "/"}


def test_untidy_paths_are_redirected_without_cors(service: RunningService) -> None:
    for path, location in UNTIDY.items():
        answer = raw(service, "POST", path)
        assert (answer.status, answer.headers["Location"]) == (307, location)
        assert cors_of(answer.headers) == {}


NOT_JSON = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b"{} {}",
    b'{"nonsense": 1}',
    b'{"ROOM": "!r:site.test"}',
    b'{"openid_token": {"nonsense": 1}}',
    b'{"openid_token": {}, "openid_token": {}}',
    b'{"openid_token": "text"}',
    b'{"delay_timeout": "1"}',
    b'{"delay_timeout": true}',
    b'{"delay_id": "\\ud800"}',
    b'{"delay_timeout": NaN}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("path", POSTED)
def test_not_json(service: RunningService, path: str) -> None:
    for body in NOT_JSON:
        answer = service.http.post(path, content=body)
        assert (answer.status_code, answer.json()["errcode"]) == (400, "M_NOT_JSON"), body
        assert cors_of(answer.headers) == CORS
        assert answer.headers["content-type"] == "application/json"


def without(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The document without one field, given by its path."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    parent = copy
    for key in keys[:-1]:
        parent = parent[key]
    del parent[keys[-1]]
    return copy


MISSING = [
    ("/sfu/get", {}),
    ("/sfu/get", None),
    ("/sfu/get", without(LEGACY, "room")),
    ("/sfu/get", {**LEGACY, "room": None}),
    ("/sfu/get", {**LEGACY, "room": ""}),
    ("/sfu/get", without(LEGACY, "openid_token")),
    ("/sfu/get", without(LEGACY, "openid_token", "access_token")),
    ("/sfu/get", without(LEGACY, "openid_token", "matrix_server_name")),
    ("/sfu/get", {**LEGACY, "delay_id": "d1"}),
    ("/sfu/get", {**LEGACY, "delay_timeout": 1000}),
    ("/sfu/get", {**LEGACY, "delay_id": "d1", "delay_timeout": -1}),
    ("/get_token", {}),
    ("/get_token", without(SLOT, "room_id")),
    ("/get_token", without(SLOT, "slot_id")),
    ("/get_token", without(SLOT, "member")),
    ("/get_token", without(SLOT, "member", "id")),
    ("/get_token", without(SLOT, "member", "claimed_user_id")),
    ("/get_token", without(SLOT, "member", "claimed_device_id")),
    ("/get_token", without(SLOT, "openid_token", "matrix_server_name")),
    ("/delegate_delayed_leave", {}),
    ("/delegate_delayed_leave", SLOT),
    ("/delegate_delayed_leave", {**SLOT, "delay_id": "d1"}),
    ("/delegate_delayed_leave", {**SLOT, "delay_timeout": 1000}),
]


def test_missing_fields(service: RunningService, homeserver: Homeserver) -> None:
    for path, body in MISSING:
        answer = service.http.post(path, content=json.dumps(body))
        assert (answer.status_code, answer.json()["errcode"]) == (400, "M_BAD_JSON"), (path, body)
        assert cors_of(answer.headers) == CORS
    assert homeserver.api.seen == []  # fields come before the OpenID check


@pytest.mark.parametrize("path", POSTED)
def test_complete_bodies(service: RunningService, homeserver: Homeserver, path: str) -> None:
    body = {**COMPLETE[path], "delay_cs_api_url": "https://ignored.test"}
    openid = {**OPENID, "token_type": 7, "expires_in": "never looked at"}
    answer = service.http.post(path, content=json.dumps({**body, "openid_token": openid}))
    assert answer.status_code == 200, answer.text
    assert cors_of(answer.headers) == CORS
    assert set(answer.json()) == (set() if path == "/delegate_delayed_leave" else {"url", "jwt"})


def test_body_limits(service: RunningService) -> None:
    for size, status in ((MEBIBYTE, 400), (MEBIBYTE + 1, 413)):
        answer = service.http.post("/get_token", content=b" " * size)
        assert (answer.status_code, cors_of(answer.headers)) == (status, CORS)
    for size, status in ((8 * MEBIBYTE, 200), (8 * MEBIBYTE + 1, 413)):
        assert service.http.post("/sfu_webhook", content=b" " * size).status_code == status


def test_no_token_in_the_log(
    service: RunningService, homeserver: Homeserver, sfu: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The real service logs them; what is copied into reports from here must not hold any."""
    for logger in (None, "token_service"):
        caplog.set_level("DEBUG", logger=logger)
    service.http.post("/get_token", json=SLOT)
    for server_name in ("site.test", "unknown.test", ""):
        openid = {"access_token": "wrong-but-secret", "matrix_server_name": server_name}
        service.http.post("/get_token", json={**SLOT, "openid_token": openid})
    assert "Failed to look up user info err=HTTP 401" in caplog.text
    assert "alice-token" not in caplog.text
    assert "wrong-but-secret" not in caplog.text
    assert len(sfu.asked("CreateRoom")) == 1
