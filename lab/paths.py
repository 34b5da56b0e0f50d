# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Where the lab keeps what it writes: everything below `<clone>/.lab/`, which git ignores."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CLONE = PACKAGE.parent
EXAMPLES = CLONE / "inventory.example"
STATE = CLONE / ".lab"
CACHE = STATE / "cache"
TEMPLATES = PACKAGE / "files"
DOCKERFILES = PACKAGE / "images"
OPERATORS = PACKAGE / "operators"
CALL_PAGE = PACKAGE / "call_page"
DEFINITIONS = PACKAGE / "labs.yml"
DAEMON_PID = STATE / "dockerd.pid"
DAEMON_LOG = STATE / "dockerd.log"
LOCK = STATE / "lock"


def lab_dir(name: str) -> Path:
    """The folder of one lab: `artifacts/`, `ca/`, `inventory/`, `mirror/`, `info.json`, `sources.json`."""
    return STATE / name


def write_private(path: Path, text: str) -> None:
    """Write a file with secrets: mode 0600 from its first byte on, replaced atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    staged.replace(path)


def write_public(path: Path, text: str) -> None:
    """Write a file that anybody may read, replaced atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(text)
    staged.replace(path)
