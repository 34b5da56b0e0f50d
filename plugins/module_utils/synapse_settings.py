# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Bring settings into a homeserver's effective configuration, or take ours out again.

The order of a run, each step safe to be killed in: read, plan, let Synapse judge copies of the result, note
the way back, replace the files. Synapse is not restarted here; until the caller removes `pending.json` the
way back is returned again by every run.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .edge_host import Run
from .edge_host import run as run_on_host
from .files import atomic_write, read_bytes, remove_file
from .synapse_check import Synapse
from .synapse_files import ConfigError, Layout, read_layout
from .synapse_plan import FileChange, Plan, digest, make_plan
from .synapse_policy import APP_SERVICES, BEHIND, Version, in_effect, parse_duration, parse_version
from .synapse_proof import shape
from .synapse_rendered import sign_of
from .synapse_state import StateDirectory, Undo
from .synapse_units import read_units
from .synapse_warnings import file_warnings, settings_warnings, unit_warnings
from .synapse_yaml import HAS_YAML, locate

# Delayed events (MSC4140) came with 1.116; without them a client that crashes stays in its call.
OLDEST: Version = (1, 116)


@dataclass(frozen=True)
class Request:
    """What is asked for. `settings`: by top-level key, what synapse_policy.KEYS lists. Paths are absolute.

    `edit_managed`: edit also files that something else writes. `units`: the systemd units of Synapse and its
    workers, without `.service`.
    """

    synapse: Synapse
    config: Sequence[str]
    settings: Mapping[str, Any]
    state_dir: str
    new_settings_file: str
    present: bool = True
    edit_managed: bool = False
    units: Sequence[str] = ()


@dataclass
class Outcome:
    """What was done, or in check mode would be. `rollback_files`: path, and backup (None: no file before)."""

    version: str
    fingerprint: str
    changes: list[str]
    diff: list[dict[str, str]]
    rollback_files: list[dict[str, str | None]]
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.diff)


def apply(request: Request, check_mode: bool = False, run: Run = run_on_host) -> Outcome:
    """Do it. Raises ConfigError, SynapseError, StateError or OSError; then no file was changed.

    An OSError may come between two files; the next run finishes what it began.
    """
    if not HAS_YAML:
        raise ConfigError(
            f"{sys.executable} has no PyYAML. Run the module with Synapse's own Python; where that is in a "
            f"container, install PyYAML for this one (on Debian: apt-get install python3-yaml)"
        )
    longest = request.settings.get("max_event_delay_duration")
    if longest is not None and not is_duration(longest):
        raise ConfigError(
            f"max_event_delay_duration: {longest!r} is not a duration. Set it to one such as 24h."
        )
    version = request.synapse.version()
    numbers = _supported(version)
    paths = request.settings.get(APP_SERVICES) or []
    if request.present and paths and numbers < BEHIND:
        raise ConfigError(
            f"Synapse {version} cannot have the token service behind it. Upgrade it to 1.161 or later, or "
            f"set matrixrtc_token_service_mode to standalone."
        )
    settings = {**request.settings, **({APP_SERVICES: seen_by(request.synapse, paths)} if paths else {})}
    state = StateDirectory(request.state_dir)
    with state.locked(create=request.present and not check_mode):
        record, pending = state.record(), state.pending()
        layout = read_layout(request.config, request.synapse.working_directory, request.new_settings_file)
        wanted = settings if request.present else {}
        plan = make_plan(layout, wanted, record, numbers, request.edit_managed)
        pending = _way_back(plan.changes, pending)
        if plan.changes or pending:
            _judge(request.synapse, layout, plan)
        if not check_mode and (plan.changes or plan.record != record):
            state.save(plan.record, pending)
        if not check_mode:
            _write(plan.changes, layout, request.synapse)
    shared = [os.path.join(request.synapse.working_directory, path) for path in request.config]
    effect = in_effect(plan.config, settings, numbers)
    effect.update({path: digest(read_bytes(path)) for path in paths})  # Synapse reads them at its start alone
    return Outcome(
        version=version,
        fingerprint=hashlib.sha256(json.dumps(effect, sort_keys=True, default=str).encode()).hexdigest(),
        changes=list(plan.told),
        diff=[_diff(change) for change in plan.changes],
        rollback_files=[
            {"path": path, "backup": None if undo.before is None else state.blob(digest(undo.before))}
            for path, undo in sorted(pending.items())
        ],
        warnings=[
            *settings_warnings(settings, plan.config, numbers),
            *file_warnings(layout, plan.changes),
            *unit_warnings(read_units(request.units, run), settings, shared, plan.config),
        ]
        if request.present
        else [],
    )


