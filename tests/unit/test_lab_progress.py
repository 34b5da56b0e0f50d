# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the lab's commands print while they work."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest

from lab import progress
from lab.__main__ import main, parser
from lab.progress import Progress, Step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the time: a step's seconds are those since 100."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] = 100.0 + seconds

    return advance


def test_a_step_says_how_it_ended_and_how_long_it_took(clock: Callable[[float], None]) -> None:
    out = io.StringIO()
    shown = Progress(out)
    with shown.step("Working"):
        clock(1.24)
    with pytest.raises(ValueError, match="broken"), shown.step("Failing"):
        raise ValueError("broken")
    assert out.getvalue() == "ok   Working (1.2 s)\nFAIL Failing (0.0 s)\n"


def test_a_reader_of_whole_lines_is_reminded(clock: Callable[[float], None]) -> None:
    step = Step("Working")
    due = []
    for second in range(1, 35):
        clock(second)
        if step.due():
            due.append(second)
            step.shown = step.seconds
    assert due == [2, 17, 32]


def test_notes_are_one_plain_line() -> None:
    step = Step("Working")
    step.note = "\x1b[91mW: trying\x1b[0m\r"
    step.note = "\x1b[0m"
    assert step.note == "W: trying"
    step.note = "x" * 500
    assert len(step.note) == progress.NOTE_LENGTH


def test_colours_only_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        Progress(stream).note("look")
    assert plain.getvalue() == "note look\n"
    assert "\033[33mnote\033[0m look" in terminal.getvalue()


def test_the_command_line() -> None:
    given = parser().parse_args(["up", "mine", "--site", "a=debian13", "--site", "b=debian12"])
    assert (given.command, given.name, given.site) == ("up", "mine", ["a=debian13", "b=debian12"])
    assert parser().parse_args(["down", "--all", "--purge"]).purge


def test_a_mistake_is_a_sentence_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down"]) == 1
    assert capsys.readouterr().err == "\nname the labs to remove, or use --all\n"
