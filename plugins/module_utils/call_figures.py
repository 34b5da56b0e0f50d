# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a call, taken from what its participants saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from .call_ice import Survey
from .call_media import Report
from .call_stats import Received


@dataclass
class Media:
    """What came of the media part. `spy` is the report of somebody without the keys.

    `names`: how the participants are called, by identity.
    """

    reports: list[Report] = field(default_factory=list)
    spy: Report | None = None
    survey: Survey = field(default_factory=Survey)
    names: dict[str, str] = field(default_factory=dict)


@dataclass
class Figures:
    """What was measured, all directions together.

    Times are in seconds. Those until something came are the slowest participant's and count from the first
    request for a token. `loss` is from 0 to 1. `series` has what each received, twice a second.
    """

    room_id: str = ""
    users: list[str] = field(default_factory=list)
    time_to_token: float = 0.0
    time_to_connected: float = 0.0
    time_to_first_frame: float = 0.0
    frames: int = 0
    frames_missed: int = 0
    packets: int = 0
    loss: float = 0.0
    round_trip: float = 0.0
    tone_seconds: float = 0.0
    candidate_pairs: list[dict[str, object]] = field(default_factory=list)
    advertised: list[str] = field(default_factory=list)
    livekit_version: str = ""
    break_off: str = ""
    membership_stayed: float = 0.0
    seconds: float = 0.0
    series: list[dict[str, object]] = field(default_factory=list)

    def take(self, media: Media) -> None:
        """Add the figures of the media part."""
        reports: Sequence[Report] = media.reports
        self.time_to_connected = round(max(report.connected for report in reports), 3)
        self.time_to_first_frame = round(max(report.first_frame for report in reports), 3)
        self.frames = sum(report.frames for report in reports)
        self.frames_missed = sum(report.missed for report in reports)
        self.tone_seconds = round(sum(report.tone_seconds for report in reports), 2)
        total = sum((report.video + report.audio for report in reports), Received())
        self.packets, self.loss = total.packets, round(total.loss, 4)
        # The statistics count in whole milliseconds; on a local network the address check is more precise.
        trips = [path.round_trip for report in reports for path in report.paths]
        trips += [reach.seconds for reach in media.survey.reaches]
        self.round_trip = round(max(trips, default=0.0), 4)
        self.candidate_pairs = [
            {"user": report.name, **asdict(path)} for report in reports for path in report.paths
        ]
        self.series = [
            {"user": report.name, "points": [asdict(point) for point in report.points]} for report in reports
        ]
        self.advertised = [str(candidate) for candidate in media.survey.heard.candidates]
        self.livekit_version = media.survey.heard.server_version
