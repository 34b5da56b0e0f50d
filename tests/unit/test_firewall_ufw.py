"""Ports in ufw: one profile and one rule, the operator's rules untouched, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall import apply
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_base import FirewallError
from firewall_support import INPUT, FakeHost, KilledError
from firewall_tools import FakeUfw

BY_HAND = "*filter\n# a note\n### RULES ###\n\n{rules}### END RULES ###\n# the end, without a newline"
CHANGING = {"allow", "delete", "app"}


def host_with_ufw(folder: Path, **about: object) -> FakeHost:
    host = FakeHost(folder, inputs={INPUT: "accept"})
    host.ufw = FakeUfw(folder / "root", **about)  # type: ignore[arg-type]
    return host


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return host_with_ufw(tmp_path)


def ufw(host: FakeHost) -> FakeUfw:
    assert host.ufw
    return host.ufw


def told(host: FakeHost) -> list[list[str]]:
    """What ufw was asked to change."""
    return [one[1:] for one in host.commands if one[0] == "ufw"]


def shown(host: FakeHost) -> str:
    return "\n".join(ufw(host).kernel["ufw-user-input"] + ufw(host).kernel.get("ufw6-user-input", []))


def test_ports_are_one_allowed_profile(host: FakeHost) -> None:
    outcome = apply(host.wish(), host.run)
    assert (outcome.backend, outcome.changed, outcome.places) == ("ufw", True, ["MatrixRTC"])
    assert told(host) == [["allow", "MatrixRTC"]]
    assert "ports=443,7881/tcp|7882:7885/udp" in ufw(host).profile.read_text()
    assert shown(host).count("--dports 443,7881") == shown(host).count("--dports 7882:7885") == 2
    assert shown(host).count("--dport 22") == 2


def test_unchanged_ports_need_no_ufw_at_all(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    files = host.files()
    host.commands.clear()
    outcome = apply(host.wish(), host.run)
    assert (outcome.changed, outcome.diff, told(host)) == (False, [], [])
    assert host.files() == files


def test_changed_ports_leave_no_old_rule(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    host.commands.clear()
    assert apply(host.wish(tcp=("443",), udp=("50100-50200",)), host.run).changed
    assert told(host) == [["app", "update", "MatrixRTC"]]
    assert "7881" not in shown(host) + "".join(host.files().values()).partition("ufw.json")[0]
    assert "50100:50200" in shown(host)
    assert not apply(host.wish(tcp=("443",), udp=("50100-50200",)), host.run).changed


@pytest.mark.parametrize("text", ["", BY_HAND], ids=["written by ufw", "by hand"])
def test_removal_is_byte_exact(tmp_path: Path, text: str) -> None:
    host = host_with_ufw(tmp_path, **({"text": text} if text else {}))
    before, kernel = host.files(), shown(host)
    modes = [ufw(host).file(name).stat().st_mode for name in ("user.rules", "user6.rules")]
    apply(host.wish(), host.run)
    ufw(host).file("user.rules").chmod(0o644)
    apply(host.wish(udp=("50100-50200",)), host.run)
    assert apply(host.wish(is_present=False), host.run).changed
    assert (host.files(), shown(host)) == (before, kernel)
    assert modes == [ufw(host).file(name).stat().st_mode for name in ("user.rules", "user6.rules")]
    assert not apply(host.wish(is_present=False), host.run).changed


def test_rules_that_the_operator_added_since_stay(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    path = ufw(host).file("user.rules")
    added = (
        "### tuple ### allow tcp 25 0.0.0.0/0 any 0.0.0.0/0 in\n"
        "-A ufw-user-input -p tcp --dport 25 -j ACCEPT\n\n"
    )
    path.write_text(path.read_text().replace("### END", added + "### END"))
    apply(host.wish(udp=("50100-50200",)), host.run)  # another change of ours must not adopt that edit
    apply(host.wish(is_present=False), host.run)
    assert added in path.read_text()
    assert "MatrixRTC" not in path.read_text()
    assert not Path(host.wish().folder).exists()


def test_check_mode_tells_and_touches_nothing(host: FakeHost) -> None:
    files = host.files()
    outcome = apply(host.wish(check_mode=True), host.run)
    assert outcome.changed
    assert [entry["after"] for entry in outcome.diff][1:] == ["allow MatrixRTC"]
    assert (host.files(), told(host)) == (files, [])
    apply(host.wish(), host.run)
    outcome = apply(host.wish(check_mode=True, is_present=False), host.run)
    assert outcome.changed
    assert [entry["after"] for entry in outcome.diff] == ["", ""]
    assert ufw(host).profile.exists()


@pytest.mark.parametrize("damage", ["profile", "files", "kernel", "note"])
def test_what_is_missing_is_put_back(host: FakeHost, damage: str) -> None:
    before = ufw(host).file("user.rules").read_text()
    apply(host.wish(), host.run)
    opened = shown(host)
    if damage == "profile":
        ufw(host).profile.unlink()
    elif damage == "files":
        ufw(host).file("user.rules").write_text(before)
    elif damage == "kernel":
        ufw(host).kernel["ufw-user-input"].pop()
    else:
        (Path(host.wish().folder) / "ufw.json").unlink()
    assert apply(host.wish(check_mode=True), host.run).changed
    assert apply(host.wish(), host.run).changed
    assert shown(host) == opened
    assert not apply(host.wish(), host.run).changed
    apply(host.wish(is_present=False), host.run)
    assert ufw(host).file("user.rules").read_text() == before


def test_ipv6_is_left_out_where_ufw_does_not_do_it(tmp_path: Path) -> None:
    host = host_with_ufw(tmp_path, ipv6=False)
    assert apply(host.wish(), host.run).changed
    assert "MatrixRTC" not in ufw(host).file("user6.rules").read_text()
    assert not apply(host.wish(), host.run).changed


def test_many_ports_are_more_than_one_rule(host: FakeHost) -> None:
    ports = tuple(str(port) for port in range(1000, 1040, 2))
    assert apply(host.wish(tcp=ports), host.run).changed
    assert len(ufw(host).ours()) == 3
    assert all(entry.count(",") < 15 for entry in ufw(host).ours())
    assert not apply(host.wish(tcp=ports), host.run).changed


def test_profile_of_somebody_else_is_refused_and_never_removed(host: FakeHost) -> None:
    ufw(host).profile.write_text("[MatrixRTC]\ntitle=x\ndescription=y\nports=1/tcp\n")
    files = host.files()
    with pytest.raises(FirewallError, match="is not ours"):
        apply(host.wish(), host.run)
    assert not apply(host.wish(is_present=False), host.run).changed
    assert host.files() == files


# Failures


def test_refused_rule_is_taken_back(host: FakeHost) -> None:
    files, kernel = host.files(), shown(host)
    ufw(host).failing = "allow"
    with pytest.raises(FirewallError, match=r"does not allow the profile: ERROR.*taken out again"):
        apply(host.wish(), host.run)
    assert (host.files(), shown(host)) == (files, kernel)


def test_refused_change_brings_the_rule_before_back(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    profile, kernel = ufw(host).profile.read_text(), shown(host)
    ufw(host).failing = "app"
    with pytest.raises(FirewallError, match="does not take the profile"):
        apply(host.wish(udp=("50100-50200",)), host.run)
    assert (ufw(host).profile.read_text(), shown(host)) == (profile, kernel)
    ufw(host).failing = ""
    assert not apply(host.wish(), host.run).changed


@pytest.mark.parametrize("is_present", [True, False], ids=["change", "removal"])
def test_killed_anywhere_is_finished_by_the_next_run(tmp_path: Path, is_present: bool) -> None:
    wanted = {"udp": ("50100-50200",), "is_present": is_present}
    for number in range(1, 40):
        host = host_with_ufw(tmp_path / str(number), text=BY_HAND)
        before = host.files()
        apply(host.wish(), host.run)
        host.kill_at = len(host.commands) + number
        try:
            apply(host.wish(**wanted), host.run)
        except KilledError:
            apply(host.wish(**wanted), host.run)
        host.kill_at = 0
        assert ("50100:50200" in shown(host)) is is_present, f"killed at command {number}"
        assert "7882" not in shown(host), f"killed at command {number}"
        assert not apply(host.wish(**wanted), host.run).changed, f"killed at command {number}"
        apply(host.wish(is_present=False), host.run)
        assert host.files() == before, f"killed at command {number}"


# Other tools


@pytest.mark.parametrize("is_installed", [True, False])
def test_switch_to_nftables_leaves_nothing_in_ufw_and_does_not_start_it(
    host: FakeHost, is_installed: bool
) -> None:
    ufw(host).switch("no")
    off = host.files()
    ufw(host).switch("yes")
    apply(host.wish(), host.run)
    ufw(host).switch("no")
    host.inputs[INPUT] = "drop"
    if not is_installed:
        host.ufw = None
    host.commands.clear()
    assert apply(host.wish(), host.run).backend == "nftables"
    assert told(host) == []
    apply(host.wish(is_present=False), host.run)
    assert host.files() == off


def test_ufw_that_is_off_for_now_keeps_our_rule(host: FakeHost) -> None:
    apply(host.wish(), host.run)
    ufw(host).switch("no")
    outcome = apply(host.wish(), host.run)
    assert (outcome.backend, outcome.changed) == ("none", False)
    assert "Our rules come back with ufw" in outcome.warnings[0]
    assert apply(host.wish(udp=("50100-50200",)), host.run).changed  # no old port may come back with it
    ufw(host).switch("yes")
    assert "7882" not in shown(host)
    assert apply(host.wish(udp=("50100-50200",)), host.run).changed
    assert "50100:50200" in shown(host)
