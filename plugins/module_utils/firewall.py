# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Open ports in the firewall that is active on a host, without ever enabling, flushing or reloading it.

nftables: an accept in a table of our own could not open a port, because a drop in any other input chain is
final. So our rules are a chain inside the operator's own table, reached by one jump at the top of its input
chain. The operator's file stays untouched: a unit adds them again whenever nftables.service starts, restarts
or reloads.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .edge_host import COMMAND_NOT_FOUND, Run, run
from .files import atomic_write, diff_entry, read_text, remove_file
from .nft_ruleset import OUR_CHAIN, Chain, Ruleset, parse

UNIT = "matrixrtc-firewall.service"
UNIT_FOLDER = "/etc/systemd/system"
LEGACY_TABLES = "/proc/net/ip_tables_names"
UFW_CONFIG = "/etc/ufw/ufw.conf"
HIGHEST_PORT = 65535
NO_FIREWALL = (
    "No firewall is active on this host: neither firewalld nor ufw runs, and no input chain drops by "
    "default. There is nothing to open; every port that something listens on can be reached."
)
WAITING = " Our rules are added again when nftables.service starts."

HEADER = (
    "# Written by the role firewall of the Ansible collection matrixrtc.backend; changes are overwritten.\n"
)

APPLY_SCRIPT = (
    "#!/bin/sh\n"
    + HEADER
    + """\
# Adds our rules to the input chains named in the file chains ("add"), tries that ("check"), or takes them
# out ("remove"); each as one transaction, so that there is no moment with half of them.
set -eu
folder=${0%/*}

transaction() {
    while read -r family table chain; do
        if ! listing=$(nft -a list chain "$family" "$table" "$chain" 2>/dev/null); then
            [ "$1" = remove ] && continue
            echo "There is no chain $family $table $chain" >&2
            return 1
        fi
        jumps=$(printf '%s\\n' "$listing" | sed -n 's/.*jump matrixrtc .*# handle \\([0-9]*\\)$/\\1/p')
        for handle in $jumps; do
            echo "delete rule $family $table $chain handle $handle"
        done
        if [ "$1" != remove ]; then
            echo "add chain $family $table matrixrtc"
            echo "flush chain $family $table matrixrtc"
            sed "s/^/add rule $family $table matrixrtc /" "$folder/rules"
            echo "insert rule $family $table $chain jump matrixrtc comment \\"matrixrtc\\""
        elif nft list chain "$family" "$table" matrixrtc >/dev/null 2>&1; then
            echo "flush chain $family $table matrixrtc"
            echo "delete chain $family $table matrixrtc"
        fi
    done <"$folder/chains"
}

if [ "$1" = condition ]; then # the operator's chains are there, or nftables.service should have made them
    while read -r family table chain; do
        nft list chain "$family" "$table" "$chain" >/dev/null 2>&1 ||
            systemctl --quiet is-active nftables.service || exit 1
    done <"$folder/chains"
    exit 0
fi
commands=$(transaction "$1")
[ -n "$commands" ] || exit 0
if [ "$1" = check ]; then set -- --check; else set --; fi
printf '%s\\n' "$commands" | nft "$@" -f -
"""
)

UNIT_TEXT = (
    HEADER
    + """\
[Unit]
Description=Ports of matrixrtc.backend in the operator's nftables rules
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecCondition=/bin/sh {script} condition
ExecStart=/bin/sh {script} add
ExecReload=/bin/sh {script} add
ExecStop=/bin/sh {script} remove
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
ProtectHome=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_NETLINK AF_UNIX

[Install]
WantedBy=multi-user.target nftables.service
"""
)


class FirewallError(Exception):
    """The ports cannot be opened; the text says why and what became of the host."""


@dataclass(frozen=True)
class Wish:
    """Which ports are to be open. Ports are numbers or ranges 'a-b'. `backend`: auto, nftables or none."""

    tcp: tuple[str, ...] = ()
    udp: tuple[str, ...] = ()
    is_present: bool = True
    backend: str = "auto"
    folder: str = "/etc/matrixrtc/firewall"
    unit_folder: str = UNIT_FOLDER
    check_mode: bool = False


