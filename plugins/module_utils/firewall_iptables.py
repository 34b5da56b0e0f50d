# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Open ports where an operator's own iptables rules filter, in the old iptables or that on top of nftables.

Our rules are the chain MATRIXRTC, reached by one jump at the top of INPUT, for each family whose INPUT drops.
The operator's rules may come from anywhere at boot, so a unit of ours adds ours after all usual places.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from .edge_host import COMMAND_NOT_FOUND
from .files import atomic_write, read_text
from .firewall_base import HEADER, FirewallError, Plan, differences
from .firewall_nftables import read_ruleset
from .firewall_unit import UnitBackend
from .nft_ruleset import Chain, Ruleset

UNIT = "matrixrtc-iptables.service"
CHAIN = "MATRIXRTC"
JUMP = f"-A INPUT -m comment --comment matrixrtc -j {CHAIN}"
PORTS_IN_A_RULE = 15  # multiport's own limit; a range counts as two
# The kernel's list of the old iptables' tables. Its programs make the tables they are asked about.
LEGACY_TABLES = {"iptables": "/proc/net/ip_tables_names", "ip6tables": "/proc/net/ip6_tables_names"}
FAMILIES = {"iptables": "ip", "ip6tables": "ip6"}
# What netfilter-persistent loads at boot. `netfilter-persistent save` writes our rules there with all others.
SAVED = ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6")
SAVED_LINE = re.compile(rf"^(:{CHAIN} .*|-A {CHAIN} .*|-A INPUT .*-j {CHAIN})\n", re.MULTILINE)

SCRIPT = (
    "#!/bin/sh\n"
    + HEADER
    + """\
# Adds our rules with each program named in the file iptables-chains ("add"), tries that ("check"), or takes
# them out ("remove"). For each program it is one transaction: there is no moment with half of them.
set -eu
own=${0%apply}

transaction() { # program, verb
    if ! listing=$("$1" -w 5 -S 2>/dev/null); then
        [ "$2" = remove ] && return 0
        echo "$1 does not list its rules" >&2
        return 1
    fi
    jumps=$(printf '%s\\n' "$listing" | sed -n '/^-A INPUT .*-j MATRIXRTC$/s/^-A/-D/p')
    if [ "$2" != remove ]; then
        echo '*filter'
        echo ':MATRIXRTC - [0:0]'
        sed 's/^/-A MATRIXRTC /' "${own}rules"
        [ -z "$jumps" ] || printf '%s\\n' "$jumps"
        echo '-I INPUT 1 -m comment --comment matrixrtc -j MATRIXRTC'
        echo COMMIT
    elif printf '%s\\n' "$listing" | grep -q '^-N MATRIXRTC$'; then
        echo '*filter'
        [ -z "$jumps" ] || printf '%s\\n' "$jumps"
        echo '-F MATRIXRTC'
        echo '-X MATRIXRTC'
        echo COMMIT
    fi
}

while read -r program; do
    commands=$(transaction "$program" "$1")
    [ -n "$commands" ] || continue
    if [ "$1" = check ]; then
        printf '%s\\n' "$commands" | "$program-restore" -w 5 --noflush --test
    else
        printf '%s\\n' "$commands" | "$program-restore" -w 5 --noflush
    fi
done <"${own}chains"
"""
)

UNIT_TEXT = (
    HEADER
    + """\
[Unit]
Description=Ports of matrixrtc.backend in the operator's iptables rules
After=netfilter-persistent.service iptables.service ip6tables.service network.target rc-local.service
PartOf=netfilter-persistent.service iptables.service ip6tables.service
ReloadPropagatedFrom=netfilter-persistent.service iptables.service ip6tables.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {script} add
ExecReload=/bin/sh {script} add
ExecStop=/bin/sh {script} remove
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW
NoNewPrivileges=yes
ProtectHome=yes
ProtectSystem=full
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX

[Install]
WantedBy=multi-user.target netfilter-persistent.service iptables.service ip6tables.service
"""
)


def _in_rules(ports: Sequence[str]) -> Iterator[str]:
    """The ports as multiport takes them, in as many lists as it needs."""
    listed: list[str] = []
    size = 0
    for port in ports:
        weight = 2 if "-" in port else 1
        if size + weight > PORTS_IN_A_RULE:
            yield ",".join(listed)
            listed, size = [], 0
        listed.append(port.replace("-", ":"))
        size += weight
    yield ",".join(listed)


