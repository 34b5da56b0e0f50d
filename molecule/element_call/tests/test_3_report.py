"""The page of a report in a real browser: that of this site, and those of sites in all conditions."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
import steps
from lab_playbooks import ROOT, play
from on_host import program, put

PICTURES = ROOT / "tests" / "output" / "report"
CONDITIONS = (
    "healthy",
    "one_leg_failed",
    "everything_failed",
    "between_sites",
    "long_list",
    "outside",
    "nothing",
)
VIEWS = {"desktop", "phone", "dark"}


@pytest.fixture(scope="module")
def client():
    (host,) = steps.hosts("lab_client")
    put(host, "/run/browser_page.py", program("browser_page.py"))
    host.check_output("mkdir -p /run/report")
    PICTURES.mkdir(parents=True, exist_ok=True)
    return host


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".ansible" / "collections")}
    command = [sys.executable, "tests/unit/report_samples.py", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder


def look(client, name, page):
    """What a browser makes of a page, by view; the screenshots are kept."""
    put(client, f"/run/report/{name}.html", page)
    given = {"page": f"/run/report/{name}.html", "pictures": "/run/report", "name": name}
    put(client, "/run/page.json", json.dumps(given).encode())
    seen = json.loads(client.check_output("/opt/probe/bin/python /run/browser_page.py /run/page.json"))
    for view in seen:
        content = client.check_output(f"base64 /run/report/{name}-{view}.png")
        (PICTURES / f"{name}-{view}.png").write_bytes(base64.b64decode(content))
    return seen


def assert_tidy(seen):
    assert set(seen) == VIEWS
    for view, found in seen.items():
        assert found["requests"] == [], view
        assert found["console"] == [], view
        assert found["wider"] == [], view
        assert found["overlapping"] == [], view
        assert found["drawings"] == 1, view
    assert seen["desktop"]["background"] != seen["dark"]["background"]


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_page_is_whole_at_any_width(client, samples, name):
    assert_tidy(look(client, name, (samples / f"{name}.html").read_bytes()))


def test_the_page_of_this_site_tells_of_the_call(client, tmp_path):
    play("verify", "-e", f"matrixrtc_report_dir={tmp_path}").ok()
    seen = look(client, "call.test", (tmp_path / "call.test.html").read_bytes())
    assert_tidy(seen)
    for found in seen.values():
        assert "Calls work" in found["text"]
        assert "first picture" in found["text"]
        assert "received by @" in found["text"]
    document = json.loads((tmp_path / "call.test.json").read_text())
    assert document["depth"] == "call"
    assert all(len(one["points"]) >= 3 for one in document["calls"][0]["series"])
    assert (tmp_path / "call.call.test.json").exists()


def test_a_page_that_asks_for_anything_is_found_out_and_stopped(client, samples):
    page = (samples / "healthy.html").read_bytes()
    seen = look(client, "asking", page.replace(b"<main>", b'<img src="https://elsewhere.test/x.png"><main>'))
    assert all("Content Security Policy" in " ".join(found["console"]) for found in seen.values())
