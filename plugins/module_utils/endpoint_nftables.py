# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the packet filter does to the first packet of a stranger, read from `nft -j list ruleset`.

Whoever wrote the rules, and in whatever table: a packet gets in when no base chain on its way drops it (an
accept ends only its own chain, nftables wiki "Configuring chains"). Three-valued: rules this cannot read,
such as those of iptables modules, make the verdict unknown, never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

ACCEPT, DROP, UNKNOWN, RETURN, GO_ON = "accept", "drop", "unknown", "return", "go on"
HOOKS = ("prerouting", "input")
PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17}
DEEPEST = 16  # nftables' own limit of nested jumps

Json = Mapping[str, object]


@dataclass(frozen=True)
class Packet:
    """The first packet of a new connection, from somewhere else, to a port of this host."""

    protocol: str
    port: int
    interface: str = ""
    family: str = "ip"


@dataclass(frozen=True)
class Verdict:
    """What happens to a packet, and which chain decides it."""

    action: str
    chain: str = ""


@dataclass
class Ruleset:
    """Chains and rules by table. Chains are keyed by (family, table, name)."""

    chains: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    rules: dict[tuple[str, str, str], list[Json]] = field(default_factory=dict)
    sets: dict[tuple[str, str, str], Json] = field(default_factory=dict)


