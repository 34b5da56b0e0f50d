"""The report as a task: it shows the table and fails when a check failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GOOD = {
    "id": "tls_rtc",
    "title": "TLS",
    "status": "ok",
    "expected": "e",
    "seen": "s",
    "cause": "",
    "fix": "",
    "seconds": 0.1,
}
BAD = {**GOOD, "id": "sfu_validate", "status": "fail", "cause": "LiveKit is not running", "fix": "start it"}


def play(
    folder: Path, *results: dict[str, Any], check: bool = False, colour: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run one task of a real playbook."""
    task = {
        "matrixrtc.backend.report": {
            "title": "example.org",
            "results": list(results),
            "sources": {"token_service": "lab stand-in"},
        }
    }
    book = folder / "play.yml"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_NOCOLOR": "" if colour else "1",
    }
    environment.update({"ANSIBLE_FORCE_COLOR": "1"} if colour else {})
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        str(book),
    ]
    return subprocess.run(
        [*command, *(["--check"] if check else [])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("check", [False, True])
def test_a_healthy_site_is_shown_and_passes(tmp_path: Path, check: bool) -> None:
    done = play(tmp_path, {"checks": [GOOD]}, check=check)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  ok    tls_rtc  TLS" in done.stdout
    assert "sources   token_service: lab stand-in" in done.stdout
    assert "\x1b[" not in done.stdout


def test_a_failed_check_fails_the_task_after_the_table(tmp_path: Path) -> None:
    done = play(tmp_path, {"checks": [GOOD, BAD]}, {"skipped": True})
    assert done.returncode != 0
    assert "cause     LiveKit is not running" in done.stdout
    assert "example.org: 1 of 2 checks failed: sfu_validate." in done.stdout + done.stderr


def test_no_checks_at_all_fail_too(tmp_path: Path) -> None:
    assert play(tmp_path, {"skipped": True}).returncode != 0


def test_colours_are_only_around_the_status_word(tmp_path: Path) -> None:
    done = play(tmp_path, {"checks": [GOOD]}, colour=True)
    assert "  \x1b[0;32mok\x1b[0m    tls_rtc" in done.stdout
