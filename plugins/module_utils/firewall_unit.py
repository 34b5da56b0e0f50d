# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Rules that a unit of ours keeps in the kernel: nftables and iptables have no place for them on disk.

The rules, the places they belong to and the script that adds them are files; the unit runs the script
whenever the operator's own unit has loaded the operator's rules.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence

from .firewall_base import Backend, FirewallError, Plan, differences, read_all, remove_empty, write_all


class UnitBackend(Backend):
    """A firewall whose rules our unit adds again after the operator's."""

    unit: str
    unit_text: str
    script: str
    prefix: str = ""  # of the names of our files

    @abstractmethod
    def rules(self) -> list[str]:
        """The wished rules, in the tool's own words."""

    @abstractmethod
    def wanted_places(self) -> list[str]:
        """Where our rules belong. Raises FirewallError where that is unclear, or the tool filters nothing."""

    @abstractmethod
    def is_in_force(self, places: Sequence[str]) -> bool:
        """The kernel has exactly our rules, in exactly these places."""

    @abstractmethod
    def has_rules(self) -> bool:
        """The kernel has anything of ours."""

    @abstractmethod
    def take_out(self) -> None:
        """Take everything of ours out of the kernel, wherever it is."""

    @abstractmethod
    def take_out_of_other_places(self, places: Sequence[str]) -> None:
        """Take our rules out where the operator has moved the chain since."""

    # Our files and our unit

    def file(self, name: str) -> str:
        """A file of ours."""
        return os.path.join(self.wish.folder, self.prefix + name)

    @property
    def unit_file(self) -> str:
        """The unit's file."""
        return os.path.join(self.wish.unit_folder, self.unit)

    def files(self, places: Sequence[str]) -> dict[str, str | None]:
        """Path and content of every file we keep while the ports are open."""
        return {
            self.file("rules"): "".join(f"{rule}\n" for rule in self.rules()),
            self.file("chains"): "".join(f"{place}\n" for place in places),
            self.file("apply"): self.script,
            self.unit_file: self.unit_text.format(script=self.file("apply")),
        }

    def _unit_state(self) -> dict[str, str]:
        said = self.run(["systemctl", "show", "--property=ActiveState,UnitFileState", self.unit]).output
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def _enable(self) -> None:
        """Make systemd know the unit as it is on disk, and start it at boot and with the operator's unit."""
        self.must(["systemctl", "daemon-reload"], "systemd does not read its units again")
        self.must(["systemctl", "reenable", "--quiet", self.unit], f"{self.unit} cannot be enabled")

    # Plans

    def opening(self) -> Plan:
        places = self.wanted_places()
        before, after = read_all(self.files([])), self.files(places)
        state = self._unit_state()
        is_unit_right = state.get("ActiveState") == "active" and state.get("UnitFileState") == "enabled"
        changed = before != after or not is_unit_right or not self.is_in_force(places)

        def act() -> None:
            try:
                write_all(after)
                self._put_in(places)
            except (FirewallError, OSError) as fault:
                raise FirewallError(f"{fault} {self._put_back(before)}") from fault

        return Plan(changed, differences(before, after), list(places), act)

    def _put_in(self, places: Sequence[str]) -> None:
        """Let the unit put our rules into the kernel, and see that they are there."""
        self.must(["/bin/sh", self.file("apply"), "check"], f"{self.name} refuses our rules")
        self.take_out_of_other_places(places)
        self._enable()
        verb = "reload" if self._unit_state().get("ActiveState") == "active" else "restart"
        self.must(
            ["systemctl", verb, self.unit],
            f"{self.unit} does not start (see 'journalctl -u {self.unit}')",
        )
        if not self.is_in_force(places):
            raise FirewallError(f"{self.unit} ran, but its rules are not what they should be.")

    def _put_back(self, before: dict[str, str | None]) -> str:
        """Have the files and rules that were there; the sentence says how that went."""
        if None in before.values():
            self._close(before)
            return "Everything of ours was taken out again."
        write_all(before)
        self.run(["systemctl", "daemon-reload"])
        done = self.run(["systemctl", "restart", self.unit])
        if done.ok:
            return "The rules before are back."
        return f"The rules before do not load either: {done.said}."

    def closing(self) -> Plan:
        before = read_all(self.files([]))
        if all(text is None for text in before.values()) and not self.has_rules():
            return Plan()
        gone: dict[str, str | None] = dict.fromkeys(before)
        return Plan(True, differences(before, gone), act=lambda: self._close(before))

    def _close(self, before: dict[str, str | None]) -> None:
        if os.path.exists(self.unit_file):
            self.must(
                ["systemctl", "disable", "--now", "--quiet", self.unit], f"{self.unit} cannot be stopped"
            )
        self.take_out()
        write_all(dict.fromkeys(before))
        remove_empty(self.wish.folder)
        self.run(["systemctl", "daemon-reload"])

    def waiting(self) -> Plan | None:
        before = read_all(self.files([]))
        listed = before[self.file("chains")]
        if listed is None:
            return None
        after = self.files(listed.splitlines())
        changed = before != after or self._unit_state().get("UnitFileState") != "enabled"

        def act() -> None:
            write_all(after)
            self._enable()

        return Plan(changed, differences(before, after), listed.splitlines(), act)
