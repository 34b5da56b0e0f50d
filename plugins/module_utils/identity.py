# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What makes a site the same one on another host: a few files that exist nowhere else.

Everything else is made anew from the inventory, or belongs to the one host: what the operator's own files
were before, which addresses it has, what its services were started on.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .applied_state import Input, put_back, read_input
from .managed_files import provide_folder

FILE, LINK, FOLDER = "file", "link", "folder"
Entry = Mapping[str, Any]  # path, kind, mode (octal text); content (base64) of a file, target of a link


class IdentityError(Exception):
    """The files cannot be read or put back. The text holds none of their content."""


@dataclass
class Outcome:
    """Which paths were written, or would be."""

    files: list[str] = field(default_factory=list)


def collect(paths: Sequence[str]) -> list[Entry]:
    """What is at these paths, folders with all that is in them. One that is not there is left out.

    Raises StateError for what is neither a file, a link nor a folder.
    """
    return [entry for path in paths if os.path.lexists(path) for entry in _below(path)]


def _below(path: str) -> list[Entry]:
    if os.path.isdir(path) and not os.path.islink(path):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        inside = [entry for name in sorted(os.listdir(path)) for entry in _below(os.path.join(path, name))]
        return [{"path": path, "kind": FOLDER, "mode": f"{mode:04o}"}, *inside]
    found = read_input(path)
    entry = {"path": path, "kind": found.kind, "mode": f"{found.mode:04o}"}
    if found.kind == LINK:
        return [{**entry, "target": found.target}]
    return [{**entry, "content": base64.b64encode(found.content).decode()}]


def restore(entries: Sequence[Entry], paths: Sequence[str], other_goes: bool, dry: bool) -> Outcome:
    """Put the entries that belong to these paths back, as the caller's own; the others are another host's.

    What is there already with another content is an identity of its own: it is only replaced with
    `other_goes`. Nothing is written unless everything may be. Raises IdentityError, OSError.
    """
    own = [entry for entry in entries if _is_below(_path(entry), paths)]
    files = [_parsed(entry, paths) for entry in own if entry.get("kind") != FOLDER]
    folders = {_path(entry): _mode(entry) for entry in own if entry.get("kind") == FOLDER}
    changed = [file for file in files if _differs(file)]
    foreign = [file.path for file in changed if os.path.lexists(file.path)]
    if foreign and not other_goes:
        raise IdentityError(f"this host has an identity of its own: {', '.join(foreign)}")
    outcome = Outcome(
        [*(path for path in folders if not os.path.isdir(path)), *(file.path for file in changed)]
    )
    if dry:
        return outcome
    for path, mode in folders.items():
        provide_folder(os.path.join(path, ""), dry=False)
        os.chmod(path, mode)
    for file in files:
        provide_folder(file.path, dry=False)
        put_back(file)
    return outcome


def _path(entry: Entry) -> str:
    path = str(entry.get("path"))
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise IdentityError(f"the backup has a path that is not plain: {path}")
    return path


def _is_below(path: str, paths: Sequence[str]) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in paths)


def _parsed(entry: Entry, paths: Sequence[str]) -> Input:
    """The entry as what is to be there. A backup that was tampered with leads nowhere else."""
    path, kind = _path(entry), entry.get("kind")
    own = Input(path, FILE, mode=_mode(entry), uid=os.geteuid(), gid=os.getegid())
    if kind == LINK:
        target = str(entry.get("target"))
        leads_to = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if os.path.isabs(target) or not _is_below(leads_to, paths):
            raise IdentityError(f"the backup has a link that leads out: {path}")
        return replace(own, kind=LINK, target=target)
    if kind != FILE:
        raise IdentityError(f"the backup has neither a file, a link nor a folder for {path}")
    try:
        return replace(own, content=base64.b64decode(str(entry.get("content")), validate=True))
    except binascii.Error as error:
        raise IdentityError(f"the backup's content of {path} cannot be read") from error


def _mode(entry: Entry) -> int:
    """The permissions; others than the owner and its group get no more than to read, and no set-id bits."""
    try:
        return int(str(entry.get("mode")), 8) & 0o755
    except ValueError as error:
        raise IdentityError(f"the backup has no mode for {entry.get('path')}") from error


def _differs(wanted: Input) -> bool:
    there = read_input(wanted.path)
    if wanted.kind == LINK:
        return (there.kind, there.target) != (LINK, wanted.target)
    return (there.kind, there.content) != (FILE, wanted.content)
