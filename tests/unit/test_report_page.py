"""The page of a report: it asks nobody for anything, escapes what it is told, shows what matters first."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import LEGS, WARN
from ansible_collections.matrixrtc.backend.plugins.plugin_utils.report_drawing import DRAWINGS
from ansible_collections.matrixrtc.backend.plugins.plugin_utils.report_page import legs_of, page, troubles
from ansible_collections.matrixrtc.backend.plugins.plugin_utils.report_plots import bars, plots, rounded
from report_samples import FAULT, FIGURES, SAMPLES, check, checks, of, sample

LOADING = {"script", "img", "link", "iframe", "object", "embed", "video", "audio", "source", "image", "use"}
EMPTY = {"meta", "br", "hr", "input"}
DRAWN = {"path", "rect", "circle", "polyline"}


class Reader(HTMLParser):
    """The tags of a page; complains about those that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.mark.parametrize("name", SAMPLES)
def test_a_page_needs_nothing_else(name: str) -> None:
    read = Reader(page(sample(name)))
    assert not LOADING & set(read.tags)
    names = {name for name, _value in read.attributes}
    assert not {"src", "href", "xlink:href", "style", "action", "srcset", "background"} & names
    assert not [name for name in names if name.startswith("on")]


def test_the_policy_forbids_everything_but_the_style_that_is_there() -> None:
    text = page(sample("healthy"))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}';" in text
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_what_a_site_says_is_never_markup() -> None:
    evil = "<script>alert(1)</script>\" onload='x'"
    row = ("x", evil, "token", evil, evil, 0.1)
    results = [{"checks": [check(row, **{**FAULT, "cause": evil, "fix": evil, "shows": evil})]}]
    figures = {**FIGURES, "users": [evil], "livekit_version": evil, "candidate_pairs": [{"remote": evil}]}
    text = page(of([*results, {"checks": [], "call": figures}]))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "script" not in Reader(text).tags


def test_what_is_wrong_comes_before_what_is_well() -> None:
    text = page(sample("one_leg_failed"))
    verdict, broken = text.index("3 of 13 checks failed"), text.index("What is broken")
    assert verdict < text.index("The way of a call") < broken
    assert broken < text.index("What needs a look") < text.index("All checks")
    card = text[broken : text.index("What needs a look")]
    for words in (
        "What people see",
        "OPEN_ID_ERROR",
        "Likely cause",
        "has nobody to ask",
        "systemctl status",
    ):
        assert words in card
    assert card.count("The same repair as for “LiveKit token for a user”") == 2


def test_a_healthy_page_speaks_of_no_fault() -> None:
    text = page(sample("healthy"))
    assert "What is broken" not in text
    assert "What needs a look" not in text


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.name)
def test_every_leg_is_in_every_drawing(drawing: object) -> None:
    assert {way.leg for way in drawing.ways} == set(LEGS)  # type: ignore[attr-defined]


def test_a_leg_says_what_is_wrong_or_how_long_it_took() -> None:
    healthy = {leg.name: leg for leg in legs_of(sample("healthy"))}
    assert healthy["token"].note == "token after 0.10 s"
    assert healthy["media"].note == "first picture after 0.61 s"
    assert healthy["entrance"].note == "slowest check 0.09 s"
    assert healthy["leave"].short == "0.12 s"
    broken = {leg.name: leg for leg in legs_of(sample("one_leg_failed"))}
    assert broken["signalling"].note == "2 of 2 failed"
    assert broken["entrance"].note == "1 of 2 to look at"
    assert broken["leave"].note == "not checked"
    assert broken["media"].left_out == 3
    between = {leg.name: leg for leg in legs_of(of(SAMPLES["between_sites"]()))}
    assert between["leave"].note == "gone after 0.41 s"


def test_a_status_is_never_told_by_colour_alone() -> None:
    text = page(sample("one_leg_failed"))
    rows = re.findall(r'<td class="status (\w+)">(.*?)</td>', text, re.DOTALL)
    assert len(rows) == len(SAMPLES["one_leg_failed"]()[0]["checks"])
    words = {"ok": "ok", "fail": "failed", "warn": "look at", "skip": "not checked"}
    assert all(words[status] in cell for status, cell in rows)


def test_checks_of_no_leg_are_shown_too() -> None:
    text = page(of([{"checks": [check(("odd_one", "Odd one", "", "", "seen", 0.1))]}]))
    assert "odd_one" in text


def test_warnings_with_one_repair_are_told_once() -> None:
    odd = {"status": "warn", "fix": "renew it"}
    found = troubles(of([{"checks": checks(tls_rtc=odd, sfu_admin_closed=odd)}]), WARN)
    assert [one.same_as for one in found] == ["", "TLS of rtc.example.org"]


def test_a_series_becomes_four_plots_with_a_line_for_each_participant() -> None:
    found = plots(FIGURES)
    assert [plot.title for plot in found] == ["Pictures", "Received", "Packets lost", "Round trip"]
    pictures, _received, lost, trip = found
    assert (pictures.top, pictures.until, pictures.curves[0].last) == ("20", "6", "15")
    assert pictures.curves[0].dots[-1] == (240.0, 18.0)
    assert (lost.top, trip.top) == ("2", "25")
    assert [curve.user for curve in trip.curves] == FIGURES["users"]


@pytest.mark.parametrize("series", [None, [], [{"user": "x", "points": [{"at": 1}]}], "odd", [{"user": "x"}]])
def test_without_a_series_there_is_no_plot(series: object) -> None:
    assert plots({"series": series}) == []


def test_a_line_of_noughts_is_drawn_at_the_bottom() -> None:
    points = [{"at": second, "loss": 0.0} for second in (1.0, 2.0)]
    lost = plots({"series": [{"user": "x", "points": points}]})[2]
    assert [y for _x, y in lost.curves[0].dots] == [72.0, 72.0]


@pytest.mark.parametrize(
    ("value", "top"), [(15, 20), (1, 1), (0.3, 0.5), (220, 250), (251, 500), (1000, 1000), (0.0004, 0.0005)]
)
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert rounded(value) == pytest.approx(top)


def test_bars_leave_out_what_is_not_known() -> None:
    assert [(bar.name, bar.share) for bar in bars([("a", 1.0), ("b", 0.0), ("c", 4.0)])] == [
        ("a", 25.0),
        ("c", 100.0),
    ]
