#!/usr/bin/env python3
"""Open, change and close ports with every firewall tool on a real host of the lab, and look from outside.

Usage, in a clone with its `.venv` and after `python -m lab up NAME --site NAME=debian13`:

    python tests/lab/firewall_backends.py NAME [TOOL ...]

The host is the lab's only site; its own nftables rules are switched off first, as an operator would do who
moves to another tool. Every tool is installed, set up as an operator would, driven through ansible, and
removed again. Ends with status 1 at the first thing that is not as it should be.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
OPEN = {"tcp": [443, 7881], "udp": ["7882-7885"]}
OTHER = {"tcp": [443, 7881], "udp": ["50100-50200"]}
LISTEN = """
import select, socket
socks = []
for kind, ports in ((socket.SOCK_STREAM, (7881, 7890)), (socket.SOCK_DGRAM, (7882, 7885, 7886, 50100))):
    for port in ports:
        one = socket.socket(socket.AF_INET, kind)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            one.listen()
        socks.append(one)
while True:
    for one in select.select(socks, [], [])[0]:
        if one.type == socket.SOCK_STREAM:
            one.accept()[0].close()
        else:
            one.sendto(*one.recvfrom(100))
"""
ASK = """
import socket, sys
host, seen = sys.argv[1], []
for name in sys.argv[2:]:
    protocol, port = name.split("/")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    one = socket.socket(socket.AF_INET, kind)
    one.settimeout(0.6)
    try:
        one.connect((host, int(port)))
        if protocol == "udp":
            one.send(b"x")
            one.recv(10)
        seen.append(name)
    except OSError:
        pass
print(*seen)
"""
ASKED = ["tcp/22", "tcp/443", "tcp/7881", "tcp/7890", "udp/7882", "udp/7885", "udp/7886", "udp/50100"]
APT = "export DEBIAN_FRONTEND=noninteractive; apt-get update -q; apt-get install -yq --no-install-recommends "
NO_NFTABLES = "systemctl disable --now nftables; nft flush ruleset; "
REMOVE = "DEBIAN_FRONTEND=noninteractive apt-get remove -yq "
PURGE = "export DEBIAN_FRONTEND=noninteractive; apt-get purge -yq --autoremove "
IPTABLES_RULES = """
for program in iptables ip6tables; do
    $program -A INPUT -i lo -j ACCEPT
    $program -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
    $program -A INPUT -p tcp --dport 22 -j ACCEPT
    $program -P INPUT DROP
done
netfilter-persistent save && systemctl restart netfilter-persistent
"""
SETUP = {
    "ufw": NO_NFTABLES + APT + "ufw && ufw allow 22/tcp && ufw --force enable",
    "firewalld": NO_NFTABLES + APT + "firewalld && systemctl start firewalld && sleep 3",
    "iptables": NO_NFTABLES + APT + "iptables iptables-persistent && " + IPTABLES_RULES,
    "nftables": "systemctl enable --now nftables && systemctl restart nftables",
}
TEARDOWN = {
    "ufw": "ufw disable; systemctl disable --now nftables; "
    + PURGE
    + "ufw iptables; nft flush ruleset; rm -rf /etc/ufw",
    "firewalld": "systemctl stop firewalld; " + PURGE + "firewalld; nft flush ruleset; rm -rf /etc/firewalld",
    "iptables": "systemctl stop netfilter-persistent; " + PURGE + "iptables-persistent netfilter-persistent "
    "iptables; nft flush ruleset; rm -rf /etc/iptables",
    "nftables": "true",
}
# What survives a reload or restart that the operator does.
DISTURBANCES = {
    "ufw": ["ufw reload", "systemctl restart ufw"],
    "firewalld": ["firewall-cmd --reload", "systemctl restart firewalld && sleep 4"],
    "iptables": ["systemctl restart netfilter-persistent"],
    "nftables": ["systemctl reload nftables", "systemctl restart nftables"],
}
STATE = r"""
iptables-save 2>/dev/null | grep -v '^#' | sed 's/\[[0-9:]*\]//'
ip6tables-save 2>/dev/null | grep -v '^#' | sed 's/\[[0-9:]*\]//'
if systemctl is-active -q firewalld; then
    firewall-cmd --list-all-zones
    firewall-cmd --permanent --list-all-zones
