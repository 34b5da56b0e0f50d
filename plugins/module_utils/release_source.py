# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Where a release comes from: the checksum it must have, its download, the one file wanted of its archive."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Protocol, cast
from urllib.parse import urlsplit

from .files import read_bytes
from .service_host import Ran

TRIES = 3
TRY_AGAIN_SECONDS = 2.0
CHUNK = 1 << 20
LONGEST_TEXT = 1 << 22  # of a checksum list or an answer of the release API
LARGEST_PROGRAM = 1 << 30


class ArtifactError(Exception):
    """The program cannot be installed; the text says what was expected and what was found."""


class DownloadError(Exception):
    """A URL gave no whole answer. `temporary`: trying again may help."""

    def __init__(self, found: str, temporary: bool = True) -> None:
        super().__init__(found)
        self.temporary = temporary


class Body(Protocol):
    """What a URL answered; `length` in bytes as the server announced it, None when it did not."""

    length: int | None

    def read(self, size: int) -> bytes:
        """The next bytes, b'' at the end. Raises DownloadError."""


class Site(Protocol):
    """The world outside: URLs, programs, time."""

    def open(self, url: str) -> AbstractContextManager[Body]:
        """Ask for a URL, following redirects. Raises DownloadError for anything but success."""

    def run(self, argv: Sequence[str], timeout: float | None = None, user: str = "") -> Ran:
        """Run a program as `user` to its end."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


@dataclass(frozen=True)
class Source:
    """Where the release is and what says that it is the right one; the first of the four that is set counts.

    `sha256` in hexadecimal; `checksums_file` and `checksums_url` in the format of sha256sum(1); `api_url` is
    the release in the API of GitHub, whose assets carry a `digest`. `asset` is the name to look for in those.
    `contents_file` or `contents_url`: for an archive, such a list of the files in it.
    """

    url: str = ""
    local_file: str = ""
    sha256: str = ""
    checksums_file: str = ""
    checksums_url: str = ""
    api_url: str = ""
    asset: str = ""
    contents_file: str = ""
    contents_url: str = ""

    @property
    def place(self) -> str:
        return self.local_file or self.url

    @property
    def asset_name(self) -> str:
        return self.asset or os.path.basename(self.local_file or urlsplit(self.url).path)


def expected(source: Source, site: Site) -> tuple[str, str]:
    """The checksum the release must have, and who says so."""
    if source.sha256:
        return source.sha256.lower(), "as set"
    if source.checksums_file:
        text = read_bytes(source.checksums_file)
        if text is None:
            raise ArtifactError(f"There is no checksum list {source.checksums_file}.")
        return _listed(text.decode("utf-8", "replace"), source.asset_name, source.checksums_file)
    if source.checksums_url:
        return _listed(_text(source.checksums_url, site), source.asset_name, source.checksums_url)
    if source.api_url:
        return _published(_text(source.api_url, site), source.asset_name, source.api_url)
    raise ArtifactError("Nothing says which checksum the release must have. Set its sha256.")


def contents(source: Source, site: Site) -> tuple[str, str]:
    """The list of the files in the archive with their checksums, and where it is."""
    if source.contents_file:
        text = read_bytes(source.contents_file)
        if text is None:
            raise ArtifactError(f"There is no list {source.contents_file} of the files in the archive.")
        return text.decode("utf-8", "replace"), source.contents_file
    return _text(source.contents_url, site), source.contents_url


def _listed(text: str, asset: str, place: str) -> tuple[str, str]:
    """The checksum of `asset` in a list as sha256sum(1) writes it."""
    for line in text.splitlines():
        found = re.match(r"([0-9A-Fa-f]{64}) [ *]?(?:\./)?(.+?)\s*\Z", line)
        if found and found.group(2) == asset:
            return found.group(1).lower(), f"says {place}"
    raise ArtifactError(f"Expected a sha256 of {asset} in {place}, found none. Set its sha256.")


def _published(text: str, asset: str, place: str) -> tuple[str, str]:
    """The digest of `asset` in a release of the GitHub API."""
    try:
        release = json.loads(text)
        assets = {entry["name"]: str(entry.get("digest") or "") for entry in release["assets"]}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ArtifactError(f"Expected a release and its assets as JSON at {place}, found neither.") from None
    found = re.fullmatch(r"sha256:([0-9A-Fa-f]{64})", assets.get(asset, ""))
    if not found:
        known = ", ".join(sorted(assets)) or "no asset"
        raise ArtifactError(f"Expected a sha256 digest of {asset} at {place}, found {known}. Set its sha256.")
    return found.group(1).lower(), f"says {place}"


def _text(url: str, site: Site) -> str:
    def read() -> str:
        with site.open(url) as body:
            return body.read(LONGEST_TEXT).decode("utf-8", "replace")

    return _persist(url, site, read)


def obtain(source: Source, site: Site, path: str) -> str:
    """Have the release in `path`; returns its checksum."""
    if source.local_file:
        try:
            shutil.copyfile(source.local_file, path)
        except FileNotFoundError:
            raise ArtifactError(f"Expected the release in {source.local_file}, found no such file.") from None
        return file_sha256(path)
    return _persist(source.url, site, lambda: _download(source.url, site, path))


def _persist(url: str, site: Site, attempt: Callable[[], str]) -> str:
    """Try a download a few times, unless the answer says that it is in vain."""
    for left in reversed(range(TRIES)):
        try:
            return attempt()
        except DownloadError as error:
            if not left or not error.temporary:
                raise ArtifactError(f"Expected {url} to be downloaded whole, found: {error}.") from None
        site.sleep(TRY_AGAIN_SECONDS)
    raise AssertionError("unreachable")


def _download(url: str, site: Site, path: str) -> str:
    digest = hashlib.sha256()
    size = 0
    with site.open(url) as body, open(path, "wb") as stream:
        while chunk := body.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            stream.write(chunk)
        if body.length is not None and size != body.length:
            raise DownloadError(f"{size} of {body.length} bytes")
    return digest.hexdigest()


def unpack(archive: str, member: str, path: str) -> None:
    """Write one regular file of a tar archive to `path`; nothing else of the archive is looked at."""
    names = []
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                names.append(entry.name)
                wanted = entry.isreg() and str(PurePosixPath(entry.name)) == member
                if wanted and entry.size <= LARGEST_PROGRAM:
                    _copy(cast("IO[bytes]", tar.extractfile(entry)), path)
                    return
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ArtifactError(f"Expected an archive that can be unpacked, found: {error}.") from None
    raise ArtifactError(f"Expected a file '{member}' in the archive, found {', '.join(names) or 'nothing'}.")


def _copy(stream: IO[bytes], path: str) -> None:
    with open(path, "wb") as target:
        shutil.copyfileobj(stream, target, CHUNK)


def file_sha256(path: str) -> str:
    """The checksum of a file, '' when there is none."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()
