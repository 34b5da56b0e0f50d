# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The bare distributions that images are built on: pulled where a registry answers, else bootstrapped."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from contextlib import suppress
from typing import IO

import docker
from docker.errors import DockerException, ImageNotFound

from .apt import AptSettings
from .builds import INPUTS_LABEL, REPOSITORY, build, inputs_of
from .definitions import Image
from .engine import install_packages, may_install
from .errors import LabError
from .hashing import hash_of
from .limits import within
from .progress import Progress, Step

REGISTRY_SECONDS = 5
BOOTSTRAP = "mmdebstrap"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "python3",
    "python3-apt",
    "ca-certificates",
    "iproute2",
    "procps",
    "sudo",
    "curl",
)
_LINES_SHOWN = 12


def base_repository_and_version(image: Image) -> tuple[str, str]:
    """Repository and version of the tag of a bare distribution."""
    return f"{REPOSITORY}/base", image.suite


def base_tag(image: Image) -> str:
    """The tag of a bare distribution."""
    return ":".join(base_repository_and_version(image))


def base_hash(image: Image, apt: AptSettings) -> str:
    """Hash of what decides about a bare distribution; the archive's address does not, its suite does."""
    return hash_of([image.suite, image.pull, PACKAGES, apt.conf])


def bootstrap_command(image: Image, apt: AptSettings, apt_conf: str) -> list[str]:
    """The command that writes a bare distribution as a tar archive to its standard output.

    mmdebstrap rather than debootstrap: half the time, no folder, and no root where the kernel allows that.
    apt_conf: a file whose settings the distribution keeps.
    """
    return [
        BOOTSTRAP,
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={apt_conf}",
        "--dpkgopt=force-unsafe-io",
        "--format=tar",
        image.suite,
        "-",
        apt.archive,
    ]


class Bases:
    """Makes bare distributions; safe to use from several threads, one per distribution."""

    def __init__(self, client: docker.DockerClient, apt: AptSettings, progress: Progress) -> None:
        self._client = client
        self._apt = apt
        self._progress = progress
        self._installing = threading.Lock()

    def ensure(self, image: Image) -> None:
        """Make the bare distribution unless it is there, made from the same inputs."""
        if inputs_of(self._client, base_tag(image)) == base_hash(image, self._apt):
            return
        if self._registry_answers(image.pull):
            self._pull(image)
        else:
            self._require_bootstrap(image)
            with self._progress.step(f"No registry answers: bootstrapping Debian {image.suite}") as step:
                self._bootstrap(image, step)

    def _registry_answers(self, reference: str) -> bool:
        """Whether the registry knows the image, asked through the engine, for a few seconds at most."""
        try:
            within(REGISTRY_SECONDS, lambda: self._client.images.get_registry_data(reference))
        except (TimeoutError, DockerException):
            return False
        return True

    def _pull(self, image: Image) -> None:
        dockerfile = (
            f"FROM {image.pull}\nCOPY apt /etc/apt\nRUN apt-get update -q"
            f" && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"
            f" {' '.join(PACKAGES)} && rm -rf /var/lib/apt/lists/*\n"
        )
        context = {"Dockerfile": dockerfile.encode(), "apt/apt.conf.d/99lab": self._apt.conf.encode()}
        with self._progress.step(f"Pulling {image.pull} for {base_tag(image)}") as step:
            build(self._client, base_tag(image), context, base_hash(image, self._apt), step)

    def _require_bootstrap(self, image: Image) -> None:
        """Install it once, however many distributions wait for it."""
        with self._installing:
            if shutil.which(BOOTSTRAP):
                return
            if not may_install():
                raise LabError(
                    f"no image registry answers for {image.pull}, and there is no {BOOTSTRAP}.\n"
                    "Give the engine access to a registry, or run\n"
                    f"  sudo apt-get install -y {BOOTSTRAP}"
                )
            install_packages(self._progress, [BOOTSTRAP])

    def _bootstrap(self, image: Image, step: Step) -> None:
        """Bootstrap into the engine. The tag is given last: half a distribution never carries it."""
        repository, version = base_repository_and_version(image)
        unfinished = f"{version}-unfinished"
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as apt_conf:
            apt_conf.write(self._apt.conf)
            apt_conf.flush()
            said = self._import(
                bootstrap_command(image, self._apt, apt_conf.name),
                repository,
                unfinished,
                f"LABEL {INPUTS_LABEL}={base_hash(image, self._apt)}",
                step,
            )
        if not said:
            self._client.images.get(f"{repository}:{unfinished}").tag(repository, version)
        with suppress(ImageNotFound):
            self._client.images.remove(f"{repository}:{unfinished}")
        if said:
            raise LabError(f"bootstrapping Debian {image.suite} from {self._apt.archive} failed:\n{said}")

    def _import(self, command: list[str], repository: str, tag: str, change: str, step: Step) -> str:
        """Feed the archive that the command writes to the engine. Returns what was said if it failed."""
        lines: list[str] = []
        refused = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            reader = threading.Thread(target=_follow, args=(process.stderr, lines, step))
            reader.start()
            try:
                self._client.api.import_image_from_stream(
                    process.stdout, repository=repository, tag=tag, changes=[change]
                )
            except DockerException as error:
                refused = f"the engine refused the archive: {error}"
            finally:
                if process.stdout:
                    process.stdout.close()  # a command that still writes ends now and does not wait for ever
                process.wait()
                reader.join()
        if process.returncode == 0 and not refused:
            return ""
        return "\n".join([*lines[-_LINES_SHOWN:], refused])


def _follow(stream: IO[bytes] | None, lines: list[str], step: Step) -> None:
    for line in stream or ():
        lines.append(line.decode(errors="replace").strip())
        step.note = lines[-1]
