# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a load on an SFU says about it: figures of one step, and how far a core and a Gbit/s would carry.

An SFU's work is forwarding: somebody who sends a track to everybody else in a call of N makes it forward
N - 1 tracks, so a call in which all send is N * (N - 1) tracks of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

BITS = 8
MEGA = 1_000_000
GIGABIT = 1000.0  # Mbit/s
MOST_LOSS = 0.02  # of the packets; more is seen and heard
BUSY = 0.85  # of the cores of a machine
LEAST_SPREAD = 1.5  # between the smallest and the largest step, for a line through them


@dataclass(frozen=True)
class Step:
    """One step of a load, steady for some seconds.

    Rates in Mbit/s as the SFU sees them: `received` what publishers sent it, `sent` what it forwarded.
    `sfu_cores` and `client_cores`: processor seconds per second of the SFU and of all participants together;
    `forwarded`: video tracks that arrived at somebody; `missing`: those that should have and did not.
    """

    participants: int
    publishers: int
    seconds: float
    received: float
    sent: float
    loss: float
    forwarded: int
    missing: int
    sfu_cores: float
    sfu_memory: int
    client_cores: float
    client_share: float

    def as_dict(self) -> dict[str, float]:
        """The shape in which modules return it."""
        return asdict(self)

    @property
    def limit(self) -> str:
        """What was at its end in this step, '' for nothing."""
        if self.missing:
            return f"{self.missing} video tracks did not arrive"
        if self.loss > MOST_LOSS:
            return f"{100 * self.loss:.1f} % of the packets were lost"
        if self.client_share > BUSY:
            return "the machine of the participants, not the SFU"
        return ""


def usage(samples: Sequence[Mapping[str, float]], start: float, end: float) -> tuple[float, int]:
    """Processor seconds per second between two times, and the most memory in bytes.

    samples: {time, cpu, memory}, one a second. Raises ValueError where they do not cover the time.
    """
    inside = [sample for sample in samples if start <= sample["time"] <= end]
    if len(inside) < 2:
        raise ValueError(
            "what the SFU used was not seen during the load: do the clocks of the two hosts agree?"
        )
    first, last = inside[0], inside[-1]
    cores = (last["cpu"] - first["cpu"]) / (last["time"] - first["time"])
    return cores, int(max(sample["memory"] for sample in inside))


def step_of(load: Mapping[str, float], samples: Sequence[Mapping[str, float]]) -> Step:
    """One step: what the participants saw, and what the SFU's host measured meanwhile."""
    cores, memory = usage(samples, load["start"], load["end"])
    seconds = load["end"] - load["start"]
    packets = load["packets"] + load["lost"]
    expected = load["publishers"] * (load["participants"] - 1)
    return Step(
        participants=int(load["participants"]),
        publishers=int(load["publishers"]),
        seconds=round(seconds, 1),
        received=load["bytes_sent"] * BITS / MEGA / seconds,
        sent=load["bytes_received"] * BITS / MEGA / seconds,
        loss=load["lost"] / packets if packets else 0.0,
        forwarded=int(load["tracks"]),
        missing=int(expected - load["tracks"]),
        sfu_cores=cores,
        sfu_memory=memory,
        client_cores=load["client_cpu"] / seconds,
        client_share=load["client_cpu"] / seconds / load["client_processors"],
    )


@dataclass(frozen=True)
class Capacity:
    """How far one resource carries. Rates in Mbit/s of forwarded media; `rate`: of one forwarded track.

    per_core: Mbit/s that one core forwards; core_participants and gigabit_participants: the largest call in
    which all send and receive each other's best picture, with one core, and with 1 Gbit/s outwards.
    """

    rate: float
    per_core: float
    core_participants: int
    gigabit_participants: int


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the line through the points that misses them by least squares."""
    mean_x = sum(x for x, _y in points) / len(points)
    mean_y = sum(y for _x, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _y in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def largest_call(forwarded: float) -> int:
    """The largest N with N * (N - 1) forwarded tracks."""
    return int((1 + (1 + 4 * max(forwarded, 0.0)) ** 0.5) / 2)


def capacity(steps: Sequence[Step]) -> Capacity | None:
    """From the steps in which nothing was at its end. None where they do not tell.

    The SFU's cores are a line over what it forwards: what it needs without a load is no part of the slope.
    """
    good = [step for step in steps if not step.limit and step.forwarded and step.sent > 0]
    if len(good) < 2:
        return None
    rates = [step.sent for step in good]
    if max(rates) < LEAST_SPREAD * min(rates):
        return None
    per_rate = slope([(step.sent, step.sfu_cores) for step in good])
    if per_rate <= 0:
        return None
    rate = sum(rates) / sum(step.forwarded for step in good)
    return Capacity(
        rate=rate,
        per_core=1 / per_rate,
        core_participants=largest_call(1 / per_rate / rate),
        gigabit_participants=largest_call(GIGABIT / rate),
    )


HEADINGS = (
    "in call",
    "send",
    "in Mbit/s",
    "out Mbit/s",
    "each Mbit/s",
    "lost",
    "tracks",
    "SFU cores",
    "SFU MiB",
    "clients",
)


def row(step: Step) -> tuple[str, ...]:
    """One line of the table, as text."""
    return (
        str(step.participants),
        str(step.publishers),
        f"{step.received:.1f}",
        f"{step.sent:.1f}",
        f"{step.sent / step.forwarded:.2f}" if step.forwarded else "-",
        f"{100 * step.loss:.2f} %",
        str(step.forwarded),
        f"{step.sfu_cores:.2f}",
        f"{step.sfu_memory / 2**20:.0f}",
        f"{100 * step.client_share:.0f} %",
    )


def table(steps: Sequence[Step]) -> list[str]:
    """The report: a line for each step, what was at its end, and how far this would carry."""
    lines = ["".join(f"{text:>12}" for text in HEADINGS)]
    for step in steps:
        lines.append("".join(f"{text:>12}" for text in row(step)))
        if step.limit:
            lines.append(f"{'':12}LIMIT: {step.limit}")
    found = capacity(steps)
    lines.append("")
    if found is None:
        lines.append("Too few steps without a limit, or too close together, to say how far a core carries.")
        return lines
    lines.append(
        f"One core forwards about {found.per_core:.0f} Mbit/s, a call of {found.core_participants} in which "
        f"all send and receive each other at {found.rate:.2f} Mbit/s; 1 Gbit/s outwards carries one of "
        f"{found.gigabit_participants}."
    )
    return lines
