# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A report as one page that needs nothing else: no script, no font, no picture, no request to anybody."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..module_utils.checks import FAIL, LEGS, OK, SKIP, WARN
from ..module_utils.report_document import SCOPES, file_name
from .report_drawing import DRAWINGS
from .report_plots import HEIGHT, WIDTH, mappings, number, plots, sights, steps

FOLDER = Path(__file__).parent
WORDS = {OK: "ok", WARN: "look at", FAIL: "failed", SKIP: "not checked"}
NO_LEG = "everything that belongs to no leg"
# What a call itself measured of a leg: the figure, and what to say of it.
MEASURED = {
    "token": ("time_to_token", "token after"),
    "signalling": ("time_to_connected", "connected after"),
    "media": ("time_to_first_frame", "first picture after"),
    "leave": ("membership_stayed", "gone after"),
}
SITES_FIGURE = "first_frame"
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Leg:
    """A leg as it is shown: in a long note, in a short one, and with its checks."""

    name: str
    about: str
    status: str
    note: str
    short: str
    checks: tuple[Report, ...]

    @property
    def left_out(self) -> int:
        """How many checks were not made, of a leg where others were."""
        return 0 if self.status == SKIP else sum(check["status"] == SKIP for check in self.checks)


@dataclass(frozen=True)
class Trouble:
    """A check that is not as it should be. `same_as`: the title of an earlier one with the same fix."""

    check: Report
    same_as: str


def measured(leg: str, calls: Sequence[Report]) -> tuple[str, float]:
    """What the calls measured of a leg: the words and the longest time, 0 when they did not."""
    key, words = MEASURED.get(leg, ("", ""))
    keys = (key, SITES_FIGURE) if leg == "media" else (key,)
    return words, max((number(call.get(key)) for call in calls for key in keys), default=0.0)


def notes(leg: Report, checks: Sequence[Report], calls: Sequence[Report]) -> tuple[str, str]:
    """What is said of a leg in the drawing, long and short: what is wrong, else how long it took."""
    status = leg["status"]
    if status == SKIP:
        return ("not checked",) * 2
    if status in (FAIL, WARN):
        wrong = sum(check["status"] == status for check in checks)
        return (f"{wrong} of {leg['checks']} {'failed' if status == FAIL else 'to look at'}",) * 2
    words, seconds = measured(leg["id"], calls)
    if not seconds:
        words, seconds = "slowest check", leg["seconds"]
    return f"{words} {seconds:.2f} s", f"{seconds:.2f} s"


def legs_of(report: Report) -> list[Leg]:
    """The legs in their order, each with its checks; last those that belong to none."""
    legs = []
    for leg in report["legs"]:
        mine = tuple(check for check in report["checks"] if check["leg"] == leg["id"])
        note, short = notes(leg, mine, report["calls"])
        legs.append(Leg(leg["id"], leg["about"], leg["status"], note, short, mine))
    others = tuple(check for check in report["checks"] if check["leg"] not in LEGS)
    return [*legs, Leg("other", NO_LEG, "", "", "", others)] if others else legs


def troubles(report: Report, status: str) -> list[Trouble]:
    """Every check of a status; of those that one repair will put right, the first has it."""
    found: list[Trouble] = []
    fixes: dict[str, str] = {}
    for check in report["checks"]:
        if check["status"] == status:
            found.append(Trouble(check, fixes.get(check["fix"], "")))
            fixes.setdefault(check["fix"], check["title"])
    return found


def call_of(figures: Report) -> dict[str, object]:
    """A call as the page shows it."""
    people = [str(user) for user in figures.get("users") or []]
    return {
        "users": people,
        "mode": figures.get("mode", ""),
        "steps": steps(figures),
        "sights": sights(figures),
        "participants": mappings(figures.get("participants")),
        "plots": plots(figures),
        "frames": number(figures.get("frames")),
        "missed": number(figures.get("frames_missed")),
        "loss": 100 * number(figures.get("loss")),
        "round_trip": 1000 * number(figures.get("round_trip")),
        "stayed": number(figures.get("membership_stayed")),
        "seconds": number(figures.get("seconds")),
        "ways": sorted({str(pair.get("remote")) for pair in mappings(figures.get("candidate_pairs"))}),
        "version": figures.get("livekit_version", ""),
    }


def page(report: Report) -> str:
    """The page of a report in the form of report_document.document."""
    style = (FOLDER / "report_page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    legs = legs_of(report)
    return environment.get_template("report_page.html.j2").render(
        report=report,
        style=Markup(style),  # our own, and its hash is in the page's policy
        digest=digest,
        file=file_name(report["site"]),
        words=WORDS,
        scope=SCOPES[report["depth"]],
        legs=legs,
        by_name={leg.name: leg for leg in legs},
        drawings=DRAWINGS,
        failed=troubles(report, FAIL),
        odd=troubles(report, WARN),
        calls=[call_of(figures) for figures in report["calls"]],
        plot_size=(WIDTH, HEIGHT),
    )
