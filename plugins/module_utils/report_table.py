# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks and a call's figures as a table for people: what is wrong comes last, with cause and fix."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .checks import FAIL, OK, SKIP, STATUSES, WARN, Check, Outline

NARROWEST, WIDEST = 60, 120
WORDS = {OK: "ok", FAIL: "FAIL", WARN: "warn", SKIP: "skip"}
INDENT = "  "
DETAIL_INDENT = INDENT + " " * 6
DETAILS = ("expected", "seen", "shows", "cause", "fix")
TEXTS = ("id", "title", "leg", *DETAILS)
PROBE = Outline("probe", "The probe itself", "checks")


@dataclass(frozen=True)
class Line:
    """One line of output. `style` is the status whose colour the line's status word has, '' for none."""

    text: str
    style: str = ""


def check_from(document: Mapping[str, object]) -> Check:
    """A check as a module returned it."""
    status, seconds = str(document.get("status")), document.get("seconds")
    return Check(
        status=status if status in STATUSES else FAIL,
        seconds=float(seconds) if isinstance(seconds, (int, float)) else 0.0,
        **{name: str(document.get(name, "")) for name in TEXTS},
    )


def mappings(value: object) -> list[Mapping[str, object]]:
    """The mappings in a list; nothing when it is no list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def collect(results: Sequence[Mapping[str, object]]) -> list[Check]:
    """The checks of registered results, of loops too. A probe that gave none counts as a failed check."""
    checks: list[Check] = []
    for result in results:
        if "results" in result:
            checks += collect(mappings(result["results"]))
        elif "checks" in result:
            checks += [check_from(entry) for entry in mappings(result["checks"])]
        elif not result.get("skipped"):
            reason = str(result.get("msg", "no reason was given"))
            checks.append(PROBE.fail("it ended without a result", reason, "put right what the cause names"))
    return checks


def calls_of(results: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """The figures of every call among registered results."""
    found: list[Mapping[str, object]] = []
    for result in results:
        figures = result.get("call")
        found += [figures] if isinstance(figures, Mapping) and figures else []
        found += calls_of(mappings(result.get("results")))
    return found


def figure_texts(figures: Mapping[str, object]) -> list[str]:
    """A call's figures in a few phrases; nothing when it did not come to media."""

    def number(name: str) -> float:
        value = figures.get(name)
        return float(value) if isinstance(value, (int, float)) else 0.0

    if figures.get("participants"):
        return sites_texts(figures)
    if not number("frames"):
        return []
    ways = sorted({str(pair.get("remote")) for pair in mappings(figures.get("candidate_pairs"))})
    texts = [
        (
            f"token after {number('time_to_token'):.2f} s, connected after {number('time_to_connected'):.2f}"
            f" s, first picture after {number('time_to_first_frame'):.2f} s"
        ),
        (
            f"{number('frames'):.0f} frames recognised, {number('frames_missed'):.0f} missed;"
            f" {number('packets'):.0f} packets, {100 * number('loss'):.1f} % lost;"
            f" round trip {1000 * number('round_trip'):.1f} ms"
        ),
        f"media through {', '.join(ways)}",
    ]
    if number("membership_stayed"):
        stayed = number("membership_stayed")
        texts.append(f"after the break ({figures.get('break_off')}) the membership stayed {stayed:.1f} s")
    return [*texts, f"{number('seconds'):.1f} s in all"]


def sites_texts(figures: Mapping[str, object]) -> list[str]:
    """A call between sites: who published where, and who saw whom there."""
    texts = []
    for one in mappings(figures.get("participants")):
        seen = ", ".join(
            f"{other.get('user_id')} on {other.get('on') or 'no SFU'}"
            + (
                f" after {first:.2f} s"
                if isinstance(first := other.get("first_frame"), float) and first
                else ": nothing"
            )
            for other in mappings(one.get("watched"))
        )
        where = (
            f"on {one.get('published_on')}" if one.get("published_on") else f"nowhere ({one.get('trouble')})"
        )
        texts.append(f"{one.get('user_id')} published {where}" + (f"; saw {seen}" if seen else ""))
    first = figures.get("first_frame")
    came = f"pictures of other sites within {first:.2f} s; " if isinstance(first, float) and first else ""
    return [*texts, f"{came}{figures.get('seconds')} s in all"]


