"""Write the index of docs/troubleshooting.md from what the checks declare, so that it cannot drift.

`make docs` runs it; `make lint` fails when the page is not what it writes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from string import Formatter

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
sys.path.insert(0, str(ROOT / ".ansible" / "collections"))
PACKAGE = "ansible_collections.matrixrtc.backend.plugins.module_utils"

from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import (  # noqa: E402
    LEGS,
    Fault,
    Outline,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import NO_ANSWER  # noqa: E402
from ansible_collections.matrixrtc.backend.plugins.module_utils.symptoms import (  # noqa: E402
    NOTHING,
    SYMPTOMS,
)

BEGIN, END = "<!-- BEGIN CHECKS: made by `make docs` -->\n", "<!-- END CHECKS -->\n"
NO_ANSWER_TITLE = "No answer at all"
# Where checks are declared, from the nearest to the farthest that a person would look at.
MODULES = (
    "endpoint_announced",
    "endpoint_discovery",
    "endpoint_leave",
    "endpoint_service",
    "endpoint_account",
    "endpoint_media",
    "endpoint_wiring",
    "endpoint_web_app",
    "endpoint_host",
    "endpoint_node",
    "endpoint_homeserver",
    "endpoint_clock",
    "call_verdicts",
    "call_tokens",
    "call_relay",
    "call_ipv6",
    "call_sites_verdicts",
    "call_visitor",
    "report_table",
)
CODE = re.compile(
    r"journalctl(?: -[\w-]+(?: [\w-]+)?)+|systemctl \w+ [\w-]+|site\.yml(?: --tags \w+)?"  # commands
    r"|(?<![\w:/*])/[\w.][\w./-]*[\w/]"  # paths
    r"|\b[\w.]*[a-zA-Z0-9]_[a-zA-Z0-9][\w.]*\w\b"  # settings, checks, codes
)


@dataclass(frozen=True)
class Finding:
    """A fault that some checks can find, with the same consequence."""

    fault: Fault
    checks: tuple[Outline, ...]


def outlines() -> list[Outline]:
    """Every check that is declared, in the order of a call's way, and of one leg in that of the modules."""
    found: dict[str, Outline] = {}
    for module in MODULES:
        for value in vars(import_module(f"{PACKAGE}.{module}")).values():
            for outline in declared(value):
                found.setdefault(outline.id, outline)
    return sorted(found.values(), key=lambda outline: list(LEGS).index(outline.leg))


def declared(value: object) -> Iterator[Outline]:
    """The checks in a module's constant."""
    if isinstance(value, Outline):
        yield value
    elif isinstance(value, Mapping):
        yield from (one for one in value.values() if isinstance(one, Outline))
    elif isinstance(value, (tuple, list)):
        yield from (one for one in value if isinstance(one, Outline))


def prose(text: str) -> str:
    """A text for the page, with its fields' names in italics in the place of what they stand for."""
    return "".join(
        marked(literal) + (f"*{name}*" if name else "")
        for literal, name, _spec, _conversion in Formatter().parse(text)
    )


def marked(text: str) -> str:
    """A text without fields: commands, paths and names as code, the rest without meaning in Markdown."""
    done, end = "", 0
    for found in CODE.finditer(text):
        done += re.sub(r"([*<>|])", r"\\\1", text[end : found.start()]) + f"`{found.group()}`"
        end = found.end()
    return done + re.sub(r"([*<>|])", r"\\\1", text[end:])


def sentence(text: str) -> str:
    """The same as a sentence."""
    told = prose(text)
    return told[0].upper() + told[1:] + "."


def anchor(heading: str) -> str:
    """What a heading is linked by, as GitHub and GitLab make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link(outline: Outline) -> str:
    """A link to a check's section."""
    return f"[`{outline.id}`](#{outline.id})"


def heading_of(symptom: str) -> str:
    """What a symptom's section is called."""
    return symptom[0].upper() + symptom[1:] if symptom != NOTHING else "Nothing"


def findings(checks: Sequence[Outline], symptom: str) -> list[Finding]:
    """What can be behind a symptom, in the order of the checks."""
    by_fault: dict[Fault, list[Outline]] = {}
    for outline in checks:
        for fault in outline.faults:
            if outline.shown(fault) == symptom:
                by_fault.setdefault(fault, []).append(outline)
    return [Finding(fault, tuple(found)) for fault, found in by_fault.items()]


def symptom_section(checks: Sequence[Outline], symptom: str) -> Iterator[str]:
    """What can be behind one symptom, as a table."""
    found = findings(checks, symptom)
    silent = sorted({one.id: one for each in found if each.fault in NO_ANSWER for one in each.checks})
    yield f"### {prose(heading_of(symptom))}\n"
    if SYMPTOMS[symptom]:
        yield f"{prose(SYMPTOMS[symptom])}\n"
    yield "| What is wrong | What to do | Found by |\n|---|---|---|"
    for each in found:
        if each.fault not in NO_ANSWER:
            where = ", ".join(link(one) for one in each.checks)
            yield f"| {sentence(each.fault.cause)} | {sentence(each.fault.fix)} | {where} |"
    if silent:
        where = ", ".join(f"[`{check_id}`](#{check_id})" for check_id in silent)
        see = f"[{NO_ANSWER_TITLE}](#{anchor(NO_ANSWER_TITLE)})"
        yield f"| The host gives no answer at all. | See {see}. | {where} |"
    yield ""


def no_answer_section() -> Iterator[str]:
    """Why a host gives no answer, which many checks can find."""
    yield f"### {NO_ANSWER_TITLE}\n"
    yield "Whatever the check, *host* is the one that its line in the report names.\n"
    yield "| What is wrong | What to do |\n|---|---|"
    for fault in NO_ANSWER:
        yield f"| {sentence(fault.cause)} | {sentence(fault.fix)} |"
    yield ""


def check_section(outline: Outline, told: dict[Fault, Outline]) -> Iterator[str]:
    """One check; a fault that an earlier one can find as well is only named."""
    yield f"#### `{outline.id}`\n"
    expected = f" Expected: {prose(outline.expected.replace('{}', '{{}}'))}." if outline.expected else ""
    yield f"{prose(outline.title)}.{expected}\n"
    for fault in outline.faults:
        if fault in NO_ANSWER:
            continue
        first = told.setdefault(fault, outline)
        more = f"{sentence(fault.fix)}" if first is outline else f"See {link(first)}."
        yield f"* {sentence(fault.cause)} {more}"
    if set(outline.faults) & set(NO_ANSWER):
        yield f"* The host gives [no answer at all](#{anchor(NO_ANSWER_TITLE)})."
    yield ""


def generated() -> str:
    """The part of the page between its marks."""
    checks = outlines()
    told: dict[Fault, Outline] = {}
    lines = ["## What people see\n"]
    lines += [f"* [{prose(heading_of(one))}](#{anchor(heading_of(one))})" for one in SYMPTOMS]
    lines += ["", *(line for one in SYMPTOMS for line in symptom_section(checks, one)), *no_answer_section()]
    lines += ["## The checks\n", "In the order in which a call needs things.\n"]
    for leg, title in LEGS.items():
        lines += [f"### {leg.capitalize()}: {title}\n"]
        lines += [line for one in checks if one.leg == leg for line in check_section(one, told)]
    return "\n".join(lines).rstrip() + "\n"


def renewed(page: str) -> str:
    """The page with what the checks declare now."""
    before, _begin, rest = page.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return f"{before}{BEGIN}\n{generated()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
