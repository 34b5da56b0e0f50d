# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Open ports in an operator's nftables rules.

An accept in a table of our own could not open a port, because a drop in any other input chain is final. So
our rules are a chain inside the operator's own table, reached by one jump at the top of its input chain. The
operator's file stays untouched: a unit adds them again whenever nftables.service starts, restarts or
reloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .edge_host import COMMAND_NOT_FOUND, Run
from .firewall_base import HEADER, FirewallError
from .firewall_unit import UnitBackend
from .nft_ruleset import OUR_CHAIN, Chain, Ruleset, parse

UNIT = "matrixrtc-firewall.service"

APPLY_SCRIPT = (
    "#!/bin/sh\n"
    + HEADER
    + """\
# Adds our rules to the input chains named in the file chains ("add"), tries that ("check"), or takes them
# out ("remove"); each as one transaction, so that there is no moment with half of them.
set -eu
own=${0%apply}

transaction() {
    while read -r family table chain; do
        if ! listing=$(nft -a list chain "$family" "$table" "$chain" 2>/dev/null); then
            [ "$1" = remove ] && continue
            echo "There is no chain $family $table $chain" >&2
            return 1
        fi
        jumps=$(printf '%s\\n' "$listing" | sed -n 's/.*jump matrixrtc .*# handle \\([0-9]*\\)$/\\1/p')
        for handle in $jumps; do
            echo "delete rule $family $table $chain handle $handle"
        done
        if [ "$1" != remove ]; then
            echo "add chain $family $table matrixrtc"
            echo "flush chain $family $table matrixrtc"
            sed "s/^/add rule $family $table matrixrtc /" "${own}rules"
            echo "insert rule $family $table $chain jump matrixrtc comment \\"matrixrtc\\""
        elif nft list chain "$family" "$table" matrixrtc >/dev/null 2>&1; then
            echo "flush chain $family $table matrixrtc"
            echo "delete chain $family $table matrixrtc"
        fi
    done <"${own}chains"
}

if [ "$1" = condition ]; then # the operator's chains are there, or nftables.service should have made them
    while read -r family table chain; do
        nft list chain "$family" "$table" "$chain" >/dev/null 2>&1 ||
            systemctl --quiet is-active nftables.service || exit 1
    done <"${own}chains"
    exit 0
fi
commands=$(transaction "$1")
[ -n "$commands" ] || exit 0
if [ "$1" = check ]; then set -- --check; else set --; fi
printf '%s\\n' "$commands" | nft "$@" -f -
"""
)

UNIT_TEXT = (
    HEADER
    + """\
[Unit]
Description=Ports of matrixrtc.backend in the operator's nftables rules
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecCondition=/bin/sh {script} condition
ExecStart=/bin/sh {script} add
ExecReload=/bin/sh {script} add
ExecStop=/bin/sh {script} remove
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
ProtectHome=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_NETLINK AF_UNIX

[Install]
WantedBy=multi-user.target nftables.service
"""
)


def read_ruleset(host_run: Run) -> Ruleset:
    """All nftables rules of the host, none where there is no nft. Raises FirewallError."""
    done = host_run(["nft", "--json", "list", "ruleset"])
    if done.status == COMMAND_NOT_FOUND:
        return Ruleset()
    if not done.ok:
        raise FirewallError(f"The nftables rules cannot be read: {done.said}.")
    try:
        return parse(done.output)
    except (ValueError, KeyError) as error:
        raise FirewallError(f"nft's answer cannot be understood: {error!r}.") from error


def chains_to_open(ruleset: Ruleset) -> list[Chain]:
    """The input chains that need our jump: one that covers both families, or one for each of them."""
    closed = ruleset.closed_inputs()
    if not closed:
        raise FirewallError("No nftables input chain drops by default: set firewall_backend to auto.")
    for family, name in (("ip", "IPv4"), ("ip6", "IPv6")):
        covering = [chain for chain in closed if chain.family in ("inet", family)]
        if len(covering) > 1:
            raise FirewallError(
                f"More than one input chain drops {name} by default: {', '.join(map(str, covering))}. Which "
                "of them is to open the ports cannot be told: open them and set firewall_backend to none."
            )
    return sorted(closed)


def _ours(ruleset: Ruleset) -> set[Chain]:
    """Where the kernel has chains of ours."""
    return {chain for chain in ruleset.rules if chain.name == OUR_CHAIN}


def _chains(places: Iterable[str]) -> list[Chain]:
    return [Chain(*place.split(None, 2)) for place in places]


def _wanted(places: Iterable[str]) -> set[Chain]:
    return {Chain(chain.family, chain.table, OUR_CHAIN) for chain in _chains(places)}


class Nftables(UnitBackend):
    """Our chain beside the operator's, one jump to it."""

    name = "nftables"
    unit = UNIT
    unit_text = UNIT_TEXT
    script = APPLY_SCRIPT

    def rules(self) -> list[str]:
        return [
            f'{protocol} dport {{ {", ".join(ports)} }} accept comment "{OUR_CHAIN}"'
            for protocol, ports in self.wish.ports
        ]

    def wanted_places(self) -> list[str]:
        return [str(chain) for chain in chains_to_open(read_ruleset(self.run))]

    def is_in_force(self, places: Sequence[str]) -> bool:
        ruleset = read_ruleset(self.run)
        wanted = {"tcp": list(self.wish.tcp), "udp": list(self.wish.udp)}
        return _ours(ruleset) == _wanted(places) and all(
            len(ruleset.our_jumps(chain)) == 1 and ruleset.opened(chain) == wanted
            for chain in _chains(places)
        )

    def has_rules(self) -> bool:
        return bool(_ours(read_ruleset(self.run)))

    def take_out(self) -> None:
        """In one transaction."""
        commands = read_ruleset(self.run).leftovers()
        if commands:
            self.must(["nft", "; ".join(commands)], "Our rules cannot be removed")

    def take_out_of_other_places(self, places: Sequence[str]) -> None:
        if _ours(read_ruleset(self.run)) - _wanted(places):
            self.take_out()
