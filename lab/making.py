# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Making a lab: what is not built is built, what is not there is made, and the inventory is written."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import docker

from . import apt, hosts, images, inventory, mirror, network, npm, state, users
from .artifacts import COMPONENTS, ELEMENT_CALL, LIVEKIT, Artifact, parse_wishes
from .certificates import authority
from .definitions import Definitions, Lab
from .engine import go_architecture
from .errors import LabError
from .network import CLIENT, MIRROR
from .paths import lab_dir, write_public
from .progress import Progress
from .site import make_secrets
from .store import Store


@dataclass(frozen=True)
class Making:
    """One lab being made. `info` is what is remembered about it, changed as the work goes on."""

    progress: Progress
    client: docker.DockerClient
    definitions: Definitions
    lab: Lab
    info: state.Info
    pool: ThreadPoolExecutor


def wanted_hosts(lab: Lab) -> set[str]:
    """Every host of a lab."""
    return {CLIENT, MIRROR, *(host.name for _site, host in lab.places)}


def named_by_user() -> dict[str, str]:
    """What the user names in LAB_LIVEKIT and LAB_TOKEN_SERVICE."""
    return {component.environment: os.environ.get(component.environment, "") for component in COMPONENTS}


def make(this: Making, missing: set[str]) -> None:
    """Build what is not built, make the hosts in `missing`, write the inventory."""
    folder = lab_dir(this.lab.name)
    _remove_remains(this, missing)
    _build(this)
    this.info.subnet = _subnet(this)
    for site in this.lab.sites:
        this.info.secrets.setdefault(site.server_name, make_secrets())
    this.info.save()
    if MIRROR in missing:
        mirror.fill(folder / "mirror", this.info.artifacts)
        mirror.fill_folder(folder / "artifacts", this.info.artifacts)
    page = npm.call_page(this.progress) if this.lab.has_call_page else None
    plan = network.plan(this.lab, this.info.subnet)
    here = hosts.Surroundings(
        this.client,
        this.lab,
        this.definitions,
        plan,
        folder,
        authority(folder / "ca", this.lab.name),
        this.progress,
        page,
    )
    hosts.create_all(here, missing, this.info.secrets, this.pool)
    _make_users(this, missing)
    inventory.write(
        folder / "inventory", this.lab, this.info.artifacts, this.info.users, plan.media_addresses()
    )
    write_public(folder / "sources.json", json.dumps(inventory.sources(this.info.artifacts), indent=2) + "\n")
    write_public(folder / "urls.json", json.dumps(this.lab.urls, indent=2) + "\n")
    this.info.hosts = sorted({*this.info.hosts, *missing})
    this.info.save()


def _build(this: Making) -> None:
    """Images and artifacts, at the same time."""
    artifacts = [] if this.info.artifacts else _artifacts(this)
    builder = images.Builder(this.client, this.definitions, apt.host_settings(), this.progress)
    built = builder.build({(host.image, host.operator.name) for _site, host in this.lab.places}, this.pool)
    this.info.artifacts += [artifact for future in artifacts for artifact in future.result()]
    for future in built:
        future.result()


def _artifacts(this: Making) -> list[Future[list[Artifact]]]:
    """Start finding or making the artifacts. A mistake of the user's shows before anything is built."""
    this.info.wishes = named_by_user()
    named = {
        component: parse_wishes(this.info.wishes[component.environment])
        for component in COMPONENTS
        if component is not ELEMENT_CALL or this.lab.has_call_page
    }
    store = Store(this.progress, go_architecture(this.client.info()))
    further = {LIVEKIT: this.lab.further_livekit}
    return [
        this.pool.submit(store.obtain, component, wishes, further.get(component, ()))
        for component, wishes in named.items()
    ]


def _remove_remains(this: Making, missing: set[str]) -> None:
    """Hosts that were not finished are made anew."""
    present = hosts.by_host(this.client, this.lab.name)
    remains = [container for host, container in present.items() if host in missing]
    if remains:
        with this.progress.step(f"Removing {len(remains)} unfinished hosts"):
            hosts.remove(remains, this.pool)


def _subnet(this: Making) -> str:
    """The network's subnet. Addresses are in every host's /etc/hosts: they must not change below a host."""
    subnet = network.ensure(this.client, this.lab)
    if this.info.hosts and this.info.subnet != subnet:
        raise LabError(
            f"the network of lab {this.lab.name} is another one now; start over: "
            f"python -m lab down {this.lab.name}"
        )
    return subnet


def _make_users(this: Making, missing: set[str]) -> None:
    homeservers = {site.server_name: site.host_with("homeserver") for site in this.lab.sites}
    new = {server_name: host for server_name, host in homeservers.items() if host.name in missing}
    if not new:
        return
    with this.progress.step(f"Making {' and '.join(users.PEOPLE)} on {', '.join(new)}"):
        futures: dict[str, Future[list[users.User]]] = {
            server_name: this.pool.submit(
                users.create, hosts.get(this.client, this.lab.name, host.name), host.operator.homeserver
            )
            for server_name, host in new.items()
        }
        this.info.users.update({server_name: future.result() for server_name, future in futures.items()})
