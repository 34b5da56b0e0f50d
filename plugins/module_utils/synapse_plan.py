# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""From the files as they are to the files as they are to be: which file, which keys, which text.

A key is changed in the file that wins for it. A key that no file has goes into a file of our own in the last
configuration directory, or to the end of the last file. Nothing is written here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from .synapse_files import HEADER, ConfigError, ConfigFile, Layout, keys_directory, merge, parse_file
from .synapse_listeners import EXAMPLE
from .synapse_policy import (
    KEYS,
    Contribution,
    PolicyError,
    Version,
    contributions,
    describe,
    desired,
    identities,
    identity,
    retire,
)
from .synapse_rendered import sign_of
from .synapse_yaml import MISSING, EditError, change, locate, preview, render

COMMENT = "Element Call (MatrixRTC), kept by the Ansible collection matrixrtc.backend:"


@dataclass(frozen=True)
class Share:
    """What we contributed to one top-level key, and in which file."""

    path: str
    ours: tuple[Contribution, ...]


@dataclass(frozen=True)
class Origin:
    """What a file held before it had anything of ours (None: it did not exist), and its hash since then."""

    before: bytes | None
    after: str


@dataclass
class Record:
    """What earlier runs did: by top-level key, and by file."""

    shares: dict[str, Share] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True)