@dataclass
class Outcome:
    """What was done. `commands` are those with which the operator opens the ports where we do not."""

    backend: str = "none"
    changed: bool = False
    message: str = ""
    chains: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The shape in which the module returns it; Ansible shows the warnings itself."""
        values = {name: value for name, value in vars(self).items() if name not in ("message", "warnings")}
        return {**values, "msg": self.message}


# Ports ----------------------------------------------------------------------------------------------------


def _ends(entry: str) -> tuple[int, int]:
    """The first and the last port of an entry. Raises FirewallError for what is none."""
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", entry.strip())
    if match is None:
        raise FirewallError(f"'{entry}' is neither a port nor a range such as 7882-7885.")
    return int(match[1]), int(match[2] or match[1])


def normalized(entries: Iterable[str]) -> tuple[str, ...]:
    """The same ports as few disjoint entries in order. Raises FirewallError for what is no port."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(_ends(str(entry)) for entry in entries):
        if not 1 <= first <= last <= HIGHEST_PORT:
            raise FirewallError(f"{first}-{last} is not a range of ports within 1-{HIGHEST_PORT}.")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(str(first) if first == last else f"{first}-{last}" for first, last in merged)


def _opening_commands(tool: str, tcp: Sequence[str], udp: Sequence[str]) -> list[str]:
    """What an operator types to open the ports with a tool that we leave alone."""
    wanted = [(port, protocol) for protocol, ports in (("tcp", tcp), ("udp", udp)) for port in ports]
    if tool == "ufw":
        return [f"ufw allow {port.replace('-', ':')}/{protocol}" for port, protocol in wanted]
    if tool == "firewalld":
        return [
            f"firewall-cmd{permanent} --add-port={port}/{protocol}"
            for port, protocol in wanted
            for permanent in (" --permanent", "")
        ]
    return [
        f"{program} -I INPUT -p {protocol} --dport {port.replace('-', ':')} -j ACCEPT"
        for program in ("iptables", "ip6tables")
        for port, protocol in wanted
    ]


# Which firewall is active ---------------------------------------------------------------------------------


def read_ruleset(host_run: Run) -> Ruleset:
    """All nftables rules of the host, none where there is no nft. Raises FirewallError."""
    done = host_run(["nft", "--json", "list", "ruleset"])
    if done.status == COMMAND_NOT_FOUND:
        return Ruleset()
    if not done.ok:
        raise FirewallError(f"The nftables rules cannot be read: {done.said}.")
    try:
        return parse(done.output)
    except (ValueError, KeyError) as error:
        raise FirewallError(f"nft's answer cannot be understood: {error!r}.") from error


def _is_ufw_active(host_run: Run) -> bool:
    """ufw says that it is active. Its program is slow, so it is asked only where its file says so too."""
    lines = (read_text(UFW_CONFIG) or "").lower().replace('"', "").split()
    return "enabled=yes" in lines and "Status: active" in host_run(["ufw", "status"]).output


def _is_iptables_closed(host_run: Run, program: str) -> bool:
    """The INPUT chain that iptables shows drops by default."""
    lines = host_run([program, "-S", "INPUT"]).output.splitlines()
    ends = ("-A INPUT -j DROP", "-A INPUT -j REJECT")
    return "-P INPUT DROP" in lines or (bool(lines) and lines[-1].startswith(ends))


def _belongs_to_iptables(host_run: Run, closed: Sequence[Chain]) -> bool:
    """A chain is kept by iptables. nft must not write there, because iptables could not read it any more."""
    is_named_so = any(chain.table == "filter" and chain.name == "INPUT" for chain in closed)
    return is_named_so and "nf_tables" in host_run(["iptables", "--version"]).output


def _has_closed_iptables(host_run: Run) -> bool:
    """iptables filters without nftables, or its rules are in nftables and there is no nft to see them."""
    is_legacy = "filter" in (read_text(LEGACY_TABLES) or "").split()
    if is_legacy and _is_iptables_closed(host_run, "iptables-legacy"):
        return True
    return host_run(["nft", "--version"]).status == COMMAND_NOT_FOUND and _is_iptables_closed(
        host_run, "iptables"
    )


def active_tool(host_run: Run, ruleset: Ruleset) -> str:
    """Who filters what comes in: firewalld, ufw, iptables, nftables or none."""
    if host_run(["systemctl", "is-active", "--quiet", "firewalld"]).ok:
        return "firewalld"
    if _is_ufw_active(host_run):
        return "ufw"
    closed = ruleset.closed_inputs()
    if closed:
        return "iptables" if _belongs_to_iptables(host_run, closed) else "nftables"
    return "iptables" if _has_closed_iptables(host_run) else "none"