def seen_by(synapse: Synapse, paths: Sequence[str]) -> list[str]:
    """Files of this host as Synapse has to name them."""
    return [synapse.inside(path) for path in paths]


def _supported(version: str) -> Version:
    try:
        numbers = parse_version(version)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if numbers < OLDEST:
        raise ConfigError(
            f"Synapse {version} has no delayed events, so calls would not end when a client crashes. "
            f"Upgrade it to 1.140 or later."
        )
    return numbers


def _way_back(changes: Sequence[FileChange], earlier: Mapping[str, Undo]) -> dict[str, Undo]:
    """The way back from these changes and from earlier unconfirmed ones, never over an edit made since."""
    ways = {path: undo for path, undo in earlier.items() if digest(read_bytes(path)) == undo.after}
    for change in changes:
        path = os.path.realpath(change.path)
        before = ways[path].before if path in ways else change.before
        ways[path] = Undo(before, digest(change.after))
    return ways


def _judge(synapse: Synapse, layout: Layout, plan: Plan) -> None:
    """Raise ConfigError unless Synapse would start with the plan, and read every other value as before."""
    config = plan.config
    wanted = {key: shape(config[key]) if key in config else None for key in plan.keys}
    verdict = synapse.judge(layout.files, plan.files, wanted)
    if verdict.wrong:
        raise ConfigError(
            f"{_where(layout, verdict.wrong[0])}: Synapse would read another value of "
            f"{', '.join(verdict.wrong)} than was planned, so nothing was changed. Please report this"
        )
    if verdict.accepted:
        return
    if plan.changes and verdict.accepted_before:
        raise ConfigError(
            f"Synapse refuses the new settings, so nothing was changed. It says:\n{verdict.words}"
        )
    signs = [(file.path, sign_of(file.document)) for file in layout.files]
    hints = "".join(f"{path}, line {sign.line}: {sign.reason}.\n" for path, sign in signs if sign is not None)
    raise ConfigError(
        f"Synapse refuses its present configuration, so nothing was changed. Correct it and run this again. "
        f"It says:\n{verdict.words}" + (f"\n{hints.rstrip()}" if hints else "")
    )


def _where(layout: Layout, key: str) -> str:
    """The place of the key that counts."""
    places = [file for file in layout.files if key in file.values] or [layout.files[-1]]
    return f"{places[-1].path}, line {locate(places[-1].document, (key,))}"


def _write(changes: Sequence[FileChange], layout: Layout, synapse: Synapse) -> None:
    for change in changes:
        if read_bytes(change.path) != change.before:
            raise ConfigError(f"{change.path} was changed by somebody else during this run. Run it again.")
        if change.after is None:
            remove_file(change.path)
        elif change.before is not None:
            atomic_write(change.path, change.after)
        else:
            mode, group = _readable_by(synapse, layout, os.path.dirname(change.path))
            atomic_write(change.path, change.after, mode=mode, owner=os.geteuid(), group=group)


def _readable_by(synapse: Synapse, layout: Layout, directory: str) -> tuple[int, int | None]:
    """Mode and group of a new file that Synapse can read: as private as the operator's own allow."""
    groups = synapse.groups()
    for place in (directory, layout.files[0].path):
        group = os.stat(place).st_gid
        if group in groups:
            return 0o640, group
    return 0o644, None


def _diff(change: FileChange) -> dict[str, str]:
    """Only lines of ours, never their surroundings: those may hold the operator's secrets."""
    old = change.path if change.before is not None else "/dev/null"
    new = change.path if change.after is not None else "/dev/null"
    return {"prepared": "\n".join([f"--- {old}", f"+++ {new}", *change.hunks, ""])}


def is_duration(value: Any) -> bool:
    """Whether Synapse can read this as a duration longer than nothing."""
    try:
        return parse_duration(value) > 0
    except ValueError:
        return False
