# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The drawing of a call's way: where each part and each leg lies, once for wide pages and once for phones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A box: something that takes part in a call, with what it does in a few words."""

    name: str
    about: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Way:
    """The lines of a leg, one of checks.LEGS, as SVG paths. Its sign lies at x, y.

    `name` and `note` are where its two texts are; `anchor` is SVG's word for which end of them lies there.
    `again`: where the name is said once more, for a leg that goes on behind a part.
    """

    leg: str
    lines: tuple[str, ...]
    x: int
    y: int
    name: tuple[int, int]
    note: tuple[int, int]
    anchor: str = "middle"
    again: tuple[int, int] | None = None


@dataclass(frozen=True)
class Drawing:
    """Everything in a drawing. `host` is the box around what runs on the RTC host, a leg of its own."""

    name: str
    width: int
    height: int
    sign: int
    long_notes: bool
    host: Part
    parts: tuple[Part, ...]
    ways: tuple[Way, ...]


WIDE = Drawing(
    name="wide",
    width=1120,
    height=480,
    sign=11,
    long_notes=True,
    host=Part("RTC host", "", 300, 76, 500, 328),
    parts=(
        Part("Client", "Element Call", 2, 210, 146, 76),
        Part("nginx", "the HTTPS door", 320, 120, 130, 256),
        Part("Token service", "admits to the SFU", 620, 120, 160, 76),
        Part("SFU (LiveKit)", "passes media on", 620, 300, 160, 76),
        Part("Homeserver", "accounts and rooms", 958, 120, 160, 76),
    ),
    ways=(
        Way("announcement", ("M75 210 V36 H1040 V112",), 560, 36, (560, 16), (560, 64)),
        Way("entrance", ("M148 248 H312",), 224, 248, (224, 228), (224, 276)),
        Way("token", ("M450 158 H612",), 532, 158, (532, 138), (532, 186)),
        Way("identity", ("M780 150 H950",), 880, 150, (880, 112), (880, 130)),
        Way("signalling", ("M450 338 H612",), 532, 338, (532, 318), (532, 366)),
        Way("media", ("M75 286 V440 H700 V384",), 400, 440, (400, 422), (400, 468)),
        Way(
            leg="leave",
            lines=("M700 300 V204", "M780 178 H950"),
            x=700,
            y=252,
            name=(680, 248),
            note=(680, 264),
            anchor="end",
            again=(880, 198),
        ),
        Way("host", (), 326, 98, (346, 103), (426, 103), "start"),
    ),
)
NARROW = Drawing(
    name="narrow",
    width=340,
    height=516,
    sign=9,
    long_notes=False,
    host=Part("RTC host", "", 22, 122, 296, 272),
    parts=(
        Part("Client", "Element Call", 116, 8, 108, 52),
        Part("nginx", "the HTTPS door", 36, 160, 268, 50),
        Part("Token service", "admits to the SFU", 30, 292, 122, 52),
        Part("SFU (LiveKit)", "passes media on", 180, 292, 128, 52),
        Part("Homeserver", "accounts and rooms", 36, 462, 268, 52),
    ),
    ways=(
        Way("announcement", ("M116 34 H7 V488 H29",), 59, 34, (59, 18), (59, 58)),
        Way("entrance", ("M170 60 V153",), 170, 91, (186, 87), (186, 102), "start"),
        Way("token", ("M60 210 V285",), 60, 246, (76, 242), (76, 257), "start"),
        Way("identity", ("M52 344 V455",), 52, 425, (90, 421), (90, 436), "start"),
        Way("signalling", ("M200 210 V285",), 200, 246, (216, 242), (216, 257), "start"),
        Way("media", ("M224 34 H333 V318 H315",), 280, 34, (280, 18), (280, 58)),
        Way("leave", ("M180 318 H159", "M76 344 V455"), 166, 318, (142, 364), (142, 379)),
        Way("host", (), 208, 366, (222, 363), (222, 378), "start"),
    ),
)
DRAWINGS = (WIDE, NARROW)
