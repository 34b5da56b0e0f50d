# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The files that ufw and firewalld rewrite for us, as they were before, to be put back byte for byte.

Their own commands take our rules out again, but write the whole file in their own way. Where nobody else has
changed it since our last change, its old bytes come back; where somebody has, the tool's result stands.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable
from typing import Any

from .files import atomic_write, read_bytes, read_text, remove_file
from .firewall_base import remove_empty
from .managed_files import provide_folder

MODE = 0o600  # the rules of a firewall are not for everybody
KILLED_RUN_SECONDS = 60

# Takes what is ours out of a text: it may be there when our own note of it was lost.
Clean = Callable[[str], str]


def _digest(path: str) -> str | None:
    content = read_bytes(path)
    return None if content is None else hashlib.sha256(content).hexdigest()


def _copy(path: str, clean: Clean) -> dict[str, Any] | None:
    content = read_bytes(path)
    if content is None:
        return None
    facts = os.stat(path)
    return {
        "text": clean(content.decode("utf-8", "surrogateescape")),
        "mode": stat.S_IMODE(facts.st_mode),
        "owner": facts.st_uid,
        "group": facts.st_gid,
    }


class Originals:
    """What is ours in a tool (`ours`, its own business), and the files before; kept in one file of ours."""

    def __init__(self, path: str, clean: Clean = str) -> None:
        self.path = path
        self.clean = clean
        text = read_text(path)
        state = json.loads(text) if text else {}
        self.exists = text is not None
        self.noted = os.stat(path).st_mtime if self.exists else 0.0
        self.ours: Any = state.get("ours")
        self.files: dict[str, dict[str, Any]] = state.get("files", {})

    def save(self) -> None:
        """Write our file."""
        provide_folder(self.path, dry=False)
        text = json.dumps({"ours": self.ours, "files": self.files}, indent=1, sort_keys=True) + "\n"
        atomic_write(self.path, text.encode("ascii"), MODE)
        self.exists, self.noted = True, os.stat(self.path).st_mtime

    def remember(self, paths: Iterable[str]) -> None:
        """Before a change: keep each file as it is, unless we know it from before our first change."""
        for path in {*paths, *self.files}:
            if path not in self.files:
                self.files[path] = {"before": _copy(path, self.clean), "after": None, "is_known": True}
            elif not self._is_untouched(path):  # somebody's edit, which has to survive
                self.files[path]["is_known"] = False
            self.files[path]["after"] = None

    def seal(self) -> None:
        """After a change: note what the files are like now."""
        for path, kept in self.files.items():
            kept["after"] = _digest(path)

    def _is_untouched(self, path: str) -> bool:
        after = self.files[path]["after"]
        if after is not None:
            return bool(after == _digest(path))
        # a run was killed before it could note the result: what was written then is that run's own doing
        if not os.path.exists(path):
            return self.files[path]["before"] is None
        return os.stat(path).st_mtime <= self.noted + KILLED_RUN_SECONDS

    def put_back(self) -> None:
        """Give the files that nobody else has changed their old bytes, mode and owners; a new one goes."""
        for path, kept in self.files.items():
            if not kept["is_known"]:
                continue
            before = kept["before"]
            if before is None:
                remove_file(path)
                continue
            content = before["text"].encode("utf-8", "surrogateescape")
            atomic_write(path, content, before["mode"], before["owner"], before["group"])

    def forget(self) -> None:
        """Nothing is ours any more."""
        remove_file(self.path)
        remove_empty(os.path.dirname(self.path))
        self.exists = False
