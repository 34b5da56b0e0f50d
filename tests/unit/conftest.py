"""What holds for every unit test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import LEGS, Check, Fault, Outline
from ansible_collections.matrixrtc.backend.plugins.module_utils.symptoms import SYMPTOMS


@pytest.fixture(autouse=True)
def _only_declared_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/troubleshooting.md is made of what checks declare: none may tell of anything else."""
    made = Outline._faulty

    def guarded(
        outline: Outline, status: str, seen: str, faults: Sequence[Fault], fields: Mapping[str, object]
    ) -> Check:
        assert faults
        undeclared = [fault for fault in faults if fault not in outline.faults]
        assert not undeclared, f"{outline.id} does not declare {undeclared}"
        check = made(outline, status, seen, faults, fields)
        assert check.leg in LEGS
        assert check.shows in SYMPTOMS
        return check

    monkeypatch.setattr(Outline, "_faulty", guarded)
