# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The artifact mirror: files laid out the way upstream's release addresses are, for a plain web server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .artifacts import BY_NAME, ELEMENT_CALL, LIVEKIT, Artifact, Component
from .npm import contents_list

NAME = "mirror.test"
URL = f"http://{NAME}"

# Asset names have no useful extension and the API's answers have none at all: the location decides the type.
NGINX_CONF = """\
worker_processes 1;
error_log /dev/stderr;
pid /run/mirror.pid;
events { worker_connections 256; }
http {
    access_log off;
    sendfile on;
    server {
        listen 80 default_server;
        root /srv/mirror;
        default_type application/octet-stream;
        location /repos/ { default_type application/json; }
    }
}
"""


def fill(folder: Path, artifacts: Iterable[Artifact]) -> None:
    """Lay the artifacts out below `folder`, replacing what was there. Copies: a test may damage them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for artifact in artifacts:
        component = BY_NAME[artifact.component]
        release = folder / release_path(component, artifact.version)
        release.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact.path, release / artifact.asset)
        if component is LIVEKIT:
            with (release / "checksums.txt").open("a") as checksums:
                checksums.write(f"{artifact.sha256}  {artifact.asset}\n")
        if component is ELEMENT_CALL:
            (release / contents_name(artifact)).write_text(contents_list(Path(artifact.path)))
        answer = folder / api_path(component, artifact.version)
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text(json.dumps(release_answer(component, artifact), indent=2) + "\n")


def fill_folder(folder: Path, artifacts: Iterable[Artifact]) -> None:
    """Lay the artifacts out as a folder on the controller, for hosts that cannot download: links, one list.

    Names of the token service's assets have no version: the first, which hosts install, counts.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for artifact in {artifact.asset: artifact for artifact in reversed(list(artifacts))}.values():
        (folder / artifact.asset).symlink_to(Path(artifact.path).resolve())
        if artifact.component == ELEMENT_CALL.name:
            (folder / contents_name(artifact)).write_text(contents_list(Path(artifact.path)))
            continue
        with (folder / "checksums.txt").open("a") as checksums:
            checksums.write(f"{artifact.sha256}  {artifact.asset}\n")


def contents_name(artifact: Artifact) -> str:
    """The file in which upstream lists what is in an archive."""
    return artifact.asset.removesuffix(".tar.gz") + ".sha256"


def release_path(component: Component, version: str) -> str:
    """Path of a release's assets below the release address."""
    return f"{component.repository}/releases/download/v{version}"


def api_path(component: Component, version: str) -> str:
    """Path of a release below the release API's address."""
    return f"repos/{component.repository}/releases/tags/v{version}"


def release_answer(component: Component, artifact: Artifact) -> dict[str, Any]:
    """The part of the release API's answer that an installer reads."""
    return {
        "tag_name": f"v{artifact.version}",
        "name": f"v{artifact.version}",
        "draft": False,
        "prerelease": False,
        "assets": [
            {
                "name": artifact.asset,
                "size": Path(artifact.path).stat().st_size,
                "digest": f"sha256:{artifact.sha256}",
                "browser_download_url": f"{URL}/{release_path(component, artifact.version)}/{artifact.asset}",
            }
        ],
    }
