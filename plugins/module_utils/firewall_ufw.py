# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Open ports in ufw: an application profile MatrixRTC, and the rule that allows it.

The rule names the profile, so other ports are another profile, and no old rule stays. ufw needs half a second
for every answer, so what it has is read from its files and the kernel.
"""

from __future__ import annotations

import os
import re

from .edge_host import Run
from .files import atomic_write, diff_entry, read_text
from .firewall_base import HEADER, Backend, FirewallError, Plan, Wish, differences, write_all
from .firewall_originals import Originals

PROFILE = "MatrixRTC"
PROFILE_FILE = "/etc/ufw/applications.d/MatrixRTC"
CONFIG = "/etc/ufw/ufw.conf"
DEFAULTS = "/etc/default/ufw"
PORTS_IN_A_RULE = 15  # ufw's own limit; a range counts as two
# Each family's file of rules, the program that shows them in the kernel, and their chain there.
FAMILIES = (
    ("/etc/ufw/user.rules", "iptables", "ufw-user-input"),
    ("/etc/ufw/user6.rules", "ip6tables", "ufw6-user-input"),
)
TUPLE = re.compile(
    rf"^### tuple ### allow (tcp|udp) (\S+) \S+ any \S+ {PROFILE} - in(?: .*)?\n(?:-A .*\n)*\n?", re.MULTILINE
)
IN_KERNEL = re.compile(rf"-p (tcp|udp) .*--dports? (\S+) .*dapp_{PROFILE}\b.* -j ACCEPT$", re.MULTILINE)
SETTING = re.compile(r"""^\s*(\w+)=["']?([^"'\s]*)""", re.MULTILINE)

Rules = list[tuple[str, str]]  # protocol, ports as ufw writes them


def without_profile(text: str) -> str:
    """A file of rules without those for our profile, as ufw itself would leave it."""
    return TUPLE.sub("", text)


def settings(text: str | None) -> dict[str, str]:
    """The assignments of a file that a shell reads, in lower case."""
    return {key.lower(): value.lower() for key, value in SETTING.findall(text or "")}


class Ufw(Backend):
    """A profile, and a rule that allows it."""

    name = "ufw"

    def __init__(self, wish: Wish, host_run: Run) -> None:
        super().__init__(wish, host_run)
        self.profile_file = self.path(PROFILE_FILE)
        self.originals = Originals(os.path.join(wish.folder, "ufw.json"), without_profile)

    def is_active(self) -> bool:
        """ufw is switched on, and its chains are in the kernel."""
        is_enabled = settings(read_text(self.path(CONFIG))).get("enabled") == "yes"
        return is_enabled and self.run(["iptables", "-S", FAMILIES[0][2]]).ok

    # What is there, and what is wanted

    def _files(self) -> list[tuple[str, str, str]]:
        return [(self.path(path), program, chain) for path, program, chain in FAMILIES]

    def _wanted(self) -> Rules:
        rules: Rules = []
        for protocol, ports in self.wish.ports:
            listed: list[str] = []
            for port in ports:
                size = sum(2 if ":" in one else 1 for one in listed) + (2 if "-" in port else 1)
                if size > PORTS_IN_A_RULE:
                    rules.append((protocol, ",".join(listed)))
                    listed = []
                listed.append(port.replace("-", ":"))
            rules.append((protocol, ",".join(listed)))
        return rules

    def _profile(self) -> str:
        ports = "|".join(f"{listed}/{protocol}" for protocol, listed in self._wanted())
        return (
            f"{HEADER}[{PROFILE}]\ntitle=Element Call backend\n"
            f"description=HTTPS and the media ports of LiveKit\nports={ports}\n"
        )

    def _stored(self) -> dict[str, Rules]:
        """Our rules in ufw's files."""
        return {path: TUPLE.findall(read_text(path) or "") for path, _program, _chain in self._files()}

    def _has_ipv6(self) -> bool:
        return settings(read_text(self.path(DEFAULTS))).get("ipv6") == "yes"

    def _is_stored(self) -> bool:
        """ufw's files have our rules, the second only where ufw does IPv6."""
        wanted = sorted(self._wanted())
        four, six = (sorted(rules) for rules in self._stored().values())
        return four == wanted and six == (wanted if self._has_ipv6() else [])

    def _is_in_kernel(self) -> bool:
        """The kernel has our rules; a family that the kernel does not filter is left out."""
        for _path, program, chain in self._files():
            done = self.run([program, "-S", chain])
            if done.ok and sorted(IN_KERNEL.findall(done.output)) != sorted(self._wanted()):
                return False
        return True

    def _is_open(self) -> bool:
        return self._is_stored() and self._is_in_kernel()

    # Opening

    def opening(self) -> Plan:
        if not self.is_active():
            raise FirewallError("ufw is not active: set firewall_backend to auto, or enable ufw first.")
        profile = read_text(self.profile_file)
        if profile is not None and not profile.startswith(HEADER):
            raise FirewallError(
                f"{self.profile_file} is not ours: give that profile another name, or remove it."
            )
        wanted = {self.profile_file: self._profile()}
        before = {self.profile_file: profile}
        changed = before != wanted or not self._is_open() or not self.originals.exists
        diff = differences(before, wanted) + self._rule_diff(f"allow {PROFILE}" if changed else "")
        return Plan(changed, diff, [PROFILE], lambda: self._open(profile))

    def _rule_diff(self, after: str) -> list[dict[str, str]]:
        before = f"allow {PROFILE}" if self._has_rule() else ""
        return [diff_entry("rules of ufw", before, after)] if before != after else []

    def _open(self, profile: str | None) -> None:
        had_rule = self._has_rule()
        self.originals.remember(path for path, _program, _chain in self._files())
        self.originals.save()
        try:
            write_all({self.profile_file: self._profile()})
            if had_rule:
                self.must(["ufw", "app", "update", PROFILE], "ufw does not take the profile")
            if not self._is_open():
                self._delete_rule()
                self.must(["ufw", "allow", PROFILE], "ufw does not allow the profile")
            if not self._is_open():
                raise FirewallError("ufw took the rule, but it is not what it should be.")
        except (FirewallError, OSError) as fault:
            raise FirewallError(f"{fault} {self._put_back(profile)}") from fault
        self.originals.seal()
        self.originals.save()

    def _put_back(self, profile: str | None) -> str:
        """Have the profile and the rule that were there; the sentence says how that went."""
        if profile is None:
            self._close()
            return "Everything of ours was taken out again."
        write_all({self.profile_file: profile})
        done = self.run(["ufw", "app", "update", PROFILE])
        self.originals.seal()
        self.originals.save()
        return (
            "The rule before is back." if done.ok else f"The rule before does not load either: {done.said}."
        )

    # Closing

    def _has_rule(self) -> bool:
        return any(self._stored().values())

    def _is_ours(self) -> bool:
        return (read_text(self.profile_file) or "").startswith(HEADER)

    def _delete_rule(self) -> None:
        """With ufw's own command where it is active; its files are all there is otherwise."""
        if not self._has_rule():
            return
        if self.is_active():
            self.must(["ufw", "delete", "allow", PROFILE], "ufw does not delete our rule")
            return
        for path in self._stored():
            text = read_text(path)
            if text is not None:
                atomic_write(path, without_profile(text).encode("utf-8"))

    def closing(self) -> Plan:
        before = {self.profile_file: read_text(self.profile_file)}
        is_foreign = before[self.profile_file] is not None and not self._is_ours()
        if is_foreign or not (self._is_ours() or self._has_rule() or self.originals.exists):
            return Plan()
        diff = differences(before, {self.profile_file: None}) + self._rule_diff("")
        return Plan(True, diff, act=self._close)

    def _close(self) -> None:
        self.originals.remember([])
        self.originals.save()
        self._delete_rule()
        write_all({self.profile_file: None})
        self.originals.put_back()
        self.originals.forget()

    def waiting(self) -> Plan | None:
        if not self.originals.exists:
            return None
        is_up_to_date = read_text(self.profile_file) == self._profile() and self._is_stored()
        return Plan(places=[PROFILE]) if is_up_to_date else self.closing()