fi
nft --stateless list ruleset
"""


class LabError(Exception):
    """Something is not as it should be."""


class Host:
    """The site of a lab, and the client from which it is looked at."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.name = f"matrixrtc-{lab}-{lab}"
        self.client = f"matrixrtc-{lab}-client"
        manifest = (CLONE / "molecule" / "shared" / "manifest.py").read_text()
        self.put("/root/manifest.py", manifest)
        self.put("/root/listen.py", LISTEN)
        self.put("/root/ask.py", ASK, self.client)
        self.address = self.shell("hostname -i | cut -d' ' -f1").strip()
        subprocess.run(["docker", "exec", "-d", self.name, "python3", "/root/listen.py"], check=True)

    def put(self, path: str, text: str, container: str = "") -> None:
        command = ["docker", "exec", "-i", container or self.name, "sh", "-c", f"cat >{path}"]
        subprocess.run(command, input=text, text=True, check=True)

    def shell(self, script: str, container: str = "") -> str:
        done = subprocess.run(
            ["docker", "exec", container or self.name, "bash", "-c", script], capture_output=True, text=True
        )
        if done.returncode:
            raise LabError(f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def reached(self) -> set[str]:
        return set(self.shell(f"python3 /root/ask.py {self.address} {' '.join(ASKED)}", self.client).split())

    def manifest(self) -> list[str]:
        self.shell("python3 /root/manifest.py /root/manifest.json")
        found = json.loads(self.shell("cat /root/manifest.json"))
        found.pop("ruleset")
        found["files"] = {
            path: about for path, about in found["files"].items() if not path.startswith("/root/")
        }
        return [*json.dumps(found, indent=0, sort_keys=True).splitlines(), *self.shell(STATE).splitlines()]

    def module(self, check: bool = False, **arguments: object) -> dict[str, object]:
        done = subprocess.run(
            ["ansible", "-i", f".lab/{self.lab}/inventory", self.lab, "-b",
             "-m", "matrixrtc.backend.firewall_ports", "-a", json.dumps(arguments),
             *(["--check"] if check else [])],
            cwd=CLONE, capture_output=True, text=True,
            env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        )  # fmt: skip
        found = re.search(r"=> (\{.*\})", done.stdout, re.DOTALL)
        if done.returncode or not found:
            raise LabError(done.stdout + done.stderr)
        return dict(json.loads(found[1]))


def same(what: str, seen: object, wanted: object) -> None:
    if seen == wanted:
        print(f"  ok   {what}", flush=True)
        return
    if isinstance(seen, list) and isinstance(wanted, list):
        seen = "\n".join(difflib.unified_diff(wanted, seen, "wanted", "seen", lineterm="", n=1))
    raise LabError(f"{what}: {seen}\nwanted: {wanted if not isinstance(wanted, list) else ''}")


@contextmanager
def firewall(host: Host, tool: str) -> Iterator[None]:
    host.shell(SETUP[tool])
    try:
        yield
    finally:
        host.shell(TEARDOWN[tool])


def try_tool(host: Host, tool: str) -> None:
    closed = host.reached()
    expected = {"tcp/22", "tcp/443"} if tool == "nftables" else {"tcp/22"}
    same("only SSH (and the operator's web) before", closed, expected)
    before = host.manifest()
    same("check mode tells", host.module(check=True, **OPEN)["changed"], True)
    same("check mode touches nothing", host.manifest(), before)
    outcome = host.module(**OPEN)
    same("opened", (outcome["backend"], outcome["changed"]), (tool, True))
    print(f"       in {outcome['places']}")
    opened = {"tcp/22", "tcp/443", "tcp/7881", "udp/7882", "udp/7885"}
    same("exactly our ports can be reached", host.reached(), opened)
    after = host.manifest()
    started = time.monotonic()
    same("second run changes nothing", host.module(**OPEN)["changed"], False)
    print(f"       {time.monotonic() - started:.1f} s with ansible's own start")
    same("check mode after it neither", host.module(check=True, **OPEN)["changed"], False)
    same("nor is anything written", host.manifest(), after)
    for disturbance in DISTURBANCES[tool]:
        host.shell(disturbance)
        same(f"still open after {disturbance}", host.reached(), opened)
        same("and nothing to do", host.module(**OPEN)["changed"], False)
    same("another range is told", host.module(check=True, **OTHER)["changed"], True)
    same("another range", host.module(**OTHER)["changed"], True)
    moved = {"tcp/22", "tcp/443", "tcp/7881", "udp/50100"}
    same("no old port is left", host.reached(), moved)
    same("and nothing to do", host.module(**OTHER)["changed"], False)
    same("removal is told", host.module(check=True, state="absent")["changed"], True)
    same("still there", host.reached(), moved)
    same("removal", host.module(state="absent")["changed"], True)
    same("as before from outside", host.reached(), closed)
    same("as before, byte for byte", host.manifest(), before)
    same("nothing left to remove", host.module(state="absent")["changed"], False)


def try_switch(host: Host) -> None:
    """From ufw, which is then switched off and removed, to the operator's own nftables rules."""
    host.module(**OPEN)
    host.shell("grep -rqs MatrixRTC /etc/ufw")
    host.shell("ufw disable; " + REMOVE + "ufw; systemctl enable --now nftables; systemctl restart nftables")
    same("the new tool", host.module(**OPEN)["backend"], "nftables")
    same("nothing of ours is left in ufw", host.shell("grep -rls MatrixRTC /etc/ufw || true"), "")
    same("ports are open", host.reached(), {"tcp/22", "tcp/443", "tcp/7881", "udp/7882", "udp/7885"})
    same("and nothing to do", host.module(**OPEN)["changed"], False)
    host.module(state="absent")


def main() -> int:
    host = Host(sys.argv[1])
    for tool in sys.argv[2:] or ["nftables", "ufw", "switch", "firewalld", "iptables"]:
        print(tool, flush=True)
        try:
            with firewall(host, "ufw" if tool == "switch" else tool):
                try_switch(host) if tool == "switch" else try_tool(host, tool)
        except LabError as failure:
            print(f"  FAIL {failure}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
