"""Opening ports in a firewall that is somebody else's: which it is, what is added, that it goes again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall import active_tool, apply
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_base import (
    FirewallError,
    normalized,
    without,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_nftables import UNIT, read_ruleset
from ansible_collections.matrixrtc.backend.plugins.module_utils.nft_ruleset import Chain, parse
from firewall_support import COUNTED_REJECT, DROP, DROP_INVALID, INPUT, FakeHost, KilledError, accept
from firewall_tools import FakeFirewalld, FakeIptables, FakeUfw

HARMLESS_VERBS = {"is-active", "show", "daemon-reload", "reenable", "restart", "reload", "disable"}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


# Ports


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["7881", "443"], ("443", "7881")),
        (["7882-7885", "7884-7890", "7891"], ("7882-7891",)),
        (["7882", "7884"], ("7882", "7884")),
        (["80", "80"], ("80",)),
        ([], ()),
    ],
)
def test_ports_are_few_and_in_order(entries: list[str], expected: tuple[str, ...]) -> None:
    assert normalized(entries) == expected


@pytest.mark.parametrize(
    ("entries", "taken", "left"),
    [
        (["7882-7885"], [], ("7882-7885",)),
        (["7882-7885"], ["7883"], ("7882", "7884-7885")),
        (["7882-7885"], ["7880-7882", "7885-7890"], ("7883-7884",)),
        (["7882-7885", "443"], ["1-65535"], ()),
        (["443"], ["80", "444"], ("443",)),
    ],
)
def test_ports_of_others_are_taken_away(entries: list[str], taken: list[str], left: tuple[str, ...]) -> None:
    assert without(entries, taken) == left


@pytest.mark.parametrize("entry", ["0", "65536", "7885-7882", "x", "", "1-", "-1", "7882:7885", "443; drop"])
def test_what_is_no_port_is_refused(entry: str) -> None:
    with pytest.raises(FirewallError, match=r"port|range"):
        normalized([entry])


# Opening


def test_ports_are_opened_by_one_jump_at_the_top(host: FakeHost) -> None:
    operators = copy.deepcopy(host.chains[INPUT])
    outcome = apply(host.wish(), host.run)
    assert (outcome.changed, outcome.backend, outcome.places) == (True, "nftables", ["inet filter input"])
    assert host.opened() == [accept("tcp", "443", "7881"), accept("udp", "7882-7885")]
    assert host.chains[INPUT][0][1] == [{"jump": {"target": "matrixrtc"}}]
    assert host.chains[INPUT][1:] == operators
    assert host.unit == {"ActiveState": "active", "UnitFileState": "enabled"}


def test_unchanged_ports_are_left_alone(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    rules, files = copy.deepcopy(host.chains), host.files()
    host.commands.clear()
    assert not apply(host.wish(), host.run).changed
    assert (host.chains, host.files()) == (rules, files)
    assert not [one for one in host.commands if one[0] == "systemctl" and one[1] not in ("show", "is-active")]


def test_only_our_own_unit_is_touched(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    apply(host.wish(udp=("50100-50200",)), host.run)
    apply(host.wish(is_present=False), host.run)
    acted = [one for one in host.commands if one[0] == "systemctl" and one[1] not in ("is-active", "show")]
    assert {one[1] for one in acted} <= HARMLESS_VERBS
    assert {one[-1] for one in acted} == {UNIT, "daemon-reload"}
    assert not [one for one in host.commands if one[0] == "nft" and "ruleset" in one and "list" not in one]


def test_changed_ports_leave_no_old_one(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    host.commands.clear()
    assert apply(host.wish(tcp=("443",), udp=("50100-50200",)), host.run).changed
    assert host.opened() == [accept("tcp", "443"), accept("udp", "50100-50200")]
    assert host.jumps(INPUT) == 1
    assert ["systemctl", "reload", UNIT] in host.commands  # a restart would close everything for a moment
    assert ["systemctl", "restart", UNIT] not in host.commands


@pytest.mark.parametrize(
    "damage", ["flushed", "jump", "second jump", "extra rule", "disabled", "stopped", "file"]
)
def test_what_is_missing_is_put_back(host: FakeHost, damage: str) -> None:
    apply(host.wish(), host.run)
    expected = [expr for _handle, expr in host.chains[INPUT]]
    if damage == "flushed":
        host.flush_and_load_operators_file()
    elif damage == "jump":
        del host.chains[INPUT][0]
    elif damage == "second jump":
        host.add(INPUT, [{"jump": {"target": "matrixrtc"}}])
    elif damage == "extra rule":
        host.add(Chain("inet", "filter", "matrixrtc"), accept("tcp", "7880"))
    elif damage == "disabled":
        host.unit["UnitFileState"] = "disabled"
    elif damage == "stopped":
        host.unit["ActiveState"] = "inactive"
    else:
        (Path(host.wish().folder) / "apply").write_text("")
    check = host.wish(check_mode=True)
    assert apply(check, host.run).changed
    assert apply(host.wish(), host.run).changed
    assert [expr for _handle, expr in host.chains[INPUT]] == expected
    assert host.unit == {"ActiveState": "active", "UnitFileState": "enabled"}
    assert not apply(host.wish(), host.run).changed


def test_check_mode_tells_and_touches_nothing(host: FakeHost) -> None:
    rules, files = copy.deepcopy(host.chains), host.files()
    outcome = apply(host.wish(check_mode=True), host.run)
    assert outcome.changed
    assert any("udp dport { 7882-7885 }" in entry["after"] for entry in outcome.diff)
    assert (host.chains, host.files()) == (rules, files)


def test_both_families_are_opened_where_each_has_its_own_chain(tmp_path: Path) -> None:
    four, six = Chain("ip", "f4", "in"), Chain("ip6", "f6", "in")
    host = FakeHost(tmp_path, inputs={four: "accept", six: "drop"})
    host.add(four, COUNTED_REJECT)
    apply(host.wish(), host.run)
    for chain in (four, six):
        assert host.jumps(chain) == 1
        assert host.opened(chain) == [accept("tcp", "443", "7881"), accept("udp", "7882-7885")]


@pytest.mark.parametrize("other", [Chain("inet", "x", "in"), Chain("ip", "x", "in"), Chain("ip6", "x", "in")])
def test_two_chains_that_drop_are_refused(tmp_path: Path, other: Chain) -> None:
    host = FakeHost(tmp_path, inputs={INPUT: "drop", other: "drop"})
    rules = copy.deepcopy(host.chains)
    with pytest.raises(FirewallError, match=r"More than one input chain drops IPv[46].*inet filter input"):
        apply(host.wish(), host.run)
    assert (host.chains, host.files()) == (rules, {})


def test_moved_chain_takes_our_rules_along(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    moved = Chain("inet", "fw", "incoming")
    host.inputs = {INPUT: "accept", moved: "drop"}
    host.add(moved, accept("tcp", "22"))
    assert apply(host.wish(), host.run).places == ["inet fw incoming"]
    assert host.jumps(INPUT) == 0
    assert not host.opened(INPUT)
    assert host.opened(moved)
    assert not apply(host.wish(), host.run).changed


def test_removal_leaves_nothing(host: FakeHost) -> None:
    rules = copy.deepcopy(host.chains)
    apply(host.wish(), host.run)
    gone = host.wish(is_present=False, tcp=(), udp=())
    opened, files = copy.deepcopy(host.chains), host.files()
    assert apply(host.wish(is_present=False, check_mode=True), host.run).changed
    assert (host.chains, host.files()) == (opened, files)
    assert apply(gone, host.run).changed
    assert (host.chains, host.files()) == (rules, {})
    assert host.unit["UnitFileState"] == ""
    assert not Path(gone.folder).parent.exists()
    assert not apply(gone, host.run).changed


def test_removal_finds_rules_whose_files_are_lost(host: FakeHost) -> None:
    rules = copy.deepcopy(host.chains)
    apply(host.wish(), host.run)
    for path in host.files():
        Path(path).unlink()
    assert apply(host.wish(is_present=False), host.run).changed
    assert host.chains == rules


@pytest.mark.parametrize("changes", [{"backend": "none"}, {"tcp": (), "udp": ()}], ids=["none", "no ports"])
def test_unwanted_ports_are_closed(host: FakeHost, changes: dict[str, Any]) -> None:
    assert not apply(host.wish(**changes), host.run).changed
    rules = copy.deepcopy(host.chains)
    apply(host.wish(), host.run)
    outcome = apply(host.wish(**changes), host.run)
    assert outcome.changed
    assert not outcome.warnings
    assert host.chains == rules


# Failures


def test_refused_rules_are_taken_back(host: FakeHost) -> None:
    host.refusal = "Error: syntax error"
    rules = copy.deepcopy(host.chains)
    with pytest.raises(
        FirewallError, match=r"nftables refuses our rules: Error: syntax error.*taken out again"
    ):
        apply(host.wish(), host.run)
    assert (host.chains, host.files()) == (rules, {})


def test_refused_change_brings_the_rules_before_back(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    opened, files = host.opened(), host.files()
    host.refusal = "Error: syntax error"
    with pytest.raises(FirewallError, match=r"syntax error.*The rules before are back"):
        apply(host.wish(tcp=("8443",)), host.run)
    assert (host.opened(), host.files()) == (opened, files)


def test_unreadable_rules_are_told() -> None:
    with pytest.raises(FirewallError, match="cannot be read: Operation not permitted"):
        read_ruleset(lambda _argv: Completed(1, errors="Operation not permitted"))
    with pytest.raises(FirewallError, match="cannot be understood"):
        read_ruleset(lambda _argv: Completed(0, "nonsense"))


@pytest.mark.parametrize("is_present", [True, False], ids=["change", "removal"])
def test_killed_anywhere_is_finished_by_the_next_run(tmp_path: Path, is_present: bool) -> None:
    wanted = {"tcp": ("8443",), "is_present": is_present}
    count = FakeHost(tmp_path / "count")
    apply(count.wish(), count.run)
    before = len(count.commands)
    apply(count.wish(**wanted), count.run)
    clean = [expr for _handle, expr in count.chains[INPUT]]
    assert len(count.commands) - before >= 4
    for number in range(1, len(count.commands) - before + 1):
        host = FakeHost(tmp_path / str(number))
        apply(host.wish(), host.run)
        host.kill_at = len(host.commands) + number
        with pytest.raises(KilledError):
            apply(host.wish(**wanted), host.run)
        apply(host.wish(**wanted), host.run)
        assert [expr for _handle, expr in host.chains[INPUT]] == clean, f"killed at command {number}"
        assert bool(host.files()) == is_present, f"killed at command {number}"
        assert not apply(host.wish(**wanted), host.run).changed, f"killed at command {number}"


# Which firewall it is


@pytest.mark.parametrize("tool", ["firewalld", "ufw", "iptables", "nftables", "none"])
def test_the_active_firewall_is_found(tmp_path: Path, tool: str) -> None:
    host = FakeHost(tmp_path, inputs={INPUT: "drop" if tool == "nftables" else "accept"})
    root = Path(host.wish().root)
    host.firewalld = FakeFirewalld(root)
    host.firewalld.running = tool == "firewalld"
    host.ufw = FakeUfw(root) if tool == "ufw" else None
    if tool == "iptables":
        host.iptables = FakeIptables()
        host.inputs[Chain("ip", "filter", "INPUT")] = "drop"
        host.chains[Chain("ip", "filter", "INPUT")] = []
    assert active_tool(host.wish(), host.run) == tool


def test_disabled_ufw_is_not_asked(host: FakeHost) -> None:
    host.ufw = FakeUfw(Path(host.wish().root))
    host.ufw.switch("no")
    assert active_tool(host.wish(), host.run) == "nftables"
    assert not [one for one in host.commands if one[0] == "ufw"]


def test_enabled_ufw_that_was_never_started_is_not_active(host: FakeHost) -> None:
    host.ufw = FakeUfw(Path(host.wish().root))
    host.ufw.kernel = {}
    assert active_tool(host.wish(), host.run) == "nftables"


def test_table_named_like_that_of_iptables_is_nftables_without_it(tmp_path: Path) -> None:
    host = FakeHost(
        tmp_path, inputs={Chain("ip", "filter", "INPUT"): "drop"}, iptables=FakeIptables(legacy=True)
    )
    assert active_tool(host.wish(), host.run) == "nftables"


@pytest.mark.parametrize("tool", ["nftables", "ufw", "firewalld", "iptables"])
def test_insisting_on_a_tool_that_does_not_filter_is_refused(tmp_path: Path, tool: str) -> None:
    host = FakeHost(tmp_path, inputs={INPUT: "accept"})
    with pytest.raises(FirewallError, match=r"set firewall_backend to auto"):
        apply(host.wish(backend=tool), host.run)
    assert host.files() == {}


def test_no_firewall_is_said_and_nothing_is_done(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, inputs={INPUT: "accept"})
    outcome = apply(host.wish(), host.run)
    assert (outcome.backend, outcome.changed, host.files()) == ("none", False, {})
    assert "No firewall is active" in outcome.warnings[0]
    assert "Our rules come back with" not in outcome.warnings[0]


def test_firewall_that_is_off_for_now_keeps_our_files_up_to_date(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    chains, host.chains, host.inputs = host.chains, {}, {}
    assert not apply(host.wish(), host.run).changed
    outcome = apply(host.wish(tcp=("8443",)), host.run)
    assert (outcome.changed, outcome.backend) == (True, "none")
    assert "Our rules come back with" in outcome.warnings[0]
    assert not host.chains
    assert not apply(host.wish(tcp=("8443",)), host.run).changed
    host.chains, host.inputs = chains, {INPUT: "drop"}
    host.load()  # what nftables.service brings about when it starts
    assert not apply(host.wish(tcp=("8443",)), host.run).changed


# Containers


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("sfu 0.0.0.0:7880->7880/tcp, [::]:7880->7880/tcp", ["7880/tcp", "on 0.0.0.0", "::"]),
        ("sfu :::7000-7900->7000-7900/tcp", ["7000-7900/tcp", "::"]),
        ("sfu 203.0.113.5:7880->80/tcp", ["203.0.113.5"]),
    ],
)
def test_an_internal_port_that_a_container_publishes_is_warned_about(
    host: FakeHost, line: str, names: list[str]
) -> None:
    host.containers = f"{line}\n"
    outcome = apply(host.wish(internal=(7880,)), host.run)
    assert outcome.changed
    assert "before the host's firewall sees them" in outcome.warnings[0]
    assert all(name in outcome.warnings[0] for name in ["container sfu (docker)", *names])


@pytest.mark.parametrize(
    ("line", "published"),
    [
        ("sfu 127.0.0.1:7880->7880/tcp, [::1]:7880->7880/tcp", 0),
        ("sfu 7880/tcp", 0),
        ("web 0.0.0.0:8443->7880/tcp", 1),
        ("sfu 0.0.0.0:7880->7880/udp", 1),
    ],
)
def test_other_published_ports_are_only_listed(host: FakeHost, line: str, published: int) -> None:
    host.containers = f"{line}\n"
    outcome = apply(host.wish(internal=(7880,)), host.run)
    assert not outcome.warnings
    assert len(outcome.published) == published


# What drops


@pytest.mark.parametrize(
    ("policy", "rules", "is_closed"),
    [
        ("drop", [], True),
        ("accept", [], False),
        ("accept", [DROP], True),
        ("accept", [COUNTED_REJECT], True),
        ("accept", [DROP, accept("tcp", "22")], False),
        ("accept", [DROP_INVALID], False),
        ("accept", [[{"limit": {"rate": 1}}, {"drop": None}]], False),
        ("accept", [[{"xt": {"type": "match"}}, {"drop": None}]], False),
        ("accept", [[{"log": {"prefix": "x"}}, {"drop": None}]], True),
        ("accept", [[{"jump": {"target": "closing"}}]], True),
        ("accept", [[{"goto": {"target": "closing"}}]], True),
        ("accept", [[{"jump": {"target": "open"}}]], False),
        ("accept", [[{"jump": {"target": "loop"}}]], False),
    ],
)
def test_chain_is_closed_when_nothing_passes_its_end(
    tmp_path: Path, policy: str, rules: list[list[dict[str, Any]]], is_closed: bool
) -> None:
    host = FakeHost(tmp_path, inputs={INPUT: policy})
    for expr in rules:
        host.add(INPUT, expr)
    host.add(Chain("inet", "filter", "closing"), DROP)
    host.add(Chain("inet", "filter", "open"), accept("tcp", "22"))
    host.add(Chain("inet", "filter", "loop"), [{"goto": {"target": "loop"}}])
    assert bool(read_ruleset(host.run).closed_inputs()) is is_closed


def test_only_input_filters_of_ip_count(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, inputs={Chain("bridge", "b", "in"): "drop", Chain("arp", "a", "in"): "drop"})
    assert read_ruleset(host.run).closed_inputs() == []


@pytest.mark.parametrize(
    "statement",
    [
        [{"accept": None}],
        [*accept("tcp", "22"), {"counter": None}],
        [{"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
         {"accept": None}],
        [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "sport"}}, "right": 22}},
         {"accept": None}],
        [accept("tcp", "22")[0], {"drop": None}],
    ],
)  # fmt: skip
def test_other_rules_in_our_chain_are_not_ours(tmp_path: Path, statement: list[dict[str, Any]]) -> None:
    host = FakeHost(tmp_path)
    host.add(Chain("inet", "filter", "matrixrtc"), statement)
    assert parse(host.nft(["nft", "--json", "list", "ruleset"]).output).opened(INPUT) is None
