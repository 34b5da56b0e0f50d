"""Each site by itself: calls work at both, and a further run has nothing to do."""

from __future__ import annotations

import steps


def test_the_next_run_changes_and_restarts_nothing():
    steps.assert_the_next_run_does_nothing()
