"""The verdict of a packet filter on a stranger's first packet, as nftables itself would give it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_nftables import (
    ACCEPT,
    DROP,
    UNKNOWN,
    Packet,
    judge,
    read_ruleset,
)

UDP = Packet("udp", 7883, "eth0")
TCP = Packet("tcp", 7881, "eth0")


def chain(
    name: str, hook: str = "", policy: str = "accept", family: str = "inet", table: str = "filter"
) -> dict[str, Any]:
    entry: dict[str, Any] = {"family": family, "table": table, "name": name}
    return {"chain": {**entry, "type": "filter", "hook": hook, "policy": policy} if hook else entry}


def rule(name: str, *expressions: Any, family: str = "inet", table: str = "filter") -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "chain": name, "expr": list(expressions)}}


def match(left: dict[str, Any], right: Any, operator: str = "==") -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


def port(protocol: str, right: Any, operator: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right, operator)


def meta(key: str, right: Any, operator: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, operator)


def verdict(packet: Packet, *items: dict[str, Any]) -> str:
    return judge(read_ruleset({"nftables": list(items)}), packet).action


OPEN, CLOSED = {"accept": None}, {"drop": None}
STATE = match({"ct": {"key": "state"}}, ["established", "related"], "in")
INPUT = chain("input", "input", "drop")
RANGE = {"range": [7882, 7885]}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], ACCEPT),
        ([INPUT], DROP),
        ([chain("input", "input")], ACCEPT),
        ([INPUT, rule("input", port("udp", RANGE), OPEN)], ACCEPT),
        ([INPUT, rule("input", port("udp", {"range": [7882, 7882]}), OPEN)], DROP),
        ([INPUT, rule("input", port("udp", {"set": [53, RANGE]}), {"counter": None}, OPEN)], ACCEPT),
        ([INPUT, rule("input", port("th", 7883), OPEN)], ACCEPT),
        ([INPUT, rule("input", port("tcp", RANGE), OPEN)], DROP),
        ([INPUT, rule("input", meta("l4proto", "udp"), OPEN)], ACCEPT),
        ([INPUT, rule("input", meta("l4proto", {"set": ["tcp", "udp"]}), port("th", 7883), OPEN)], ACCEPT),
        (
            [INPUT, rule("input", match({"payload": {"protocol": "ip", "field": "protocol"}}, 17), OPEN)],
            ACCEPT,
        ),
        ([INPUT, rule("input", STATE, OPEN)], DROP),
        ([INPUT, rule("input", meta("iif", "lo"), OPEN)], DROP),
        ([INPUT, rule("input", meta("iifname", "eth0"), port("udp", 7883), OPEN)], ACCEPT),
        ([INPUT, rule("input", meta("iifname", "wg0"), OPEN)], DROP),
        (
            [
                INPUT,
                rule("input", match({"payload": {"protocol": "ip", "field": "saddr"}}, "10.0.0.1"), OPEN),
            ],
            DROP,
        ),
        (
            [
                chain("input", "input"),
                rule("input", match({"payload": {"protocol": "ip", "field": "saddr"}}, "10.0.0.1"), CLOSED),
            ],
            ACCEPT,
        ),
        (
            [
                INPUT,
                chain("ours"),
                rule("input", {"jump": {"target": "ours"}}),
                rule("ours", port("udp", RANGE), OPEN),
            ],
            ACCEPT,
        ),
        (
            [
                INPUT,
                chain("ours"),
                rule("input", {"jump": {"target": "ours"}}),
                rule("ours", {"return": None}),
                rule("input", port("udp", 7883), OPEN),
            ],
            ACCEPT,
        ),
        ([INPUT, chain("ours"), rule("input", {"goto": {"target": "ours"}}), rule("input", OPEN)], DROP),
        ([INPUT, rule("input", CLOSED), rule("input", port("udp", 7883), OPEN)], DROP),
        ([INPUT, rule("input", port("udp", 7883), {"reject": {}})], DROP),
        (
            [
                INPUT,
                {"set": {"family": "inet", "table": "filter", "name": "media", "elem": [RANGE]}},
                rule("input", port("udp", "@media"), OPEN),
            ],
            ACCEPT,
        ),
        (
            [
                INPUT,
                {
                    "set": {
                        "family": "inet",
                        "table": "filter",
                        "name": "media",
                        "elem": [{"elem": {"val": 7883, "counter": {}}}],
                    }
                },
                rule("input", port("udp", "@media"), OPEN),
            ],
            ACCEPT,
        ),
        (
            [
                INPUT,
                rule(
                    "input", {"vmap": {"key": {"meta": {"key": "l4proto"}}, "data": {"set": [["udp", OPEN]]}}}
                ),
            ],
            ACCEPT,
        ),
        (
            [
                INPUT,
                rule(
                    "input",
                    {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", OPEN]]}}},
                ),
            ],
            DROP,
        ),
    ],
    ids=range(26),
)
def test_a_udp_packet(items: list[dict[str, Any]], expected: str) -> None:
    assert verdict(UDP, *items) == expected


def test_an_accept_ends_only_its_own_chain() -> None:
    """Tables of one's own can never open a port that another table drops."""
    own = [chain("mine", "input", table="own"), rule("mine", OPEN, table="own")]
    assert verdict(UDP, *own, INPUT) == DROP
    assert verdict(UDP, INPUT, *own) == DROP


def test_other_hooks_and_families_do_not_count() -> None:
    assert (
        verdict(UDP, chain("forward", "forward", "drop"), chain("input", "input", "drop", family="ip6"))
        == ACCEPT
    )
    assert verdict(UDP, chain("pre", "prerouting", "drop")) == DROP


def test_what_cannot_be_read_makes_the_verdict_unknown_not_wrong() -> None:
    module_of_iptables = {"xt": {"type": "match", "name": "multiport"}}
    assert verdict(UDP, INPUT, rule("input", module_of_iptables, OPEN)) == UNKNOWN
    assert verdict(UDP, chain("input", "input"), rule("input", module_of_iptables, CLOSED)) == UNKNOWN
    assert (
        verdict(UDP, INPUT, rule("input", port("udp", 7883), OPEN), rule("input", module_of_iptables, CLOSED))
        == ACCEPT
    )
    assert (
        verdict(UDP, INPUT, rule("input", module_of_iptables, CLOSED), rule("input", port("udp", 7883), OPEN))
        == UNKNOWN
    )
    assert verdict(UDP, INPUT, rule("input", module_of_iptables, port("tcp", 22), OPEN)) == DROP


def test_an_unknown_verdict_elsewhere_does_not_hide_a_drop() -> None:
    doubtful = [chain("odd", "input", table="odd"), rule("odd", {"xt": None}, CLOSED, table="odd")]
    assert verdict(UDP, *doubtful, INPUT) == DROP


def test_a_loop_of_jumps_ends() -> None:
    assert verdict(UDP, INPUT, rule("input", {"jump": {"target": "input"}})) == UNKNOWN


def test_protocols_are_kept_apart() -> None:
    items = [INPUT, rule("input", port("tcp", {"set": [22, 7881]}), OPEN)]
    assert verdict(TCP, *items) == ACCEPT
    assert verdict(UDP, *items) == DROP
