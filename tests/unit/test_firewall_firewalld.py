"""Ports in firewalld: in the right zones, for now and for good, beside the operator's, and gone again."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall import apply
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_base import FirewallError
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_firewalld import (
    default_interfaces,
    without_ports,
)
from firewall_support import INPUT, FakeHost, KilledError
from firewall_tools import FakeFirewalld

OURS = ["443/tcp", "7881/tcp", "7882-7885/udp"]
FORBIDDEN = ("--reload", "--complete-reload", "--new-service", "--new-zone", "--set-", "--change-", "--panic",
             "--add-interface", "--remove-interface", "--runtime-to-permanent")  # fmt: skip


def host_with_firewalld(folder: Path, **about: str) -> FakeHost:
    host = FakeHost(folder, inputs={INPUT: "accept"})
    host.firewalld = FakeFirewalld(folder / "root", **about)
    return host


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return host_with_firewalld(tmp_path)


def firewalld(host: FakeHost) -> FakeFirewalld:
    assert host.firewalld
    return host.firewalld


def test_ports_are_added_for_now_and_for_good(host: FakeHost) -> None:
    outcome = apply(host.wish(), host.run)
    assert (outcome.backend, outcome.changed, outcome.places) == ("firewalld", True, ["public"])
    assert firewalld(host).ports["public", "permanent"] == firewalld(host).ports["public", "runtime"] == OURS
    assert firewalld(host).writes == 2
    assert firewalld(host).ports["external", "permanent"] == []


def test_unchanged_ports_write_nothing(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    files = host.files()
    host.commands.clear()
    outcome = apply(host.wish(), host.run)
    assert (outcome.changed, outcome.diff, firewalld(host).writes) == (False, [], 2)
    assert host.files() == files
    assert not [one for one in host.commands if one[0] == "firewall-cmd"]


def test_nothing_is_reloaded_or_zoned_anew(host: FakeHost) -> None:
    for changes in ({}, {"udp": ("50100-50200",)}, {"is_present": False}):
        apply(host.wish(**changes), host.run)
    options = " ".join(word for one in host.commands if one[0] == "firewall-cmd" for word in one)
    assert not [word for word in FORBIDDEN if word in options]


def test_changed_ports_leave_no_old_one(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    assert apply(host.wish(tcp=("443",), udp=("50100-50200",)), host.run).changed
    for mode in ("permanent", "runtime"):
        assert firewalld(host).ports["public", mode] == ["443/tcp", "50100-50200/udp"]


@pytest.mark.parametrize("mode", ["permanent", "runtime"])
def test_ports_of_the_operator_stay_the_operators(host: FakeHost, mode: str) -> None:
    firewalld(host).open_for("public", mode, "443/tcp", "7880-7883/udp")
    before = copy.deepcopy(firewalld(host).ports)
    apply(host.wish(), host.run)
    assert firewalld(host).ports["public", mode] == ["443/tcp", "7880-7883/udp", "7881/tcp", "7884-7885/udp"]
    assert not apply(host.wish(), host.run).changed
    apply(host.wish(is_present=False), host.run)
    assert firewalld(host).ports == before


@pytest.mark.parametrize("is_by_hand", [True, False])
def test_removal_is_byte_exact(host: FakeHost, is_by_hand: bool) -> None:
    if is_by_hand:
        firewalld(host).open_for("public", "permanent", "25/tcp")
        firewalld(host).file().with_suffix(".xml.old").write_text("older\n")
    before = host.files()
    apply(host.wish(), host.run)
    apply(host.wish(udp=("50100-50200",)), host.run)
    assert host.files() != before
    assert apply(host.wish(is_present=False), host.run).changed
    assert host.files() == before
    assert not apply(host.wish(is_present=False), host.run).changed


def test_ports_that_the_operator_added_since_stay(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    firewalld(host).open_for("public", "permanent", "25/tcp")
    apply(host.wish(udp=("50100-50200",)), host.run)
    apply(host.wish(is_present=False), host.run)
    assert firewalld(host).ports["public", "permanent"] == ["25/tcp"]
    assert 'port="25"' in firewalld(host).file().read_text()


def test_check_mode_tells_and_touches_nothing(host: FakeHost) -> None:
    files = host.files()
    outcome = apply(host.wish(check_mode=True), host.run)
    assert outcome.changed
    assert [entry["after"].split() for entry in outcome.diff] == [OURS, OURS]
    assert (host.files(), firewalld(host).writes) == (files, 0)


@pytest.mark.parametrize("mode", ["permanent", "runtime"])
def test_what_is_missing_is_put_back(host: FakeHost, mode: str) -> None:
    apply(host.wish(), host.run)
    firewalld(host).ports["public", mode].remove("7881/tcp")
    assert apply(host.wish(check_mode=True), host.run).changed
    assert apply(host.wish(), host.run).changed
    assert sorted(firewalld(host).ports["public", mode]) == OURS
    assert not apply(host.wish(), host.run).changed


def test_moved_interface_takes_our_ports_along(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    firewalld(host).bound = {"eth0": "external"}
    assert apply(host.wish(), host.run).places == ["external"]
    assert firewalld(host).ports["public", "permanent"] == []
    assert firewalld(host).ports["external", "runtime"] == OURS
    del firewalld(host).ports["public", "permanent"], firewalld(host).ports["public", "runtime"]
    assert not apply(host.wish(), host.run).changed


def test_interface_without_a_zone_is_in_the_default_zone(tmp_path: Path) -> None:
    host = host_with_firewalld(tmp_path, zone="")
    assert apply(host.wish(), host.run).places == ["public"]


# Failures


@pytest.mark.parametrize("is_first", [True, False])
def test_failure_half_way_brings_the_ports_before_back(host: FakeHost, is_first: bool) -> None:
    if not is_first:
        apply(host.wish(udp=("50100-50200",)), host.run)
    ports, files = copy.deepcopy(firewalld(host).ports), host.files()
    real, count = host.firewalld.run, 0  # type: ignore[union-attr]

    def failing(argv: list[str]) -> object:
        nonlocal count
        if "--permanent" not in argv and any("add-port" in word for word in argv):
            count += 1
            if count == 1:
                firewalld(host).failing = "--add-port"
        done = real(argv)
        firewalld(host).failing = ""
        return done

    firewalld(host).run = failing  # type: ignore[assignment,method-assign]
    with pytest.raises(FirewallError, match=r"COMMAND_FAILED.*The ports before are back"):
        apply(host.wish(), host.run)
    assert {place: sorted(found) for place, found in firewalld(host).ports.items()} == {
        place: sorted(found) for place, found in ports.items()
    }
    if is_first:
        assert host.files() == files


def test_ports_that_firewalld_ignores_are_noticed(host: FakeHost) -> None:
    firewalld(host).deaf = True
    with pytest.raises(FirewallError, match="did not add 443/tcp"):
        apply(host.wish(), host.run)


@pytest.mark.parametrize("is_present", [True, False], ids=["change", "removal"])
def test_killed_anywhere_is_finished_by_the_next_run(tmp_path: Path, is_present: bool) -> None:
    wanted = {"udp": ("50100-50200",), "is_present": is_present}
    expected = ["443/tcp", "50100-50200/udp", "7881/tcp"] if is_present else []
    for number in range(1, 40):
        host = host_with_firewalld(tmp_path / str(number))
        before = host.files()
        apply(host.wish(), host.run)
        host.kill_at = len(host.commands) + number
        try:
            apply(host.wish(**wanted), host.run)
        except KilledError:
            apply(host.wish(**wanted), host.run)
        host.kill_at = 0
        for mode in ("permanent", "runtime"):
            assert sorted(firewalld(host).ports["public", mode]) == expected, f"killed at command {number}"
        assert not apply(host.wish(**wanted), host.run).changed, f"killed at command {number}"
        apply(host.wish(is_present=False), host.run)
        assert host.files() == before, f"killed at command {number}"


# Other tools


@pytest.mark.parametrize("is_edited", [True, False])
def test_switch_to_nftables_leaves_nothing_in_firewalld_and_does_not_start_it(
    host: FakeHost, is_edited: bool
) -> None:
    before = host.files()
    apply(host.wish(), host.run)
    if is_edited:
        path = firewalld(host).file()
        path.write_text(
            path.read_text().replace("<forward/>", '<port port="25" protocol="tcp"/>\n  <forward/>')
        )
    firewalld(host).running = False
    host.inputs[INPUT] = "drop"
    host.commands.clear()
    assert apply(host.wish(), host.run).backend == "nftables"
    assert not [one for one in host.commands if one[0] == "firewall-cmd"]
    apply(host.wish(is_present=False), host.run)
    if is_edited:
        assert firewalld(host).file().read_text().count("<port ") == 1
    else:
        assert host.files() == before


def test_firewalld_that_is_off_for_now_keeps_our_ports(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    firewalld(host).running = False
    outcome = apply(host.wish(), host.run)
    assert (outcome.backend, outcome.changed) == ("none", False)
    assert "Our rules come back with firewalld" in outcome.warnings[0]
    assert apply(host.wish(udp=("50100-50200",)), host.run).changed
    assert not firewalld(host).file().exists()


# What its answers and files say


def test_interfaces_with_a_default_route_of_either_family() -> None:
    six = (
        f"{'0' * 32} 00 {'0' * 32} 00 fe80 00000400 1 0 00000003 eth2\n"
        f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 1 0 00200200 lo\n"
        f"20010db8{'0' * 24} 40 {'0' * 32} 00 {'0' * 32} 00000100 1 0 00000001 eth3\n"
    )
    four = "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 01 3 0 0 0 00000000 0 0 0\n"
    assert default_interfaces(four, six) == ["eth0", "eth2"]
    assert default_interfaces(None, None) == []


def test_range_that_also_holds_the_operators_ports_is_cut() -> None:
    text = (
        '<zone>\n  <port port="7880-7890" protocol="udp"/>\n  <port protocol="tcp" port="7881"/>\n</zone>\n'
    )
    below, above = ('  <port port="' + part + '" protocol="udp"/>\n' for part in ("7880-7881", "7886-7890"))
    assert without_ports(text, ["7882-7885/udp", "7881/tcp"]) == f"<zone>\n{below}{above}</zone>\n"
    assert without_ports(text, ["1/tcp"]) == text
    rich = '<zone>\n  <rule>\n    <port port="7881" protocol="tcp"/>\n    <accept/>\n  </rule>\n</zone>\n'
    assert without_ports(rich, ["7881/tcp"]) == rich
