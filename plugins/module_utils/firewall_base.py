# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the firewalls have in common: the wish, ports, and the plan in which each says what it would do."""

from __future__ import annotations

import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .edge_host import Run
from .files import atomic_write, diff_entry, read_text, remove_file
from .managed_files import provide_folder

HEADER = (
    "# Written by the role firewall of the Ansible collection matrixrtc.backend; changes are overwritten.\n"
)
HIGHEST_PORT = 65535


class FirewallError(Exception):
    """The ports cannot be opened; the text says why and what became of the host."""


@dataclass(frozen=True)
class Wish:
    """Which ports are to be open. Ports are numbers or ranges 'a-b'; `internal` ones are for nobody outside.

    `folder` is where we keep what is ours; `root` is put before the paths of the firewalls' own files.
    """

    tcp: tuple[str, ...] = ()
    udp: tuple[str, ...] = ()
    is_present: bool = True
    backend: str = "auto"
    internal: tuple[int, ...] = ()
    folder: str = "/etc/matrixrtc/firewall"
    unit_folder: str = "/etc/systemd/system"
    check_mode: bool = False
    root: str = ""

    @property
    def ports(self) -> list[tuple[str, Sequence[str]]]:
        """The protocols of which ports are wanted, with those ports."""
        return [(protocol, ports) for protocol, ports in (("tcp", self.tcp), ("udp", self.udp)) if ports]


def _nothing() -> None:
    pass


@dataclass
class Plan:
    """What a backend would do; `act` does it, or raises FirewallError with the host as it was.

    `places` are the chains, zones or profiles with our rules once it is done.
    """

    changed: bool = False
    diff: list[dict[str, str]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    act: Callable[[], object] = _nothing


class Backend(ABC):
    """One firewall tool. Nothing here ever enables, flushes, reloads or re-zones it."""

    name: str

    def __init__(self, wish: Wish, host_run: Run) -> None:
        self.wish = wish
        self.run = host_run

    @abstractmethod
    def opening(self) -> Plan:
        """Have exactly the wished ports open. Raises FirewallError where this tool does not filter."""

    @abstractmethod
    def closing(self) -> Plan:
        """Have nothing of ours left, also while the tool is off or no longer installed."""

    @abstractmethod
    def waiting(self) -> Plan | None:
        """The tool is off at the moment: keep what brings our rules back with it; None where nothing does."""

    def path(self, name: str) -> str:
        """A file of the host's, below the root that tests set."""
        return self.wish.root + name

    def must(self, argv: Sequence[str], what: str) -> str:
        """The output of a command. Raises FirewallError, which starts with `what`, when it fails."""
        done = self.run(argv)
        if not done.ok:
            raise FirewallError(f"{what}: {done.said}.")
        return done.output


# Ports ----------------------------------------------------------------------------------------------------


def ends(entry: str) -> tuple[int, int]:
    """The first and the last port of an entry. Raises FirewallError for what is none."""
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", entry.strip())
    if match is None:
        raise FirewallError(f"'{entry}' is neither a port nor a range such as 7882-7885.")
    return int(match[1]), int(match[2] or match[1])


def shown(first: int, last: int) -> str:
    """The entry of these ends."""
    return str(first) if first == last else f"{first}-{last}"


def normalized(entries: Iterable[str]) -> tuple[str, ...]:
    """The same ports as few disjoint entries in order. Raises FirewallError for what is no port."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ends(str(entry)) for entry in entries):
        if not 1 <= first <= last <= HIGHEST_PORT:
            raise FirewallError(f"{first}-{last} is not a range of ports within 1-{HIGHEST_PORT}.")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(shown(*one) for one in merged)


def without(entries: Iterable[str], taken: Iterable[str]) -> tuple[str, ...]:
    """The ports of `entries` that are in none of `taken`."""
    left = [ends(entry) for entry in normalized(entries)]
    for first, last in map(ends, taken):
        left = [
            part
            for start, stop in left
            for part in ((start, min(stop, first - 1)), (max(start, last + 1), stop))
            if part[0] <= part[1]
        ]
    return normalized(shown(*one) for one in left)


# Files ----------------------------------------------------------------------------------------------------


def remove_empty(folder: str) -> None:
    """Remove a folder of ours and the one above it, unless something is left in them."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)
        os.rmdir(os.path.dirname(folder))


def read_all(paths: Iterable[str]) -> dict[str, str | None]:
    """What these files hold at the moment; None for one that is not there."""
    return {path: read_text(path) for path in paths}


def write_all(contents: Mapping[str, str | None]) -> None:
    """Have each of our files with its text, or not at all when that is None."""
    for path, content in contents.items():
        if content is None:
            remove_file(path)
        else:
            provide_folder(path, dry=False)
            atomic_write(path, content.encode("utf-8"), 0o644)


def differences(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[dict[str, str]]:
    """Ansible's diff of these files."""
    return [
        diff_entry(path, before[path] or "", after[path] or "")
        for path in after
        if before[path] != after[path]
    ]
