# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A report as one document: what docs/report.schema.json describes, and no credential of anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields

from .call_figures import Figures
from .call_sites_figures import SitesFigures
from .checks import FAIL, LEGS, OK, SKIP, STATUSES, WARN, Check
from .report_table import calls_of, collect

SCHEMA_VERSION = 1
OUTSIDE, TOKEN, CALL = DEPTHS = ("outside", "token", "call")
ACCOUNT_CHECKS, CALL_CHECKS = ("account_", "homeserver_tokens"), ("call_", "cross_")
SCOPES = {OUTSIDE: "without an account", TOKEN: "with an access token", CALL: "with a call"}
FIGURES = {entry.name for kind in (Figures, SitesFigures) for entry in fields(kind)}
LONGEST_NAME = 120  # leaves room for the extension, and for that of the temporary file
SECRET_NAMES = {"access_token", "token", "jwt", "secret", "api_secret", "password", "credential"}
SHORTEST_SECRET = 6  # a shorter one would be found in ordinary words
HIDDEN = "***"
# What access tokens, LiveKit tokens and the URLs with them look like; a probe should never quote one.
LOOKS_SECRET = re.compile(
    r"\b(?:syt|syl|syr|mct|mat|mcr)_\w{6,}"
    r"|\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]+)?"
    r"|(?<=access_token=)[^&\s\"')]+"
    r"|(?<=join_request=)[^&\s\"')]+"
    r"|(?<=Bearer )[\w.~+/=-]+"
)


@dataclass(frozen=True)
class Subject:
    """What a report is about, such as a site, and where it comes from. `time` is UTC in ISO 8601."""

    title: str
    site: str
    time: str
    version: str
    sources: Mapping[str, str] = field(default_factory=dict)


def file_name(name: str) -> str:
    """A name with which a file can be called on any system, without extension."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")[:LONGEST_NAME].rstrip("._-")
    return safe or "report"


def secrets_in(value: object) -> Iterator[str]:
    """The values that a result itself calls a secret, such as the arguments of the module that made it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in SECRET_NAMES and isinstance(inner, str) and len(inner) >= SHORTEST_SECRET:
                yield inner
            yield from secrets_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from secrets_in(inner)


def without_secrets(value: object, secrets: Sequence[str]) -> object:
    """The same with everything hidden that is a secret, or looks like one."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return LOOKS_SECRET.sub(HIDDEN, value)
    if isinstance(value, Mapping):
        return {str(name): without_secrets(inner, secrets) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(inner, secrets) for inner in value]
    return value


def worst(statuses: Sequence[str]) -> str:
    """The status of several checks together; skip when none was made."""
    return next((status for status in (FAIL, WARN, OK) if status in statuses), SKIP)


def depth_of(checks: Sequence[Check]) -> str:
    """How far the run went."""
    made = [check.id for check in checks if check.status != SKIP]
    for depth, prefixes in ((CALL, CALL_CHECKS), (TOKEN, ACCOUNT_CHECKS)):
        if any(name.startswith(prefixes) for name in made):
            return depth
    return OUTSIDE


def legs_of(checks: Sequence[Check]) -> list[dict[str, object]]:
    """Each part of the way: what it is, how it is, and how long its slowest check took."""
    legs: list[dict[str, object]] = []
    for leg, about in LEGS.items():
        mine = [check for check in checks if check.leg == leg and check.status != SKIP]
        legs.append(
            {
                "id": leg,
                "about": about,
                "status": worst([check.status for check in mine]),
                "checks": len(mine),
                "seconds": max((check.seconds for check in mine), default=0.0),
            }
        )
    return legs


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many}"


def headline(checks: Sequence[Check]) -> str:
    """The outcome in one sentence that needs no knowledge of the parts."""
    if not checks:
        return "Nothing was checked."
    failed = [check for check in checks if check.status == FAIL]
    odd = sum(check.status == WARN for check in checks)
    made = sum(check.status != SKIP for check in checks)
    scope = depth_of(checks)
    if failed:
        return (
            f"Calls do not work, or not for everybody: {len(failed)} of {counted(made, 'check', 'checks')}"
            f" failed, the first is \u201c{failed[0].title}\u201d."
        )
    if not made:
        return "Nothing could be checked: every check was skipped."
    if odd:
        start = "Calls work" if scope == CALL else f"Nothing is broken as far as one can see {SCOPES[scope]}"
        return f"{start}, but {counted(odd, 'thing needs', 'things need')} a look."
    if scope == CALL:
        return f"Calls work: a test call went through, and all {counted(made, 'check', 'checks')} passed."
    return f"All is well as far as one can see {SCOPES[scope]}; no test call was placed."


def document(subject: Subject, results: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """The whole report. Of registered results checks and figures are taken over, never their arguments."""
    checks = collect(results)
    calls = [
        {name: figure for name, figure in figures.items() if name in FIGURES} for figures in calls_of(results)
    ]
    statuses = [check.status for check in checks]
    made = {
        "schema": SCHEMA_VERSION,
        "title": subject.title,
        "site": subject.site,
        "time": subject.time,
        "collection": {"name": "matrixrtc.backend", "version": subject.version},
        "depth": depth_of(checks),
        "verdict": headline(checks),
        "summary": {
            "status": worst(statuses),
            "checks": len(checks),
            **{status: statuses.count(status) for status in STATUSES},
        },
        "legs": legs_of(checks),
        "checks": [asdict(check) for check in checks],
        "calls": calls,
        "sources": {str(name): str(source) for name, source in subject.sources.items()},
    }
    secrets = sorted(set(secrets_in(list(results))), key=len, reverse=True)
    cleaned = without_secrets(made, secrets)
    assert isinstance(cleaned, dict)  # noqa: S101  (for the type alone)
    return cleaned
