# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Clocks, read off the Date that web servers send: a token is valid between two moments (RFC 7519, 4.1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime

from .checks import Check, Fault, Outline
from .http_client import HttpClient
from .symptoms import NO_SFU, NOTHING

MUCH, TOO_MUCH = 5.0, 30.0  # seconds; LiveKit allows a token a minute, and a Date has whole seconds

APART = Fault(
    "the clock of {one} is {seconds} s {way} that of {other}. What one of them gives out, the other takes "
    "for not valid yet or not any more",
    "keep the time of both with chrony or systemd-timesyncd; timedatectl says whether a host does",
)
DRIFTS = replace(APART, shows=NOTHING)
CLOCK = Outline(
    "clock", "Clocks", "homeserver and RTC host agree on the time", "host", NO_SFU, (APART, DRIFTS)
)
HOST_CLOCK = replace(
    CLOCK, id="host_clock", title="Clock of the RTC host", expected="the same time as the homeserver's"
)
NODE_CLOCK = replace(
    CLOCK, id="node_clock", title="Clock of the node", expected="the same time as on the RTC host"
)


def ahead(http: HttpClient, url: str, now: Callable[[], float] = time.time) -> float | None:
    """How many seconds the clock behind a URL is ahead of ours, None without an answer or a Date in it."""
    asked = now()
    answer = http.request("GET", url)
    if answer.error or not answer.header("Date"):
        return None
    try:
        told = parsedate_to_datetime(answer.header("Date")).timestamp()
    except ValueError:
        return None
    middle = (asked + now()) / 2
    return told - middle + 0.5  # cut off to the second, so on average half a second late


def compared(outline: Outline, one: str, first: float | None, other: str, second: float | None) -> Check:
    """How two clocks are to each other, by how far each is ahead of ours."""
    if first is None or second is None:
        return outline.skip(f"{one if first is None else other} tells no time")
    apart = first - second
    seen = f"{one} {apart:+.0f} s of {other}"
    fields = {
        "one": one,
        "other": other,
        "seconds": f"{abs(apart):.0f}",
        "way": "ahead of" if apart > 0 else "behind",
    }
    if abs(apart) > TOO_MUCH:
        return outline.fail(seen, APART, **fields)
    return outline.warn(seen, DRIFTS, **fields) if abs(apart) > MUCH else outline.ok(seen)


def clock_check(http: HttpClient, domain: str, service_url: str, homeserver: str) -> Check:
    """The RTC host and the homeserver have the same time, wherever the probe is and whatever it has."""
    there = ahead(http, f"{service_url}/healthz")
    return compared(
        CLOCK, domain, there, "the homeserver", ahead(http, f"{homeserver}/_matrix/client/versions")
    )


def own_clock_check(outline: Outline, http: HttpClient, url: str, other: str) -> Check:
    """This host has the time of another one."""
    return compared(outline, "this host", 0.0, other, ahead(http, url))
