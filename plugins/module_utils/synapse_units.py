# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the units of a homeserver, its workers' above all, read the files that the settings go into."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .edge_host import Run
from .synapse_files import ConfigError, find_files, read_file

_PROPERTIES = "Id,LoadState,ExecStart,WorkingDirectory"
_OPTION = re.compile(r"(?:-c|--config-path)(?:=(.*))?|-c(.+)")


@dataclass(frozen=True)
class Unit:
    """How systemd starts a unit. `config`: its -c options; empty if they cannot be told."""

    name: str
    exists: bool
    config: tuple[str, ...]


def read_units(names: Sequence[str], run: Run) -> list[Unit]:
    """The units with these names (without .service); none where systemd cannot be asked."""
    if not names:
        return []
    units = [f"{name}.service" for name in names]
    shown = run(["systemctl", "show", "--no-pager", f"--property={_PROPERTIES}", "--", *units])
    if not shown.ok:
        return []
    blocks = [_properties(block) for block in shown.output.strip().split("\n\n")]
    return [
        Unit(name, facts.get("LoadState") != "not-found", _config(facts))
        for name, facts in zip(names, blocks, strict=False)
    ]


def unread(unit: Unit, config: Sequence[str]) -> str:
    """What of the configuration a unit does not read, as a sentence for the operator; '' if nothing."""
    if not unit.exists:
        return f"systemd knows no unit {unit.name}.service"
    theirs = [os.path.normpath(path) for path in unit.config]
    missing = [path for path in config if os.path.normpath(path) not in theirs]
    if not theirs or not missing:
        return ""
    return (
        f"{unit.name}.service does not read {' and '.join(missing)}, so the settings there do not reach it: "
        f"add '-c {missing[0]}' to its ExecStart, before its own file"
    )


def own_settings(unit: Unit, config: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The files that a unit reads besides the shared ones, and what they say, as far as they can be read."""
    shared = {os.path.normpath(path) for path in config}
    for path in find_files(path for path in unit.config if os.path.normpath(path) not in shared):
        try:
            yield path, read_file(path).values
        except (ConfigError, OSError):
            continue


def _properties(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _config(facts: Mapping[str, str]) -> tuple[str, ...]:
    """The -c options of a command as systemd shows it; none if it is wrapped in something else."""
    found = []
    # the last of several commands is the one that runs
    argv = facts.get("ExecStart", "").rpartition("argv[]=")[2].partition(" ; ")[0].split()
    words = iter(argv)
    for word in words:
        match = _OPTION.fullmatch(word)
        if match:
            value = match.group(1) or match.group(2) or next(words, "")
            found.append(os.path.join(facts.get("WorkingDirectory") or "/", value))
    return tuple(found)
