"""Figures that the tests measure, kept for docs/benchmarks.md (`make figures`)."""

from __future__ import annotations

import json
import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "output" / "figures"


def record(what: str, figure: float, unit: str = "s", budget: float | None = None) -> None:
    """Keep what was measured, in `unit`; `budget` is the most that it may be, None where there is no promise.

    A later measurement of the same replaces the earlier one. This only writes down: the test asserts.
    """
    scenario = os.environ["MOLECULE_SCENARIO_NAME"]
    path = FOLDER / f"{scenario}.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures[what] = {"figure": round(figure, 3), "unit": unit, "budget": budget}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
