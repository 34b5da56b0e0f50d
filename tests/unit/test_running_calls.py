"""Who is in calls, as LiveKit tells it. That nobody can tell is not that there is nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.running_calls import (
    Source,
    make_rooms,
    rooms_of,
    running_calls,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_sfu import signed_token

NEW, OLD = "n" * 32, "o" * 32
PEOPLE = {"a": ["ann", "bob"], "b": ["cem"], "empty": []}
METRICS = 'livekit_participant_total{node_id="N",node_type="SERVER"} 4\nlivekit_room_total{node_id="N"} 2\n'


class LiveKit(BaseHTTPRequestHandler):
    """LiveKit's API and its metrics. It was started with the old secret."""

    metrics = METRICS
    made: ClassVar[list[object]] = []

    def log_message(self, *_words: object) -> None:
        pass

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self.answer(200, self.metrics)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/CreateRoom"):
            self.made.append(asked)
            self.answer(200, "{}")
            return
        name = asked.get("room")
        grants = {"roomAdmin": True, "room": name} if name else {"roomList": True}
        if self.headers["Authorization"] not in [f"Bearer {signed_token('k', OLD, grants)}"]:
            self.answer(401, "invalid token")
        elif name:
            self.answer(200, json.dumps({"participants": [{"identity": who} for who in PEOPLE[name]]}))
        else:
            rooms = [{"name": room, "departure_timeout": 20, "num_participants": 1} for room in PEOPLE]
            self.answer(200, json.dumps({"rooms": rooms}))


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)  # so that two tokens are the same
    server = ThreadingHTTPServer(("127.0.0.1", 0), LiveKit)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    path.write_text(f"k: {OLD}\n")
    return path


def test_rooms_with_somebody_in_them_count(url: str, keys: Path) -> None:
    found = running_calls(Source(url, str(keys)))
    assert (found.participants, found.rooms, found.busy) == (3, 2, True)
    assert str(found) == "3 participants in 2 rooms"


def test_the_keys_that_it_was_started_with_are_asked_with_too(url: str, keys: Path) -> None:
    keys.write_text(f"k: {NEW}\n")
    refused = running_calls(Source(url, str(keys)))
    assert refused.busy
    assert "HTTP 401" in str(refused)
    assert NEW not in str(refused)
    assert running_calls(Source(url, str(keys)), f"k: {OLD}\n".encode()).participants == 3


def test_metrics_count_for_the_node_alone(url: str) -> None:
    found = running_calls(Source("http://127.0.0.1:1", "/nowhere", f"{url}/metrics"))
    assert (found.participants, str(found)) == (4, "4 participants in calls")


def test_metrics_without_the_gauge_are_not_idle(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveKit, "metrics", "go_goroutines 4\n")
    found = running_calls(Source(url, "/nowhere", f"{url}/metrics"))
    assert found.busy
    assert "has no livekit_participant_total" in str(found)


@pytest.mark.parametrize(("text", "why"), [("", "has no line"), (f"k: {OLD}\n", "no answer")])
def test_an_sfu_that_cannot_be_asked_is_not_idle(keys: Path, text: str, why: str) -> None:
    keys.write_text(text)
    found = running_calls(Source("http://127.0.0.1:1", str(keys)))
    assert found.busy
    assert why in str(found)


def test_rooms_are_made_again_with_their_settings_and_without_what_was_counted(url: str, keys: Path) -> None:
    source = Source(url, str(keys))
    rooms = rooms_of(source)
    assert rooms == [{"name": room, "departure_timeout": 20} for room in PEOPLE]
    LiveKit.made.clear()
    assert make_rooms(source, rooms) == ""
    assert sorted(map(str, LiveKit.made)) == sorted(map(str, rooms))


def test_an_sfu_that_does_not_answer_has_no_rooms_and_takes_none(keys: Path) -> None:
    source = Source("http://127.0.0.1:1", str(keys))
    assert rooms_of(source) == []
    assert "CreateRoom" in make_rooms(source, [{"name": "a"}])
