"""Removal brings everything of both sites back. Runs last: nothing is deployed afterwards."""

from __future__ import annotations

import steps


def test_removal_brings_everything_back_at_both_sites():
    steps.assert_removal_brings_everything_back()
