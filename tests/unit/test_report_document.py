"""The report as data: as its schema says, and without anything that a probe was given to log in with."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_stats import Point
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import LEGS, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.report_document import (
    DEPTHS,
    FIGURES,
    LONGEST_NAME,
    file_name,
)
from ansible_collections.matrixrtc.backend.plugins.plugin_utils.report_page import page
from report_samples import CANARY, JWT, SAMPLES, check, checks, of, sample, with_canaries

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_report_is_as_the_schema_says(name: str) -> None:
    document = json.loads(json.dumps(sample(name)))
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_the_schema_knows_everything_that_there_is() -> None:
    parts = SCHEMA["$defs"]
    assert set(parts["call"]["properties"]) == FIGURES
    assert set(parts["check"]["required"]) == {field.name for field in fields(Check)}
    assert set(parts["point"]["required"]) == {field.name for field in fields(Point)}
    assert parts["leg"]["enum"] == list(LEGS)
    assert SCHEMA["properties"]["depth"]["enum"] == list(DEPTHS)


def test_no_credential_is_in_the_document_or_on_the_page() -> None:
    document = of(with_canaries())
    jsonschema.validate(document, SCHEMA)
    for text in (json.dumps(document), page(document)):
        assert "canary" not in text.lower()
        assert JWT not in text
        assert "***" in text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("the token syt_Y2FuYXJ5_abcdefghij_1x2y3z is unknown", "syt_Y2Fu"),
        ("Authorization: Bearer mct_canary123 was refused", "canary123"),
        ("wss://rtc/rtc?access_token=canary123&x=1", "canary123"),
        ("wss://rtc/rtc/v1?join_request=canary123", "canary123"),
        (f"got {JWT}", JWT),
    ],
)
def test_what_looks_like_a_credential_is_hidden_wherever_it_is(text: str, hidden: str) -> None:
    row = ("x", "X", "token", "", text, 0.1)
    assert hidden not in json.dumps(of([{"checks": [check(row)]}]))


def test_a_secret_that_a_result_names_is_hidden_in_all_of_them() -> None:
    given = {"invocation": {"module_args": {"users": [{"access_token": CANARY}]}}, "checks": []}
    quoting = {"checks": [check(("x", "X", "token", "", f"sent {CANARY}", 0.1))]}
    assert CANARY not in json.dumps(of([given, quoting]))


def test_ordinary_texts_stay_as_they_are() -> None:
    seen = "set access_token of each entry; a token to join; password: none"
    document: Any = of([{"checks": [check(("x", "X", "token", "", seen, 0.1))]}])
    assert document["checks"][0]["seen"] == seen


@pytest.mark.parametrize(
    ("name", "depth", "words"),
    [
        ("healthy", "call", "Calls work: a test call went through, and all 17 checks passed."),
        ("outside", "outside", "as far as one can see without an account; no test call was placed"),
        ("one_leg_failed", "token", "3 of 13 checks failed, the first is “LiveKit token for a user”."),
        ("everything_failed", "call", "18 of 18 checks failed"),
        ("between_sites", "call", "1 of 4 checks failed"),
        ("nothing", "outside", "Nothing was checked."),
    ],
)
def test_the_verdict_is_one_sentence_for_anybody(name: str, depth: str, words: str) -> None:
    document = sample(name)
    assert document["depth"] == depth
    assert words in str(document["verdict"])


def test_a_warning_makes_no_failure() -> None:
    odd = {"status": "warn", "fix": "renew it"}
    with_call: Any = of([{"checks": checks(tls_rtc=odd)}])
    assert with_call["verdict"] == "Calls work, but 1 thing needs a look."
    assert with_call["summary"]["status"] == "warn"


def test_a_leg_is_as_bad_as_its_worst_check_and_as_slow_as_its_slowest() -> None:
    document: Any = sample("one_leg_failed")
    legs = {leg["id"]: leg for leg in document["legs"]}
    assert list(legs) == list(LEGS)
    assert {name: leg["status"] for name, leg in legs.items()} == {
        "announcement": "ok",
        "entrance": "warn",
        "token": "fail",
        "identity": "ok",
        "signalling": "fail",
        "media": "ok",
        "leave": "skip",
        "host": "ok",
    }
    assert legs["media"]["seconds"] == 0.12
    assert (legs["media"]["checks"], legs["leave"]["checks"]) == (2, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.org", "example.org"),
        ("example.org:8448", "example.org_8448"),
        ("../../etc/passwd", "etc_passwd"),
        ("a/../b", "a_.._b"),
        ("Call at é.example", "Call_at_.example"),
        ("..", "report"),
        ("", "report"),
        ("x" * 300, "x" * LONGEST_NAME),
    ],
)
def test_any_name_becomes_one_of_a_file(name: str, expected: str) -> None:
    assert file_name(name) == expected
