"""Checks run at once, keep their order, and say what they were not tried for."""

from __future__ import annotations

import time

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import (
    FAIL,
    SKIP,
    WARN,
    Check,
    Fault,
    Outline,
    as_dicts,
    failed_ids,
    in_turn,
    run_jobs,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.symptoms import GHOST, REFUSED

BROKEN = Fault("{part} is broken", "mend {part}", REFUSED)
DULL = Fault("{part} is dull", "polish it")
ONE, TWO, THREE = (
    Outline(name, name.title(), "fine", "token", GHOST, (BROKEN, DULL)) for name in ("one", "two", "three")
)


def test_jobs_run_at_once_and_come_back_in_order() -> None:
    def slow(outline: Outline) -> list[Check]:
        time.sleep(0.1)
        return [outline.ok("seen")]

    start = time.monotonic()
    checks = run_jobs([lambda: slow(ONE), lambda: slow(TWO), lambda: slow(THREE)])
    assert time.monotonic() - start < 0.25
    assert [check.id for check in checks] == ["one", "two", "three"]
    assert all(check.seconds >= 0.1 for check in checks)


def test_a_failure_in_a_row_leaves_the_rest_untried() -> None:
    tried = []

    def step(outline: Outline, broken: bool) -> Check:
        tried.append(outline.id)
        return outline.fail("seen", DULL, part="it") if broken else outline.ok("seen")

    checks = in_turn(
        [(ONE, lambda: step(ONE, False)), (TWO, lambda: step(TWO, True)), (THREE, lambda: step(THREE, False))]
    )
    assert tried == ["one", "two"]
    assert checks[2].status == SKIP
    assert checks[2].seen == "not tried, because two failed"
    assert failed_ids(checks) == ["two"]


def test_an_error_of_our_own_is_not_hidden() -> None:
    def wrong() -> list[Check]:
        raise KeyError("a mistake in a check")

    with pytest.raises(KeyError):
        run_jobs([wrong])


def test_modules_return_plain_values() -> None:
    document = as_dicts([ONE.fail("seen", BROKEN, part="it")])[0]
    assert document == {
        "id": "one",
        "title": "One",
        "status": FAIL,
        "expected": "fine",
        "seen": "seen",
        "cause": "it is broken",
        "fix": "mend it",
        "seconds": 0.0,
        "shows": REFUSED,
        "leg": "token",
    }


def test_several_faults_are_told_at_once_and_each_text_once() -> None:
    check = ONE.fail("seen", DULL, BROKEN, BROKEN, part="{it}")
    assert check.cause == "{it} is dull. {it} is broken"
    assert check.fix == "polish it; mend {it}"
    assert check.shows == GHOST, "what the check shows, where the fault has nothing of its own"


def test_one_check_can_be_as_another_is() -> None:
    first = ONE.warn("dull", DULL, part="it")
    second = TWO.because(first, "dull, too")
    assert (second.id, second.status, second.seen) == ("two", WARN, "dull, too")
    assert (second.cause, second.fix, second.shows) == (first.cause, first.fix, first.shows)
