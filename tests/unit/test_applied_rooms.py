"""An SFU that forgets its rooms in a restart has them again before clients come back to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_service import Wanted, apply
from ansible_collections.matrixrtc.backend.plugins.module_utils.running_calls import Source
from test_applied_service import FakeSystemd, config, fails, host, wanted

__all__ = ["config", "host", "wanted"]
ROOMS: list[dict[str, object]] = [{"name": "a", "empty_timeout": 300}, {"name": "b"}]


@pytest.fixture
def sfu(wanted: Wanted, host: FakeSystemd, config: Path) -> Wanted:
    """An SFU with two rooms, whose configuration has changed."""
    asked = replace(wanted, rooms=Source("http://127.0.0.1:7880", str(config)))
    assert apply(asked, host).rooms == 0
    host.rooms_there = list(ROOMS)
    config.write_text("good 2")
    return asked


def test_its_rooms_are_there_again_after_a_restart(sfu: Wanted, host: FakeSystemd) -> None:
    done = apply(sfu, host)
    assert (done.action, done.rooms, done.warnings) == ("restarted", 2, [])
    assert host.rooms_there == ROOMS


def test_they_are_also_there_when_the_last_good_files_had_to_come_back(
    sfu: Wanted, host: FakeSystemd, config: Path
) -> None:
    config.write_text("dies at once")
    assert fails(sfu, host).rolled_back
    assert host.running == "good 1"
    assert host.rooms_there == ROOMS


def test_rooms_that_cannot_be_made_are_told_and_nothing_else(
    sfu: Wanted, host: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "make_rooms", lambda source, rooms: "LiveKit answers 500")
    done = apply(sfu, host)
    assert (done.action, done.rooms) == ("restarted", 0)
    assert "2 rooms could not be made again" in done.warnings[0]
    assert "LiveKit answers 500" in done.warnings[0]


def test_a_service_that_is_no_sfu_is_not_asked(wanted: Wanted, host: FakeSystemd, config: Path) -> None:
    apply(wanted, host)
    host.rooms_there = list(ROOMS)
    config.write_text("good 2")
    assert apply(wanted, host).rooms == 0
    assert host.rooms_there == []
