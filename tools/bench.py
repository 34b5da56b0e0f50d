"""Measure a fresh lab and write docs/benchmarks.md.

Run by `make bench`. Each row is one command with its wall time in seconds and, for a playbook, the number
of tasks that ran (task headers in the output; tasks that every host skipped are not printed, nor counted).
"""

from __future__ import annotations

import datetime
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
LAB = "bench"
HOST = "bench=debian13"
INVENTORY = f".lab/{LAB}/inventory"


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


def report(rows: list[Row]) -> str:
    """Return the Markdown page for the measured rows."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {today}: {os.cpu_count()} cores, Linux {platform.release()},"
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


def notes() -> str:
    """Return what people wrote, from the heading Notes on; it survives a new measurement."""
    page = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    start = page.find("\n## Notes")
    return page[start:] if start >= 0 else ""


if __name__ == "__main__":
    REPORT.write_text(report(measure()) + notes(), encoding="utf-8")
    print(f"Written to {REPORT.relative_to(ROOT)}")
