"""Removal is the last test: it leaves nothing of the collection."""

from __future__ import annotations

import steps


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