class FileChange:
    """A file before and after (None: there is no such file), and its diff without foreign values."""

    path: str
    before: bytes | None
    after: bytes | None
    hunks: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be written, the configuration it leads to, and what to remember."""

    changes: tuple[FileChange, ...]
    files: tuple[ConfigFile, ...]
    record: Record
    told: tuple[str, ...]
    keys: tuple[str, ...]  # the top-level ones that were worked out; every other one keeps its value

    @property
    def config(self) -> dict[str, Any]:
        return merge(self.files)


@dataclass(frozen=True)
class _Step:
    """One top-level key in one file: its present value, the one it is to have, the one without us."""

    path: str
    key: str
    current: Any
    new: Any
    without_us: Any


def make_plan(
    layout: Layout,
    wanted: Mapping[str, Any],
    record: Record,
    version: Version,
    edit_managed: bool = True,
) -> Plan:
    """Work out all edits. `wanted` is empty to take out all that is ours. Raises ConfigError.

    `edit_managed`: edit also what something else writes. Taking out what is ours is never refused for that.
    """
    steps, shares = _steps(layout, wanted, record, version)
    edited = [_edit(layout, path, steps) for path in dict.fromkeys(step.path for step in steps)]
    edited = [_restored(layout, one, record, shares) for one in edited]
    changes = tuple(one for one in edited if one.before != one.after)
    files = _files_after(layout, changes)
    _verify(layout, files, steps)
    if wanted and not edit_managed:
        _refuse_managed(layout, changes, steps)
    told = [f"{line} ({step.path})" for step in steps for line in describe(step.current, step.new, step.key)]
    keys = tuple(dict.fromkeys(step.key for step in steps))
    return Plan(changes, files, _next_record(layout, changes, record, shares, steps), tuple(told), keys)


def digest(data: bytes | None) -> str:
    """What tells one content of a file from another; empty for a file that is not there."""
    return "" if data is None else hashlib.sha256(data).hexdigest()


# Which key in which file -----------------------------------------------------------------------------


def _steps(
    layout: Layout, wanted: Mapping[str, Any], record: Record, version: Version
) -> tuple[list[_Step], dict[str, Share]]:
    steps: list[_Step] = []
    shares: dict[str, Share] = {}
    config = merge(layout.files)
    for key in KEYS:
        if key not in {*wanted, *record.shares, *_values(layout, layout.drop_in)}:
            continue
        path = _home(layout, key, record)
        current = _values(layout, path).get(key, MISSING)
        ours = _share(layout, path, key, record)
        without_us = retire(key, current, ours)
        new = without_us
        if key in wanted:
            baseline = retire(key, current, ours, identities(key, wanted[key]))
            new = _desired(layout, path, key, baseline, wanted[key], version, config)
            shares[key] = Share(path, tuple(contributions(without_us, new, (key,))))
        steps.append(_Step(path, key, current, new, without_us))
        steps += _abandoned(layout, path, key, record)
        config = {**config, key: new} if new is not MISSING else _without(config, key)
    return steps, {key: share for key, share in shares.items() if share.ours}


def _home(layout: Layout, key: str, record: Record) -> str:
    """The file in which a key is to be changed."""
    for file in reversed(layout.files):
        value = file.values.get(key, MISSING)
        if file.path == layout.drop_in:  # only the operator's own additions to our file make it theirs
            value = retire(key, value, _share(layout, file.path, key, record))
        if value is not MISSING:
            return file.path
    if layout.drop_in is not None:
        return layout.drop_in
    usable = [file.path for file in layout.files if file.is_usable]
    if not usable:
        last = layout.files[-1].path
        raise ConfigError(f"{last}, line 1: not a mapping of settings, and no other file is one")
    return usable[-1]


def _share(layout: Layout, path: str, key: str, record: Record) -> tuple[Contribution, ...]:
    """What is ours of a key in a file. In a file of our own all is ours, even when the record is lost."""
    share = record.shares.get(key)
    if share is not None and share.path == path:
        return share.ours
    file = layout.file(path)
    if file is not None and path == layout.drop_in and file.text.startswith(HEADER):
        return tuple(contributions(MISSING, file.values.get(key, MISSING), (key,)))
    return ()


def _abandoned(layout: Layout, path: str, key: str, record: Record) -> list[_Step]:
    """Takes our part out of a file that once won for the key and does not any more."""
    share = record.shares.get(key)
    places = {share.path} if share is not None else set()
    if layout.drop_in is not None:
        places.add(layout.drop_in)
    steps = []
    for place in sorted(places - {path}):
        current = _values(layout, place).get(key, MISSING)
        rest = retire(key, current, _share(layout, place, key, record))
        if current is not MISSING:
            steps.append(_Step(place, key, current, rest, rest))
    return steps


def _values(layout: Layout, path: str | None) -> Mapping[str, Any]:
    file = layout.file(path) if path is not None else None
    return {} if file is None else file.values


def _desired(
    layout: Layout, path: str, key: str, value: Any, wanted: Any, version: Version, config: Mapping[str, Any]
) -> Any:
    try:
        return desired(key, value, wanted, version, config)
    except PolicyError as error:
        file = layout.file(path)
        line = locate(file.document, error.path) if file is not None else 1
        instead = _snippet(key, EXAMPLE if key == "listeners" else wanted)
        raise ConfigError(f"{path}, line {line}: {error}. Write instead:\n\n{instead}") from None


def _without(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != key}


# The text --------------------------------------------------------------------------------------------


def _edit(layout: Layout, path: str, steps: list[_Step]) -> FileChange:
    """The file with the new value of every key that is changed in it."""
    file = layout.file(path)
    before = file.data if file is not None else None
    text = file.text if file is not None else HEADER
    is_ours = path == layout.drop_in and text.startswith(HEADER)
    wanted = {step.key: step.new for step in steps if step.path == path}
    try:
        new, edits = change(text, wanted, identity, "" if is_ours or COMMENT in text else COMMENT)
    except EditError as error:
        only = [step for step in steps if error.key in ("", step.key)]
        raise _unsafe(f"{path}, line {error.line}: {error}", path, only) from None
    if not edits:
        return FileChange(path, before, before, ())
    after = _drop_comment(new).encode()
    try:
        is_empty = not parse_file(path, after).values
    except ConfigError:
        line = locate(file.document, (steps[0].key,)) if file is not None else 1
        problem = f"{path}, line {line}: this is written in a way that does not survive an edit"
        raise _unsafe(problem, path, steps) from None
    gone = is_ours and is_empty and not _holds_directory(layout, path)
    header = [f"+{line}" for line in HEADER.splitlines()] if before is None else []
    return FileChange(path, before, None if gone else after, (*header, *preview(text, edits)))


def _unsafe(problem: str, path: str, steps: list[_Step]) -> ConfigError:
    """The refusal of an edit, with what the operator is to write instead."""
    return ConfigError(
        f"{problem}. Nothing was changed, because an edit would touch more than these values. "
        f"Write them there yourself, then run this again:\n\n{_todo(path, steps)}"
    )


def _todo(path: str, steps: list[_Step]) -> str:
    """What is to stand in a file, as far as it does not yet."""
    here = [step for step in steps if step.path == path and step.new != step.current]
    return "\n".join(_snippet(step.key, _only_changes(step)) for step in here)


def _refuse_managed(layout: Layout, changes: tuple[FileChange, ...], steps: list[_Step]) -> None:
    """Leave files alone that something else writes: it would undo the edit without a word."""
    for one in changes:
        file = layout.file(one.path)
        sign = sign_of(file.document) if file is not None and file.path != layout.drop_in else None
        if sign is not None:
            raise ConfigError(
                f"{one.path}, line {sign.line}: {sign.reason}, so something else writes this file and would "
                f"undo an edit. Nothing was changed. Set these values where that comes from:\n\n"
                f"{_todo(one.path, steps)}\n\nOr set synapse_config_edit_managed to true to have the file "
                f"edited all the same"
            )


def _drop_comment(text: str) -> str:
    """The text without our comment if nothing of ours follows it."""
    lines = text.splitlines(keepends=True)
    ours = tuple(f"{key}:" for key in KEYS)
    return "".join(
        line
        for line, following in zip_longest(lines, lines[1:], fillvalue="")
        if line.strip() != f"# {COMMENT}" or following.lstrip().startswith(ours)
    )


def _holds_directory(layout: Layout, path: str) -> bool:
    """Whether Synapse would look for its signing key, and make a new one, elsewhere without this file."""
    config = merge(layout.files)
    others = [file for file in layout.files if file.path != path]
    if "signing_key" in config or "signing_key_path" in config or not others:
        return False
    return keys_directory(others) != os.path.abspath(os.path.dirname(path))


def _restored(layout: Layout, one: FileChange, record: Record, shares: Mapping[str, Share]) -> FileChange:
    """The file exactly as it was before us, when nothing of ours is to stay and nobody touched it since."""
    origin = record.origins.get(one.path)
    stays = any(share.path == one.path for share in shares.values())
    if origin is None or stays or one.before is None or digest(one.before) != origin.after:
        return one
    if origin.before is None and _holds_directory(layout, one.path):
        return one
    return FileChange(one.path, one.before, origin.before, one.hunks)


def _files_after(layout: Layout, changes: tuple[FileChange, ...]) -> tuple[ConfigFile, ...]:
    """The configuration as it will be, in Synapse's order."""
    after = {one.path: one.after for one in changes}
    files = [
        parse_file(file.path, after[file.path] or b"") if file.path in after else file
        for file in layout.files
        if after.get(file.path, b"") is not None
    ]
    new = [one for one in changes if one.before is None and one.after is not None]
    if new:  # only ever the file of our own, which stands in the last directory
        directory = os.path.dirname(new[0].path)
        inside = [file for file in files if os.path.dirname(file.path) == directory]
        outside = [file for file in files if file not in inside]
        inside.append(parse_file(new[0].path, new[0].after or b""))
        files = [*outside, *sorted(inside, key=lambda file: file.path)]
    return tuple(files)


