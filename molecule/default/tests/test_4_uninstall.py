"""Removal brings every file, rule, user and unit back. Runs last: nothing is deployed afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab_playbooks import ROOT, play

testinfra_hosts = ["ansible://matrixrtc_rtc"]

MANIFEST = Path(ROOT, "molecule", "shared", "manifest.py")


@pytest.fixture(scope="module", autouse=True)
def uninstalled():
    """Remove the deployment from every host, once; a second removal has nothing to do."""
    play("uninstall").ok()
    assert play("uninstall").ok().changed == 0


def test_the_host_is_as_it_was(host):
    host.run_expect(
        [0], "cat > /root/manifest.py <<'END'\n" + MANIFEST.read_text(encoding="utf-8") + "\nEND\n"
    )
    host.check_output("python3 /root/manifest.py /root/manifest-after.json")
    before = json.loads(host.file("/root/manifest-before.json").content_string)
    after = json.loads(host.file("/root/manifest-after.json").content_string)
    for part in before:
        if part == "files":
            differing = {p for p in before[part] | after[part] if before[part].get(p) != after[part].get(p)}
            assert not differing, {p: (before[part].get(p), after[part].get(p)) for p in differing}
        else:
            assert after[part] == before[part], part


def test_the_operators_sites_answer(host):
    name = host.ansible.get_variables()["matrixrtc_server_name"]
    for url in (f"https://{name}/", f"https://matrix.{name}/_matrix/client/versions"):
        server = url.split("/")[2]
        code = host.check_output(
            f"curl -s -o /dev/null -w '%{{http_code}}' --resolve {server}:443:127.0.0.1 {url}"
        )
        assert code == "200", url
