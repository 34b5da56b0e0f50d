# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the kernel's nftables rules say, read from `nft --json list ruleset`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OUR_CHAIN = "matrixrtc"
LOOK_DEPTH = 8  # jumps followed from the end of a chain; the kernel allows 16
# What a rule may hold besides its verdict and still be true of every packet.
WITHOUT_CONDITION = {"counter", "log"}


@dataclass(frozen=True, order=True)
class Chain:
    """A chain's address in the ruleset."""

    family: str
    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class Rule:
    """One rule: its handle (nft's number for it) and its statements as nft's JSON has them."""

    handle: int
    statements: tuple[Mapping[str, Any], ...]

    def jumps_to(self, chain: str) -> bool:
        """The rule hands packets to that chain."""
        return any(statement.get("jump") == {"target": chain} for statement in self.statements)


@dataclass(frozen=True)
class Ruleset:
    """All chains. `inputs` are the base chains that filter what comes in, with the policy of each."""

    inputs: Mapping[Chain, str] = field(default_factory=dict)
    rules: Mapping[Chain, Sequence[Rule]] = field(default_factory=dict)

    def of(self, chain: Chain) -> Sequence[Rule]:
        """The rules of a chain, in order; none when there is no such chain."""
        return self.rules.get(chain, ())

    def drops(self, chain: Chain, depth: int = LOOK_DEPTH) -> bool:
        """What no earlier rule of the chain accepts is dropped or rejected at its end."""
        if self.inputs.get(chain) == "drop":
            return True
        rules = self.of(chain)
        if not rules or not depth:
            return False
        for statement in rules[-1].statements:
            (kind, value), *_rest = statement.items()
            if kind in ("drop", "reject"):
                return True
            if kind in ("jump", "goto"):
                return self.drops(Chain(chain.family, chain.table, value["target"]), depth - 1)
            if kind not in WITHOUT_CONDITION:
                return False
        return False

    def closed_inputs(self) -> list[Chain]:
        """The input chains that let through only what their rules accept."""
        return [chain for chain in self.inputs if chain.family in ("inet", "ip", "ip6") and self.drops(chain)]

    def our_jumps(self, chain: Chain) -> list[int]:
        """Handles of the rules of a chain that hand packets to our chain."""
        return [rule.handle for rule in self.of(chain) if rule.jumps_to(OUR_CHAIN)]

    def opened(self, chain: Chain) -> dict[str, list[str]] | None:
        """The ports that our chain beside this one accepts, by protocol; None when it holds anything else."""
        ports: dict[str, list[str]] = {"tcp": [], "udp": []}
        for rule in self.of(Chain(chain.family, chain.table, OUR_CHAIN)):
            opened = _accepted_ports(rule)
            if opened is None:
                return None
            ports[opened[0]] += opened[1]
        return ports

    def leftovers(self) -> list[str]:
        """nft commands that take everything of ours out of every table, wherever it is."""
        ours = sorted(chain for chain in self.rules if chain.name == OUR_CHAIN)
        tables = {(chain.family, chain.table) for chain in ours}
        jumps = [
            f"delete rule {chain} handle {handle}"
            for chain in sorted(self.rules)
            if (chain.family, chain.table) in tables
            for handle in self.our_jumps(chain)
        ]
        return jumps + [f"{verb} chain {chain}" for chain in ours for verb in ("flush", "delete")]


def _accepted_ports(rule: Rule) -> tuple[str, list[str]] | None:
    """Protocol and ports of a rule such as `udp dport { 443, 7882-7885 } accept`; None for any other rule."""
    if len(rule.statements) != 2 or "accept" not in rule.statements[1]:
        return None
    match = rule.statements[0].get("match", {})
    payload = match.get("left", {}).get("payload", {})
    if (
        payload.get("field") != "dport"
        or payload.get("protocol") not in ("tcp", "udp")
        or match["op"] != "=="
    ):
        return None
    right = match["right"]
    entries = right["set"] if isinstance(right, dict) and "set" in right else [right]
    ports = [
        "-".join(str(end) for end in entry["range"]) if isinstance(entry, dict) else str(entry)
        for entry in entries
    ]
    return payload["protocol"], ports


def parse(text: str) -> Ruleset:
    """The ruleset of `nft --json list ruleset`. Raises ValueError for anything else."""
    entries = json.loads(text)["nftables"]
    inputs: dict[Chain, str] = {}
    rules: dict[Chain, list[Rule]] = {}
    for entry in entries:
        if "chain" in entry:
            about = entry["chain"]
            chain = Chain(about["family"], about["table"], about["name"])
            rules.setdefault(chain, [])
            if about.get("hook") == "input" and about.get("type") == "filter":
                inputs[chain] = about.get("policy", "accept")
        elif "rule" in entry:
            about = entry["rule"]
            chain = Chain(about["family"], about["table"], about["chain"])
            rules.setdefault(chain, []).append(Rule(about["handle"], tuple(about["expr"])))
    return Ruleset(inputs, rules)
