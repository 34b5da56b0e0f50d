"""ufw, firewalld and iptables that are not there: each answers as the real one was seen to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import COMMAND_NOT_FOUND, Completed

SSH_RULE = """\
### tuple ### allow tcp 22 {any} any {any} in
-A {chain} -p tcp --dport 22 -j ACCEPT

"""
UFW_FILE = "*filter\n### RULES ###\n\n{rules}### END RULES ###\n"


class FakeUfw:
    """ufw with its files below a folder, and its chains in the kernel while it is enabled."""

    def __init__(self, root: Path, ipv6: bool = True, text: str = UFW_FILE) -> None:
        self.root = root
        self.failing = ""  # the ufw command that fails, such as "allow"
        self.kernel: dict[str, list[str]] = {}
        self.families = {
            "user.rules": ("ufw-user-input", "0.0.0.0/0"),
            "user6.rules": ("ufw6-user-input", "::/0"),
        }
        (root / "etc/ufw/applications.d").mkdir(parents=True)
        (root / "etc/default").mkdir(parents=True)
        (root / "etc/default/ufw").write_text(f"# IPV6=x\nIPV6={'yes' if ipv6 else 'no'}\n")
        for name, (chain, any_) in self.families.items():
            rules = SSH_RULE.format(any=any_, chain=chain)
            self.file(name).write_text(text.format(rules=rules))
            self.file(name).chmod(0o640)
        self.ipv6 = ipv6
        self.switch("yes")

    def file(self, name: str) -> Path:
        return self.root / "etc/ufw" / name

    @property
    def profile(self) -> Path:
        return self.file("applications.d/MatrixRTC")

    def switch(self, enabled: str) -> None:
        self.file("ufw.conf").write_text(f'# ENABLED=no\nENABLED="{enabled}"\n')
        self.kernel = {}
        if enabled == "yes":
            self.load()

    def load(self) -> None:
        for name, (chain, _any) in self.families.items():
            if name == "user.rules" or self.ipv6:
                lines = [line for line in self.file(name).read_text().splitlines() if line.startswith("-A")]
                self.kernel[chain] = [
                    re.sub(r" -j ACCEPT(?: -m comment --comment '(.*)')?$",
                           lambda found: (f" -m comment --comment \"\\'{found[1]}\\'\"" if found[1] else "")
                           + " -j ACCEPT", line)
                    for line in lines
                ]  # fmt: skip

    def ours(self) -> list[str]:
        """The ports that the profile names, by protocol, as ufw reads them."""
        found = re.search(r"^ports=(.*)$", self.profile.read_text(), re.MULTILINE)
        assert found
        return found[1].split("|")

    def run(self, argv: Sequence[str]) -> Completed:
        if argv[0] != "ufw":
            rules = self.kernel.get(argv[-1])
            if argv[1] == "--version":
                return Completed(0, f"{argv[0]} v1.8.11 (nf_tables)")
            return Completed(1, errors="No chain") if rules is None else Completed(0, "\n".join(rules))
        verb = argv[1]
        if verb == self.failing:
            return Completed(1, errors="ERROR: problem running")
        assert list(argv[1:]) in (["app", "update", "MatrixRTC"], ["allow", "MatrixRTC"],
                                  ["delete", "allow", "MatrixRTC"]), argv  # fmt: skip
        for name, (chain, any_) in self.families.items():
            text = self.file(name).read_text()
            without = re.sub(r"### tuple ### .* MatrixRTC - in\n-A .*\n\n", "", text)
            if verb == "delete" or (name == "user6.rules" and not self.ipv6):
                self.file(name).write_text(without)
                continue
            if verb == "app" and without == text:
                continue
            added = ""
            for entry in self.ours():
                ports, protocol = entry.split("/")
                match = (
                    f"-m multiport --dports {ports}" if "," in ports or ":" in ports else f"--dport {ports}"
                )
                added += (
                    f"### tuple ### allow {protocol} {ports} {any_} any {any_} MatrixRTC - in\n"
                    f"-A {chain} -p {protocol} {match} -j ACCEPT -m comment --comment 'dapp_MatrixRTC'\n\n"
                )
            self.file(name).write_text(without.replace("### END", added + "### END"))
        if self.kernel:
            self.load()
        return Completed(0, "Rule added")


class FakeFirewalld:
    """firewalld, whose permanent configuration is a file as soon as it was changed once."""

    def __init__(self, root: Path, interfaces: str = "eth0", zone: str = "public") -> None:
        self.root = root
        self.running = True
        self.default = "public"
        self.bound = {interfaces: zone} if zone else {}
        self.ports: dict[tuple[str, str], list[str]] = {
            (name, mode): [] for name in ("public", "external") for mode in ("permanent", "runtime")
        }
        self.failing = ""  # the option that fails
        self.deaf = False  # accepts everything with a warning, does nothing
        self.writes = 0
        (root / "etc/firewalld/zones").mkdir(parents=True)
        (root / "proc/net").mkdir(parents=True)
        (root / "proc/net/route").write_text(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
            "eth1\t000015AC\t00000000\t0001\t0\t0\t0\t0000FFFF\neth0\t00000000\t010015AC\t0003\t0\t0\t0\t00000000\n"
        )

    def file(self, zone: str = "public") -> Path:
        return self.root / f"etc/firewalld/zones/{zone}.xml"

    def text(self, zone: str) -> str:
        lines = []
        for port in self.ports[zone, "permanent"]:
            number, protocol = port.split("/")
            lines.append(f'  <port port="{number}" protocol="{protocol}"/>\n')
        return "<zone>\n" + "".join(lines) + "  <forward/>\n</zone>\n"

    def open_for(self, zone: str, mode: str, *ports: str) -> None:
        """What the operator has open."""
        self.ports[zone, mode] += ports
        if mode == "permanent":
            self.file(zone).write_text("<!-- by hand -->\n" + self.text(zone))

    def ask(self, argv: Sequence[str]) -> Completed:
        """Answer on the bus. `busctl` prints JSON; a zone's permanent configuration has a path of its own."""
        assert list(argv[:4]) == ["busctl", "--json=short", "call", "org.fedoraproject.FirewallD1"], argv
        path, interface, method = (word.removeprefix("/org/fedoraproject/FirewallD1") for word in argv[4:7])
        zone = argv[-1] if method == "getZoneByName" or interface.endswith("D1.zone") else path.split("/")[-1]
        if method in ("getPorts", "getZoneByName") and (zone, "permanent") not in self.ports:
            return Completed(1, errors=f"Call failed: INVALID_ZONE: {zone}")
        answers: dict[str, object] = {
            "getDefaultZone": self.default,
            "getActiveZones": {zone: {"interfaces": [name]} for name, zone in self.bound.items()},
            "getZoneNames": list(dict.fromkeys(zone for zone, _mode in self.ports)),
            "getZoneByName": f"/config/zone/{zone}",
        }
        if method == "getPorts":
            mode = "runtime" if interface.endswith("D1.zone") else "permanent"
            answers[method] = [port.split("/") for port in self.ports[zone, mode]]
        return Completed(0, json.dumps({"type": "x", "data": [answers[method]]}))

    def run(self, argv: Sequence[str]) -> Completed:
        if not self.running:
            return Completed(252, errors="FirewallD is not running")
        if argv[0] == "busctl":
            return self.ask(argv)
        options = [option for option in argv[1:] if option != "--permanent"]
        mode = "permanent" if "--permanent" in argv else "runtime"
        zone = options.pop(0).removeprefix("--zone=")
        if (zone, mode) not in self.ports:
            return Completed(112, errors=f"Error: INVALID_ZONE: {zone}")
        if self.deaf:
            return Completed(0, "Warning: INVALID_PORT\nsuccess")
        for option in options:
            verb, _equals, port = option.partition("=")
            if verb == self.failing:
                return Completed(1, errors="Error: COMMAND_FAILED")
            assert verb in ("--add-port", "--remove-port"), option
            (list.append if verb == "--add-port" else list.remove)(self.ports[zone, mode], port)
        self.writes += 1
        if mode == "permanent":
            old = self.file(zone).read_bytes() if self.file(zone).exists() else b"<zone>\n</zone>\n"
            self.file(zone).with_suffix(".xml.old").write_bytes(old)
            self.file(zone).write_text(self.text(zone))
        return Completed(0, "success")


