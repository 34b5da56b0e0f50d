# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A call's figures as small plots: what a plot shows, scaled to the pixels that it is drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240, 72
# Which figure of a series, what it is called, its factor and unit, and how many digits matter.
SERIES = (
    ("frames_per_second", "Pictures", 1.0, "per second", 0),
    ("bits_per_second", "Received", 0.001, "kbit/s", 0),
    ("loss", "Packets lost", 100.0, "%", 1),
    ("round_trip", "Round trip", 1000.0, "ms", 0),
)
STEPS = (
    ("time_to_token", "token"),
    ("time_to_connected", "connected"),
    ("time_to_first_frame", "first picture"),
)
Figures = Mapping[str, object]


@dataclass(frozen=True)
class Curve:
    """One participant's line. `points` in the form of SVG, `number` says which of the participants."""

    user: str
    points: str
    dots: tuple[tuple[float, float], ...]
    last: str
    number: int


@dataclass(frozen=True)
class Plot:
    """One figure over time. `top` is the value at the upper edge, `until` the seconds at the right one."""

    title: str
    unit: str
    top: str
    until: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Bar:
    """Something that took its time, in per cent of the longest."""

    name: str
    seconds: float
    share: float


def number(value: object) -> float:
    """A figure, 0 when there is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def mappings(value: object) -> list[Figures]:
    """The mappings in a list; nothing when it is no list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def rounded(value: float) -> float:
    """The next larger value that reads well on an axis: 1, 2, 2.5 or 5 with noughts."""
    step = 1.0
    while step < value:
        step *= 10
    while step / 10 >= value > 0:
        step /= 10
    return next(step * part for part in (0.1, 0.2, 0.25, 0.5, 1.0) if step * part >= value or part == 1.0)


def plots(figures: Figures) -> list[Plot]:
    """A plot for each figure of the series; none where a call has no series."""
    people = [(str(one.get("user")), mappings(one.get("points"))) for one in mappings(figures.get("series"))]
    people = [(user, points) for user, points in people if len(points) > 1]
    return [_plot(people, *figure) for figure in SERIES] if people else []


def _plot(
    people: Sequence[tuple[str, list[Figures]]], name: str, title: str, factor: float, unit: str, digits: int
) -> Plot:
    values = [[factor * number(point.get(name)) for point in points] for _user, points in people]
    times = [[number(point.get("at")) for point in points] for _user, points in people]
    top = rounded(max(max(line) for line in values) or 1.0)
    until = max(line[-1] for line in times) or 1.0
    curves = []
    for index, (user, _points) in enumerate(people):
        dots = tuple(
            (round(WIDTH * at / until, 1), round(HEIGHT * (1 - value / top), 1))
            for at, value in zip(times[index], values[index], strict=True)
        )
        line = " ".join(f"{x},{y}" for x, y in dots)
        curves.append(Curve(user, line, dots, f"{values[index][-1]:.{digits}f}", index))
    return Plot(title, unit, f"{top:g}", f"{until:.0f}", tuple(curves))


def bars(times: Sequence[tuple[str, float]]) -> list[Bar]:
    """Times beside each other; those that are not known are left out."""
    known = [(name, seconds) for name, seconds in times if seconds > 0]
    longest = max((seconds for _name, seconds in known), default=1.0)
    return [Bar(name, seconds, round(100 * seconds / longest, 1)) for name, seconds in known]


def steps(figures: Figures) -> list[Bar]:
    """How a call came up: seconds from the first request to each step."""
    return bars([(name, number(figures.get(key))) for key, name in STEPS])


def sights(figures: Figures) -> list[Bar]:
    """In a call between sites: how long everybody waited for the picture of everybody else."""
    return bars(
        [
            (f"{one.get('user_id')} saw {other.get('user_id')}", number(other.get("first_frame")))
            for one in mappings(figures.get("participants"))
            for other in mappings(one.get("watched"))
        ]
    )
