# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Plain lines that tell a person what is going on, for how long already, and how it ended.

On a terminal the running steps share one line that is rewritten; anywhere else (a log, CI) a step that
takes longer than `QUIET_SECONDS` says so, and again every `REMINDER_SECONDS`.
"""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

QUIET_SECONDS = 2.0
REMINDER_SECONDS = 15.0
NOTE_LENGTH = 70
# Programs colour what they say even where nobody sees colours.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f]")
_COLOURS = {"ok": "\033[32m", "..": "\033[36m", "FAIL": "\033[31m", "note": "\033[33m"}


class Step:
    """One running step. `note` is shown beside the elapsed seconds."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._note = ""
        self.started = time.monotonic()
        self.shown = 0.0

    @property
    def note(self) -> str:
        """The newest line of the step's output."""
        return self._note

    @note.setter
    def note(self, line: str) -> None:
        text = _CONTROL.sub("", line).strip()
        if text:
            self._note = text[:NOTE_LENGTH]

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started

    def due(self) -> bool:
        """Whether a reader who sees only whole lines should be told that this step is still running."""
        wanted = QUIET_SECONDS if self.shown == 0.0 else self.shown + REMINDER_SECONDS
        return self.seconds >= wanted


class Progress:
    """Prints the steps of one command; safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._tty = self._stream.isatty()
        self._lock = threading.Lock()
        self._running: list[Step] = []
        self._ticker: threading.Thread | None = None

    def say(self, text: str = "") -> None:
        """Print one line as it is."""
        with self._lock:
            self._print(text)

    def note(self, text: str) -> None:
        """Print something the reader should not miss but that is no failure."""
        with self._lock:
            self._print(self._mark("note", text))

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` while the block runs, then how long it took."""
        step = Step(title)
        with self._lock:
            self._running.append(step)
            self._start_ticker()
        verdict = "FAIL"
        try:
            yield step
            verdict = "ok"
        finally:
            with self._lock:
                self._running.remove(step)
                self._print(self._mark(verdict, f"{step.title} ({step.seconds:.1f} s)"))

    def _mark(self, mark: str, text: str) -> str:
        padded = f"{mark:<4}"
        return f"{_COLOURS[mark]}{padded}\033[0m {text}" if self._tty else f"{padded} {text}"

    def _print(self, text: str) -> None:
        clear = "\r\033[K" if self._tty else ""
        self._stream.write(f"{clear}{text}\n")
        self._stream.flush()

    def _start_ticker(self) -> None:
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while True:
            time.sleep(0.5)
            with self._lock:
                if self._tty:
                    self._rewrite_line()
                else:
                    self._remind()

    def _rewrite_line(self) -> None:
        if not self._running:
            return
        texts = [f"{step.title} {step.seconds:.0f} s" for step in self._running]
        if len(self._running) == 1 and self._running[0].note:
            texts.append(self._running[0].note)
        width = shutil.get_terminal_size().columns - 8
        self._stream.write("\r\033[K" + self._mark("..", " | ".join(texts)[:width]))
        self._stream.flush()

    def _remind(self) -> None:
        for step in self._running:
            if step.due():
                step.shown = step.seconds
                note = f": {step.note}" if step.note else ""
                self._print(self._mark("..", f"{step.title}, {step.seconds:.0f} s so far{note}"))
