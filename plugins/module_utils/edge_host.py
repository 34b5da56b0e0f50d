# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Running the host's own tools for the nginx site and the firewall; tests put a fake in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

COMMAND_SECONDS = 60.0  # nginx -T on hundreds of sites takes about a second
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
COMMAND_NOT_FOUND = 127  # as a shell says it
TIMED_OUT = 124  # as timeout(1) says it


@dataclass(frozen=True)
class Completed:
    """How a command ended."""

    status: int
    output: str = ""
    errors: str = ""

    @property
    def ok(self) -> bool:
        """It says that it succeeded."""
        return self.status == 0

    @property
    def said(self) -> str:
        """What a person should read about a failure."""
        return self.errors.strip() or self.output.strip() or f"exit status {self.status}"


# Runs a command without a terminal; never raises for a command that fails.
Run = Callable[[Sequence[str]], Completed]


def find_program(name: str) -> str | None:
    """The program's path, also where an unprivileged PATH does not look; None when the host has none."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS]))


def run(
    argv: Sequence[str], seconds: float = COMMAND_SECONDS, environment: Mapping[str, str] | None = None
) -> Completed:
    """Run a command to its end in the C locale. A missing command is status 127, one that hangs is 124.

    `environment` is added to this process's own, and is the place for what must not be in an argument.
    """
    program = find_program(argv[0])
    if program is None:
        return Completed(COMMAND_NOT_FOUND, errors=f"{argv[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            timeout=seconds,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        return Completed(TIMED_OUT, errors=f"{' '.join(argv)} did not end within {seconds:g} s")
    return Completed(done.returncode, done.stdout, done.stderr)
