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
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .files import atomic_write, read_bytes, remove_file
from .synapse_check import Synapse
from .synapse_files import ConfigError, Layout, read_layout
from .synapse_plan import FileChange, Plan, digest, make_plan
from .synapse_policy import KEYS, LISTS, Version, identity, in_effect, parse_duration, parse_version
from .synapse_state import StateDirectory, Undo
from .synapse_yaml import HAS_YAML

# Delayed events (MSC4140) came with 1.116; without them a client that crashes stays in its call.
OLDEST: Version = (1, 116)
_TOOLS = "ansible|puppet|chef|salt|nix|terraform"
_MANAGED = re.compile(rf"^#.*\b(managed by ({_TOOLS})|({_TOOLS})[ -]managed|do not edit)", re.I | re.M)


@dataclass(frozen=True)
class Request:
    """What is asked for. `settings`: by top-level key, what synapse_policy.KEYS lists. Paths are absolute."""

    synapse: Synapse
    config: Sequence[str]
    settings: Mapping[str, Any]
    state_dir: str
    new_settings_file: str
    present: bool = True


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


def apply(request: Request, check_mode: bool = False) -> Outcome:
    """Do it. Raises ConfigError, SynapseError, StateError or OSError; then no file was changed.

    An OSError may come between two files; the next run finishes what it began.
    """
    if not HAS_YAML:
        raise ConfigError("this Python has no PyYAML; run the module with Synapse's own Python")
    longest = request.settings.get("max_event_delay_duration")
    if longest is not None and not is_duration(longest):
        raise ConfigError(
            f"max_event_delay_duration: {longest!r} is not a duration. Set it to one such as 24h."
        )
    version = request.synapse.version()
    numbers = _supported(version)
    state = StateDirectory(request.state_dir)
    with state.locked(create=request.present and not check_mode):
        record, pending = state.record(), state.pending()
        layout = read_layout(request.config, request.synapse.working_directory, request.new_settings_file)
        plan = make_plan(layout, request.settings if request.present else {}, record, numbers)
        pending = _way_back(plan.changes, pending)
        if plan.changes or pending:
            _judge(request.synapse, layout, plan)
        if not check_mode and (plan.changes or plan.record != record):
            state.save(plan.record, pending)
        if not check_mode:
            _write(plan.changes, layout, request.synapse)
    effect = in_effect(plan.config, request.settings, numbers)
    return Outcome(
        version=version,
        fingerprint=hashlib.sha256(json.dumps(effect, sort_keys=True, default=str).encode()).hexdigest(),
        changes=list(plan.told),
        diff=[_diff(change) for change in plan.changes],
        rollback_files=[
            {"path": path, "backup": None if undo.before is None else state.blob(digest(undo.before))}
            for path, undo in sorted(pending.items())
        ],
        warnings=list(_warnings(request, plan, layout, numbers)) if request.present else [],
    )


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
    """Raise ConfigError when Synapse would not start with the planned configuration."""
    words = synapse.refusal(plan.files)
    if not words:
        return
    if plan.changes and not synapse.refusal(layout.files):
        raise ConfigError(f"Synapse refuses the new settings, so nothing was changed. It says:\n{words}")
    raise ConfigError(
        f"Synapse refuses its present configuration, so nothing was changed. Correct it and run this again. "
        f"It says:\n{words}"
    )


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


# What the operator should know -----------------------------------------------------------------------


def _warnings(request: Request, plan: Plan, layout: Layout, version: Version) -> Iterator[str]:
    config = plan.config
    for key in request.settings:
        if version < KEYS[key]:
            yield f"Synapse {version[0]}.{version[1]} does not know '{key}'; it was left out"
    experimental = config.get("experimental_features")
    if isinstance(experimental, dict) and experimental.get("msc4140_max_delayed_events_per_user") == 0:
        yield "msc4140_max_delayed_events_per_user is 0, which switches delayed events off"
    if "extra_well_known_client_content" in request.settings and not config.get("public_baseurl"):
        yield "public_baseurl is not set, and without it Synapse serves no /.well-known/matrix/client"
    for key, name in LISTS.items():
        yield from _twins(config.get(key), name)
    listeners = config.get("listeners")
    if isinstance(listeners, list) and any(_hides_clients(one) for one in listeners):
        yield "a loopback listener has no 'x_forwarded: true': all clients of its proxy share one rate limit"
    for change in plan.changes:
        file = layout.file(change.path)
        if file is not None and change.path != layout.drop_in and _MANAGED.search(file.text[:2000]):
            yield f"{change.path} says that another tool manages it: that tool may undo these changes"


def _twins(section: Any, name: str) -> Iterator[str]:
    """Entries that announce the same service twice, once with a trailing slash."""
    entries = section.get(name) if isinstance(section, dict) else None
    urls = [identity(entry)[-1] for entry in entries or []]
    for url in urls:
        if isinstance(url, str) and not url.endswith("/") and f"{url}/" in urls:
            yield f"{name} has both {url} and {url}/: remove the one with the slash at its end"


def _hides_clients(listener: Any) -> bool:
    if not isinstance(listener, dict) or listener.get("x_forwarded") or listener.get("type") != "http":
        return False
    addresses = listener.get("bind_addresses") or []
    is_local = bool(addresses) and all(address in ("127.0.0.1", "::1", "localhost") for address in addresses)
    return is_local and "client" in str(listener.get("resources"))


def is_duration(value: Any) -> bool:
    """Whether Synapse can read this as a duration longer than nothing."""
    try:
        return parse_duration(value) > 0
    except ValueError:
        return False