def chains_to_open(ruleset: Ruleset) -> list[Chain]:
    """The input chains that need our jump: one that covers both families, or one for each of them."""
    closed = ruleset.closed_inputs()
    for family, name in (("ip", "IPv4"), ("ip6", "IPv6")):
        covering = [chain for chain in closed if chain.family in ("inet", family)]
        if len(covering) > 1:
            raise FirewallError(
                f"More than one input chain drops {name} by default: {', '.join(map(str, covering))}. Which "
                "of them is to open the ports cannot be told: open them and set firewall_backend to none."
            )
    return sorted(closed)


# Our files and our unit -----------------------------------------------------------------------------------


def _files(wish: Wish, chains: Sequence[Chain]) -> dict[str, str | None]:
    """Path and content of every file we keep while the ports are open."""
    rules = [
        f'{protocol} dport {{ {", ".join(ports)} }} accept comment "{OUR_CHAIN}"\n'
        for protocol, ports in (("tcp", wish.tcp), ("udp", wish.udp))
        if ports
    ]
    script = os.path.join(wish.folder, "apply")
    return {
        os.path.join(wish.folder, "rules"): "".join(rules),
        os.path.join(wish.folder, "chains"): "".join(f"{chain}\n" for chain in chains),
        script: APPLY_SCRIPT,
        os.path.join(wish.unit_folder, UNIT): UNIT_TEXT.format(script=script),
    }


def _stored(wish: Wish) -> dict[str, str | None]:
    """What our files hold at the moment; None for one that is not there."""
    return {path: read_text(path) for path in _files(wish, [])}


def _store(contents: Mapping[str, str | None]) -> None:
    for path, content in contents.items():
        if content is None:
            remove_file(path)
            continue
        for folder in (os.path.dirname(os.path.dirname(path)), os.path.dirname(path)):
            os.makedirs(folder, mode=0o755, exist_ok=True)
        atomic_write(path, content.encode("utf-8"), 0o644)


