# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The hosts of a lab: containers made with everything in place, then started, then waited for."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig

from . import mirror
from .certificates import Authority
from .definitions import Definitions, Host, Lab, Site
from .engine import choose_privileges
from .errors import LabError
from .images import client_tag, host_tag, site_tag
from .network import CLIENT, LAB_LABEL, MIRROR, Plan, network_name
from .operators import HostFile
from .paths import TEMPLATES
from .progress import Progress
from .site import CA_FILE, SynapseSecrets, archive, ca_file, host_files

BOOT_SECONDS = 180
_BOOTED = ("running", "degraded")
# Chromium does not look at the system's store.
_TRUST = f"""set -e
mkdir -p "$HOME/.pki/nssdb"
certutil -d "sql:$HOME/.pki/nssdb" -N --empty-password
certutil -d "sql:$HOME/.pki/nssdb" -A -t C,, -n lab -i {CA_FILE}"""


@dataclass(frozen=True)
class Surroundings:
    """What all hosts of a lab have in common; `folder` is the lab's own, `call_page` one in the cache."""

    client: docker.DockerClient
    lab: Lab
    definitions: Definitions
    plan: Plan
    folder: Path
    ca: Authority
    progress: Progress
    call_page: Path | None = None

    def image(self, host: Host) -> str:
        """The tag of a host's image."""
        return host_tag(self.definitions.images[host.image], host.operator)


def container_name(lab: str, host: str) -> str:
    """The engine's name for a host; also its `ansible_host`."""
    return f"matrixrtc-{lab}-{host}"


def containers(client: docker.DockerClient, lab: str | None = None) -> list[Container]:
    """The containers of a lab, or of all labs."""
    label = LAB_LABEL if lab is None else f"{LAB_LABEL}={lab}"
    return list(client.containers.list(all=True, filters={"label": label}))


def by_host(client: docker.DockerClient, lab: str) -> dict[str, Container]:
    """The containers of a lab by the name of their host."""
    prefix = container_name(lab, "")
    return {str(container.name).removeprefix(prefix): container for container in containers(client, lab)}


def create_all(
    here: Surroundings, missing: set[str], secrets: Mapping[str, SynapseSecrets], pool: ThreadPoolExecutor
) -> None:
    """Make, start and await the hosts in `missing`, at the same time."""
    futures: list[Future[None]] = []
    places = [(site, host) for site, host in here.lab.places if host.name in missing]
    if CLIENT in missing:
        futures.append(pool.submit(_client, here))
    if MIRROR in missing:
        futures.append(pool.submit(_mirror, here))
    if places:
        resolv_conf = _resolv_conf(here)
        privileges = choose_privileges(here.client, here.image(places[0][1]))
        options = {
            **privileges,
            "volumes": {
                **privileges.get("volumes", {}),
                str(resolv_conf): {"bind": "/etc/resolv.conf", "mode": "rw"},
            },
        }
        futures += [
            pool.submit(_host, here, site, host, secrets[site.server_name], options) for site, host in places
        ]
    for future in futures:
        future.result()


def _resolv_conf(here: Surroundings) -> Path:
    """A resolv.conf with the name servers the engine gives to containers outside a network of their own.

    Inside a network the engine answers at 127.0.0.11, by packet filter rules inside the host that an
    operator's `flush ruleset` removes.
    """
    image = here.image(here.lab.places[0][1])
    text = here.client.containers.run(image, ["cat", "/etc/resolv.conf"], remove=True, network_mode="bridge")
    path = here.folder / "resolv.conf"
    path.write_bytes(text)
    return path


def _create(here: Surroundings, host: str, image: str, files: list[HostFile], **options: Any) -> Container:
    """A container that is not started yet, with its files in it and its fixed address."""
    names = here.plan.names[host]
    network = network_name(here.lab.name)
    address = here.plan.addresses[host]
    endpoint = EndpointConfig(
        here.client.api.api_version,
        ipv4_address=address,
        ipv6_address=here.plan.ipv6.get(host),
        aliases=names,
    )
    entries = [*here.plan.hosts_entries().items(), *here.plan.ipv6_entries().items()]
    try:
        container = here.client.containers.create(
            image,
            name=container_name(here.lab.name, host),
            # the engine gives this name all addresses, and the operators' web servers know IPv4 alone
            hostname=host if here.plan.ipv6 else names[0],
            labels={LAB_LABEL: here.lab.name},
            network=network,
            networking_config={network: endpoint},
            # a name may stand there twice; the type that is declared is narrower than what is taken
            extra_hosts=[f"{name}:{known}" for name, known in entries],  # type: ignore[arg-type]
            **options,
        )
    except ImageNotFound as error:
        raise LabError(f"image {image} is missing; run `python -m lab images`") from error
    container.put_archive("/", io.BytesIO(archive(files)))
    return container


