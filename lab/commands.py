# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the lab's commands do: up, down, status, images."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import docker
from docker.models.containers import Container

from . import apt, builds, definitions, engine, hosts, images, inventory, making, network, state
from .definitions import Definitions, Lab
from .errors import LabError
from .network import CLIENT, MIRROR
from .paths import STATE, lab_dir
from .progress import Progress

WORKERS = 6


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Threads for one command. When something fails, what has not begun does not begin any more."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def up(progress: Progress, name: str, site_arguments: list[str]) -> None:
    """Make a lab, or say that it is there. Never touches a host that is finished and running."""
    started = time.monotonic()
    settings = definitions.load()
    lab, info = _wanted_and_known(settings, name, site_arguments)
    client = engine.connect()
    present = hosts.by_host(client, name) if client else {}
    if client and _is_up(lab, info, present):  # no lock: who only looks need not wait for another command
        _say_what_differs(progress, client, settings, info, present)
        progress.say(f"Lab {name} is up already; nothing was touched.")
    else:
        with state.locked(progress):
            lab, info = _wanted_and_known(settings, name, site_arguments)
            _bring_up(progress, engine.ensure(progress), settings, lab, info)
    _describe(progress, lab, info)
    progress.say(f"Ready after {time.monotonic() - started:.1f} s.")


def _wanted_and_known(settings: Definitions, name: str, site_arguments: list[str]) -> tuple[Lab, state.Info]:
    """The lab that is asked for and what is remembered about it. Raises LabError when they do not agree."""
    known = state.read(name)
    lab = definitions.choose(settings, name, site_arguments, known.sites if known else None)
    info = known or state.fresh(lab)
    if [site.as_data() for site in lab.sites] != info.sites:
        there = ", ".join(host["name"] for site in info.sites for host in site["hosts"])
        raise LabError(
            f"lab {name} exists with other sites ({there}); remove it first: python -m lab down {name}"
        )
    return lab, info


def _is_up(lab: Lab, info: state.Info, present: Mapping[str, Container]) -> bool:
    return all(
        host in info.hosts and host in present and present[host].status == "running"
        for host in making.wanted_hosts(lab)
    )


def _bring_up(
    progress: Progress, client: docker.DockerClient, settings: Definitions, lab: Lab, info: state.Info
) -> None:
    """Make what is missing and start what is stopped."""
    present = hosts.by_host(client, lab.name)
    if present and not info.subnet:
        raise LabError(
            f"lab {lab.name} has hosts that this clone knows nothing of: another clone\n"
            f"made them, or .lab was deleted. Remove them first: python -m lab down {lab.name}"
        )
    finished = {host: container for host, container in present.items() if host in info.hosts}
    missing = making.wanted_hosts(lab) - set(finished)
    if missing:
        with _workers() as pool:
            making.make(making.Making(progress, client, settings, lab, info, pool), missing)
    stopped = {host: container for host, container in finished.items() if container.status == "exited"}
    hosts.restart(lab, stopped, progress)


def _say_what_differs(
    progress: Progress,
    client: docker.DockerClient,
    settings: Definitions,
    info: state.Info,
    present: Mapping[str, Container],
) -> None:
    remake = f"it counts after `python -m lab down {info.name}`"
    for name, value in making.named_by_user().items():
        if value and value != info.wishes.get(name, ""):
            progress.note(f"{name} names something else than when lab {info.name} was made; {remake}.")
    current = images.Builder(client, settings, apt.host_settings(), progress).current_inputs()
    old = sorted(
        host
        for host, container in present.items()
        if container.labels.get(builds.INPUTS_LABEL) not in current
    )
    if old:
        progress.note(f"What the image of {', '.join(old)} is made of has changed; {remake}.")


