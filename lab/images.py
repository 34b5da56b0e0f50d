# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The images of the lab's hosts: built once, reused as long as what they are made of stays the same.

Every image carries the label `org.matrixrtc.lab.inputs`, a hash of all its inputs: it decides about reuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from . import wheels
from .apt import AptSettings
from .bases import Bases, base_hash, base_tag
from .builds import INPUTS_LABEL, REPOSITORY, build, inputs_of
from .definitions import Definitions, Image
from .engine import go_architecture
from .hashing import hash_of, hash_of_bytes
from .operators import Operator
from .paths import DOCKERFILES
from .progress import Progress


@dataclass(frozen=True)
class Recipe:
    """What an image is made of. `files` is the build context without the wheels: path to content."""

    tag: str
    dockerfile: str
    files: Mapping[str, bytes]
    requirements: tuple[str, ...]
    python: str

    def inputs(self, base: str) -> str:
        """Hash of everything that decides about the image; wheels count as the requirements they answer."""
        files = {path: hash_of_bytes(content) for path, content in self.files.items()}
        return hash_of([base, self.dockerfile, files, self.requirements, self.python])


@dataclass(frozen=True)
class Plan:
    """An image to have: distribution, recipe, the tag that it is built on, the hash of all its inputs."""

    image: Image
    recipe: Recipe
    parent: str
    inputs: str


def site_tag(image: Image) -> str:
    """The tag of the image for a site on this distribution."""
    return f"{REPOSITORY}/site:{image.name}"


def client_tag(image: Image, has_browser: bool = False) -> str:
    """The tag of the client host's image."""
    return f"{REPOSITORY}/{'browser' if has_browser else 'client'}:{image.name}"


def site_recipe(image: Image, versions: Mapping[str, str], folder: Path = DOCKERFILES) -> Recipe:
    """The recipe of a site's image, before any operator's own packages."""
    rootfs = folder / "rootfs"
    files = {
        f"rootfs/{path.relative_to(rootfs)}": path.read_bytes()
        for path in sorted(rootfs.rglob("*"))
        if path.is_file()
    }
    text = (folder / "site.Dockerfile").read_text()
    dockerfile = text.replace("SYNAPSE_VERSION", versions["synapse"])
    return Recipe(
        site_tag(image),
        _on_base(dockerfile, image),
        files,
        (f"matrix-synapse=={versions['synapse']}",),
        image.python,
    )


def host_tag(image: Image, operator: Operator) -> str:
    """The tag of the image for a host of this operator's: the site's, where it needs nothing more."""
    return f"{REPOSITORY}/operator-{operator.name}:{image.name}" if operator.dockerfile else site_tag(image)


def host_recipe(image: Image, operator: Operator) -> Recipe:
    """The recipe of an operator's own image, on the site's."""
    dockerfile = operator.dockerfile.replace("FROM SITE", f"FROM {site_tag(image)}")
    return Recipe(host_tag(image, operator), dockerfile, {}, operator.wheels, image.python)


def client_recipe(image: Image, versions: Mapping[str, str], folder: Path = DOCKERFILES) -> Recipe:
    """The recipe of the client host's image."""
    text = (folder / "client.Dockerfile").read_text()
    dockerfile = text.replace("LIVEKIT_SDK_VERSION", versions["livekit_sdk"])
    return Recipe(
        client_tag(image),
        _on_base(dockerfile, image),
        {},
        (f"livekit=={versions['livekit_sdk']}", "numpy", f"aioice=={versions['aioice']}"),
        image.python,
    )


def browser_recipe(image: Image, versions: Mapping[str, str], folder: Path = DOCKERFILES) -> Recipe:
    """The recipe of the image for a client host with a browser, on the client's."""
    text = (folder / "browser.Dockerfile").read_text().replace("FROM CLIENT", f"FROM {client_tag(image)}")
    dockerfile = text.replace("PLAYWRIGHT_VERSION", versions["playwright"])
    requirements = (f"playwright=={versions['playwright']}",)
    return Recipe(client_tag(image, has_browser=True), dockerfile, {}, requirements, image.python)


