# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Pebble, Let's Encrypt's small ACME server for tests: built once, and run on the mirror host of a lab."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote

import docker
import yaml
from docker.models.containers import Container

from .. import hosts
from ..certificates import authority, issue
from ..engine import go_architecture
from ..errors import LabError
from ..livekit import go_install
from ..mirror import NAME
from ..network import CLIENT, MIRROR
from ..operators import HostFile
from ..paths import CACHE, lab_dir, write_private
from ..progress import Progress
from ..site import CA_FILE, archive

MODULE = "github.com/letsencrypt/pebble/v2/cmd/pebble"
VERSION = "2.10.1"
PORT, MANAGEMENT_PORT, PROXY_PORT = 14000, 15000, 3128
DIRECTORY = f"https://{NAME}:{PORT}/dir"
FOLDER = "/opt/acme"
ROOT_FILE = "/usr/local/share/ca-certificates/pebble.crt"
PROXY_LOG = f"{FOLDER}/proxy.log"
PROXY_CREDENTIALS = "lab:p%40ss-word"  # as they stand in the proxy's URL
# Shorter than the 30 days before which certbot renews, so that every renewal is due.
LIFETIME_SECONDS = 20 * 24 * 3600
START_SECONDS = 20


def configuration() -> str:
    """Pebble's configuration: the real port for challenges, and short waits."""
    return json.dumps(
        {
            "pebble": {
                "listenAddress": f"0.0.0.0:{PORT}",
                "managementListenAddress": f"0.0.0.0:{MANAGEMENT_PORT}",
                "certificate": f"{FOLDER}/directory.crt",
                "privateKey": f"{FOLDER}/directory.key",
                "httpPort": 80,
                "tlsPort": 443,
                "retryAfter": {"authz": 1, "order": 1},
                "keyAlgorithm": "ecdsa",
                "profiles": {"default": {"description": "lab", "validityPeriod": LIFETIME_SECONDS}},
            }
        },
        indent=2,
    )


def program(progress: Progress, architecture: str, cache: Path = CACHE) -> Path:
    """The binary, built from its Go module the first time (about 30 s)."""
    target = cache / "pebble" / f"{VERSION}-{architecture}" / "pebble"
    if target.exists():
        return target
    go = shutil.which("go")
    if go is None:
        raise LabError("there is no Go to build Pebble with; install a current one")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        progress.step(f"Building Pebble {VERSION} from its Go module"),
        tempfile.TemporaryDirectory(dir=target.parent) as work,
    ):
        built = go_install(go, f"{MODULE}@v{VERSION}", architecture, Path(work))
        built.rename(target)
    return target


def bring_up(progress: Progress, client: docker.DockerClient, lab: str) -> None:
    """Have Pebble and the proxy running on the lab's mirror host, and its root trusted by all hosts."""
    there = hosts.by_host(client, lab)
    if MIRROR not in there or not (lab_dir(lab) / "inventory" / "hosts.yml").exists():
        raise LabError(f"there is no lab {lab}; make it first: python -m lab up {lab}")
    mirror = there[MIRROR]
    if _root(mirror):
        progress.say(f"Pebble is up on {NAME} already: {DIRECTORY}")
        return
    binary = program(progress, go_architecture(client.info()))
    with progress.step(f"Starting Pebble and the proxy on {NAME}"):
        pair = issue(authority(lab_dir(lab) / "ca", lab), NAME)
        files = [
            HostFile(f"{FOLDER}/pebble.json", configuration()),
            HostFile(f"{FOLDER}/directory.crt", pair.certificate),
            HostFile(f"{FOLDER}/directory.key", pair.key, mode=0o600),
            HostFile(f"{FOLDER}/proxy.py", Path(__file__).with_name("proxy.py").read_text()),
        ]
        mirror.put_archive("/", io.BytesIO(archive(files)))
        _copy(mirror, binary)
        mirror.exec_run(
            [f"{FOLDER}/pebble", "-config", f"{FOLDER}/pebble.json"],
            environment={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            detach=True,
        )
        mirror.exec_run(
            ["python3", f"{FOLDER}/proxy.py", str(PROXY_PORT), unquote(PROXY_CREDENTIALS), PROXY_LOG],
            detach=True,
        )
        root = _await_root(mirror)
    _write_variables(lab, sorted(set(there) - {MIRROR, CLIENT}))
    with progress.step("Trusting Pebble's root on every host"):
        for host, container in there.items():
            if host != MIRROR:
                container.put_archive("/", io.BytesIO(archive([HostFile(ROOT_FILE, root)])))
                hosts.execute(container, ["update-ca-certificates"])
    progress.say(
        f"The ACME directory is {DIRECTORY}; the proxy is http://{PROXY_CREDENTIALS}@{NAME}:{PROXY_PORT}"
    )


def variables() -> dict[str, object]:
    """What an operator sets for a certificate of one's own behind a proxy, instead of the lab's files."""
    return {
        "matrixrtc_tls_mode": "acme",
        "matrixrtc_tls_certificate": "",
        "matrixrtc_tls_private_key": "",
        "matrixrtc_acme_directory": DIRECTORY,
        "matrixrtc_acme_ca_file": CA_FILE,
        "matrixrtc_acme_email": "admin@acme.test",
        "matrixrtc_acme_agree_terms": True,
        "matrixrtc_http_proxy": f"http://{PROXY_CREDENTIALS}@{NAME}:{PROXY_PORT}",
        # the lab's authority and Pebble's root
        "matrixrtc_ca_file": "/etc/ssl/certs/ca-certificates.crt",
    }


def _write_variables(lab: str, sites: list[str]) -> None:
    for site in sites:
        text = (
            f"---\n# Written by `python -m lab.acme {lab}`.\n{yaml.safe_dump(variables(), sort_keys=False)}"
        )
        write_private(lab_dir(lab) / "inventory" / "host_vars" / site / "acme.yml", text)


def _copy(container: Container, binary: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(binary, f"{FOLDER.lstrip('/')}/pebble")
    container.put_archive("/", buffer.getvalue())


def _root(mirror: Container) -> str:
    """The root certificate of the Pebble that runs, made anew at every start; '' when none runs."""
    url = f"https://{NAME}:{MANAGEMENT_PORT}/roots/0"
    try:
        return hosts.execute(mirror, ["curl", "--silent", "--fail", "--insecure", url])
    except LabError:  # it does not run yet
        return ""


def _await_root(mirror: Container) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        root = _root(mirror)
        if root:
            return root
        time.sleep(0.3)
    raise LabError(f"Pebble does not answer on {NAME}:{MANAGEMENT_PORT}")
