# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Pack the stand-in into one executable file, in the place of the release's bare executable.

The file is a zip application for Python 3.11 and newer: our modules and the pinned, hash-checked, pure-Python
dependencies of requirements.txt. The same sources give the same file, byte for byte.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import LabError

FILE_NAME = "lk-jwt-service_linux_amd64"
PIP_SECONDS = 180
SHEBANG = b"#!/usr/bin/env python3\n"
START = """\
import sys

if sys.version_info < (3, 11):
    sys.exit("the stand-in for lk-jwt-service needs Python 3.11 or newer")
sys.path = [path for path in sys.path if not path.endswith("-packages")]  # only what is packed here

from token_service.__main__ import main

sys.exit(main())
"""
CERTIFI = """\
# httpcore imports certifi; the stand-in trusts the system's store instead, as the real service does
from token_service.config import SYSTEM_CA_FILE


def where():
    return SYSTEM_CA_FILE
"""
_HERE = Path(__file__).resolve().parent
_NOT_PACKED = {"build.py"}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(target: Path) -> None:
    """Write the executable to `target` (by convention named FILE_NAME), whose folder must exist.

    Raises LabError when the dependencies cannot be installed or are not pure Python.
    """
    with tempfile.TemporaryDirectory() as folder:
        vendored = Path(folder)
        _install(vendored)
        members = dict(_dependencies(vendored)) | dict(_own_modules())
    members |= {"__main__.py": START.encode(), "certifi.py": CERTIFI.encode()}
    _write(target, members)


def _install(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--target", str(folder), "--no-deps", "--no-compile", "--require-hashes"]
    command += ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none"]
    command += ["--python-version=3.11", "--requirement", str(_HERE / "requirements.txt")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"pip could not get the stand-in's dependencies in {PIP_SECONDS} s") from error
    if done.returncode:
        raise LabError(f"pip could not install the stand-in's dependencies:\n{done.stderr}")


def _dependencies(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Modules, and of the metadata only the licences."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".so", ".pyd") or ".so." in path.name:
            raise LabError(f"{name} is not pure Python")
        if (path.suffix == ".py" and "/tests/" not in name) or "/licenses/" in name:
            yield name, path.read_bytes()


def _own_modules() -> Iterator[tuple[str, bytes]]:
    for path in sorted(_HERE.glob("*.py")):
        if path.name not in _NOT_PACKED:
            yield f"token_service/{path.name}", path.read_bytes()


def _write(target: Path, members: dict[str, bytes]) -> None:
    """Write beside the target and rename, so that nobody ever runs half a file."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(SHEBANG)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in sorted(members.items()):
                    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
        unfinished.chmod(0o755)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else FILE_NAME))