def wrapped(label: str, text: str, indent: str, width: int) -> list[Line]:
    """A label and a text beside it, wrapped below itself."""
    start = f"{indent}{label:<10}"
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [Line(line) for line in lines]


def table(checks: Sequence[Check], width: int) -> list[Line]:
    """One line for each check: status, id, title, seconds."""
    names = max(len(check.id) for check in checks)
    room = max(10, width - names - len(INDENT) - 18)
    lines = []
    for check in checks:
        title = check.title if len(check.title) <= room else check.title[: room - 3] + "..."
        took = f"{check.seconds:7.2f} s" if check.status != SKIP else ""
        text = f"{INDENT}{WORDS[check.status]:<6}{check.id:<{names}}  {title:<{room}}{took}"
        lines.append(Line(text.rstrip(), check.status))
    return lines


def skipped(checks: Sequence[Check], width: int) -> list[Line]:
    """Why checks were skipped, each reason once."""
    reasons: dict[str, list[str]] = {}
    for check in checks:
        if check.status == SKIP:
            reasons.setdefault(check.seen, []).append(check.id)
    texts = [f"{', '.join(ids)}: {reason}" for reason, ids in reasons.items()]
    return [line for text in texts for line in wrapped("skipped", text, INDENT, width)]


def heading(check: Check) -> str:
    """The line above a check's details."""
    return f"{INDENT}{WORDS[check.status]:<6}{check.id}: {check.title}"


def details(check: Check, width: int) -> list[Line]:
    """A check that is not as it should be: what was expected and seen, why, and what to do."""
    lines = [Line(""), Line(heading(check), check.status)]
    for name in DETAILS:
        text = str(getattr(check, name))
        lines += wrapped(name, text, DETAIL_INDENT, width) if text else []
    return lines


def troubles(checks: Sequence[Check], width: int) -> list[Line]:
    """Everything that is not as it should be; what has the same fix as an earlier one is kept short."""
    lines: list[Line] = []
    fixes: dict[str, str] = {}
    for check in checks:
        if check.fix in fixes:
            lines += [Line(""), Line(heading(check), check.status)]
            lines += wrapped("seen", f"{check.seen}: see {fixes[check.fix]}", DETAIL_INDENT, width)
            continue
        fixes[check.fix] = check.id
        lines += details(check, width)
    return lines


def summary(checks: Sequence[Check]) -> str:
    """How many checks there were and what came of them."""
    counts = [
        (sum(check.status == status for check in checks), word)
        for status, word in ((OK, "ok"), (WARN, "to look at"), (SKIP, "skipped"), (FAIL, "failed"))
    ]
    return f"{len(checks)} checks: " + ", ".join(f"{count} {word}" for count, word in counts if count)


def render(
    title: str,
    checks: Sequence[Check],
    calls: Sequence[Mapping[str, object]],
    sources: Sequence[str],
    width: int,
) -> list[Line]:
    """The whole report of one site. `calls`: the figures of each."""
    width = max(NARROWEST, min(width, WIDEST))
    lines = [Line(""), Line(title)]
    if not checks:
        return [*lines, Line(f"{INDENT}no checks were made")]
    lines += table(checks, width)
    told = [text for figures in calls for text in figure_texts(figures)]
    for label, texts in (("call", told), ("sources", list(sources))):
        for index, text in enumerate(texts):
            lines += wrapped("" if index else label, text, INDENT, width)
    lines += skipped(checks, width)
    lines += troubles([check for status in (WARN, FAIL) for check in checks if check.status == status], width)
    return [*lines, Line(""), Line(f"{INDENT}{summary(checks)}")]


def verdict(title: str, checks: Sequence[Check]) -> str:
    """One sentence for the task's result."""
    failed = [check.id for check in checks if check.status == FAIL]
    if failed:
        return f"{title}: {len(failed)} of {len(checks)} checks failed: {', '.join(failed)}."
    return f"{title}: {summary(checks)}." if checks else f"{title}: no checks were made."
