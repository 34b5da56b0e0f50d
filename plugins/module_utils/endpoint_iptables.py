# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The rules that iptables keeps, as nft would list them, so that endpoint_nftables can judge them.

nft shows a match of an iptables module (multiport, conntrack, comment) only by its name. `iptables -S` says
what it wants; so where iptables has the rules, hence also under ufw, its own listing takes the place of
nft's.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence

from .endpoint_nftables import Json, Ruleset

FAMILIES = {"iptables": "ip", "ip6tables": "ip6"}
LEGACY_TABLES = {"ip": "net/ip_tables_names", "ip6": "net/ip6_tables_names"}  # below /proc
NOT_INSTALLED = 127
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
# Targets after which the next rule follows; what a target of another name does is not known.
NOT_DECIDING = {"LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SET", "TRACE", "AUDIT", "CT", "NOTRACK", ""}
VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
UNKNOWN = {"xt": {"type": "match", "name": "unknown"}}
ALWAYS: list[Json] = []

# Runs a command: its exit status and what it printed.
Command = Callable[[Sequence[str]], "tuple[int, str]"]


def _match(left: Json, right: object, is_negated: bool) -> list[Json]:
    return [{"match": {"op": "!=" if is_negated else "==", "left": left, "right": right}}]


def _port(protocol: str, text: str) -> object:
    """Ports as iptables lists them, as nft's JSON has them."""
    entries: list[object] = []
    for entry in text.split(","):
        first, colon, last = entry.partition(":")
        ends = [int(first or 0), int(last or 65535)] if colon else [int(first)]
        entries.append({"range": ends} if colon else ends[0])
    return {"set": entries}


def _tcp_flags(mask: str, wanted: str, is_negated: bool) -> list[Json]:
    """Whether the first packet of a connection, which has SYN alone, has those flags."""
    looked_at = {*FLAGS} if mask == "ALL" else {*mask.split(",")}
    flags = {*FLAGS} if wanted == "ALL" else {*wanted.split(",")} - {"NONE"}
    fits = (looked_at & {"SYN"} == flags) != is_negated
    return ALWAYS if fits else _never()


def _never() -> list[Json]:
    return _match({"ct": {"key": "state"}}, "invalid", is_negated=False)


def _option(name: str, words: Iterator[str], protocol: str, is_negated: bool) -> list[Json]:
    """The expressions of one option, which takes its values from `words`."""
    if name in ("-p", "-m", "--comment", "--reject-with", "--log-prefix", "--log-level"):
        value = next(words)
        return _match({"meta": {"key": "l4proto"}}, value, is_negated) if name == "-p" else ALWAYS
    if name in ("-i", "--ctstate", "--state"):
        value = next(words)
        if value.endswith("+"):  # all interfaces whose names begin so
            return [UNKNOWN]
        left = {"meta": {"key": "iifname"}} if name == "-i" else {"ct": {"key": "state"}}
        return _match(left, value if name == "-i" else value.lower().split(","), is_negated)
    if name in ("--dport", "--dports", "--ports"):
        left = {"payload": {"protocol": protocol, "field": "dport"}}
        return _match(left, _port(protocol, next(words)), is_negated)
    if name in ("-s", "--sport", "--sports"):
        field = "saddr" if name == "-s" else "sport"
        return _match({"payload": {"protocol": protocol, "field": field}}, next(words), is_negated)
    if name == "--dst-type":
        return ALWAYS if ("LOCAL" in next(words).split(",")) != is_negated else _never()
    if name == "--tcp-flags":
        return _tcp_flags(next(words), next(words), is_negated)
    return [UNKNOWN]


def _rule(words: Sequence[str]) -> list[Json]:
    """A rule without its chain, as nft's expressions; what cannot be read makes it uncertain."""
    protocol = words[words.index("-p") + 1] if "-p" in words[:-1] else "th"
    expressions: list[Json] = []
    left, is_negated, verdict = iter(words), False, ""
    for word in left:
        if word == "!":
            is_negated = True
            continue
        if word in ("-j", "-g"):
            verdict = next(left)
            jump = "jump" if word == "-j" else "goto"
            if verdict in VERDICTS:
                expressions.append({VERDICTS[verdict]: None})
            elif verdict not in NOT_DECIDING:
                expressions.append({jump: {"target": verdict}})
        elif word.startswith("-"):
            expressions += _option(word, left, protocol, is_negated)
        is_negated = False
    return expressions


def read_rules(listing: str, family: str, table: str = "filter") -> Ruleset:
    """The rules of `iptables -S`."""
    ruleset = Ruleset()
    for line in listing.splitlines():
        kind, name, *words = shlex.split(line)
        key = (family, table, name)
        if kind == "-P":
            base = {"hook": name.lower(), "type": "filter", "policy": words[0].lower()}
            ruleset.chains[key] = {"family": family, "table": table, "name": name, **base}
        elif kind == "-N":
            ruleset.chains[key] = {"family": family, "table": table, "name": name}
        elif kind == "-A":
            ruleset.rules.setdefault(key, []).append({"expr": _rule(words)})
    return ruleset


def add_iptables_rules(ruleset: Ruleset, run: Command, read: Callable[[str], str]) -> None:
    """Put iptables' own listing in the place of what nft shows of it, and add what nft does not see at all.

    Asks only where iptables has rules: the old one would make the tables that it is asked about.
    """
    is_on_nftables = "nf_tables" in run(["iptables", "--version"])[1]
    has_nft = run(["nft", "--version"])[0] != NOT_INSTALLED
    for program, family in FAMILIES.items():
        if is_on_nftables and (not has_nft or (family, "filter", "INPUT") in ruleset.chains):
            status, listing = run([program, "-S"])
            if status == 0:
                _replace(ruleset, read_rules(listing, family), (family, "filter"))
        if "filter" in read(LEGACY_TABLES[family]).split():
            status, listing = run([f"{program}-legacy", "-S"])
            if status == 0:
                table = f"filter of {program}-legacy"
                _replace(ruleset, read_rules(listing, family, table), (family, table))


def _replace(ruleset: Ruleset, found: Ruleset, table: tuple[str, str]) -> None:
    for key in [key for key in ruleset.chains if key[:2] == table]:
        del ruleset.chains[key]
        ruleset.rules.pop(key, None)
    ruleset.chains.update(found.chains)
    ruleset.rules.update(found.rules)


def tool_of(ruleset: Ruleset) -> str:
    """The tool that made these rules, by the names of what it makes."""
    names = {key[1:] for key in ruleset.chains}
    if ("filter", "ufw-user-input") in names:
        return "ufw"
    if any(table == "firewalld" for table, _name in names) or ("filter", "IN_public") in names:
        return "firewalld"
    if any(name == "INPUT" and table.startswith("filter") for table, name in names):
        return "iptables"
    return "nftables"
