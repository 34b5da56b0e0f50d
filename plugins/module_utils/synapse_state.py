# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What has to survive a run: what we contributed, the files as they were, the way back while it is needed.

On disk, in a directory private to root:

    record.json   what we contributed to which key in which file, and what those files were before us
    pending.json  the files as they were before edits that no running Synapse has confirmed yet; the role
                  removes it when Synapse is healthy on them
    files/<hash>  contents that one of the two refers to (they hold the operator's secrets)

All of it is written before the edits, so a run that is killed anywhere is finished by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .files import atomic_write, read_bytes, remove_file
from .synapse_plan import Origin, Record, Share, digest
from .synapse_policy import Contribution
from .synapse_yaml import MISSING, constant

_FORMAT = 1


class StateError(Exception):
    """The state directory cannot be used; the message says why."""


@dataclass(frozen=True)
class Undo:
    """The way back from an edit: the file before it (None: there was none), the digest of what we wrote."""

    before: bytes | None
    after: str


class StateDirectory:
    """The state directory, which need not exist yet."""

    def __init__(self, path: str) -> None:
        self.path = path

    @contextlib.contextmanager
    def locked(self, create: bool) -> Iterator[None]:
        """Keep a second run out. Without `create` a directory that is missing is neither made nor locked."""
        if create:
            self._make(os.path.join(self.path, "files"))
        elif not os.path.isdir(self.path):
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise StateError(
                f"another run is changing this homeserver's settings (it locks {self.path})"
            ) from None
        finally:
            os.close(descriptor)

    def record(self) -> Record:
        """What earlier runs did; empty when there was none. Raises StateError when it is damaged."""
        raw = self._json("record.json")
        if raw is None:
            return Record()
        try:
            if raw["format"] != _FORMAT:
                raise StateError(f"{self.path}/record.json was written by a newer release of this collection")
            shares = {key: _share(share) for key, share in raw["shares"].items()}
            origins = {
                path: Origin(self._content(one["before"]), one["after"])
                for path, one in raw["origins"].items()
            }
        except (KeyError, TypeError, AttributeError):
            raise StateError(f"{self.path}/record.json is damaged: move it away to start afresh") from None
        return Record(shares, origins)

    def pending(self) -> dict[str, Undo]:
        """By real path, the way back from edits that no running Synapse has confirmed."""
        raw = self._json("pending.json") or {}
        return {path: Undo(self._content(one["before"]), one["after"]) for path, one in raw.items()}

    def save(self, record: Record, pending: Mapping[str, Undo]) -> None:
        """Replace the record and the way back that is to be offered. To be called before the edits."""
        self._make(os.path.join(self.path, "files"))
        origins = [one.before for one in record.origins.values()]
        contents = {digest(data): data for data in [*origins, *(one.before for one in pending.values())]}
        contents.pop("", None)
        for name, data in contents.items():
            atomic_write(self.blob(name), data or b"", mode=0o600)
        self._write("pending.json", {path: _undo_as_json(one) for path, one in pending.items()})
        self._write("record.json", _as_json(record) if record.shares else None)
        for name in set(os.listdir(os.path.join(self.path, "files"))) - set(contents):
            remove_file(self.blob(name))

    def blob(self, name: str) -> str:
        """The file that holds the content with this digest."""
        return os.path.join(self.path, "files", name)

    def _content(self, name: str | None) -> bytes | None:
        data = read_bytes(self.blob(name)) if name else None
        if name and data is None:
            raise StateError(f"{self.blob(name)}, the copy of a configuration file, is gone")
        return data

    def _json(self, name: str) -> Any:
        raw = read_bytes(os.path.join(self.path, name))
        try:
            return None if raw is None else json.loads(raw, parse_constant=constant)
        except ValueError:
            raise StateError(f"{self.path}/{name} is damaged: move it away to start afresh") from None

    def _write(self, name: str, content: Any) -> None:
        """Replace a JSON file; nothing to say is no file."""
        path = os.path.join(self.path, name)
        if not content:
            remove_file(path)
            return
        text = json.dumps(content, indent=1, sort_keys=True, default=str) + "\n"
        atomic_write(path, text.encode(), mode=0o600)

    def _make(self, path: str) -> None:
        if not os.path.isdir(path):
            self._make(os.path.dirname(path))
            os.mkdir(path, 0o700)


def _as_json(record: Record) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "shares": {
            key: {"path": share.path, "ours": [_contribution_as_json(one) for one in share.ours]}
            for key, share in record.shares.items()
        },
        "origins": {
            path: {"before": digest(one.before) or None, "after": one.after}
            for path, one in record.origins.items()
        },
    }


def _contribution_as_json(one: Contribution) -> dict[str, Any]:
    raw: dict[str, Any] = {"path": list(one.path), "after": one.after, "container": one.container}
    return raw if one.before is MISSING else {**raw, "before": one.before}


def _undo_as_json(one: Undo) -> dict[str, str | None]:
    return {"before": digest(one.before) or None, "after": one.after}


def _share(raw: Mapping[str, Any]) -> Share:
    return Share(raw["path"], tuple(_contribution(one) for one in raw["ours"]))


def _contribution(raw: Mapping[str, Any]) -> Contribution:
    path = tuple(tuple(step) if isinstance(step, list) else step for step in raw["path"])
    return Contribution(path, raw.get("before", MISSING), raw["after"], raw["container"])