def drops(listing: str) -> bool:
    """The INPUT chain drops what no rule before its end accepts, as far as `iptables -S INPUT` tells."""
    lines = listing.splitlines()
    ends = ("-A INPUT -j DROP", "-A INPUT -j REJECT")
    return "-P INPUT DROP" in lines or (bool(lines) and lines[-1].startswith(ends))


class Iptables(UnitBackend):
    """Our chain beside INPUT, one jump to it."""

    name = "iptables"
    unit = UNIT
    unit_text = UNIT_TEXT
    script = SCRIPT
    prefix = "iptables-"

    def _programs(self, ruleset: Ruleset | None = None) -> Iterator[str]:
        """The programs that have a filter table in the kernel, so that asking them changes nothing."""
        ruleset = read_ruleset(self.run) if ruleset is None else ruleset
        has_nft = self.run(["nft", "--version"]).status != COMMAND_NOT_FOUND
        is_on_nftables = "nf_tables" in self.run(["iptables", "--version"]).output
        for program, family in FAMILIES.items():
            if is_on_nftables and (not has_nft or Chain(family, "filter", "INPUT") in ruleset.rules):
                yield program
            if "filter" in (read_text(self.path(LEGACY_TABLES[program])) or "").split():
                yield f"{program}-legacy"

    def closed(self, ruleset: Ruleset | None = None) -> list[str]:
        """The programs whose INPUT chain drops by default."""
        ruleset = read_ruleset(self.run) if ruleset is None else ruleset
        closed = {
            chain.family
            for chain in ruleset.closed_inputs()
            if (chain.table, chain.name) == ("filter", "INPUT")
        }
        return [
            program
            for program in self._programs(ruleset)
            if FAMILIES.get(program) in closed or drops(self.run([program, "-S", "INPUT"]).output)
        ]

    def rules(self) -> list[str]:
        return [
            f"-p {protocol} -m multiport --dports {listed} -j ACCEPT"
            for protocol, ports in self.wish.ports
            for listed in _in_rules(ports)
        ]

    def wanted_places(self) -> list[str]:
        programs = self.closed()
        if not programs:
            raise FirewallError("No INPUT chain of iptables drops by default: set firewall_backend to auto.")
        return programs

    def _of_ours(self, program: str) -> list[str]:
        """The lines of ours that a program lists."""
        lines = self.run([program, "-S"]).output.splitlines()
        return [
            line
            for line in lines
            if line == f"-N {CHAIN}" or line.startswith(f"-A {CHAIN} ") or line.endswith(f" -j {CHAIN}")
        ]

    def is_in_force(self, places: Sequence[str]) -> bool:
        wanted = sorted([f"-N {CHAIN}", JUMP, *(f"-A {CHAIN} {rule}" for rule in self.rules())])
        return all(
            sorted(self._of_ours(program)) == (wanted if program in places else [])
            for program in dict.fromkeys([*places, *self._programs()])
        )

    def has_rules(self) -> bool:
        return any(self._of_ours(program) for program in self._programs())

    def take_out(self) -> None:
        self.take_out_of_other_places(())

    def take_out_of_other_places(self, places: Sequence[str]) -> None:
        """The jump first: from then on the chain means nothing."""
        for program in self._programs():
            lines = [] if program in places else self._of_ours(program)
            rules = [["-D", *shlex.split(line)[1:]] for line in lines if line.endswith(f" -j {CHAIN}")]
            chain = [["-F", CHAIN], ["-X", CHAIN]] if f"-N {CHAIN}" in lines else []
            for rule in rules + chain:
                self.must([program, "-w", "5", *rule], "Our rules cannot be removed")

    def closing(self) -> Plan:
        plan = super().closing()
        saved = {path: text for path in map(self.path, SAVED) if (text := read_text(path)) is not None}
        cleaned = {path: SAVED_LINE.sub("", text) for path, text in saved.items()}
        if saved == cleaned:
            return plan

        def act() -> None:
            plan.act()
            for path, text in cleaned.items():
                atomic_write(path, text.encode("utf-8"))

        return Plan(True, plan.diff + differences(saved, cleaned), act=act)