def _diffs(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[dict[str, str]]:
    return [
        diff_entry(path, before[path] or "", after[path] or "")
        for path in after
        if before[path] != after[path]
    ]


def _unit_state(host_run: Run) -> dict[str, str]:
    said = host_run(
        ["systemctl", "show", "--property=ActiveState,UnitFileState,NeedDaemonReload", UNIT]
    ).output
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _places(ruleset: Ruleset) -> set[Chain]:
    """Where the kernel has chains of ours."""
    return {chain for chain in ruleset.rules if chain.name == OUR_CHAIN}


def _wanted_places(chains: Iterable[Chain]) -> set[Chain]:
    return {Chain(chain.family, chain.table, OUR_CHAIN) for chain in chains}


def _is_in_force(ruleset: Ruleset, chains: Sequence[Chain], wish: Wish) -> bool:
    """The kernel has exactly our rules, in exactly these places."""
    wanted = {"tcp": list(wish.tcp), "udp": list(wish.udp)}
    return _places(ruleset) == _wanted_places(chains) and all(
        len(ruleset.our_jumps(chain)) == 1 and ruleset.opened(chain) == wanted for chain in chains
    )


def _must(host_run: Run, argv: Sequence[str], what: str) -> None:
    done = host_run(argv)
    if not done.ok:
        raise FirewallError(f"{what}: {done.said}.")


def _take_out(host_run: Run) -> None:
    """Take everything of ours out of the kernel's rules, in one transaction."""
    commands = read_ruleset(host_run).leftovers()
    if commands:
        _must(host_run, ["nft", "; ".join(commands)], "Our rules cannot be removed")


def _put_in(wish: Wish, host_run: Run, chains: Sequence[Chain]) -> None:
    """Let the unit put our rules into the kernel, and see that they are there."""
    script = os.path.join(wish.folder, "apply")
    _must(host_run, ["/bin/sh", script, "check"], "nftables refuses our rules")
    if _places(read_ruleset(host_run)) - _wanted_places(chains):  # the operator moved the chain since
        _take_out(host_run)
    _enable(host_run)
    verb = "reload" if _unit_state(host_run).get("ActiveState") == "active" else "restart"
    _must(host_run, ["systemctl", verb, UNIT], f"{UNIT} does not start (see 'journalctl -u {UNIT}')")
    if not _is_in_force(read_ruleset(host_run), chains, wish):
        raise FirewallError(f"{UNIT} ran, but its rules are not what they should be.")


def _enable(host_run: Run) -> None:
    """Make systemd know the unit as it is on disk, and start it at boot and with nftables."""
    _must(host_run, ["systemctl", "daemon-reload"], "systemd does not read its units again")
    _must(host_run, ["systemctl", "reenable", "--quiet", UNIT], f"{UNIT} cannot be enabled")


# The ways -------------------------------------------------------------------------------------------------


def _open(wish: Wish, host_run: Run, ruleset: Ruleset) -> Outcome:
    """Have the ports open in nftables."""
    chains = chains_to_open(ruleset)
    if not chains:
        raise FirewallError("No nftables input chain drops by default: set firewall_backend to auto.")
    before, after = _stored(wish), _files(wish, chains)
    outcome = Outcome("nftables", chains=[str(chain) for chain in chains], diff=_diffs(before, after))
    state = _unit_state(host_run)
    is_unit_right = state.get("ActiveState") == "active" and state.get("UnitFileState") == "enabled"
    outcome.changed = before != after or not is_unit_right or not _is_in_force(ruleset, chains, wish)
    outcome.message = "The ports are open."
    if outcome.changed and not wish.check_mode:
        try:
            _store(after)
            _put_in(wish, host_run, chains)
        except (FirewallError, OSError) as fault:
            raise FirewallError(f"{fault} {_put_back(wish, host_run, before)}") from fault
    return outcome


def _put_back(wish: Wish, host_run: Run, before: Mapping[str, str | None]) -> str:
    """Have the files and rules that were there; the sentence says how that went."""
    if None in before.values():
        close(wish, host_run)
        return "Everything of ours was taken out again."
    _store(before)
    host_run(["systemctl", "daemon-reload"])
    done = host_run(["systemctl", "restart", UNIT])
    return "The rules before are back." if done.ok else f"The rules before do not load either: {done.said}."


def _wait_for_firewall(wish: Wish, host_run: Run) -> Outcome:
    """No firewall at the moment. What was opened before is kept for when nftables starts."""
    outcome = Outcome("none", message=NO_FIREWALL, warnings=[NO_FIREWALL])
    before = _stored(wish)
    listed = before[os.path.join(wish.folder, "chains")]
    if listed is None:
        return outcome
    chains = [Chain(*line.split(None, 2)) for line in listed.splitlines()]
    after = _files(wish, chains)
    outcome.message = NO_FIREWALL + WAITING
    outcome.warnings = [outcome.message]
    outcome.diff = _diffs(before, after)
    outcome.changed = before != after or _unit_state(host_run).get("UnitFileState") != "enabled"
    if outcome.changed and not wish.check_mode:
        _store(after)
        _enable(host_run)
    return outcome


def close(wish: Wish, host_run: Run) -> bool:
    """Leave nothing of ours on the host; True when there was anything. In check mode nothing is touched."""
    before = _stored(wish)
    if not _places(read_ruleset(host_run)) and not any(text is not None for text in before.values()):
        return False
    if wish.check_mode:
        return True
    if before[os.path.join(wish.unit_folder, UNIT)] is not None:
        _must(host_run, ["systemctl", "disable", "--now", "--quiet", UNIT], f"{UNIT} cannot be stopped")
    _take_out(host_run)
    _store(dict.fromkeys(before))
    with contextlib.suppress(OSError):
        os.rmdir(wish.folder)
    host_run(["systemctl", "daemon-reload"])
    return True


def _leave(wish: Wish, host_run: Run, tool: str) -> Outcome:
    """Have nothing of ours on the host; name the commands where a tool that we leave alone filters."""
    before = _stored(wish)
    outcome = Outcome(tool, changed=close(wish, host_run), message="Nothing of ours is open.")
    if outcome.changed:
        outcome.diff = _diffs(before, dict.fromkeys(before))
    if tool != "none":
        outcome.commands = _opening_commands(tool, wish.tcp, wish.udp)
        outcome.message = (
            f"{tool} is this host's firewall, and this version of the collection leaves it alone. "
            f"See that these ports are open: {'; '.join(outcome.commands)}"
        )
        outcome.warnings = [outcome.message]
    return outcome


def apply(wish: Wish, host_run: Run = run) -> Outcome:
    """Bring about what is wished. Raises FirewallError."""
    wish = Wish(**{**vars(wish), "tcp": normalized(wish.tcp), "udp": normalized(wish.udp)})
    if not wish.is_present or not (wish.tcp or wish.udp) or wish.backend == "none":
        return _leave(wish, host_run, "none")
    ruleset = read_ruleset(host_run)
    tool = wish.backend if wish.backend == "nftables" else active_tool(host_run, ruleset)
    if tool == "nftables":
        return _open(wish, host_run, ruleset)
    return _wait_for_firewall(wish, host_run) if tool == "none" else _leave(wish, host_run, tool)