def _describe(progress: Progress, lab: Lab, info: state.Info) -> None:
    plan = network.plan(lab, info.subnet)
    progress.say()
    for site, place in lab.places:
        what = f"{place.image}, {', '.join(place.operator.parts)} by operator {place.operator.name}"
        progress.say(f"  {place.name:<8} {plan.addresses[place.name]:<14} {site.names(place)[0]}, {what}")
    for host in (CLIENT, MIRROR):
        progress.say(f"  {host:<8} {plan.addresses[host]:<14} {', '.join(plan.names[host])}")
    _say_sources(progress, info)
    progress.say(f"  inventory: {os.path.relpath(lab_dir(lab.name) / 'inventory')}")
    progress.say(f"  a shell: docker exec -it {hosts.container_name(lab.name, lab.places[0][1].name)} bash")
    progress.say()


def _say_sources(progress: Progress, info: state.Info) -> None:
    for component, source in inventory.sources(info.artifacts).items():
        progress.say(f"  {component.replace('_', ' ')}: {source}")


def down(progress: Progress, names: Sequence[str], everything: bool, purge: bool) -> None:
    """Remove labs: hosts, networks and all that is remembered.

    purge: also the images, the cached builds, and the docker daemon if the lab started it.
    """
    with state.locked(progress):
        client = engine.connect()
        if client is None:
            progress.note("No container engine answers: there are no hosts to remove.")
        gone = _all_labs(client) if everything else list(names)
        with _workers() as pool:
            for name in gone:
                _remove_lab(progress, client, name, pool)
        if not gone:
            progress.say("There is no lab to remove.")
        if purge:
            _purge(progress, client, _all_labs(client))


def _all_labs(client: docker.DockerClient | None) -> list[str]:
    """The labs that something is left of: a record, a container or a network."""
    found = set(state.names())
    if client is not None:
        found |= {container.labels[network.LAB_LABEL] for container in hosts.containers(client)}
        found |= network.labs(client)
    return sorted(found)


def _remove_lab(
    progress: Progress, client: docker.DockerClient | None, name: str, pool: ThreadPoolExecutor
) -> None:
    definitions.check_name(name)
    with progress.step(f"Removing lab {name}"):
        if client is not None:
            hosts.remove(hosts.containers(client, name), pool)
            network.remove(client, name)
        shutil.rmtree(lab_dir(name), ignore_errors=True)


def _purge(progress: Progress, client: docker.DockerClient | None, left: Sequence[str]) -> None:
    """Remove what labs have in common, unless one is left that needs it."""
    if left:
        progress.note(f"Images and builds are kept for {', '.join(left)}.")
        return
    if client is not None:
        images.remove_all(client, progress)
    engine.stop_own_daemon(progress)
    with progress.step("Removing the cache of builds"):
        shutil.rmtree(STATE, ignore_errors=True)


def status(progress: Progress) -> None:
    """Print the labs, their hosts and where their components come from."""
    client = engine.connect()
    if client is None:
        progress.say("No container engine answers.")
        return
    names = _all_labs(client)
    if not names:
        progress.say("There is no lab. Make one: python -m lab up demo")
    for name in names:
        info = state.read(name)
        progress.say(f"{name}:" if info else f"{name} (unfinished):")
        for host, container in sorted(hosts.by_host(client, name).items()):
            progress.say(f"  {host:<8} {container.status}")
        if info:
            _say_sources(progress, info)


def build_images(progress: Progress, wanted: Sequence[str]) -> None:
    """Build the images of labs.yml's hosts (on all distributions, or on those named) and the client's."""
    settings = definitions.load()
    unknown = sorted(set(wanted) - set(settings.images))
    if unknown:
        raise LabError(f"no image {', '.join(unknown)}; there are {', '.join(sorted(settings.images))}")
    with state.locked(progress):
        builder = images.Builder(engine.ensure(progress), settings, apt.host_settings(), progress)
        hosts_images = {pair for pair in settings.host_images() if not wanted or pair[0] in wanted}
        with _workers() as pool:
            built = [future.result() for future in builder.build(hosts_images, pool)]
    progress.say(f"Built: {', '.join(built)}" if built else "All images are up to date.")
