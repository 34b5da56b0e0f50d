"""Ports where iptables filters: which programs, one chain and one jump, our unit, nothing left."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall import apply
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_base import FirewallError
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_iptables import SCRIPT, UNIT, drops
from ansible_collections.matrixrtc.backend.plugins.module_utils.nft_ruleset import Chain
from firewall_support import INPUT, FakeHost, KilledError
from firewall_tools import FakeIptables

JUMP = "-A INPUT -m comment --comment matrixrtc -j MATRIXRTC"
RULES = [
    "-A MATRIXRTC -p tcp -m multiport --dports 443,7881 -j ACCEPT",
    "-A MATRIXRTC -p udp -m multiport --dports 7882:7885 -j ACCEPT",
]
FOUR, SIX = Chain("ip", "filter", "INPUT"), Chain("ip6", "filter", "INPUT")


def host_with_iptables(folder: Path, **about: object) -> FakeHost:
    host = FakeHost(folder, inputs={FOUR: "drop", SIX: "drop"})
    host.iptables = FakeIptables(**about)  # type: ignore[arg-type]
    return host


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return host_with_iptables(tmp_path)


def iptables(host: FakeHost) -> FakeIptables:
    assert host.iptables
    return host.iptables


def changing(host: FakeHost) -> list[list[str]]:
    """Commands that change rules or units."""
    return [
        one
        for one in host.commands
        if (one[0].startswith("ip") and not {"-S", "--version"} & {*one})
        or (one[0] == "systemctl" and one[1] not in ("show", "is-active"))
    ]


def test_ports_are_opened_by_one_jump_in_both_families(host: FakeHost) -> None:
    outcome = apply(host.wish(), host.run)
    assert (outcome.backend, outcome.changed, outcome.places) == ("iptables", True, ["iptables", "ip6tables"])
    for lines in iptables(host).rules.values():
        assert next(line for line in lines if line.startswith("-A INPUT")) == JUMP
        assert [line for line in lines if line.startswith("-A MATRIXRTC")] == RULES
    assert host.iptables_unit == {"ActiveState": "active", "UnitFileState": "enabled"}
    assert (Path(host.wish().unit_folder) / UNIT).exists()


def test_unchanged_ports_are_left_alone(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    rules, files = copy.deepcopy(iptables(host).rules), host.files()
    host.commands.clear()
    assert not apply(host.wish(), host.run).changed
    assert (iptables(host).rules, host.files(), changing(host)) == (rules, files, [])


def test_changed_ports_leave_no_old_one(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    assert apply(host.wish(tcp=(), udp=("50100-50200",)), host.run).changed
    lines = iptables(host).rules["iptables"]
    rule = "-A MATRIXRTC -p udp -m multiport --dports 50100:50200 -j ACCEPT"
    assert [line for line in lines if "MATRIXRTC" in line] == ["-N MATRIXRTC", JUMP, rule]
    assert ["systemctl", "reload", UNIT] in host.commands


def test_family_that_is_not_filtered_gets_no_rule(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, inputs={FOUR: "drop"})
    host.iptables = FakeIptables(programs=["iptables"])
    assert apply(host.wish(), host.run).places == ["iptables"]
    assert not [one for one in host.commands if one[0] == "ip6tables"]


@pytest.mark.parametrize("has_nft", [True, False])
def test_old_iptables_is_seen_by_the_kernels_own_list(tmp_path: Path, has_nft: bool) -> None:
    host = FakeHost(tmp_path, inputs={INPUT: "accept"}, has_nft=has_nft)
    host.iptables = FakeIptables(legacy=True, programs=["iptables-legacy", "ip6tables-legacy"])
    assert apply(host.wish(), host.run).backend == "none"
    assert not [one for one in host.commands if "-S" in one and one[0].endswith("legacy")]
    tables = tmp_path / "root/proc/net/ip_tables_names"
    tables.parent.mkdir(parents=True)
    tables.write_text("nat\nfilter\n")
    assert apply(host.wish(), host.run).places == ["iptables-legacy"]


def test_rules_in_nftables_are_found_without_nft(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, inputs={}, has_nft=False)
    host.iptables = FakeIptables(programs=["iptables"])
    assert apply(host.wish(), host.run).places == ["iptables"]


@pytest.mark.parametrize(
    "damage", ["jump", "second jump", "rule", "extra rule", "chain", "disabled", "stopped", "file"]
)
def test_what_is_missing_is_put_back(host: FakeHost, damage: str) -> None:
    apply(host.wish(), host.run)
    expected, lines = copy.deepcopy(iptables(host).rules), iptables(host).rules["ip6tables"]
    if damage in ("jump", "second jump"):
        lines.remove(JUMP) if damage == "jump" else lines.append(JUMP)
    elif damage in ("rule", "extra rule"):
        extra = "-A MATRIXRTC -p tcp -m tcp --dport 7880 -j ACCEPT"
        lines.remove(RULES[0]) if damage == "rule" else lines.append(extra)
    elif damage == "chain":
        iptables(host).unload()
    elif damage in ("disabled", "stopped"):
        host.iptables_unit["UnitFileState" if damage == "disabled" else "ActiveState"] = damage
    else:
        (Path(host.wish().folder) / "iptables-apply").write_text("")
    assert apply(host.wish(check_mode=True), host.run).changed
    assert apply(host.wish(), host.run).changed
    assert iptables(host).rules == expected
    assert not apply(host.wish(), host.run).changed


@pytest.mark.parametrize("are_files_lost", [True, False])
def test_removal_leaves_nothing(host: FakeHost, are_files_lost: bool) -> None:
    rules = copy.deepcopy(iptables(host).rules)
    apply(host.wish(), host.run)
    for path in host.files() if are_files_lost else ():
        Path(path).unlink()
    assert apply(host.wish(is_present=False, check_mode=True), host.run).changed
    assert apply(host.wish(is_present=False), host.run).changed
    assert (iptables(host).rules, host.files()) == (rules, {})
    assert not apply(host.wish(is_present=False), host.run).changed


def test_our_lines_go_out_of_what_netfilter_persistent_saved(host: FakeHost) -> None:
    saved = host.folder / "root/etc/iptables/rules.v4"
    saved.parent.mkdir(parents=True)
    theirs = "*filter\n:INPUT DROP [0:0]\n{}-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n"
    apply(host.wish(), host.run)
    saved.write_text(theirs.format("\n".join([":MATRIXRTC - [0:0]", JUMP, *RULES, ""])))
    assert not apply(host.wish(), host.run).changed
    outcome = apply(host.wish(is_present=False), host.run)
    assert [entry["after"] for entry in outcome.diff if "rules.v4" in entry["after_header"]] == [
        theirs.format("")
    ]
    assert saved.read_text() == theirs.format("")
    assert not apply(host.wish(is_present=False), host.run).changed


def test_switch_to_nftables_takes_our_rules_along(host: FakeHost) -> None:
    rules = copy.deepcopy(iptables(host).rules)
    apply(host.wish(), host.run)
    host.inputs = {INPUT: "drop", FOUR: "accept", SIX: "accept"}
    host.chains[INPUT] = []
    for lines in iptables(host).rules.values():
        lines[0] = "-P INPUT ACCEPT"
    assert apply(host.wish(), host.run).backend == "nftables"
    assert [lines[1:] for lines in iptables(host).rules.values()] == [lines[1:] for lines in rules.values()]
    assert not [path for path in host.files() if "iptables" in path]


def test_firewall_that_is_off_for_now_keeps_our_unit(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    host.inputs, host.chains, host.iptables = {}, {}, None
    outcome = apply(host.wish(udp=("50100-50200",)), host.run)
    assert (outcome.backend, outcome.changed) == ("none", True)
    assert "Our rules come back with iptables" in outcome.warnings[0]
    assert "50100:50200" in (Path(host.wish().folder) / "iptables-rules").read_text()


def test_refused_rules_are_taken_back(host: FakeHost) -> None:
    rules, host.refusal = copy.deepcopy(iptables(host).rules), "iptables-restore: line 3 failed"
    with pytest.raises(FirewallError, match=r"iptables refuses our rules: .*line 3 failed.*taken out again"):
        apply(host.wish(), host.run)
    assert (iptables(host).rules, host.files()) == (rules, {})


@pytest.mark.parametrize("is_present", [True, False], ids=["change", "removal"])
def test_killed_anywhere_is_finished_by_the_next_run(tmp_path: Path, is_present: bool) -> None:
    wanted = {"udp": ("50100-50200",), "is_present": is_present}
    for number in range(1, 60):
        host = host_with_iptables(tmp_path / str(number))
        before = copy.deepcopy(iptables(host).rules)
        apply(host.wish(), host.run)
        host.kill_at = len(host.commands) + number
        try:
            apply(host.wish(**wanted), host.run)
        except KilledError:
            apply(host.wish(**wanted), host.run)
        host.kill_at = 0
        lines = "".join(iptables(host).rules["ip6tables"])
        assert ("50100:50200" in lines) is is_present, f"killed at command {number}"
        assert "7882" not in lines, f"killed at command {number}"
        assert not apply(host.wish(**wanted), host.run).changed, f"killed at command {number}"
        apply(host.wish(is_present=False), host.run)
        assert (iptables(host).rules, host.files()) == (before, {}), f"killed at command {number}"


def test_many_ports_are_more_than_one_rule(host: FakeHost) -> None:
    ports = tuple(str(port) for port in range(1000, 1040, 2))
    apply(host.wish(tcp=ports, udp=()), host.run)
    rules = [line for line in iptables(host).rules["iptables"] if line.startswith("-A MATRIXRTC")]
    assert [line.count(",") for line in rules] == [14, 4]


@pytest.mark.parametrize(
    ("listing", "is_closed"),
    [
        ("-P INPUT DROP", True),
        ("-P INPUT ACCEPT\n-A INPUT -j REJECT --reject-with icmp-host-prohibited", True),
        ("-P INPUT ACCEPT\n-A INPUT -j DROP\n-A INPUT -j ACCEPT", False),
        ("-P INPUT ACCEPT\n-A INPUT -s 192.0.2.1/32 -j DROP", False),
        ("", False),
    ],
)
def test_input_that_drops_by_default(listing: str, is_closed: bool) -> None:
    assert drops(listing) is is_closed


# The script that our unit runs

PROGRAM = '#!/bin/sh\necho "$0 $*" >>"$FAKE/calls"\ncat "$FAKE/listing"\n'
RESTORE = '#!/bin/sh\necho "$0 $*" >>"$FAKE/calls"\ncat >"$FAKE/loaded"\n'
ADD = (
    f"*filter\n:MATRIXRTC - [0:0]\n{RULES[0]}\n{RULES[1]}\n"
    "{}-I"
    f"{JUMP[2:].replace('INPUT', 'INPUT 1')}\nCOMMIT\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    for name, text in (("iptables", PROGRAM), ("iptables-restore", RESTORE)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "iptables-apply").write_text(SCRIPT)
    (tmp_path / "iptables-chains").write_text("iptables\n")
    (tmp_path / "iptables-rules").write_text(
        "".join(rule.removeprefix("-A MATRIXRTC ") + "\n" for rule in RULES)
    )
    (tmp_path / "listing").write_text("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n")
    return tmp_path


def run_script(folder: Path, verb: str) -> str | None:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "FAKE": str(folder)}
    subprocess.run(["/bin/sh", str(folder / "iptables-apply"), verb], env=environment, check=True)
    return (folder / "loaded").read_text() if (folder / "loaded").exists() else None


def test_script_adds_in_one_transaction(folder: Path) -> None:
    assert run_script(folder, "add") == ADD.format("")
    assert "iptables-restore -w 5 --noflush\n" in (folder / "calls").read_text()


def test_script_replaces_exactly_our_jumps(folder: Path) -> None:
    (folder / "listing").write_text(f"-P INPUT DROP\n-N MATRIXRTC\n{JUMP}\n-A INPUT -j MATRIXRTC2\n{JUMP}\n")
    assert run_script(folder, "add") == ADD.format(f"-D{JUMP[2:]}\n" * 2)


def test_script_only_tries(folder: Path) -> None:
    run_script(folder, "check")
    assert "iptables-restore -w 5 --noflush --test\n" in (folder / "calls").read_text()


def test_script_removes_what_is_there(folder: Path) -> None:
    assert run_script(folder, "remove") is None
    (folder / "listing").write_text(f"-P INPUT DROP\n-N MATRIXRTC\n{JUMP}\n{RULES[0]}\n")
    assert run_script(folder, "remove") == f"*filter\n-D{JUMP[2:]}\n-F MATRIXRTC\n-X MATRIXRTC\nCOMMIT\n"
