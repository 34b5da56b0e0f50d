"""LiveKit's rooms are written down before it ends and made again before anybody is let in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import kept_rooms
from ansible_collections.matrixrtc.backend.plugins.module_utils.kept_rooms import main
from ansible_collections.matrixrtc.backend.plugins.module_utils.running_calls import Source

A, B = {"name": "a", "empty_timeout": 300}, {"name": "b"}


class LiveKit:
    """What it knows, what it was told, and how often it does not answer yet."""

    def __init__(self, path: Path) -> None:
        self.path, self.rooms, self.deaf = path, [A, B], 0
        self.held: list[bool] = []

    def rooms_of(self, _source: Source) -> list[dict[str, object]]:
        self.held.append(self.path.exists())
        return [] if self.deaf else list(self.rooms)

    def make_rooms(self, _source: Source, rooms: list[dict[str, object]]) -> str:
        self.held.append(self.path.exists())
        if self.deaf:
            self.deaf -= 1
            return "LiveKit does not answer"
        self.rooms = rooms
        return ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rooms.json"


@pytest.fixture
def livekit(path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveKit:
    livekit = LiveKit(path)
    monkeypatch.setattr(kept_rooms, "rooms_of", livekit.rooms_of)
    monkeypatch.setattr(kept_rooms, "make_rooms", livekit.make_rooms)
    for pause in ("UNDER_WAY_SECONDS", "POLL_SECONDS", "START_SECONDS"):
        monkeypatch.setattr(kept_rooms, pause, 0.01)
    monkeypatch.setenv("MAINPID", str(os.getpid()))
    return livekit


def run(step: str, path: Path) -> int:
    return main([step, "http://127.0.0.1:7880", "/keys.yaml", str(path)])


def test_rooms_are_there_again_and_nobody_is_let_in_between(livekit: LiveKit, path: Path) -> None:
    assert run("leave", path) == 0
    assert path.stat().st_mode & 0o777 == 0o644, "nginx has to see that it is there"
    livekit.rooms, livekit.deaf = [], 1
    assert run("return", path) == 0
    assert livekit.rooms == [A, B]
    assert livekit.held == [True, True, True]
    assert not path.exists()


def test_a_livekit_that_stays_away_keeps_nobody_waiting(
    livekit: LiveKit, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("leave", path)
    livekit.deaf = 10**6
    assert run("return", path) == 1
    assert "2 rooms are lost: LiveKit does not answer" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize("process", ["999999999", None])
def test_the_rooms_of_one_that_ends_at_its_start_are_for_the_next(
    livekit: LiveKit, path: Path, monkeypatch: pytest.MonkeyPatch, process: str | None
) -> None:
    run("leave", path)
    monkeypatch.delenv("MAINPID")
    if process:
        monkeypatch.setenv("MAINPID", process)
    monkeypatch.setattr(kept_rooms, "START_SECONDS", 3600)
    livekit.deaf = 10**6
    assert run("return", path) == 1
    assert json.loads(path.read_text()) == [A, B]


def test_rooms_of_a_start_that_came_to_nothing_are_kept(livekit: LiveKit, path: Path) -> None:
    path.write_text(json.dumps([{"name": "older"}]))
    livekit.deaf = 1
    run("leave", path)
    assert json.loads(path.read_text()) == [{"name": "older"}]
    livekit.deaf = 0
    run("leave", path)
    assert json.loads(path.read_text()) == [{"name": "older"}, A, B]


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", "[]"])
def test_without_rooms_there_is_nothing_to_do(livekit: LiveKit, path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    assert run("return", path) == 0
    assert livekit.held == []
    assert not path.exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("leave", tmp_path / "gone" / "rooms.json") == 1
    assert "Who has a token needs another" in capsys.readouterr().err
