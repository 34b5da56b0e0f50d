"""Measure a fresh lab, or collect what the scenarios measured, and write docs/benchmarks.md.

`make bench` measures. Each row is one command with its wall time in seconds and, for a playbook, the number
of tasks that ran (task headers in the output; tasks that every host skipped are not printed, nor counted).
`python -m tools.bench --capacity FILE` puts what load_test.yml wrote (matrixrtc_load_file) into
docs/capacity.md.
`make figures` takes over what molecule/shared/figures.py kept of the scenarios that ran in this clone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "benchmarks.md"
CAPACITY = ROOT / "docs" / "capacity.md"
BEGIN, END = "<!-- BEGIN MEASURED -->\n", "<!-- END MEASURED -->\n"
LAB = "bench"
HOST = "bench=debian13"
INVENTORY = f".lab/{LAB}/inventory"
FIGURES = ROOT / "tests" / "output" / "figures"
SCENARIOS, NOTES = "\n## What the scenarios measured", "\n## Notes"


@dataclass(frozen=True)
class Row:
    """One measured command: what it is, its seconds, its tasks (None: no playbook), its budget."""

    title: str
    command: str
    seconds: float
    tasks: int | None
    budget: str


def run(command: str) -> tuple[float, str]:
    """Run a command in the checkout and return (seconds, output); what it printed is shown if it fails."""
    started = time.monotonic()
    done = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{command} failed with status {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds, done.stdout


def playbook(title: str, arguments: str, budget: str) -> Row:
    """Measure one ansible-playbook run on the lab."""
    command = f"ansible-playbook -i {INVENTORY} {arguments}"
    print(f"{title}: {command}", flush=True)
    seconds, output = run(command)
    row = Row(title, command, seconds, len(re.findall(r"^TASK \[", output, re.MULTILINE)), budget)
    print(f"  {row.seconds:.1f} s, {row.tasks} tasks", flush=True)
    return row


def measure() -> list[Row]:
    """Measure everything on a lab of its own, which is removed afterwards."""
    run(f"{sys.executable} -m lab images")
    run(f"{sys.executable} -m lab down {LAB}")
    print("Starting the lab", flush=True)
    seconds, _ = run(f"{sys.executable} -m lab up {LAB} --site {HOST}")
    rows = [Row("Lab host from built images", f"python -m lab up {LAB} --site {HOST}", seconds, None, "")]
    try:
        rows += [
            playbook("First run, artifacts in the mirror", "site.yml", "60 s"),
            playbook("No-change run", "site.yml", "12 s, 45 tasks"),
            playbook("No-change run, again", "site.yml", "12 s, 45 tasks"),
            playbook("Check mode", "site.yml --check", ""),
            playbook("Endpoint checks", 'verify.yml -e {"matrixrtc_probe_users":[]}', "5 s"),
            playbook("Endpoint checks and call proof", "verify.yml", "5 s + 15 s"),
            playbook("Removal", "uninstall.yml", ""),
        ]
    finally:
        run(f"{sys.executable} -m lab down {LAB}")
    return rows


def today() -> str:
    """Return the date of today, for the page."""
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def report(rows: list[Row]) -> str:
    """Return the Markdown page for the measured rows."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {today()}: {os.cpu_count()} cores, Linux {platform.release()},"
        f" Python {platform.python_version()}. One all-in-one lab host (Debian 13).",
        "Times are wall times of the whole command, with Ansible's own start of about a second.",
        "",
        "| what | seconds | tasks | budget | command |",
        "|---|---:|---:|---|---|",
    ]
    for row in rows:
        tasks = "" if row.tasks is None else str(row.tasks)
        lines.append(f"| {row.title} | {row.seconds:.1f} | {tasks} | {row.budget} | `{row.command}` |")
    return "\n".join(lines) + "\n"


def scenarios() -> str:
    """Return the section with the figures of every scenario that ran here. Ends the program if none did."""
    found = sorted(FIGURES.glob("*.json"))
    if not found:
        sys.exit(
            "No scenario has left a figure yet: run `make test-all`, or one with `molecule test -s NAME`."
        )
    lines = [
        SCENARIOS,
        "",
        f"Taken over by `make figures` on {today()}, from runs of `molecule test --scenario-name NAME`"
        " on the machine above.",
        "",
        "| scenario | what | figure | budget |",
        "|---|---|---:|---:|",
    ]
    for path in found:
        for what, value in json.loads(path.read_text(encoding="utf-8")).items():
            budget = "" if value["budget"] is None else f"{value['budget']:g} {value['unit']}"
            lines.append(f"| `{path.stem}` | {what} | {value['figure']:g} {value['unit']} | {budget} |")
    return "\n".join(lines) + "\n"


def section(heading: str) -> str:
    """Return what the page has from a heading on to the next of ours, or nothing."""
    page = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    start = page.find(heading)
    if start < 0:
        return ""
    end = page.find("\n## ", start + len(heading))
    return page[start:] if end < 0 else page[start:end]


def measured() -> str:
    """Return the page as it is, up to the first of our headings."""
    return REPORT.read_text(encoding="utf-8").partition("\n## ")[0]


COLUMNS = (
    ("in the call", "{participants:.0f}"),
    ("sending", "{publishers:.0f}"),
    ("into the SFU, Mbit/s", "{received:.1f}"),
    ("out of the SFU, Mbit/s", "{sent:.1f}"),
    ("of that each, Mbit/s", "{each:.2f}"),
    ("lost", "{loss:.2%}"),
    ("video tracks forwarded", "{forwarded:.0f}"),
    ("missing", "{missing:.0f}"),
    ("SFU, cores", "{sfu_cores:.2f}"),
    ("participants' share of all cores", "{client_share:.0%}"),
)


def capacity(file: Path) -> str:
    """The section of docs/capacity.md with the figures of one load test, as Markdown."""
    found = json.loads(file.read_text(encoding="utf-8"))
    today = datetime.date.today().isoformat()
    lines = [
        f"Measured on {today}, {os.cpu_count()} cores ({platform.machine()}), everything on one machine.",
        "",
        f"| {' | '.join(title for title, _form in COLUMNS)} |",
        f"|{'---:|' * len(COLUMNS)}",
    ]
    for step in found["steps"]:
        each = step["sent"] / max(1, step["forwarded"])
        lines.append(f"| {' | '.join(form.format(**step, each=each) for _title, form in COLUMNS)} |")
    if carried := found["capacity"]:
        lines += [
            "",
            f"By these steps one core forwards about **{carried['per_core']:.0f} Mbit/s**: a call of "
            f"**{carried['core_participants']}** in which all send and receive each other at "
            f"{carried['rate']:.2f} Mbit/s. 1 Gbit/s outwards carries one of "
            f"**{carried['gigabit_participants']}**.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, or take the scenarios' figures over; the rest of the page stays."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", action="store_true", help="take over what the scenarios measured")
    parser.add_argument("--capacity", type=Path, metavar="FILE", help="take over what a load test wrote")
    given = parser.parse_args()
    if given.capacity:
        before, _begin, rest = CAPACITY.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        CAPACITY.write_text(before + BEGIN + capacity(given.capacity) + END + after, encoding="utf-8")
        print(f"Written to {CAPACITY.relative_to(ROOT)}")
        return
    if given.figures:
        page = measured() + scenarios() + section(NOTES)
    else:
        page = report(measure()) + section(SCENARIOS) + section(NOTES)
    REPORT.write_text(page, encoding="utf-8")
    print(f"Written to {REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
