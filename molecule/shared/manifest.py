#!/usr/bin/python3
"""Write what an uninstall has to bring back: files, users, units, firewall rules, and what URLs answer.

Usage: manifest.py OUTPUT [URL...]. The result is one JSON object. Without URLs it is about this host; a path
maps to [kind, mode, owner, group, hash]. Left out: what a running host writes by itself (logs, databases,
caches, systemd's run-time state, the copies that useradd and userdel leave). With URLs it is what each of
them answers from here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys

ROOTS = ("/etc", "/opt", "/usr/local", "/srv", "/var/www", "/var/lib", "/root", "/home", "/usr/lib/systemd")
LIVING = (
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/opt/venvs",
    "/root/.ansible",
    "/root/manifest",
    "/srv/synapse/data",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/matrix-synapse",
    "/var/lib/nginx",
    "/var/lib/postgresql",
    "/var/lib/redis",
    "/var/lib/systemd",
)


def entry(path: str) -> list[str]:
    """Return [kind, mode, owner, group, hash] of one path."""
    info = os.lstat(path)
    content = b""
    if stat.S_ISLNK(info.st_mode):
        kind, content = "link", os.readlink(path).encode()
    elif stat.S_ISREG(info.st_mode):
        with open(path, "rb") as handle:
            kind, content = "file", handle.read()
    else:
        kind = "folder" if stat.S_ISDIR(info.st_mode) else "other"
    digest = hashlib.sha256(content).hexdigest()
    return [kind, oct(stat.S_IMODE(info.st_mode)), str(info.st_uid), str(info.st_gid), digest]


def files() -> dict[str, list[str]]:
    """Return every path below the roots that an operator, or we, may have written."""
    found: dict[str, list[str]] = {}
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if not os.path.join(folder, f).startswith(LIVING)]
            for name in folders + names:
                path = os.path.join(folder, name)
                if not path.startswith(LIVING) and not path.endswith(".pyc") and name != "__pycache__":
                    found[path] = entry(path)
    return found


def output_of(*argv: str) -> list[str]:
    """Return the lines that a command prints; a missing command is an empty list, a failing one an error."""
    try:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    except FileNotFoundError:
        return []


def iptables(command: str) -> list[str]:
    """Return the rules of iptables or ip6tables without counters and dates."""
    lines = [line for line in output_of(command) if not line.startswith("#")]
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in lines]


def host() -> dict[str, object]:
    """Return the manifest of this host. Every firewall is asked, whichever of them are there."""
    return {
        "files": files(),
        "users": output_of("getent", "passwd"),
        "groups": output_of("getent", "group"),
        "units": output_of("systemctl", "list-unit-files", "--no-legend", "--no-pager"),
        "nftables": output_of("nft", "--stateless", "list", "ruleset"),
        "iptables": iptables("iptables-save"),
        "ip6tables": iptables("ip6tables-save"),
        "ufw": output_of("ufw", "status", "verbose"),
        "firewalld": output_of("firewall-cmd", "--list-all-zones"),
        "firewalld_permanent": output_of("firewall-cmd", "--permanent", "--list-all-zones"),
        "firewalld_direct": output_of("firewall-cmd", "--direct", "--get-all-rules"),
    }


def answers(urls: list[str]) -> dict[str, object]:
    """Return [status and where it leads, hash of the body] of each URL."""
    found: dict[str, object] = {}
    for url in urls:
        curl = ("curl", "-s", "-m", "20", "-w", "\\n%{http_code} %{content_type} %{redirect_url}", url)
        body, _newline, status = subprocess.run(curl, capture_output=True, check=False).stdout.rpartition(
            b"\n"
        )
        found[url] = [status.decode(), hashlib.sha256(body).hexdigest()]
    return found


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as target:
        json.dump(answers(sys.argv[2:]) if sys.argv[2:] else host(), target)
