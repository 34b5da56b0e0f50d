# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are ours from the first byte to the last: written atomically, or only compared."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from .files import atomic_write, diff_entry, read_bytes

FOLDER_MODE = 0o755  # what is private has a mode of its own


@dataclass(frozen=True)
class ManagedFile:
    """A file and who may read it. Owner and group are names or numbers."""

    path: str
    owner: str | int = "root"
    group: str | int = "root"
    mode: int = 0o644


@dataclass
class Outcome:
    """What changed, or would: files, new folders, and the texts before and after for Ansible's diff."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.files or self.folders)


def manage(wanted: Sequence[tuple[ManagedFile, str]], dry: bool = False) -> Outcome:
    """Have every file with its text. With `dry` nothing is written.

    Raises OSError, and LookupError for an owner or group the host does not know (not with `dry`).
    """
    outcome = Outcome()
    for file, text in wanted:
        content = text.encode()
        before = read_bytes(file.path)
        outcome.folders += [made for made in provide_folder(file.path, dry) if made not in outcome.folders]
        if write(file, content, dry):
            outcome.files.append(file.path)
        if before != content:
            outcome.diff.append(diff_entry(file.path, (before or b"").decode("utf-8", "replace"), text))
    return outcome


def write(file: ManagedFile, content: bytes, dry: bool) -> bool:
    """Write a file, or tell whether it would be; True when its content, mode, owner or group differs."""
    if dry:
        return _differs(file, content)
    return atomic_write(file.path, content, mode=file.mode, owner=file.owner, group=file.group)


def provide_folder(path: str, dry: bool) -> list[str]:
    """Make the folder of a file and those above it, open to all. Returns the new ones, outermost first."""
    folder = os.path.dirname(path)
    if os.path.isdir(folder):
        return []
    made = [*provide_folder(folder, dry), folder]
    if not dry:
        os.mkdir(folder)
        os.chmod(folder, FOLDER_MODE)
    return made


def _differs(file: ManagedFile, content: bytes) -> bool:
    if not os.path.isfile(file.path):
        return True
    facts = os.stat(file.path)
    try:
        uid = file.owner if isinstance(file.owner, int) else pwd.getpwnam(file.owner).pw_uid
        gid = file.group if isinstance(file.group, int) else grp.getgrnam(file.group).gr_gid
    except LookupError:  # the task that makes it has only been looked at as well
        return True
    there = (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid)
    return read_bytes(file.path) != content or there != (file.mode, uid, gid)
