# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Open ports in the firewall that is active on a host, without ever enabling, flushing or reloading it.

Each tool has a module of its own: firewall_nftables, firewall_iptables, firewall_ufw, firewall_firewalld.
Here is which of them filters what comes in, and that the others keep nothing of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .edge_host import Run, run
from .firewall_base import Backend, Plan, Wish, normalized
from .firewall_firewalld import Firewalld
from .firewall_iptables import Iptables
from .firewall_nftables import Nftables, read_ruleset
from .firewall_published import bypass_warning, published
from .firewall_ufw import Ufw

BACKENDS: tuple[type[Backend], ...] = (Nftables, Ufw, Firewalld, Iptables)
NO_FIREWALL = (
    "No firewall is active on this host: neither firewalld nor ufw runs, and no input chain drops by "
    "default. There is nothing to open; every port that something listens on can be reached."
)
WAITING = " Our rules come back with {}, which is off at the moment."


@dataclass
class Outcome:
    """What was done. `places` are the chains, zones or profiles that have our rules."""

    backend: str = "none"
    changed: bool = False
    message: str = "Nothing of ours is open."
    places: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The shape in which the module returns it; Ansible shows the warnings itself."""
        values = {name: value for name, value in vars(self).items() if name not in ("message", "warnings")}
        return {**values, "msg": self.message}


def active_tool(wish: Wish, host_run: Run = run) -> str:
    """Who filters what comes in: firewalld, ufw, iptables, nftables or none.

    firewalld and ufw have rules in the kernel that only they may change, so they are asked first. What
    iptables keeps in nftables is not for nft to change either: iptables could not read it any more.
    """
    if Firewalld(wish, host_run).is_active():
        return "firewalld"
    if Ufw(wish, host_run).is_active():
        return "ufw"
    ruleset = read_ruleset(host_run)
    if Iptables(wish, host_run).closed(ruleset):
        return "iptables"
    return "nftables" if ruleset.closed_inputs() else "none"


def _open(wish: Wish, host_run: Run, outcome: Outcome) -> list[Plan]:
    """Have the ports open in the tool that filters, and nothing of ours in any other."""
    backends = [backend(wish, host_run) for backend in BACKENDS]
    outcome.backend = active_tool(wish, host_run) if wish.backend == "auto" else wish.backend
    if outcome.backend == "none":
        waiting = {backend.name: plan for backend in backends if (plan := backend.waiting()) is not None}
        tools = [name for name, plan in waiting.items() if plan.places]
        outcome.message = NO_FIREWALL + (WAITING.format(" and ".join(tools)) if tools else "")
        outcome.warnings.append(outcome.message)
        return list(waiting.values())
    outcome.message = f"The ports are open in {outcome.backend}."
    plans = [backend.closing() for backend in backends if backend.name != outcome.backend]
    return plans + [backend.opening() for backend in backends if backend.name == outcome.backend]


def _tell_published(wish: Wish, host_run: Run, outcome: Outcome) -> None:
    found = published(host_run)
    outcome.published = [str(one) for one in found]
    warning = bypass_warning(found, wish.internal)
    if warning:
        outcome.warnings.append(warning)


def apply(wish: Wish, host_run: Run = run) -> Outcome:
    """Bring about what is wished. Raises FirewallError."""
    wish = replace(wish, tcp=normalized(wish.tcp), udp=normalized(wish.udp))
    outcome = Outcome()
    if wish.is_present and wish.ports and wish.backend != "none":
        plans = _open(wish, host_run, outcome)
        _tell_published(wish, host_run, outcome)
    else:
        plans = [backend(wish, host_run).closing() for backend in BACKENDS]
    due = [plan for plan in plans if plan.changed]
    outcome.changed = bool(due)
    outcome.diff = [entry for plan in due for entry in plan.diff]
    outcome.places = [place for plan in plans for place in plan.places]
    for plan in [] if wish.check_mode else due:
        plan.act()
    return outcome
