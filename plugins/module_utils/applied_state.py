# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a unit was started with: its inputs on disk, the record of the last good start, and the last good set.

On disk, below the state directory (0700, root), for each unit:

    state.json        {"hash", "invocation", "good", "attempt"}, replaced atomically
    good-<hash>/      manifest.json and one file per input; complete before state.json names it
    kept/             the good set that an upgrade replaced, until calls over the new one have passed

So a run that is killed anywhere leaves the old record with the old set, or the new record with the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .files import atomic_write, read_bytes, remove_file

STATE_FILE = "state.json"
MANIFEST = "manifest.json"
KEPT = "kept"


class StateError(Exception):
    """The inputs or the state directory are not what they have to be; the text says which and why."""


@dataclass(frozen=True)
class Input:
    """One input as it is on disk. `kind` is file, link or absent; `target` is what a link points to."""

    path: str
    kind: str
    content: bytes = b""
    target: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    changed_at: float = 0.0  # its inode's change time, epoch seconds


@dataclass(frozen=True)
class Record:
    """The last good start: the hash of the inputs, the unit's invocation, the folder with the set.

    `attempt` is the hash that a restart was tried with and whose outcome is not known (a run was cut short).
    """

    hash: str = ""
    invocation: str = ""
    good: str = ""
    attempt: str = ""


def read_input(path: str) -> Input:
    """Read one input. A link counts with its target and, when that is a file, with the file's content."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return Input(path, "absent")
    kind, target = "file", ""
    if stat.S_ISLNK(found.st_mode):
        kind, target = "link", os.readlink(path)
    elif not stat.S_ISREG(found.st_mode):
        raise StateError(f"{path} is neither a file nor a link: only those can be inputs of a service")
    content = read_bytes(path) if os.path.isfile(path) else None
    mode = stat.S_IMODE(found.st_mode)
    return Input(path, kind, content or b"", target, mode, found.st_uid, found.st_gid, found.st_ctime)


def read_inputs(paths: Sequence[str]) -> list[Input]:
    """Read all inputs; each path once, in a fixed order, so that the hash does not depend on the caller's."""
    return [read_input(path) for path in sorted(set(paths))]


def hash_of(inputs: Sequence[Input], fingerprint: str) -> str:
    """The hash of what a service is started with: paths, kinds, link targets, contents, extra fingerprint."""
    digest = hashlib.sha256()
    for item in inputs:
        parts = [item.path, item.kind, item.target, hashlib.sha256(item.content).hexdigest()]
        digest.update("\0".join(parts).encode() + b"\n")
    digest.update(fingerprint.encode())
    return digest.hexdigest()


class State:
    """The state directory of one unit."""

    def __init__(self, folder: str, unit: str) -> None:
        self.folder = os.path.join(folder, unit)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run off this unit; raises StateError at once when one is at work."""
        _make_private(self.folder)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock(folder, self.folder)
            yield
        finally:
            os.close(folder)

    def record(self) -> Record | None:
        """The last good start, None when there was none. A record that cannot be read counts as none."""
        raw = read_bytes(os.path.join(self.folder, STATE_FILE))
        if raw is None:
            return None
        try:
            return Record(**json.loads(raw))
        except (ValueError, TypeError):
            return None

    def note_attempt(self, digest: str) -> None:
        """Say that a restart with `digest` begins, before it does: its outcome is unknown until `settle`."""
        self._write(replace(self.record() or Record(), attempt=digest))

    def settle(self, invocation: str) -> None:
        """The service runs on the last good set again, as `invocation`."""
        record = self.record() or Record()
        self._write(replace(record, invocation=invocation, attempt=""))

    def commit(self, digest: str, invocation: str, inputs: Sequence[Input]) -> None:
        """Keep `inputs` as the last good set and record that the service runs on them, healthy."""
        good = f"good-{digest[:16]}"
        if not os.path.exists(os.path.join(self.folder, good, MANIFEST)):  # written last: who has it is whole
            self._save(good, inputs)
        self._write(Record(hash=digest, invocation=invocation, good=good))
        for name in os.listdir(self.folder):
            if name.startswith("good-") and name != good:
                shutil.rmtree(os.path.join(self.folder, name))

    def good_set(self) -> list[Input]:
        """The last good set; empty when there is none."""
        record = self.record()
        return self._set(record.good) if record and record.good else []

    def kept_set(self) -> list[Input]:
        """The good set that an upgrade replaced; empty when there is none."""
        return self._set(KEPT)

    def keep(self) -> None:
        """Keep the last good set. One that is kept already stays: it is from before an unfinished upgrade."""
        good = self.good_set()
        if good and not self.kept_set():
            self._save(KEPT, good)

    def release(self, dry: bool = False) -> bool:
        """Drop the kept set; True if there was one."""
        folder = os.path.join(self.folder, KEPT)
        found = os.path.isdir(folder)
        if found and not dry:
            shutil.rmtree(folder)
        return found

    def _set(self, name: str) -> list[Input]:
        folder = os.path.join(self.folder, name)
        manifest = read_bytes(os.path.join(folder, MANIFEST))
        if manifest is None:
            return []
        found = []
        for number, facts in enumerate(json.loads(manifest)):
            content = read_bytes(os.path.join(folder, str(number)))
            found.append(Input(content=content or b"", **facts))
        return found

    def forget(self) -> bool:
        """Remove all of it, and the folder above when this was the last unit; True if there was something."""
        if not os.path.isdir(self.folder):
            return False
        shutil.rmtree(self.folder)
        with contextlib.suppress(OSError):  # other units keep the folder
            os.rmdir(os.path.dirname(self.folder))
        return True

    def _save(self, name: str, inputs: Sequence[Input]) -> None:
        folder = os.path.join(self.folder, name)
        if os.path.isdir(folder):
            shutil.rmtree(folder)
        os.mkdir(folder, 0o700)
        for number, item in enumerate(inputs):
            atomic_write(os.path.join(folder, str(number)), item.content, mode=0o600)
        manifest = json.dumps([_facts(item) for item in inputs])
        atomic_write(os.path.join(folder, MANIFEST), manifest.encode(), mode=0o600)

    def _write(self, record: Record) -> None:
        _make_private(self.folder)
        atomic_write(os.path.join(self.folder, STATE_FILE), json.dumps(asdict(record)).encode(), mode=0o600)


def put_back(item: Input) -> bool:
    """Make the path of `item` what it was; True when it was something else. A link gets its target back."""
    now = read_input(item.path)
    if item.kind == "absent":
        return now.kind != "absent" and remove_file(item.path)
    if item.kind == "link":
        return now.target != item.target and _link(item.path, item.target)
    if now.kind == "link":  # atomic_write would follow it
        remove_file(item.path)
    return atomic_write(item.path, item.content, mode=item.mode, owner=item.uid, group=item.gid)


def _lock(descriptor: int, folder: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StateError(f"another run is working on this service (it holds {folder})") from None


def _make_private(folder: str) -> None:
    before = os.umask(0o077)  # the folders above it may hold secrets one day: new ones are private too
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    finally:
        os.umask(before)


def _facts(item: Input) -> dict[str, Any]:
    return {key: value for key, value in asdict(item).items() if key != "content"}


def _link(path: str, target: str) -> bool:
    temporary = f"{path}.put-back"
    remove_file(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)
    return True
