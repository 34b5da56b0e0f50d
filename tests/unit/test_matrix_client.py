"""Requests of the client-server API: paths, rate limits, and errors that say what was tried."""

from __future__ import annotations

import time

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import (
    TRANSPORTS,
    Account,
    MatrixClient,
    MatrixError,
    rate_limit_pause,
)
from endpoint_support import HOMESERVER, FakeHttp, answer, refusal

CLIENT = f"{HOMESERVER}/_matrix/client/v3"
ROOM, KEY = "!a/b:example.org", "_@a:example.org_D/V_m.call"


def client(*answers: tuple[str, str, object]) -> tuple[MatrixClient, FakeHttp]:
    http = FakeHttp(answers={(f"{method}+", url): reply for method, url, reply in answers})
    return MatrixClient(HOMESERVER + "/", "t", http), http


def test_state_paths_are_quoted() -> None:
    url = f"{CLIENT}/rooms/%21a%2Fb%3Aexample.org/state/org.x/_%40a%3Aexample.org_D%2FV_m.call"
    made, http = client(("PUT", url, answer(200, {})), ("GET", url, answer(200, {"a": 1})))
    made.put_state(ROOM, "org.x", KEY, {})
    assert made.get_state(ROOM, "org.x", KEY) == {"a": 1}
    assert http.asked == [("PUT+", url), ("GET+", url)]


def test_a_leave_is_scheduled_with_its_delay() -> None:
    url = f"{CLIENT}/rooms/%21r/state/org.x/k?org.matrix.msc4140.delay=3600000"
    assert (
        client(("PUT", url, answer(200, {"delay_id": "d"})))[0].schedule_state(
            "!r", "org.x", "k", {}, 3_600_000
        )
        == "d"
    )


def test_accounts_and_transports() -> None:
    made, _http = client(
        ("GET", f"{CLIENT}/account/whoami", answer(200, {"user_id": "@a:b:8448"})),
        ("GET", HOMESERVER + TRANSPORTS, answer(200, {"rtc_transports": [{"type": "x"}, "nonsense"]})),
    )
    assert made.whoami() == Account("@a:b:8448", "")
    assert made.whoami().server_name == "b:8448"
    assert made.transports() == [{"type": "x"}]


@pytest.mark.parametrize(
    ("body", "delay"),
    [
        ({"capabilities": {"org.matrix.msc4140.delayed_events": {"max_delay_ms": 86400000}}}, 86400000),
        ({"capabilities": {"org.matrix.msc4140.delayed_events": {"max_delay_ms": "x"}}}, 0),
        ({"capabilities": {}}, 0),
        ({}, 0),
    ],
)
def test_the_longest_delay(body: object, delay: int) -> None:
    assert client(("GET", f"{CLIENT}/capabilities", answer(200, body)))[0].longest_delay() == delay


def test_a_refusal_says_what_was_tried_and_why() -> None:
    made, _http = client(("POST", f"{CLIENT}/createRoom", refusal(403, "M_FORBIDDEN")))
    with pytest.raises(
        MatrixError, match=r"creating the throw-away room: HTTP 403 M_FORBIDDEN \(no\)"
    ) as caught:
        made.create_room({})
    assert (caught.value.status, caught.value.code) == (403, "M_FORBIDDEN")


def test_no_answer_is_an_error_too() -> None:
    made, _http = client(
        ("GET", f"{CLIENT}/account/whoami", Response("", error="timeout", detail="timed out"))
    )
    with pytest.raises(MatrixError, match="timed out"):
        made.whoami()


def test_a_short_rate_limit_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    replies = [answer(429, {"retry_after_ms": 500}), answer(200, {"room_id": "!r"})]
    made, _http = client(("POST", f"{CLIENT}/createRoom", lambda _body: replies.pop(0)))
    assert made.create_room({}) == "!r"
    assert pauses == [0.5]


def test_a_long_rate_limit_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("waited"))
    made, _http = client(("POST", f"{CLIENT}/createRoom", answer(429, {"retry_after_ms": 60000})))
    with pytest.raises(MatrixError):
        made.create_room({})


def test_pauses_come_in_two_forms() -> None:
    assert rate_limit_pause(answer(429, headers=(("Retry-After", "7"),))) == 7.0
    assert rate_limit_pause(answer(429)) == 1.0


def test_a_delayed_event_is_updated_by_its_quoted_id() -> None:
    url = f"{HOMESERVER}/_matrix/client/unstable/org.matrix.msc4140/delayed_events/a%2Fb/cancel"
    made, http = client(("POST", url, answer(200, {})))
    made.update_delayed("a/b", "cancel")
    assert http.asked == [("POST+", url)]
