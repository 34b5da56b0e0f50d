"""What the rules of iptables, ufw and firewalld do to a packet, from what real hosts listed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_iptables import (
    add_iptables_rules,
    read_rules,
    tool_of,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_nftables import (
    ACCEPT,
    DROP,
    UNKNOWN,
    Packet,
    Ruleset,
    judge,
    read_ruleset,
)

DATA = Path(__file__).parent / "data"
OURS = [("tcp", 443), ("tcp", 7881), ("udp", 7882), ("udp", 7885)]
UFW = (DATA / "ufw_rules.txt").read_text()
FIREWALLD = (DATA / "firewalld.json").read_text()
SSH = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"


def action(rule: str, protocol: str = "tcp", port: int = 7881, policy: str = "DROP") -> str:
    listing = f"-P INPUT {policy}\n-N ours\n{rule}\n"
    return judge(read_rules(listing, "ip"), Packet(protocol, port, "eth0")).action


@pytest.mark.parametrize(("protocol", "port"), OURS)
def test_ports_that_ufw_allows_pass_and_without_its_rule_do_not(protocol: str, port: int) -> None:
    packet = Packet(protocol, port, "eth0")
    assert judge(read_rules(UFW, "ip"), packet).action == ACCEPT
    without = "".join(line for line in UFW.splitlines(keepends=True) if "MatrixRTC" not in line)
    verdict = judge(read_rules(without, "ip"), packet)
    assert (verdict.action, verdict.chain) == (DROP, "table ip filter, chain INPUT, by its policy")


def test_deny_rule_above_ours_is_found() -> None:
    deny = "-A ufw-user-input -p udp -m multiport --dports 7000:8000 -j DROP\n"
    first = UFW.index("-A ufw-user-input")
    verdict = judge(read_rules(UFW[:first] + deny + UFW[first:], "ip"), Packet("udp", 7882, "eth0"))
    assert (verdict.action, verdict.chain.endswith("in chain ufw-user-input")) == (DROP, True)


@pytest.mark.parametrize(("protocol", "port"), OURS)
def test_ports_that_firewalld_has_pass_and_without_do_not(protocol: str, port: int) -> None:
    document = json.loads(FIREWALLD)
    packet = Packet(protocol, port, "eth0")
    assert judge(read_ruleset(document), packet).action == ACCEPT
    document["nftables"] = [
        entry
        for entry in document["nftables"]
        if not any(f'"right": {text}' in json.dumps(entry) for text in ("443", "7881", '{"range": [7882'))
    ]
    assert judge(read_ruleset(document), packet).action == DROP


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("-A INPUT -p tcp -m tcp --dport 7881 -j ACCEPT", ACCEPT),
        ("-A INPUT -p tcp -m tcp --dport 7000:8000 -j ACCEPT", ACCEPT),
        ("-A INPUT -p tcp -m tcp --dport 7882: -j ACCEPT", DROP),
        ("-A INPUT -p tcp -m multiport --dports 80,7881 -m comment --comment 'a -j DROP' -j ACCEPT", ACCEPT),
        ("-A INPUT -p tcp -m multiport ! --dports 80,443 -j ACCEPT", ACCEPT),
        ("-A INPUT -p udp -m udp --dport 7881 -j ACCEPT", DROP),
        ("-A INPUT ! -p udp -j ACCEPT", ACCEPT),
        ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", DROP),
        ("-A INPUT -m state --state NEW -j ACCEPT", ACCEPT),
        ("-A INPUT -i lo -j ACCEPT", DROP),
        ("-A INPUT ! -i lo -j ACCEPT", ACCEPT),
        ("-A INPUT -i eth0 -j ACCEPT", ACCEPT),
        ("-A INPUT -i eth+ -j ACCEPT", UNKNOWN),
        ("-A INPUT -s 192.0.2.0/24 -j ACCEPT", DROP),
        ("-A INPUT -p tcp -m tcp --sport 7881 -j ACCEPT", DROP),
        ("-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT", DROP),
        ("-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT", ACCEPT),
        ("-A INPUT -m addrtype --dst-type BROADCAST -j ACCEPT", DROP),
        ("-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", ACCEPT),
        ("-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j ACCEPT", DROP),
        ("-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", DROP),
        ("-A INPUT -m limit --limit 3/min --limit-burst 10 -j ACCEPT", UNKNOWN),
        ("-A INPUT -m set --match-set friends src -j ACCEPT", UNKNOWN),
        ("-A INPUT -j LOG --log-prefix \"-j ACCEPT\"", DROP),
        ("-A INPUT -p tcp -j TARPIT", UNKNOWN),
        ("-A INPUT -j ours\n-A ours -p tcp -j ACCEPT", ACCEPT),
        ("-A INPUT -j ours\n-A ours -j RETURN\n-A ours -j ACCEPT", DROP),
        ("-A INPUT -g ours\n-A INPUT -j ACCEPT", DROP),
    ],
)  # fmt: skip
def test_what_a_rule_means(rule: str, expected: str) -> None:
    assert action(rule) == expected


@pytest.mark.parametrize("target", ["DROP", "REJECT --reject-with icmp-port-unreachable"])
def test_rule_that_closes(target: str) -> None:
    assert action(f"-A INPUT -p udp -m udp --dport 7882 -j {target}", "udp", 7882, "ACCEPT") == DROP
    assert action(f"-A INPUT -p udp -m udp --dport 7882 -j {target}", "udp", 7883, "ACCEPT") == ACCEPT


# Where iptables is asked


class Tools:
    """The programs of a host, by their command lines."""

    def __init__(self, **answers: str) -> None:
        self.answers = {name.replace("_", " "): text for name, text in answers.items()}
        self.asked: list[str] = []

    def run(self, argv: Sequence[str]) -> tuple[int, str]:
        self.asked.append(" ".join(argv))
        known = self.answers.get(argv[0] + (" version" if "--version" in argv else " rules"))
        return (127, "") if known is None else (0, known)


CLOSED = f"-P INPUT DROP\n{SSH}\n"
BASE = {"hook": "input", "type": "filter", "policy": "drop"}
NFT_VIEW = [
    {"chain": {"family": "ip", "table": "filter", "name": "INPUT", **BASE}},
    {
        "rule": {
            "family": "ip",
            "table": "filter",
            "chain": "INPUT",
            "expr": [{"xt": {"name": "multiport"}}, {"accept": None}],
        }
    },
]


def found(tools: Tools, view: Sequence[object], legacy: str = "") -> Ruleset:
    ruleset = read_ruleset({"nftables": list(view)})
    add_iptables_rules(ruleset, tools.run, lambda name: legacy if name.endswith("ip_tables_names") else "")
    return ruleset


def test_listing_of_iptables_replaces_what_nft_cannot_read() -> None:
    tools = Tools(nft_version="v1", iptables_version="v1.8.11 (nf_tables)", iptables_rules=CLOSED)
    packet = Packet("tcp", 7881, "eth0")
    assert judge(read_ruleset({"nftables": NFT_VIEW}), packet).action == UNKNOWN
    assert judge(found(tools, NFT_VIEW), packet).action == DROP
    assert judge(found(tools, NFT_VIEW), Packet("tcp", 22, "eth0")).action == ACCEPT
    assert "ip6tables -S" not in tools.asked


def test_old_iptables_is_asked_only_where_the_kernel_has_its_table() -> None:
    tools = Tools(nft_version="v1", iptables_version="v1.8.11 (legacy)")
    tools.answers["iptables-legacy rules"] = CLOSED
    assert not found(tools, []).chains
    assert [name for name in tools.asked if "-S" in name] == []
    verdict = judge(found(tools, [], "filter\n"), Packet("udp", 7882, "eth0"))
    assert (verdict.action, "filter of iptables-legacy" in verdict.chain) == (DROP, True)


def test_rules_are_found_without_nft() -> None:
    tools = Tools(iptables_version="v1.8.11 (nf_tables)", iptables_rules=CLOSED)
    assert judge(found(tools, []), Packet("udp", 7882, "eth0")).action == DROP


def test_the_tool_is_named() -> None:
    assert tool_of(read_rules(UFW, "ip")) == "ufw"
    assert tool_of(read_ruleset(json.loads(FIREWALLD))) == "firewalld"
    assert tool_of(read_rules(CLOSED, "ip")) == "iptables"
    assert tool_of(Ruleset()) == "nftables"
