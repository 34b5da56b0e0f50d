# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The artifacts for the mirror: released where upstream answers, else built here, or named by the user.

Each says where it came from; every report of the lab repeats that. All are kept below the cache folder.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import requests

from . import livekit, npm
from .artifacts import ELEMENT_CALL, LIVEKIT, TOKEN_SERVICE, Artifact, Component, Wish, role_version
from .errors import LabError
from .hashing import hash_of, hash_of_bytes
from .limits import within
from .paths import CACHE, PACKAGE
from .progress import Progress

UPSTREAM = "https://github.com"
UPSTREAM_API = "https://api.github.com"
ATTEMPT_SECONDS = 3
_DOWNLOAD_SECONDS = 120
_RECORD = "artifact.json"


class Store:
    """Finds or makes artifacts for one architecture (`amd64`, `arm64`)."""

    def __init__(
        self,
        progress: Progress,
        architecture: str,
        cache: Path = CACHE,
        upstream: str = UPSTREAM,
        upstream_api: str = UPSTREAM_API,
    ) -> None:
        self._progress = progress
        self._architecture = architecture
        self._cache = cache
        self._upstream = upstream
        self._upstream_api = upstream_api

    def obtain(
        self, component: Component, wishes: Sequence[Wish], further: Sequence[str] = ()
    ) -> list[Artifact]:
        """A component's artifacts, the one to install first. Without wishes: the role's default version."""
        wished = self._wished(component, wishes) or [self._version(component, role_version(component))]
        there = {artifact.version for artifact in wished}
        return wished + [self._version(component, version) for version in further if version not in there]

    def _wished(self, component: Component, wishes: Sequence[Wish]) -> list[Artifact]:
        found = [
            self._file(component, wish.file, wish.version)
            if wish.file
            else self._version(component, str(wish.version))
            for wish in wishes
        ]
        return [replace(artifact, chosen=True) for artifact in found]

    def _file(self, component: Component, file: Path, version: str | None) -> Artifact:
        """A file the user named: an archive as it is, a binary packed the way upstream does it.

        The token service does not print its version: without one it counts as the role's default.
        """
        if version is None:
            version = livekit.version_of(file) if component is LIVEKIT else role_version(component)
        target = self._target(component, version, "named")
        if component is LIVEKIT and not tarfile.is_tarfile(file):
            livekit.pack(file, target)
        else:
            shutil.copyfile(file, target)
        return self._keep(component, version, target, f"the file {file.name} ({component.environment})")

    def _version(self, component: Component, version: str) -> Artifact:
        """Released if upstream answers, else made here. Element Call is the same files from npm."""
        if component is ELEMENT_CALL:
            return self._element_call(version)
        released = self._kept(self._target(component, version, "released"))
        if released is None and self._upstream_has(component, version):
            released = self._download(component, version)
        if released is not None:
            return released
        return self._livekit(version) if component is LIVEKIT else self._stand_in(version)

    def _upstream_has(self, component: Component, version: str) -> bool:
        name = "checksums.txt" if component is LIVEKIT else component.asset(version, self._architecture)
        url = self._release_url(component, version, name)
        with self._progress.step(f"Asking upstream for {component.name} {version}") as step:
            try:
                answer = within(
                    ATTEMPT_SECONDS, lambda: requests.head(url, timeout=ATTEMPT_SECONDS, allow_redirects=True)
                )
            except (requests.RequestException, TimeoutError):
                step.title = f"Upstream cannot be reached for {component.name} {version}"
                return False
            if not answer.ok:
                step.title = f"Upstream has no {component.name} {version} (status {answer.status_code})"
            return answer.ok

    def _release_url(self, component: Component, version: str, name: str) -> str:
        return f"{self._upstream}/{component.repository}/releases/download/v{version}/{name}"

    def _download(self, component: Component, version: str) -> Artifact:
        target = self._target(component, version, "released")
        expected = self._published_checksum(component, version, target.name)
        with self._progress.step(f"Downloading {target.name} {version} from upstream"):
            content = _get(self._release_url(component, version, target.name))
        found = hash_of_bytes(content)
        if found != expected:
            raise LabError(
                f"{target.name} {version}: upstream publishes sha256 {expected},\n"
                f"but what was downloaded has {found}"
            )
        target.write_bytes(content)
        return self._keep(component, version, target, f"upstream's release {version}")

    def _published_checksum(self, component: Component, version: str, asset: str) -> str:
        """LiveKit publishes checksums.txt; for the bare binary only the release API has a digest."""
        if component is LIVEKIT:
            text = _get(self._release_url(component, version, "checksums.txt")).decode()
            found = [line.split()[0] for line in text.splitlines() if line.split()[1:] == [asset]]
        else:
            url = f"{self._upstream_api}/repos/{component.repository}/releases/tags/v{version}"
            found = [
                entry["digest"].removeprefix("sha256:")
                for entry in json.loads(_get(url))["assets"]
                if entry["name"] == asset and entry.get("digest")
            ]
        if not found:
            raise LabError(f"upstream publishes no checksum for {asset} {version}")
        return str(found[0])

    def _livekit(self, version: str) -> Artifact:
        target = self._target(LIVEKIT, version, "built")
        kept = self._kept(target)
        if kept is not None:
            return kept
        with self._progress.step(f"Building LiveKit {version} from its Go module"):
            livekit.build(version, self._architecture, target)
        return self._keep(LIVEKIT, version, target, f"built from Go module v{version}")

    def _element_call(self, version: str) -> Artifact:
        target = self._target(ELEMENT_CALL, version, "npm")
        kept = self._kept(target)
        if kept is not None:
            return kept
        npm.ensure(self._progress)
        with self._progress.step(f"Packing Element Call {version} from its npm package"):
            npm.pack_element_call(version, target)
        return self._keep(ELEMENT_CALL, version, target, f"npm package {npm.ELEMENT_CALL} {version}")

    def _stand_in(self, version: str) -> Artifact:
        """The lab's stand-in under the name of the release. It belongs to this clone: its sources decide."""
        from .token_service import CONTRACT
        from .token_service.build import build

        target = self._target(TOKEN_SERVICE, version, f"stand-in-{stand_in_hash()}")
        kept = self._kept(target)
        if kept is not None:
            return kept
        with self._progress.step("Packing the stand-in for the token service"):
            try:
                build(target)
            except RuntimeError as error:
                raise LabError(f"{error}\nA real one serves too: LAB_TOKEN_SERVICE=/path/to/it") from error
        return self._keep(TOKEN_SERVICE, version, target, f"lab stand-in (contract of {CONTRACT})")

    def _target(self, component: Component, version: str, origin: str) -> Path:
        folder = self._cache / component.name / f"{version}-{origin}-{self._architecture}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / component.asset(version, self._architecture)

    def _keep(self, component: Component, version: str, target: Path, source: str) -> Artifact:
        """Remember an artifact beside its file. Written last: a file without this record is unfinished."""
        digest = hash_of_bytes(target.read_bytes())
        artifact = Artifact(component.name, version, target.name, str(target), digest, source)
        (target.parent / _RECORD).write_text(json.dumps(asdict(artifact), indent=2) + "\n")
        return artifact

    def _kept(self, target: Path) -> Artifact | None:
        """What lies there already. The record's own path is not believed: a cache may be moved, or shared."""
        record = target.parent / _RECORD
        if not record.exists() or not target.exists():
            return None
        return Artifact(**{**json.loads(record.read_text()), "path": str(target)})


def stand_in_hash(folder: Path = PACKAGE / "token_service") -> str:
    """Hash of the sources and pinned dependencies of the stand-in."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".py", ".txt")]
    return hash_of({path.name: hash_of_bytes(path.read_bytes()) for path in files})


def _get(url: str) -> bytes:
    try:
        answer = requests.get(url, timeout=_DOWNLOAD_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise LabError(f"upstream answers, but not for {url}: {error}") from error
    return answer.content
