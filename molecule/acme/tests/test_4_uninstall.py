"""Removal takes all of ours; the package certbot stays until it is removed, and then all is as it was."""

from __future__ import annotations

import json
from pathlib import Path

from lab_playbooks import ROOT, play

testinfra_hosts = ["ansible://matrixrtc_rtc"]

MANIFEST = Path(ROOT, "molecule", "shared", "manifest.py").read_text(encoding="utf-8")
CLEAN = "rm -rf /root/.acme.sh /root/way-out /etc/letsencrypt/{accounts,archive,live,renewal} /var/www/acme"


def test_nothing_of_ours_is_left(host):
    """The operator's certificates of the tests before go first, then all of ours, then the package."""
    play("site").ok()
    play("uninstall").ok()
    assert play("uninstall").ok().changed == 0
    for path in ("/etc/matrixrtc", "/var/lib/matrixrtc-acme", "/var/lib/matrixrtc"):
        assert not host.file(path).exists, path
    hooks = host.run("ls -A /etc/letsencrypt/renewal-hooks/deploy")
    assert hooks.stdout == ""
    host.check_output(f"bash -c '{CLEAN}'")
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get purge -q -y --autoremove certbot")
    host.check_output("rm -rf /etc/letsencrypt /var/lib/letsencrypt && systemctl daemon-reload")


def test_the_host_is_as_it_was(host):
    host.run_expect([0], f"cat > /root/manifest.py <<'END'\n{MANIFEST}\nEND\n")
    host.check_output("python3 /root/manifest.py /root/manifest-after.json")
    before, after = (
        json.loads(host.file(f"/root/manifest-{when}.json").content_string) for when in ("before", "after")
    )
    assert {part: after[part] for part in after if part != "files"} == {
        part: before[part] for part in before if part != "files"
    }
    files = before["files"] | after["files"]
    differing = [path for path in files if before["files"].get(path) != after["files"].get(path)]
    assert differing == []
