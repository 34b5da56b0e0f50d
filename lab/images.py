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

import docker

from . import wheels
from .apt import AptSettings
from .bases import Bases, base_hash, base_tag
from .builds import INPUTS_LABEL, REPOSITORY, build, inputs_of
from .definitions import Definitions, Image
from .engine import go_architecture
from .hashing import hash_of, hash_of_bytes
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


def site_tag(image: Image) -> str:
    """The tag of the image for a site on this distribution."""
    return f"{REPOSITORY}/site:{image.name}"


def client_tag(image: Image) -> str:
    """The tag of the client host's image."""
    return f"{REPOSITORY}/client:{image.name}"


def site_recipe(image: Image, versions: Mapping[str, str], folder: Path = DOCKERFILES) -> Recipe:
    """The recipe of a site's image."""
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


def client_recipe(image: Image, versions: Mapping[str, str], folder: Path = DOCKERFILES) -> Recipe:
    """The recipe of the client host's image."""
    text = (folder / "client.Dockerfile").read_text()
    dockerfile = text.replace("LIVEKIT_SDK_VERSION", versions["livekit_sdk"])
    return Recipe(
        client_tag(image),
        _on_base(dockerfile, image),
        {},
        (f"livekit=={versions['livekit_sdk']}", "numpy"),
        image.python,
    )


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

    def build(self, site_images: set[str], pool: ThreadPoolExecutor) -> list[Future[str]]:
        """Start building the sites' images and the client's; the futures give the tags.

        The bare distributions come first in the pool: what waits for one never keeps it from starting.
        """
        missing = [
            (image, recipe)
            for image, recipe in self._recipes(site_images)
            if inputs_of(self._client, recipe.tag) != self._inputs(image, recipe)
        ]
        distributions = dict.fromkeys(image for image, _recipe in missing)
        bases = {image: pool.submit(self._bases.ensure, image) for image in distributions}
        return [pool.submit(self._image, image, recipe, bases[image]) for image, recipe in missing]

    def current_inputs(self) -> set[str]:
        """The input hashes images would have now: a host with another one was made from an older image."""
        return {self._inputs(image, recipe) for image, recipe in self._recipes(self._definitions.images)}

    def _recipes(self, site_images: Iterable[str]) -> list[tuple[Image, Recipe]]:
        settings = self._definitions
        client = settings.images[settings.client_image]
        sites = [settings.images[name] for name in sorted(site_images)]
        return [
            *((image, site_recipe(image, settings.versions)) for image in sites),
            (client, client_recipe(client, settings.versions)),
        ]

    def _inputs(self, image: Image, recipe: Recipe) -> str:
        return recipe.inputs(base_hash(image, self._apt))

    def _image(self, image: Image, recipe: Recipe, base: Future[None]) -> str:
        architecture = go_architecture(self._client.info())
        folder = wheels.fetch(self._progress, list(recipe.requirements), recipe.python, architecture)
        base.result()
        context = {"Dockerfile": recipe.dockerfile.encode(), **recipe.files}
        context.update({f"wheels/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())})
        with self._progress.step(f"Building image {recipe.tag}") as step:
            build(self._client, recipe.tag, context, self._inputs(image, recipe), step)
        return recipe.tag


def remove_all(client: docker.DockerClient, progress: Progress) -> None:
    """Remove every image of the lab, the bare distributions last: others are built on them."""
    tags = [tag for image in client.images.list(filters={"label": INPUTS_LABEL}) for tag in image.tags]
    if tags:
        with progress.step(f"Removing {len(tags)} images"):
            for tag in sorted(tags, key=lambda tag: "/base:" in tag):
                client.images.remove(tag)
            client.images.prune(filters={"label": INPUTS_LABEL, "dangling": True})
