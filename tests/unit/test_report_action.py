"""The report as a task: it shows the table and fails when a check failed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.plugin_utils.report_files import collection_version

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
    folder: Path,
    *results: dict[str, Any],
    check: bool = False,
    colour: bool = False,
    options: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run one task of a real playbook."""
    task = {
        "matrixrtc.backend.report": {
            "title": "example.org",
            "results": list(results),
            "sources": {"token_service": "lab stand-in"},
            **(options or {}),
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


@pytest.fixture
def umask() -> Iterator[None]:
    """The umask with which every new file would be readable for everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_files_are_their_owners_alone(tmp_path: Path, umask: None) -> None:
    given = {"checks": [GOOD], "invocation": {"module_args": {"access_token": "canary-zq81"}}}
    done = play(tmp_path, given, options={"dir": str(tmp_path / "a" / "reports"), "name": "example.org:8448"})
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "a" / "reports"
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["example.org_8448.html", "example.org_8448.json"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *files)] == [0o700, 0o600, 0o600]
    assert "changed=1" in done.stdout
    assert f"written   {files[0]}" in done.stdout
    document = json.loads(files[1].read_text())
    assert document["site"] == "example.org:8448"
    assert document["collection"]["version"] == collection_version()
    assert document["sources"] == {"token_service": "lab stand-in"}
    assert "canary" not in files[0].read_text() + files[1].read_text() + done.stdout


def test_a_failed_site_has_its_files_too(tmp_path: Path) -> None:
    done = play(tmp_path, {"checks": [BAD]}, options={"dir": "reports"})
    assert done.returncode != 0
    assert json.loads((tmp_path / "reports" / "example.org.json").read_text())["summary"]["fail"] == 1
    assert "start it" in (tmp_path / "reports" / "example.org.html").read_text()


def test_check_mode_and_no_folder_write_nothing(tmp_path: Path) -> None:
    checked = play(tmp_path, {"checks": [GOOD]}, check=True, options={"dir": str(tmp_path / "reports")})
    assert checked.returncode == 0
    assert "changed=1" in checked.stdout
    without = play(tmp_path, {"checks": [GOOD]})
    assert "changed=0" in without.stdout
    assert not list(tmp_path.rglob("*.html"))


def test_a_folder_that_cannot_be_written_to_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = play(tmp_path, {"checks": [GOOD]}, options={"dir": str(tmp_path / "taken")})
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "ok    tls_rtc" in said
    assert "matrixrtc_report_dir: " in said
    assert "Set matrixrtc_report_dir to a folder on the controller that you may write to" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("tasks", sorted(ROOT.glob("roles/*/tasks/*.yml")), ids=lambda path: path.parts[-3])
def test_whoever_reports_takes_the_folder_from_the_operator(tasks: Path) -> None:
    entries = yaml.safe_load(tasks.read_text())
    for entry in [*entries, *(inner for one in entries for inner in one.get("block", []))]:
        if report := entry.get("matrixrtc.backend.report"):
            assert report["dir"] == "{{ matrixrtc_report_dir | default('', true) }}"
            assert report["name"]