def _host(
    here: Surroundings, site: Site, host: Host, secrets: SynapseSecrets, options: Mapping[str, Any]
) -> None:
    image = here.definitions.images[host.image]
    with here.progress.step(f"Starting {host.name} ({site.names(host)[0]}, {host.image})"):
        files = host_files(site, host, image, secrets, here.ca, here.plan.addresses)
        if host.operator.call_page:
            page = {str(here.call_page): {"bind": host.operator.call_page, "mode": "ro"}}
            options = {**options, "volumes": {**options["volumes"], **page}}
        container = _create(here, host.name, here.image(host), files, **options)
        container.start()
        await_boot(container, host.operator.units)
        execute(container, ["update-ca-certificates"])


def _client(here: Surroundings) -> None:
    with here.progress.step("Starting client"):
        files = [ca_file(here.ca), HostFile("/etc/nftables.conf", (TEMPLATES / "caller.nft").read_text())]
        container = _create(
            here,
            CLIENT,
            client_tag(here.definitions.images[here.definitions.client_image], here.lab.has_call_page),
            files,
            command=["sh", "-c", "nft -f /etc/nftables.conf && exec sleep infinity"],
            init=True,
            cap_add=["NET_ADMIN"],
        )
        container.start()
        execute(container, ["update-ca-certificates"])
        if here.lab.has_call_page:
            execute(container, ["sh", "-c", _TRUST])


def _mirror(here: Surroundings) -> None:
    with here.progress.step("Starting mirror"):
        container = _create(
            here,
            MIRROR,
            site_tag(here.definitions.images[here.lab.places[0][1].image]),
            [HostFile("/etc/nginx/mirror.conf", mirror.NGINX_CONF)],
            command=["nginx", "-c", "/etc/nginx/mirror.conf", "-g", "daemon off;"],
            init=True,
            volumes={str(here.folder / "mirror"): {"bind": "/srv/mirror", "mode": "ro"}},
        )
        container.start()


def restart(lab: Lab, stopped: Mapping[str, Container], progress: Progress) -> None:
    """Start hosts that are finished but stopped, as after a reboot of this machine. What is on them stays."""
    units = {host.name: host.operator.units for _site, host in lab.places}
    for host, container in sorted(stopped.items()):
        with progress.step(f"Starting {host} again"):
            container.start()
            if host in units:
                await_boot(container, units[host])


def await_boot(container: Container, wanted: Sequence[str]) -> None:
    """Wait until systemd has started everything. Raises LabError that names what did not come up.

    wanted: units that have to run. To systemd, one that waits for its next attempt to start has not failed.
    """
    deadline = time.monotonic() + BOOT_SECONDS
    state = ""
    while state not in _BOOTED and time.monotonic() < deadline:
        time.sleep(0.2)
        container.reload()
        if container.status != "running":
            said = container.logs(tail=10).decode(errors="replace")
            raise LabError(f"{container.name} stopped while booting:\n{said}")
        state = _output(container, "systemctl", "is-system-running").strip()
    # is-active succeeds when one of several units is active: its words count, not its status
    words = _output(container, "systemctl", "is-active", *wanted).split()
    if state != "running" or words != ["active"] * len(wanted):
        units = _output(
            container,
            "systemctl",
            "list-units",
            "--no-legend",
            "--plain",
            "--state=failed,activating,auto-restart",
        )
        journal = _output(container, "journalctl", "-p", "err", "-n", "15", "--no-pager")
        raise LabError(f"{container.name} is {state or 'not up'} after booting; units:\n{units}\n{journal}")


def _output(container: Container, *command: str) -> str:
    """What a command prints, whatever its status."""
    output = container.exec_run(list(command)).output
    return output.decode(errors="replace") if isinstance(output, bytes) else ""


def execute(container: Container, command: list[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a command on a host. Raises LabError with what it said when it fails; never shows its arguments."""
    done = container.exec_run(command, environment=dict(environment or {}), demux=True)
    out, err = (bytes(stream or b"").decode(errors="replace") for stream in done.output)
    if done.exit_code != 0:
        raise LabError(
            f"`{command[0]}` failed on {container.name} with status {done.exit_code}:\n"
            f"{out[-800:]}{err[-800:]}"
        )
    return out


def get(client: docker.DockerClient, lab: str, host: str) -> Container:
    """The container of a host."""
    try:
        return client.containers.get(container_name(lab, host))
    except NotFound as error:
        raise LabError(f"lab {lab} has no host {host}") from error


def remove(gone: list[Container], pool: ThreadPoolExecutor) -> None:
    """Remove containers with their anonymous volumes. They are disposable: no orderly shutdown."""
    for future in [pool.submit(container.remove, force=True, v=True) for container in gone]:
        future.result()
