# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A release that is a whole folder of files, such as a web app: unpacked, verified file by file, compressed.

Element Call publishes, beside each archive, a list with the checksum of every file in it
(element-call, .github/workflows/publish.yaml): `<sha256>  element-call-0.26.1/index.html`.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, cast

from .release_source import CHUNK, ArtifactError, file_sha256

LINE = re.compile(r"([0-9A-Fa-f]{64}) [ *]?(?:\./)?(.+?)\s*\Z")
LARGEST_TREE = 1 << 29  # bytes of all files together
FILE_MODE, FOLDER_MODE = 0o644, 0o755
# What a web server sends compressed; pictures, sounds and fonts are compressed already.
COMPRESSED = (".css", ".html", ".js", ".json", ".map", ".svg", ".txt", ".wasm")
SMALLEST_COMPRESSED = 1024


def unpack_tree(archive: str, folder: str) -> None:
    """Unpack the regular files below the archive's one top folder into `folder`. Raises ArtifactError."""
    size = 0
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                parts = PurePosixPath(entry.name).parts
                if entry.isdir():
                    continue
                if not entry.isreg() or len(parts) < 2 or ".." in parts or parts[0] == "/":
                    raise ArtifactError(
                        f"Expected nothing but files in one folder of the archive, found {entry.name}."
                    )
                size += entry.size
                if size > LARGEST_TREE:
                    raise ArtifactError(f"Expected at most {LARGEST_TREE} bytes in the archive, found more.")
                _write(cast("IO[bytes]", tar.extractfile(entry)), os.path.join(folder, *parts[1:]))
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ArtifactError(f"Expected an archive that can be unpacked, found: {error}.") from None


def _write(stream: IO[bytes], path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as target:
        shutil.copyfileobj(stream, target, CHUNK)


def listed(text: str) -> dict[str, str]:
    """Checksum by path below the top folder, from a list as sha256sum(1) writes it."""
    found = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            found["/".join(PurePosixPath(match.group(2)).parts[1:])] = match.group(1).lower()
    return found


def verify_tree(folder: str, wanted: Mapping[str, str], said_by: str) -> None:
    """Raise ArtifactError unless the folder holds exactly the files of the list, as they were published."""
    found = {path: file_sha256(os.path.join(folder, path)) for path in _files(folder)}
    if not wanted:
        raise ArtifactError(f"Expected a list of files with their checksums in {said_by}, found none.")
    missing = sorted(set(wanted) - set(found))
    unlisted = sorted(set(found) - set(wanted))
    altered = sorted(path for path, checksum in found.items() if wanted.get(path, checksum) != checksum)
    faults = [
        f"{what} {', '.join(paths[:3])}{' and more' if len(paths) > 3 else ''}"
        for what, paths in (("altered:", altered), ("missing:", missing), ("not listed:", unlisted))
        if paths
    ]
    if faults:
        raise ArtifactError(f"Expected the files that {said_by} lists, found {'; '.join(faults)}.")


def compress_tree(folder: str) -> None:
    """Put a compressed copy beside every file that is worth it (nginx's `gzip_static`); make all readable."""
    for path in list(_files(folder)):
        full = os.path.join(folder, path)
        if path.endswith(COMPRESSED) and os.path.getsize(full) >= SMALLEST_COMPRESSED:
            with (
                open(full, "rb") as source,
                open(f"{full}.gz", "wb") as raw,
                gzip.GzipFile("", "wb", 6, raw, 0) as target,
            ):
                shutil.copyfileobj(source, target, CHUNK)
    for parent, folders, files in os.walk(folder):
        for name in folders:
            os.chmod(os.path.join(parent, name), FOLDER_MODE)
        for name in files:
            os.chmod(os.path.join(parent, name), FILE_MODE)


def tree_sha256(folder: str, but: str = "") -> str:
    """One checksum over names and contents of all files, but the one named; '' when there is no folder."""
    if not os.path.isdir(folder):
        return ""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        if path != but:
            digest.update(f"{file_sha256(os.path.join(folder, path))}  {path}\n".encode())
    return digest.hexdigest()


def _files(folder: str) -> Iterator[str]:
    for parent, _folders, files in os.walk(folder):
        for name in files:
            yield os.path.relpath(os.path.join(parent, name), folder)