def _on_base(dockerfile: str, image: Image) -> str:
    return dockerfile.replace("FROM BASE", f"FROM {base_tag(image)}")


class Builder:
    """Builds what is missing, each image once, several at a time."""

    def __init__(
        self, client: docker.DockerClient, definitions: Definitions, apt: AptSettings, progress: Progress
    ) -> None:
        self._client = client
        self._definitions = definitions
        self._apt = apt
        self._progress = progress
        self._bases = Bases(client, apt, progress)

    def build(self, wanted: set[tuple[str, str]], pool: ThreadPoolExecutor) -> list[Future[str]]:
        """Start building the images of hosts and the client's; the futures give the tags.

        wanted: distribution and operator of the hosts. What others are built on comes first in the pool: what
        waits for it never keeps it from starting.
        """
        plans = self._plans(wanted)
        missing = [plan for plan in plans if inputs_of(self._client, plan.recipe.tag) != plan.inputs]
        started: dict[str, Future[Any]] = {
            base_tag(plan.image): pool.submit(self._bases.ensure, plan.image)
            for plan in missing
            if plan.parent == base_tag(plan.image)
        }
        built: list[Future[str]] = []
        for plan in missing:
            started[plan.recipe.tag] = pool.submit(self._image, plan, started.get(plan.parent))
            built.append(started[plan.recipe.tag])
        return built

    def current_inputs(self) -> set[str]:
        """The input hashes images would have now: a host with another one was made from an older image."""
        settings = self._definitions
        plans = self._plans({(image, name) for image in settings.images for name in settings.operators})
        return {plan.inputs for plan in plans}

    def _plans(self, wanted: Iterable[tuple[str, str]]) -> list[Plan]:
        """The images for these hosts and the client's; what others are built on comes first."""
        settings = self._definitions
        client = settings.images[settings.client_image]
        sites = {
            name: self._plan(settings.images[name], site_recipe(settings.images[name], settings.versions))
            for name in sorted({image for image, _operator in wanted})
        }
        operators = [
            _on(sites[image], host_recipe(settings.images[image], settings.operators[name]))
            for image, name in sorted(wanted)
            if settings.operators[name].dockerfile
        ]
        caller = self._plan(client, client_recipe(client, settings.versions))
        if any(settings.operators[name].call_page for _image, name in wanted):
            operators.append(_on(caller, browser_recipe(client, settings.versions)))
        return [*sites.values(), caller, *operators]

    def _plan(self, image: Image, recipe: Recipe) -> Plan:
        return Plan(image, recipe, base_tag(image), recipe.inputs(base_hash(image, self._apt)))

    def _image(self, plan: Plan, parent: Future[Any] | None) -> str:
        recipe = plan.recipe
        context = {"Dockerfile": recipe.dockerfile.encode(), **recipe.files}
        if recipe.requirements:
            architecture = go_architecture(self._client.info())
            folder = wheels.fetch(self._progress, list(recipe.requirements), recipe.python, architecture)
            context.update({f"wheels/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())})
        if parent:
            parent.result()
        with self._progress.step(f"Building image {recipe.tag}") as step:
            build(self._client, recipe.tag, context, plan.inputs, step)
        return recipe.tag


def _on(parent: Plan, recipe: Recipe) -> Plan:
    """The plan of an image that is built on another one."""
    return Plan(parent.image, recipe, parent.recipe.tag, recipe.inputs(parent.inputs))


def remove_all(client: docker.DockerClient, progress: Progress) -> None:
    """Remove every image of the lab, those that others are built on last."""
    tags = [tag for image in client.images.list(filters={"label": INPUTS_LABEL}) for tag in image.tags]
    if tags:
        with progress.step(f"Removing {len(tags)} images"):
            for tag in sorted(tags, key=lambda tag: ("/base:" in tag, "/site:" in tag or "/client:" in tag)):
                client.images.remove(tag)
            client.images.prune(filters={"label": INPUTS_LABEL, "dangling": True})