def _verify(layout: Layout, files: tuple[ConfigFile, ...], steps: list[_Step]) -> None:
    """Every key has the value that was planned, every other one the value it had, in each file."""
    planned = {(step.path, step.key): step.new for step in steps}
    for file in files:
        before = layout.file(file.path)
        expected = dict(before.values) if before is not None else {}
        for (path, key), value in planned.items():
            if path == file.path:
                expected.pop(key, None)
                expected.update({} if value is MISSING else {key: value})
        if file.values != expected:
            keys = {*expected, *file.values}
            wrong = sorted(str(key) for key in keys if file.values.get(key) != expected.get(key))
            line = locate(file.document if before is None else before.document, (wrong[0],))
            problem = f"{file.path}, line {line}: an edit would change the meaning of {', '.join(wrong)}"
            raise _unsafe(problem, file.path, steps)


def _only_changes(step: _Step) -> Any:
    """Of a new value, what differs from the present one: the rest may hold secrets and is the operator's."""
    if isinstance(step.new, dict) and isinstance(step.current, dict):
        return {key: value for key, value in step.new.items() if step.current.get(key, MISSING) != value}
    return step.new


def _snippet(key: str, value: Any) -> str:
    if value is MISSING:
        return f"# without '{key}'"
    return "\n".join(render({key: value}))


# What to remember ------------------------------------------------------------------------------------


def _next_record(
    layout: Layout,
    changes: tuple[FileChange, ...],
    record: Record,
    shares: dict[str, Share],
    steps: list[_Step],
) -> Record:
    origins = {}
    for path in {share.path for share in shares.values()}:
        one = next((change for change in changes if change.path == path), None)
        if one is not None:
            origins[path] = Origin(_origin(layout, one, record, steps), digest(one.after))
        elif path in record.origins:
            origins[path] = record.origins[path]
    return Record(shares, origins)


def _origin(layout: Layout, one: FileChange, record: Record, steps: list[_Step]) -> bytes | None:
    """What a file is to be when we leave it: as we found it, or its present text without our entries."""
    known = record.origins.get(one.path)
    if known is not None and digest(one.before) in (known.after, digest(known.before)):
        return known.before
    if one.before is None:
        return None
    without = [
        _Step(step.path, step.key, step.current, step.without_us, step.without_us)
        for step in steps
        if step.path == one.path
    ]
    return _edit(layout, one.path, without).after
