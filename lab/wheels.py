# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Python packages for the images, fetched by this machine's own pip.

The images install from these files without a network: the index, its credentials and its certificates stay on
this machine and never enter an image or its history.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from .engine import run
from .errors import LabError
from .paths import CACHE
from .progress import Progress

# glibc of the oldest supported Debian (bookworm) is 2.36: wheels for any older one run there too.
_NEWEST_GLIBC = 36
_OLDEST_GLIBC = 17
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def fetch(progress: Progress, requirements: list[str], python: str, architecture: str) -> Path:
    """The folder with wheels of `requirements` and all they need, plus pip itself. Fetched once.

    python: "3.13"; architecture: "amd64" or "arm64" (of the containers).
    Raises LabError when the index does not answer or a package has no wheel.
    """
    key = hashlib.sha256("\n".join([*requirements, python, architecture]).encode()).hexdigest()[:12]
    folder = CACHE / "wheels" / f"{python}-{key}"
    if folder.is_dir():
        return folder
    partial = Path(f"{folder}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    with progress.step(f"Fetching Python {python} packages: {', '.join(requirements)}"):
        run(download_command(requirements, python, architecture, partial))
        partial.replace(folder)
    return folder


def download_command(requirements: list[str], python: str, architecture: str, target: Path) -> list[str]:
    """The pip command that fetches wheels for another interpreter than the one running."""
    if architecture not in _MACHINES:
        raise LabError(f"no Python wheels are known for the architecture {architecture!r}")
    short = python.replace(".", "")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={python}",
        f"--abi=cp{short}",
        "--abi=abi3",
        "--abi=none",
        f"--dest={target}",
    ]
    for glibc in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1):
        command.append(f"--platform=manylinux_2_{glibc}_{_MACHINES[architecture]}")
    command.append(f"--platform=manylinux2014_{_MACHINES[architecture]}")
    return [*command, "pip", *requirements]
