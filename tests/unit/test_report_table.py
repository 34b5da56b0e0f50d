"""The report of a site: aligned, complete, what is wrong at the end, every consequence kept short."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import (
    FAIL,
    OK,
    SKIP,
    WARN,
    Check,
    as_dicts,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.report_table import (
    calls_of,
    collect,
    figure_texts,
    render,
    summary,
    verdict,
)

GOOD = Check("tls_rtc", "TLS of rtc.example.org", OK, "a valid certificate", "valid", seconds=0.0123)
BAD = Check(
    "sfu_validate",
    "SFU behind the proxy",
    FAIL,
    "401",
    "HTTP 502",
    "LiveKit is not running: " + "word " * 40,
    "systemctl start livekit",
    0.02,
)
CONSEQUENCE = Check("call_tokens", "Tokens", FAIL, "tokens", "HTTP 500", "the SFU is down", BAD.fix, 0.1)
ODD = Check(
    "tls_server_name", "TLS of example.org", WARN, "a certificate", "3 days", "not renewed", "renew it", 0.1
)
LEFT_OUT = Check("call_video", "Picture", SKIP, "a picture", "not tried, because call_tokens failed")
FIGURES: dict[str, object] = {
    "time_to_token": 0.1,
    "time_to_connected": 0.25,
    "time_to_first_frame": 0.61,
    "frames": 96,
    "frames_missed": 1,
    "packets": 420,
    "loss": 0.0125,
    "round_trip": 0.0013,
    "membership_stayed": 0.12,
    "break_off": "disconnect",
    "seconds": 4.31,
    "candidate_pairs": [{"remote": "udp 203.0.113.5:7882 (host)"}, {"remote": "udp 203.0.113.5:7882 (host)"}],
}


def texts(
    *checks: Check, width: int = 80, figures: dict[str, object] | None = None, sources: tuple[str, ...] = ()
) -> list[str]:
    return [line.text for line in render("example.org", checks, [figures] if figures else [], sources, width)]


def test_one_line_for_each_check_in_aligned_columns() -> None:
    lines = texts(GOOD, BAD, LEFT_OUT)[2:5]
    assert lines[0].startswith("  ok    tls_rtc       TLS of rtc.example.org")
    assert lines[0].endswith("0.01 s")
    assert lines[1].startswith("  FAIL  sfu_validate  SFU behind the proxy")
    assert lines[1].endswith("0.02 s")
    assert len(lines[0]) == len(lines[1])
    assert lines[2] == "  skip  call_video    Picture"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = texts(
        GOOD,
        BAD,
        CONSEQUENCE,
        ODD,
        LEFT_OUT,
        width=width,
        figures=FIGURES,
        sources=("token service: lab stand-in",),
    )
    assert max(len(line) for line in lines) <= width
    assert all(line == line.rstrip() for line in lines)


def test_a_narrow_terminal_shortens_titles_only() -> None:
    lines = texts(Check("an_id_that_is_rather_long_for_a_check", "A title that is long " * 4, OK), width=10)
    assert "an_id_that_is_rather_long_for_a_check" in lines[2]
    assert "..." in lines[2]


def test_failures_come_last_with_everything_that_is_known() -> None:
    lines = texts(BAD, GOOD, ODD)
    wrong = lines.index("  FAIL  sfu_validate: SFU behind the proxy")
    assert lines.index("  warn  tls_server_name: TLS of example.org") < wrong
    block = lines[wrong:]
    assert block[1:3] == ["        expected  401", "        seen      HTTP 502"]
    assert block[3].startswith("        cause     LiveKit is not running: word word")
    assert block[4].startswith("                  word word")
    assert "        fix       systemctl start livekit" in block
    assert lines[-1] == "  3 checks: 1 ok, 1 to look at, 1 failed"


def test_a_consequence_points_to_its_cause() -> None:
    lines = texts(BAD, CONSEQUENCE)
    at = lines.index("  FAIL  call_tokens: Tokens")
    assert lines[at + 1] == "        seen      HTTP 500: see sfu_validate"
    assert "the SFU is down" not in "\n".join(lines)


def test_reasons_for_skipping_are_said_once() -> None:
    other = Check("call_audio", "Sound", SKIP, "", LEFT_OUT.seen)
    assert "  skipped   call_video, call_audio: not tried, because call_tokens failed" in texts(
        LEFT_OUT, other
    )


def test_the_calls_figures_and_the_sources_are_shown() -> None:
    shown = "\n".join(texts(GOOD, figures=FIGURES, sources=("token service: lab stand-in",), width=120))
    for figure in (
        "token after 0.10 s",
        "connected after 0.25 s",
        "first picture after 0.61 s",
        "96 frames recognised, 1 missed",
        "420 packets, 1.2 % lost",
        "round trip 1.3 ms",
        "media through udp 203.0.113.5:7882 (host)\n",
        "the membership stayed 0.1 s",
        "4.3 s in all",
        "sources   token service: lab stand-in",
    ):
        assert figure in shown
    assert figure_texts({}) == []
    assert figure_texts({"frames": 0, "seconds": 1.0}) == []


def test_only_status_words_have_a_style() -> None:
    lines = render("t", [GOOD, BAD, LEFT_OUT], [], [], 80)
    assert [line.style for line in lines if line.style] == [OK, FAIL, SKIP, FAIL]


def test_results_are_taken_as_ansible_registers_them() -> None:
    loop = {"results": [{"checks": as_dicts([GOOD])}, {"checks": as_dicts([BAD]), "call": {}}]}
    call: dict[str, Any] = {"checks": as_dicts([ODD]), "call": FIGURES}
    skipped = {"skipped": True, "changed": False}
    assert [check.id for check in collect([loop, skipped, call])] == [
        "tls_rtc",
        "sfu_validate",
        "tls_server_name",
    ]
    assert calls_of([loop, skipped, call]) == [FIGURES]
    assert calls_of([loop]) == []


def test_a_probe_without_checks_is_a_failed_check() -> None:
    """failed_when: false hides the failure of the module itself, so the report has to see it."""
    (check,) = collect([{"failed": False, "msg": "The Python of this task has no LiveKit SDK."}])
    assert check.status == FAIL
    assert "no LiveKit SDK" in check.cause


def test_nonsense_is_a_failed_check() -> None:
    (check,) = collect([{"checks": [{"id": "x", "status": "great", "seconds": "long"}]}])
    assert check.status == FAIL


def test_the_verdict_is_one_sentence() -> None:
    assert verdict("a.b", [GOOD, BAD]) == "a.b: 1 of 2 checks failed: sfu_validate."
    assert verdict("a.b", [GOOD]) == "a.b: 1 checks: 1 ok."
    assert verdict("a.b", []) == "a.b: no checks were made."
    assert summary([GOOD, ODD, BAD, LEFT_OUT]) == "4 checks: 1 ok, 1 to look at, 1 skipped, 1 failed"


def test_no_checks_at_all_is_said() -> None:
    assert texts()[-1] == "  no checks were made"


def test_a_call_between_sites_says_who_published_and_saw_whom_where() -> None:
    seen = {"user_id": "@bert:beta.example", "on": "rtc.beta.example", "first_frame": 1.234}
    unseen = {"user_id": "@anna:beta.example", "on": "", "first_frame": 0.0}
    figures: dict[str, object] = {
        "mode": "compatibility",
        "participants": [
            {
                "user_id": "@anna:alpha.example",
                "published_on": "rtc.alpha.example",
                "watched": [seen, unseen],
            },
            {"user_id": "@carl:gamma.example", "published_on": "", "trouble": "HTTP 500", "watched": []},
        ],
        "first_frame": 1.234,
        "seconds": 7.5,
    }
    assert figure_texts(figures) == [
        "@anna:alpha.example published on rtc.alpha.example; saw @bert:beta.example on rtc.beta.example after"
        " 1.23 s, @anna:beta.example on no SFU: nothing",
        "@carl:gamma.example published nowhere (HTTP 500)",
        "pictures of other sites within 1.23 s; 7.5 s in all",
    ]
