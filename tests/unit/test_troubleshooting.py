"""docs/troubleshooting.md: every check is in it, every link leads somewhere, nothing is out of date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import LEGS
from ansible_collections.matrixrtc.backend.plugins.module_utils.symptoms import SYMPTOMS

from tools import troubleshooting

PAGE = troubleshooting.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_checks_declare() -> None:
    assert troubleshooting.renewed(PAGE) == PAGE, "run `make docs`"


def test_every_module_with_checks_is_asked() -> None:
    folder = troubleshooting.ROOT / "plugins" / "module_utils"
    making = {path.stem for path in folder.glob("*.py") if re.search(r"\bOutline\(", path.read_text())}
    assert making - {"checks"} <= set(troubleshooting.MODULES)


def test_every_check_has_its_place_and_everything_that_a_person_needs() -> None:
    found = troubleshooting.outlines()
    assert len({outline.id for outline in found}) == len(found) > 50
    for outline in found:
        assert outline.leg in LEGS, outline.id
        assert outline.faults, outline.id
        assert f"#### `{outline.id}`\n" in PAGE
        for fault in outline.faults:
            assert fault.cause, outline.id
            assert fault.fix, outline.id
            assert outline.shown(fault) in SYMPTOMS, outline.id


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_every_symptom_can_be_explained(symptom: str) -> None:
    assert troubleshooting.findings(troubleshooting.outlines(), symptom)


def test_every_link_leads_somewhere() -> None:
    headings = {
        troubleshooting.anchor(line.lstrip("# ")) for line in PAGE.splitlines() if line.startswith("#")
    }
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    for link in links:
        place, _sharp, name = link.partition("#")
        if place:
            assert (Path(troubleshooting.PAGE).parent / place).exists(), link
        else:
            assert name in headings, link


def test_fields_are_shown_as_such_and_names_as_code() -> None:
    told = troubleshooting.sentence('open {ports!r} in <b>, {{"a": *}} with rc_message; see /rtc/v1')
    assert told == 'Open *ports* in \\<b\\>, {"a": \\*} with `rc_message`; see `/rtc/v1`.'
