# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What came of a call between sites, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .call_attendee import Attendee, Home, place
from .call_membership import COMPATIBILITY


@dataclass
class Trial:
    """What a user of another site may do on an SFU. None: not tried; else why it was refused, '' if not.

    `behind`: with a token that one homeserver got from the other, and not from the token service itself.
    """

    visitor: Attendee
    home: Home
    service_url: str
    behind: bool = False
    no_token: str = ""
    granted: bool = False
    publish: str | None = None
    room: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Everything about a call between sites. `unknown`: by server name why it has nobody in the call.

    `stayed`: how long the one who vanished was still seen, None when that was not tried.
    """

    homes: Sequence[Home]
    mode: str
    attendees: Sequence[Attendee]
    unknown: dict[str, str]
    trials: Sequence[Trial]
    room_id: str = ""
    leaver: str = ""
    stayed: float | None = None
    leftovers: Sequence[str] = ()
    seconds: float = 0.0
    leave_timeout: float = 8.0
    first_frame_limit: float = 3.0

    def of(self, home: Home) -> list[Attendee]:
        """The users of one site."""
        return [attendee for attendee in self.attendees if attendee.home is home]

    @property
    def inside(self) -> list[Attendee]:
        """Everybody who got into the call."""
        return [attendee for attendee in self.attendees if attendee.joined]


@dataclass
class SitesFigures:
    """What was measured, times in seconds.

    `first_frame`: the longest wait for a picture of another site, from when the later of the two joined.
    """

    mode: str = COMPATIBILITY
    room_id: str = ""
    users: list[str] = field(default_factory=list)
    participants: list[dict[str, object]] = field(default_factory=list)
    first_frame: float = 0.0
    membership_stayed: float = 0.0
    seconds: float = 0.0


def sight(one: Attendee, other: Attendee) -> dict[str, object]:
    """What one saw of another, and where."""
    member, view = one.member_of(other), one.view_of(other)
    noticed = one.noticed[member.identity] if member else 0.0
    return {
        "user_id": other.name,
        "on": place(member.service_url) if member and member.service_url else "",
        "membership": round(since_both(one, other, noticed), 3),
        "first_frame": round(wait_for(one, other), 3),
        "frames": view.frames,
        "tone_seconds": round(view.tone_seconds, 2),
    }


def wait_for(one: Attendee, other: Attendee) -> float:
    """Seconds until the first picture, from when the later of the two began to join; 0 without one."""
    return since_both(one, other, one.view_of(other).first_frame)


def since_both(one: Attendee, other: Attendee, moment: float) -> float:
    """A moment of one's time, counted from when the later of the two began to join; 0 stays 0."""
    return max(0.0, moment and moment - max(0.0, other.started - one.started))


def across(outcome: Outcome) -> list[float]:
    """How long everybody waited for everybody of other sites."""
    return [
        wait_for(one, other)
        for one in outcome.inside
        for other in outcome.inside
        if one.home is not other.home
    ]


def figures_of(outcome: Outcome) -> SitesFigures:
    """The figures of a call."""
    inside = outcome.inside
    return SitesFigures(
        mode=outcome.mode,
        room_id=outcome.room_id,
        users=[attendee.name for attendee in outcome.attendees],
        participants=[
            {
                "user_id": one.name,
                "server_name": one.home.server_name,
                "published_on": place(one.service_url) if one.joined else "",
                "trouble": str(one.trouble or ""),
                "time_to_token": round(one.time_to_token, 3),
                "time_to_join": round(one.time_to_join, 3),
                "watched": [sight(one, other) for other in inside if one is not other] if one.joined else [],
            }
            for one in outcome.attendees
        ],
        first_frame=round(max(across(outcome), default=0.0), 3),
        membership_stayed=round(outcome.stayed or 0.0, 3),
        seconds=round(outcome.seconds, 3),
    )
