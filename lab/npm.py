# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What comes from npm, by this machine's client: Element Call, and the page that shows it in the lab."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from .engine import install_packages, may_install, run
from .errors import LabError
from .hashing import hash_of, hash_of_bytes
from .paths import CACHE, CALL_PAGE
from .progress import Progress

ELEMENT_CALL = "@element-hq/element-call-embedded"
_DIST = "package/dist/"
_BUNDLER = "node_modules/.bin/esbuild"
_CRYPTO = "node_modules/@matrix-org/matrix-sdk-crypto-wasm/pkg/matrix_sdk_crypto_wasm_bg.wasm"


def ensure(progress: Progress) -> None:
    """npm and node, installed where that is possible. Raises LabError with what to do elsewhere."""
    if shutil.which("npm") and shutil.which("node"):
        return
    if not may_install():
        raise LabError(
            "Element Call comes from npm, which this machine does not have: install Node.js and npm."
        )
    install_packages(progress, ["nodejs", "npm"])


def pack_element_call(version: str, target: Path) -> None:
    """Write the embedded package as upstream's release archive of it: the same files below one folder.

    Without time stamps: the same package always gives the same archive.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        run(["npm", "pack", "--silent", f"--pack-destination={work}", f"{ELEMENT_CALL}@{version}"])
        (package,) = Path(work).glob("*.tgz")
        files = _dist(package)
    folder = target.name.removesuffix(".tar.gz")
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))


def _dist(package: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(package) as archive:
        for entry in archive:
            stream = archive.extractfile(entry) if entry.name.startswith(_DIST) else None
            if stream is not None:
                found[entry.name.removeprefix(_DIST)] = stream.read()
    return found


def contents_list(archive: Path) -> str:
    """The list of the files in an archive with their checksums, as upstream publishes it (publish.yaml)."""
    lines = []
    with tarfile.open(archive) as tar:
        for entry in tar:
            stream = tar.extractfile(entry)
            if stream is not None:
                lines.append(f"{hashlib.sha256(stream.read()).hexdigest()}  {entry.name}\n")
    return "".join(lines)


def call_page(progress: Progress) -> Path:
    """The folder with the page that shows Element Call as a widget, bundled from lab/call_page once."""
    sources = [path for path in sorted(CALL_PAGE.rglob("*")) if path.is_file()]
    key = hash_of({str(path.relative_to(CALL_PAGE)): hash_of_bytes(path.read_bytes()) for path in sources})
    folder = CACHE / "call_page" / key
    if folder.is_dir():
        return folder
    ensure(progress)
    with progress.step("Bundling the page that shows Element Call"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            _bundle(Path(work) / "source", Path(work) / "page")
            os.replace(Path(work) / "page", folder)
    return folder


def _bundle(source: Path, page: Path) -> None:
    shutil.copytree(CALL_PAGE, source)
    run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=source)
    run(
        [
            str(source / _BUNDLER),
            "src/page.js",
            "--bundle",
            "--format=esm",
            "--target=es2022",
            f"--outfile={page / 'page.js'}",
        ],
        cwd=source,
    )
    shutil.copyfile(source / "src" / "index.html", page / "index.html")
    (page / "pkg").mkdir()
    shutil.copyfile(source / _CRYPTO, page / "pkg" / Path(_CRYPTO).name)
