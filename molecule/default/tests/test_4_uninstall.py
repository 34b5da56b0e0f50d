"""Removal brings every file, rule, user, unit and answer back. Runs last: nothing is deployed afterwards."""

from __future__ import annotations

import steps


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
