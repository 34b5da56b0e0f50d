"""The shell script that our unit runs, with an nft that answers from files and notes what it is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_nftables import (
    APPLY_SCRIPT,
    UNIT_TEXT,
)

NFT = """\
#!/bin/sh
echo "$*" >>"$FAKE/calls"
case "$*" in
    *"list chain"*) for last; do name=$last; done; cat "$FAKE/$name" ;;
    "-f -") cat >"$FAKE/loaded" ;;
    "--check -f -") cat >"$FAKE/checked" ;;
    *) exit 9 ;;
esac
"""
SYSTEMCTL = '#!/bin/sh\n[ -e "$FAKE/nftables-is-active" ]\n'
LISTING = """\
table inet filter { # handle 1
	chain input { # handle 2
		type filter hook input priority filter; policy drop;
		jump matrixrtc comment "matrixrtc" # handle 21
		jump matrixrtc_other # handle 22
		tcp dport 22 accept comment "jump matrixrtc" # handle 23
		jump matrixrtc comment "matrixrtc" # handle 24
	}
}
"""
ADD = """\
add chain inet filter matrixrtc
flush chain inet filter matrixrtc
add rule inet filter matrixrtc tcp dport { 443, 7881 } accept comment "matrixrtc"
add rule inet filter matrixrtc udp dport { 7882-7885 } accept comment "matrixrtc"
insert rule inet filter input jump matrixrtc comment "matrixrtc"
"""
RULES = """\
tcp dport { 443, 7881 } accept comment "matrixrtc"
udp dport { 7882-7885 } accept comment "matrixrtc"
"""
DELETE_JUMPS = "delete rule inet filter input handle 21\ndelete rule inet filter input handle 24\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "apply").write_text(APPLY_SCRIPT)
    (tmp_path / "chains").write_text("inet filter input\n")
    (tmp_path / "rules").write_text(RULES)
    for name, text in (("nft", NFT), ("systemctl", SYSTEMCTL)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    return tmp_path


def apply(folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "FAKE": str(folder)}
    return subprocess.run(
        ["/bin/sh", str(folder / "apply"), what], env=environment, capture_output=True, text=True, check=False
    )


def written(folder: Path, name: str = "loaded") -> str | None:
    path = folder / name
    return path.read_text() if path.exists() else None


def test_rules_are_added_as_one_transaction(folder: Path) -> None:
    (folder / "input").write_text("chain input {\n}\n")
    assert apply(folder, "add").returncode == 0
    assert written(folder) == ADD
    assert (folder / "calls").read_text().count("-f -") == 1


def test_adding_again_replaces_exactly_our_own_jumps(folder: Path) -> None:
    (folder / "input").write_text(LISTING)
    assert apply(folder, "add").returncode == 0
    assert written(folder) == DELETE_JUMPS + ADD


def test_check_loads_nothing(folder: Path) -> None:
    (folder / "input").write_text(LISTING)
    assert apply(folder, "check").returncode == 0
    assert written(folder) is None
    assert written(folder, "checked") == DELETE_JUMPS + ADD


def test_removal_takes_out_jumps_and_chain(folder: Path) -> None:
    (folder / "input").write_text(LISTING)
    (folder / "matrixrtc").write_text("chain matrixrtc {\n}\n")
    assert apply(folder, "remove").returncode == 0
    chain = "flush chain inet filter matrixrtc\ndelete chain inet filter matrixrtc\n"
    assert written(folder) == DELETE_JUMPS + chain


def test_removal_after_a_flush_has_nothing_to_do(folder: Path) -> None:
    assert apply(folder, "remove").returncode == 0
    assert written(folder) is None


def test_missing_chain_loads_nothing_at_all(folder: Path) -> None:
    (folder / "chains").write_text("inet filter input\ninet gone input2\n")
    (folder / "input").write_text(LISTING)
    done = apply(folder, "add")
    assert done.returncode != 0
    assert "There is no chain inet gone input2" in done.stderr
    assert written(folder) is None


@pytest.mark.parametrize(
    ("has_chain", "is_active", "runs"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_unit_is_skipped_only_while_the_firewall_is_off(
    folder: Path, has_chain: bool, is_active: bool, runs: bool
) -> None:
    if has_chain:
        (folder / "input").write_text(LISTING)
    if is_active:
        (folder / "nftables-is-active").touch()
    assert (apply(folder, "condition").returncode == 0) is runs
    assert written(folder) is None


def test_unit_follows_nftables_and_can_do_nothing_else() -> None:
    lines = UNIT_TEXT.splitlines()
    for line in (
        "After=nftables.service",
        "PartOf=nftables.service",
        "ReloadPropagatedFrom=nftables.service",
        "WantedBy=multi-user.target nftables.service",
        "RemainAfterExit=yes",
        "CapabilityBoundingSet=CAP_NET_ADMIN",
    ):
        assert line in lines