def _entry(item: object, kind: str) -> Json | None:
    found = item.get(kind) if isinstance(item, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _key(entry: Json, name: str) -> tuple[str, str, str]:
    return str(entry.get("family")), str(entry.get("table")), str(entry.get(name))


def read_ruleset(document: Json) -> Ruleset:
    """Sort what nft printed."""
    ruleset = Ruleset()
    items = document.get("nftables")
    for item in items if isinstance(items, list) else []:
        chain, rule, named = (
            _entry(item, "chain"),
            _entry(item, "rule"),
            _entry(item, "set") or _entry(item, "map"),
        )
        if chain:
            ruleset.chains[_key(chain, "name")] = chain
        elif rule:
            ruleset.rules.setdefault(_key(rule, "chain"), []).append(rule)
        elif named:
            ruleset.sets[_key(named, "name")] = named
    return ruleset


def contains(right: object, value: object, elements: object = None) -> bool | None:
    """Whether a value is in the right side of a match: a value, a range, a set, or a named set."""
    if isinstance(right, str) and right.startswith("@"):
        return contains({"set": elements}, value) if isinstance(elements, list) else None
    if isinstance(right, list):
        right = {"set": right}
    if isinstance(right, Mapping):
        if "range" in right:
            limits = right["range"]
            if not isinstance(limits, list) or not all(isinstance(limit, int) for limit in [*limits, value]):
                return None
            return bool(limits[0] <= value <= limits[1])
        if "set" in right and isinstance(right["set"], list):
            found = [contains(_element(entry), value) for entry in right["set"]]
            return True if True in found else (None if None in found else False)
        return None
    return right == value


def _element(entry: object) -> object:
    """The value in a set's element, which may carry a counter or a timeout."""
    wrapped = entry.get("elem") if isinstance(entry, Mapping) else None
    return wrapped.get("val") if isinstance(wrapped, Mapping) else entry


def subject(left: object, packet: Packet) -> object:
    """What the left side of a match is for our packet; None when we cannot say."""
    if not isinstance(left, Mapping):
        return None
    if "meta" in left and isinstance(left["meta"], Mapping):
        return {
            "l4proto": packet.protocol,
            "nfproto": "ipv4" if packet.family == "ip" else "ipv6",
            "protocol": packet.family,
            "iif": packet.interface or None,
            "iifname": packet.interface or None,
            "pkttype": "host",
        }.get(str(left["meta"].get("key")))
    if "ct" in left and isinstance(left["ct"], Mapping):
        return {"state": "new", "status": 0, "direction": "original"}.get(str(left["ct"].get("key")))
    payload = left.get("payload")
    if not isinstance(payload, Mapping):
        return None
    where = (str(payload.get("protocol")), str(payload.get("field")))
    if where in ((packet.protocol, "dport"), ("th", "dport")):
        return packet.port
    return packet.protocol if where in (("ip", "protocol"), ("ip6", "nexthdr")) else None


def _other_protocol(left: object, packet: Packet) -> bool:
    """A match on a header that our packet does not have, such as tcp flags of a udp packet."""
    payload = left.get("payload") if isinstance(left, Mapping) else None
    name = str(payload.get("protocol")) if isinstance(payload, Mapping) else ""
    families = {"ip": "ip", "ip6": "ip6", "arp": "arp"}
    return (
        name in ("tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "udplite", "igmp")
        and name != packet.protocol
    ) or (name in families and name != packet.family)


def _from_one_source(left: object) -> bool:
    payload = left.get("payload") if isinstance(left, Mapping) else None
    return isinstance(payload, Mapping) and str(payload.get("field")) in ("saddr", "sport")


def matches(match: Json, packet: Packet, ruleset: Ruleset, table: tuple[str, str]) -> bool | None:
    """Whether a match holds for our packet. A rule for certain sources is not for everybody."""
    left, right, negated = match.get("left"), match.get("right"), match.get("op") == "!="
    if _other_protocol(left, packet):
        return False
    if _from_one_source(left):
        return negated
    value = subject(left, packet)
    if value is None:
        return False if right == "lo" and not negated else None
    elements = ruleset.sets.get((*table, right[1:]), {}).get("elem") if isinstance(right, str) else None
    found = contains(right, value, elements)
    if found is False and value == packet.protocol:
        found = contains(right, PROTOCOL_NUMBERS[packet.protocol])
    return found if found is None else found != negated


def _rule_applies(
    expressions: Iterable[object], packet: Packet, ruleset: Ruleset, table: tuple[str, str]
) -> bool | None:
    applies: bool | None = True
    for expression in expressions:
        match = _entry(expression, "match")
        if match:
            found = matches(match, packet, ruleset, table)
        elif (
            isinstance(expression, Mapping) and "xt" in expression
        ):  # a module of iptables; nft does not say what it wants
            found = None
        else:
            continue
        if found is False:
            return False
        applies = None if found is None else applies
    return applies


def _verdict_of(
    expressions: Sequence[object], packet: Packet, ruleset: Ruleset, table: tuple[str, str]
) -> Json | None:
    """The statement that decides, such as {"jump": {"target": "x"}}; a verdict map is looked up."""
    for expression in expressions:
        if not isinstance(expression, Mapping):
            continue
        if any(name in expression for name in ("accept", "drop", "reject", "return", "jump", "goto")):
            return expression
        lookup = _entry(expression, "vmap")
        if lookup:
            return _map_lookup(lookup, packet, ruleset, table)
    return None


def _map_lookup(lookup: Json, packet: Packet, ruleset: Ruleset, table: tuple[str, str]) -> Json | None:
    value, data = subject(lookup.get("key"), packet), lookup.get("data")
    if isinstance(data, str):
        entries = ruleset.sets.get((*table, data[1:]), {}).get("elem")
    else:
        entries = data.get("set") if isinstance(data, Mapping) else None
    if value is None or not isinstance(entries, list):
        return {"unknown": None}
    for entry in entries:
        if isinstance(entry, list) and len(entry) == 2 and contains(_element(entry[0]), value):
            return entry[1] if isinstance(entry[1], Mapping) else None
    return None


def _target(verdict: Json, name: str) -> str:
    jump = verdict.get(name)
    return str(jump.get("target")) if isinstance(jump, Mapping) else ""


def walk(ruleset: Ruleset, key: tuple[str, str, str], packet: Packet, depth: int = 0) -> Verdict:
    """Follow one chain. GO_ON at its end, when no rule decided."""
    doubt = False
    if depth > DEEPEST:
        return Verdict(UNKNOWN, key[2])
    for rule in ruleset.rules.get(key, []):
        listed = rule.get("expr")
        expressions = listed if isinstance(listed, list) else []
        applies = _rule_applies(expressions, packet, ruleset, key[:2])
        verdict = _verdict_of(expressions, packet, ruleset, key[:2]) if applies is not False else None
        if verdict is None:
            continue
        outcome = _outcome(verdict, ruleset, key, packet, depth)
        if outcome.action == GO_ON:
            continue
        if applies is None or outcome.action == UNKNOWN:
            doubt = True
            continue
        return Verdict(UNKNOWN, key[2]) if doubt else outcome
    return Verdict(UNKNOWN, key[2]) if doubt else Verdict(GO_ON, key[2])


def _outcome(
    verdict: Json, ruleset: Ruleset, key: tuple[str, str, str], packet: Packet, depth: int
) -> Verdict:
    if "accept" in verdict:
        return Verdict(ACCEPT, key[2])
    if "drop" in verdict or "reject" in verdict:
        return Verdict(DROP, key[2])
    if "return" in verdict:
        return Verdict(RETURN, key[2])
    for name in ("jump", "goto"):
        if name in verdict:
            target = (*key[:2], _target(verdict, name))
            if target not in ruleset.chains:  # a target of an iptables module
                return Verdict(UNKNOWN, key[2])
            inner = walk(ruleset, target, packet, depth + 1)
            if inner.action in (GO_ON, RETURN):
                return Verdict(GO_ON if name == "jump" else RETURN, key[2])
            return inner
    return Verdict(UNKNOWN, key[2])


def judge(ruleset: Ruleset, packet: Packet) -> Verdict:
    """What happens to a packet on its way in; the chain is named as 'family table, chain name'."""
    doubtful: Verdict | None = None
    for key, chain in ruleset.chains.items():
        if (
            chain.get("hook") not in HOOKS
            or chain.get("type") != "filter"
            or key[0] not in ("inet", packet.family)
        ):
            continue
        found = walk(ruleset, key, packet)
        name = f"table {key[0]} {key[1]}, chain {key[2]}"
        if found.action in (GO_ON, RETURN):
            if chain.get("policy", "accept") == "drop":
                return Verdict(DROP, f"{name}, by its policy")
        elif found.action == DROP:
            return Verdict(
                DROP, f"{name}, by a rule" + (f" in chain {found.chain}" if found.chain != key[2] else "")
            )
        elif found.action == UNKNOWN:
            doubtful = Verdict(UNKNOWN, name)
    return doubtful or Verdict(ACCEPT)
