"""A host with a firewall that is not there: its nftables rules are objects, and systemd loads our files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import COMMAND_NOT_FOUND, Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_base import Wish
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_nftables import UNIT
from ansible_collections.matrixrtc.backend.plugins.module_utils.nft_ruleset import Chain
from firewall_tools import FakeFirewalld, FakeIptables, FakeUfw

INPUT = Chain("inet", "filter", "input")


class KilledError(BaseException):
    """The process ends here, without any clean-up of its own."""


def accept(protocol: str, *ports: str) -> list[dict[str, Any]]:
    """The statements of a rule as nft shows it: a single port or range has no set around it."""
    shown: list[Any] = [
        {"range": [int(end) for end in port.split("-")]} if "-" in port else int(port) for port in ports
    ]
    payload = {"payload": {"protocol": protocol, "field": "dport"}}
    right = shown[0] if len(shown) == 1 else {"set": shown}
    return [{"match": {"op": "==", "left": payload, "right": right}}, {"accept": None}]


DROP: list[dict[str, Any]] = [{"drop": None}]
COUNTED_REJECT: list[dict[str, Any]] = [
    {"counter": {"packets": 1, "bytes": 2}},
    {"reject": {"type": "icmpx"}},
]
DROP_INVALID: list[dict[str, Any]] = [
    {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}},
    {"drop": None},
]


@dataclass
class FakeHost:
    """A host: `chains` are all its nftables chains, `inputs` the policies of its input base chains."""

    folder: Path
    inputs: dict[Chain, str] = field(default_factory=lambda: {INPUT: "drop"})
    chains: dict[Chain, list[tuple[int, list[dict[str, Any]]]]] = field(default_factory=dict)
    iptables: FakeIptables | None = None
    ufw: FakeUfw | None = None
    firewalld: FakeFirewalld | None = None
    containers: str = ""
    has_nft: bool = True
    refusal: str = ""
    unit: dict[str, str] = field(default_factory=lambda: {"ActiveState": "inactive", "UnitFileState": ""})
    iptables_unit: dict[str, str] = field(
        default_factory=lambda: {"ActiveState": "inactive", "UnitFileState": ""}
    )
    commands: list[list[str]] = field(default_factory=list)
    kill_at: int = 0
    handles: int = 100

    def __post_init__(self) -> None:
        for chain in self.inputs:
            self.chains.setdefault(chain, [])
            self.add(chain, accept("tcp", "22", "80"))
        (self.folder / "systemd").mkdir(parents=True)

    def add(self, chain: Chain, statements: list[dict[str, Any]], first: bool = False) -> None:
        self.handles += 1
        self.chains.setdefault(chain, []).insert(0 if first else 10**6, (self.handles, statements))

    def wish(self, **changes: object) -> Wish:
        values: dict[str, object] = {
            "tcp": ("443", "7881"),
            "udp": ("7882-7885",),
            "folder": str(self.folder / "etc" / "firewall"),
            "unit_folder": str(self.folder / "systemd"),
            "root": str(self.folder / "root"),
            **changes,
        }
        return Wish(**values)  # type: ignore[arg-type]

    # What the host's tools do

    def run(self, argv: Sequence[str]) -> Completed:
        self.commands.append(list(argv))
        if len(self.commands) == self.kill_at:
            raise KilledError
        tool = argv[0]
        if tool == "nft" and not self.has_nft:
            return Completed(COMMAND_NOT_FOUND)
        if tool == "/bin/sh":
            return Completed(1, errors=self.refusal) if self.refusal else Completed(0)
        if tool in ("docker", "podman"):
            return Completed(0, self.containers) if tool == "docker" else Completed(COMMAND_NOT_FOUND)
        if tool in ("nft", "systemctl"):
            return self.nft(argv) if tool == "nft" else self.systemctl(argv)
        if tool in ("firewall-cmd", "busctl"):
            assert self.firewalld
            return self.firewalld.run(argv)
        assert tool == "ufw" or tool.removesuffix("-legacy") in ("iptables", "ip6tables"), argv
        rules = self.iptables if tool != "ufw" and self.iptables else self.ufw
        return rules.run(argv) if rules else Completed(COMMAND_NOT_FOUND)

    def nft(self, argv: Sequence[str]) -> Completed:
        if list(argv) == ["nft", "--json", "list", "ruleset"]:
            return Completed(0, json.dumps({"nftables": [{"metainfo": {}}, *self.listing()]}))
        if argv[1] == "--version":
            return Completed(0, "nftables v1.0.6")
        for command in argv[1].split("; "):
            self.nft_command(command)
        return Completed(0)

    def nft_command(self, command: str) -> None:
        rule = re.fullmatch(r"delete rule (\S+) (\S+) (\S+) handle (\d+)", command)
        whole = re.fullmatch(r"(flush|delete) chain (\S+) (\S+) (\S+)", command)
        if rule:
            chain = Chain(*rule.groups()[:3])
            self.chains[chain] = [one for one in self.chains[chain] if one[0] != int(rule[4])]
        else:
            assert whole, command
            chain = Chain(*whole.groups()[1:])
            assert whole[1] == "flush" or not any(self.jumps(other) for other in self.chains)
            self.chains[chain] = []
            if whole[1] == "delete":
                del self.chains[chain]

    def listing(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for chain, rules in self.chains.items():
            about = {"family": chain.family, "table": chain.table, "name": chain.name}
            base = (
                {"type": "filter", "hook": "input", "policy": self.inputs[chain]}
                if chain in self.inputs
                else {}
            )
            entries.append({"chain": {**about, **base}})
            place = {"family": chain.family, "table": chain.table, "chain": chain.name}
            entries += [{"rule": {**place, "handle": handle, "expr": expr}} for handle, expr in rules]
        return entries

    def jumps(self, chain: Chain) -> int:
        jump = {"jump": {"target": "matrixrtc"}}
        return sum(jump in expr for _handle, expr in self.chains.get(chain, []))

    def systemctl(self, argv: Sequence[str]) -> Completed:
        verb, name = argv[1], argv[-1]
        if verb == "is-active":
            return Completed(0 if self.firewalld and self.firewalld.running else 3)
        if verb == "daemon-reload":
            return Completed(0)
        unit = self.unit if name == UNIT else self.iptables_unit
        if verb == "show":
            return Completed(0, "\n".join(f"{key}={value}" for key, value in unit.items()))
        if verb == "reenable":
            unit["UnitFileState"] = "enabled"
        elif verb in ("restart", "reload"):
            unit["ActiveState"] = "active"
            if name == UNIT:
                self.load()
            elif self.iptables:
                self.iptables.load(Path(self.wish().folder))
        else:
            assert verb == "disable"
            unit.update(ActiveState="inactive", UnitFileState="")
            if name == UNIT:
                self.unload()
            elif self.iptables:
                self.iptables.unload()
        return Completed(0)

    def load(self) -> None:
        """Do what the unit's script does, from the files as they are."""
        folder = Path(self.wish().folder)
        for line in (folder / "chains").read_text().splitlines():
            chain = Chain(*line.split())
            jump = [{"jump": {"target": "matrixrtc"}}]
            self.chains[chain] = [one for one in self.chains[chain] if one[1] != jump]
            ours = Chain(chain.family, chain.table, "matrixrtc")
            self.chains[ours] = []
            for rule in (folder / "rules").read_text().splitlines():
                match = re.fullmatch(r'(tcp|udp) dport \{ (.+) \} accept comment "matrixrtc"', rule)
                assert match, rule
                self.add(ours, accept(match[1], *match[2].split(", ")))
            self.add(chain, jump, first=True)

    def unload(self) -> None:
        for chain in list(self.chains):
            if chain.name == "matrixrtc":
                del self.chains[chain]
            else:
                jump = [{"jump": {"target": "matrixrtc"}}]
                self.chains[chain] = [one for one in self.chains[chain] if one[1] != jump]

    def flush_and_load_operators_file(self) -> None:
        """What `nft -f /etc/nftables.conf` does to what is ours."""
        self.unload()

    def files(self) -> dict[str, str]:
        return {str(path): path.read_text() for path in self.folder.rglob("*") if path.is_file()}

    def opened(self, chain: Chain = INPUT) -> list[list[dict[str, Any]]]:
        return [expr for _handle, expr in self.chains.get(Chain(chain.family, chain.table, "matrixrtc"), [])]


__all__ = ["COUNTED_REJECT", "DROP", "DROP_INVALID", "INPUT", "UNIT", "FakeHost", "KilledError", "accept"]
