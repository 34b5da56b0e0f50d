# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The container engine: found, or on Debian as root installed and started; and what it lets containers do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException

from .errors import LabError
from .paths import DAEMON_LOG, DAEMON_PID
from .progress import Progress

DAEMON_START_SECONDS = 40
REQUEST_SECONDS = 600
_GO_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

_NONE_ANSWERS = "The lab needs a container engine, and none answers."
_BY_HAND = {
    "debian": "sudo apt-get install -y docker.io mmdebstrap && sudo systemctl start docker",
    "fedora": "sudo dnf install -y moby-engine && sudo systemctl start docker",
    "arch": "sudo pacman -S docker && sudo systemctl start docker",
    "suse": "sudo zypper install -y docker && sudo systemctl start docker",
    "alpine": "sudo apk add docker && sudo rc-service docker start",
}


def connect() -> docker.DockerClient | None:
    """A client of the engine that answers now (`DOCKER_HOST` is honoured), or None."""
    try:
        client = docker.from_env(timeout=REQUEST_SECONDS)
        client.ping()
    except (DockerException, APIError, OSError):
        return None
    return client


def ensure(progress: Progress) -> docker.DockerClient:
    """An engine that answers; installed and started where that is possible.

    Raises LabError: with the commands to run anywhere but on Debian as root; or the daemon does not start.
    """
    client = connect()
    if client is not None:
        return client
    if not may_install():
        raise LabError(how_to_get_an_engine())
    if shutil.which("dockerd") is None:
        install_packages(progress, ["docker.io"])
    client = connect()
    return client if client is not None else _start(progress)


def may_install(os_release: Path = Path("/etc/os-release")) -> bool:
    """Whether this is Debian and we are root: only then the lab installs packages."""
    return os.geteuid() == 0 and read_os_release(os_release).get("ID") == "debian"


def read_os_release(path: Path) -> dict[str, str]:
    """os-release(5) as a mapping; empty where there is none (not Linux)."""
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _equals, value in pairs}


def install_packages(progress: Progress, packages: list[str]) -> None:
    """Install Debian packages on this machine."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"Installing {' and '.join(packages)} on this machine"):
        for command in (
            ["apt-get", "update", "-q"],
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages],
        ):
            run(command, environment=environment)


def run(command: list[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program and return its standard output. Raises LabError with the end of what it said."""
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise LabError(f"`{' '.join(command)}` failed with status {done.returncode}:\n{tail}")
    return done.stdout


def how_to_get_an_engine(
    os_release: Path = Path("/etc/os-release"), socket: Path = Path("/var/run/docker.sock")
) -> str:
    if socket.exists() and not os.access(socket, os.W_OK):
        return (
            "The lab needs a container engine. There is one, but you may not use it. Either\n"
            '  sudo usermod -aG docker "$USER" && newgrp docker\nor run the same command as root.'
        )
    release = read_os_release(os_release)
    families = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    command = next((_BY_HAND[family] for family in families if family in _BY_HAND), None)
    if command is None:
        return (
            f"{_NONE_ANSWERS} Install Docker Engine or Docker Desktop, start it,\n"
            "make sure that `docker info` works, and run the same command again."
        )
    return f"{_NONE_ANSWERS} Run\n  {command}\nand then the same command again."


def _start(progress: Progress) -> docker.DockerClient:
    with progress.step("Starting the docker daemon"):
        if Path("/run/systemd/system").is_dir():
            run(["systemctl", "start", "docker"])
        else:
            _start_by_hand()
        deadline = time.monotonic() + DAEMON_START_SECONDS
        while time.monotonic() < deadline:
            client = connect()
            if client is not None:
                return client
            time.sleep(0.5)
    raise LabError(f"the docker daemon did not answer within {DAEMON_START_SECONDS} s; its log: {DAEMON_LOG}")


def _start_by_hand() -> None:
    """Start dockerd without an init system. By the pid file `down --purge` knows that it is ours."""
    DAEMON_PID.parent.mkdir(parents=True, exist_ok=True)
    with DAEMON_LOG.open("ab") as log:
        process = subprocess.Popen(
            ["dockerd", "--storage-driver=overlay2"],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    DAEMON_PID.write_text(f"{process.pid}\n")


def stop_own_daemon(progress: Progress) -> bool:
    """Stop the daemon that the lab started by hand, if it did. Never another one."""
    if not DAEMON_PID.exists():
        return False
    pid = int(DAEMON_PID.read_text())
    command = Path(f"/proc/{pid}/comm")
    if command.exists() and command.read_text().strip() == "dockerd":
        with progress.step("Stopping the docker daemon that the lab started"):
            os.kill(pid, signal.SIGTERM)
            _wait_until_gone(command)
    DAEMON_PID.unlink()
    return True


def _wait_until_gone(command: Path, seconds: int = 30) -> None:
    deadline = time.monotonic() + seconds
    while command.exists() and time.monotonic() < deadline:
        # a child of ours stays a zombie until it is waited for; its state is then Z
        if "\nState:\tZ" in command.with_name("status").read_text():
            return
        time.sleep(0.2)


def go_architecture(info: Mapping[str, Any]) -> str:
    """The engine's architecture as upstream's releases call it (`docker info` says x86_64, Go amd64)."""
    machine = str(info["Architecture"])
    if machine not in _GO_ARCHITECTURES:
        raise LabError(f"no upstream release exists for the engine's architecture {machine!r}")
    return _GO_ARCHITECTURES[machine]


def systemd_privileges(cgroup_version: str, privileged_works: bool) -> dict[str, Any]:
    """Arguments of container creation that let systemd be the first process. The only place that decides.

    cgroup_version: `CgroupVersion` of `docker info`. privileged_works: whether the engine can start a
    privileged container at all (nested engines often lack the capabilities).
    With cgroup v1 the unified hierarchy must be the host's and SYS_ADMIN is enough; with cgroup v2 a private
    namespace is the usual way, and then only a privileged container may write to it.
    """
    # a server's /tmp lets programs run; the engine's default for a tmpfs does not
    tmpfs = {"/run": "", "/run/lock": "", "/tmp": "exec"}  # noqa: S108 - inside the host
    common: dict[str, Any] = {"tmpfs": tmpfs, "stop_signal": "SIGRTMIN+3"}
    if cgroup_version == "2" and privileged_works:
        return {**common, "privileged": True, "cgroupns": "private"}
    return {
        **common,
        "cap_add": ["SYS_ADMIN", "NET_ADMIN"],
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "cgroupns": "host",
        "volumes": {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}},
    }


def choose_privileges(client: docker.DockerClient, image: str) -> dict[str, Any]:
    """`systemd_privileges` for this engine; tries a privileged container where its answer matters."""
    version = str(client.info().get("CgroupVersion", "1"))
    works = version == "2" and _privileged_works(client, image)
    return systemd_privileges(version, works)


def _privileged_works(client: docker.DockerClient, image: str) -> bool:
    try:
        client.containers.run(image, ["true"], privileged=True, remove=True, network_mode="none")
    except APIError:
        return False
    return True