class FakeIptables:
    """iptables and ip6tables: the lines that `-S` shows of each program's INPUT and of our chain."""

    def __init__(self, legacy: bool = False, programs: Sequence[str] = ("iptables", "ip6tables")) -> None:
        self.legacy = legacy
        self.rules = {
            program: [
                "-P INPUT DROP",
                "-A INPUT -i lo -j ACCEPT",
                "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
            ]
            for program in programs
        }
        self.refusal = ""

    def run(self, argv: Sequence[str]) -> Completed:
        program = argv[0]
        if argv[1] == "--version":
            return Completed(0, f"{program} v1.8.11 ({'legacy' if self.legacy else 'nf_tables'})")
        lines = self.rules.get(program)
        if lines is None:
            return Completed(COMMAND_NOT_FOUND)
        words = [word for word in argv[1:] if word not in ("-w", "5")]
        if words[0] == "-S":
            shown = [line for line in lines if len(words) == 1 or line.split()[1] == words[1]]
            return Completed(0, "\n".join(shown))
        text = " ".join(words)
        if text.startswith("-D "):
            lines.remove("-A" + text[2:])
        elif text == "-F MATRIXRTC":
            lines[:] = [line for line in lines if not line.startswith("-A MATRIXRTC ")]
        else:
            assert text == "-X MATRIXRTC", argv
            assert not [line for line in lines if line.endswith("-j MATRIXRTC")]
            lines.remove("-N MATRIXRTC")
        return Completed(0)

    def load(self, folder: Path) -> None:
        """Do what the unit's script does, from the files as they are."""
        for program in (folder / "iptables-chains").read_text().split():
            lines = [line for line in self.rules[program] if "MATRIXRTC" not in line]
            rules = [f"-A MATRIXRTC {rule}" for rule in (folder / "iptables-rules").read_text().splitlines()]
            lines.insert(1, "-A INPUT -m comment --comment matrixrtc -j MATRIXRTC")
            self.rules[program] = [lines[0], "-N MATRIXRTC", *lines[1:], *rules]

    def unload(self) -> None:
        for program, lines in self.rules.items():
            self.rules[program] = [line for line in lines if "MATRIXRTC" not in line]
