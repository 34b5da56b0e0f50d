# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Building one image through the engine's API, and recognising one that was built before."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

import docker
from docker.errors import ImageNotFound

from .errors import LabError
from .progress import Step

REPOSITORY = "matrixrtc-lab"
INPUTS_LABEL = "org.matrixrtc.lab.inputs"
_LINES_SHOWN = 15


def inputs_of(client: docker.DockerClient, tag: str) -> str:
    """The hash of the inputs an image was built from; empty when there is no such image."""
    try:
        return str(client.images.get(tag).labels.get(INPUTS_LABEL, ""))
    except ImageNotFound:
        return ""


def build(
    client: docker.DockerClient, tag: str, context: Mapping[str, bytes], inputs: str, step: Step
) -> None:
    """Build and tag an image. `context` has its Dockerfile. Raises LabError with the end of the output."""
    lines: list[str] = []
    stream = client.api.build(
        fileobj=pack_context(context),
        custom_context=True,
        tag=tag,
        rm=True,
        forcerm=True,
        decode=True,
        labels={INPUTS_LABEL: inputs},
    )
    for chunk in stream:
        for line in str(chunk.get("stream", "")).splitlines():
            step.note = line
            lines.append(line)
        if "error" in chunk:
            said = "\n".join(lines[-_LINES_SHOWN:])
            raise LabError(f"building image {tag} failed: {chunk['error']}\n{said}")


def pack_context(files: Mapping[str, bytes]) -> io.BytesIO:
    """A tar archive with these files, all readable by anyone and owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer
