# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A LiveKit release made here: built from its Go module and packed the way upstream packs it."""

from __future__ import annotations

import gzip
import io
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from .artifacts import VERSION
from .engine import run
from .errors import LabError

MODULE = "github.com/livekit/livekit-server/cmd/server"
PROGRAM = "livekit-server"
LICENSE = b"LiveKit is licensed under the Apache License 2.0; the text is in LiveKit's repository.\n"
_NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}


def pack(program: Path, target: Path) -> None:
    """Pack a server binary like upstream: `livekit-server` and `LICENSE` at the root of the archive.

    Without time stamps: the same binary always gives the same archive, and so the same checksum.
    """
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content, mode in ((PROGRAM, program.read_bytes(), 0o755), ("LICENSE", LICENSE, 0o644)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))


def unpack(file: Path, folder: Path) -> Path:
    """Take the program out of an archive. By content: Debian 12's Python has no filters to extract with."""
    program = folder / PROGRAM
    with tarfile.open(file) as archive:
        content = archive.extractfile(PROGRAM)
        if content is None:
            raise LabError(f"{PROGRAM} in {file} is not a file")
        program.write_bytes(content.read())
    program.chmod(0o755)
    return program


def version_of(file: Path) -> str:
    """The version that a server binary, or the one in an archive, prints; LabError when it does not."""
    with tempfile.TemporaryDirectory() as work:
        program = file
        if tarfile.is_tarfile(file):
            program = unpack(file, Path(work))
        found = VERSION.search(run([str(program), "--version"]))
    if not found:
        raise LabError(f"{file} does not say its version; write LAB_LIVEKIT=VERSION={file}")
    return found.group(0)


def build(version: str, architecture: str, target: Path) -> None:
    """Build a version from its Go module and pack it. About 70 s the first time.

    1.13.6 and later cannot be had this way: their go.mod has replacements, which `go install` refuses.
    """
    go = shutil.which("go")
    if go is None:
        raise LabError(
            "upstream's releases cannot be reached and there is no Go to build LiveKit with.\n"
            "Install a current Go, or name a file: LAB_LIVEKIT=/path/to/livekit-server"
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        pack(go_install(go, f"{MODULE}@v{version}", architecture, Path(work)), target)


def go_install(go: str, package: str, architecture: str, work: Path) -> Path:
    """Run `go install PACKAGE@VERSION`, return the binary. Cross-compiling, it takes no GOBIN."""
    program = package.partition("@")[0].rpartition("/")[2]
    native = sys.platform == "linux" and _NATIVE.get(platform.machine()) == architecture
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOOS": "linux",
        "GOARCH": architecture,
        "GOFLAGS": "-buildvcs=false",
    }
    environment.pop("GOBIN", None)
    if native:
        environment["GOBIN"] = str(work)
    run([go, "install", "-trimpath", "-ldflags=-s -w", package], environment=environment)
    if native:
        return work / program
    return Path(run([go, "env", "GOPATH"]).strip()) / "bin" / f"linux_{architecture}" / program
