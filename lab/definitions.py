# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a lab consists of: `labs.yml` read, checked and turned into objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import LabError
from .paths import DEFINITIONS

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
SERVER_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.test")
RESERVED_HOSTS = ("client", "mirror")
# Folders of the lab's own below .lab/, beside those of the labs.
RESERVED_LABS = ("cache",)


@dataclass(frozen=True)
class Image:
    """A distribution: Debian `suite`, image to `pull` where a registry answers, its `python` version."""

    name: str
    suite: str
    pull: str
    python: str
    nginx_http2_directive: bool


@dataclass(frozen=True)
class Site:
    """One all-in-one host; `well_known` is `file` or `synapse`."""

    host: str
    server_name: str
    image: str
    well_known: str = "file"

    @property
    def matrix_name(self) -> str:
        """Host name of the client API."""
        return f"matrix.{self.server_name}"

    @property
    def rtc_name(self) -> str:
        """Host name at which clients reach the SFU and the token service."""
        return f"rtc.{self.server_name}"

    @property
    def names(self) -> tuple[str, str, str]:
        """Every name that resolves to this host and has a certificate of its own."""
        return (self.server_name, self.matrix_name, self.rtc_name)

    def as_data(self) -> dict[str, str]:
        """The site as it stands in labs.yml."""
        return asdict(self)


@dataclass(frozen=True)
class Lab:
    """A named lab and its sites."""

    name: str
    sites: tuple[Site, ...]


@dataclass(frozen=True)
class Definitions:
    """All of labs.yml."""

    versions: Mapping[str, str]
    images: Mapping[str, Image]
    client_image: str
    labs: Mapping[str, Lab]


def load(path: Path = DEFINITIONS) -> Definitions:
    """Read and check the definitions. Raises LabError that names the offending entry."""
    data = yaml.safe_load(path.read_text())
    images = {name: Image(name=name, **values) for name, values in data["images"].items()}
    if data["client_image"] not in images:
        raise LabError(f"{path.name}: client_image {data['client_image']!r} is not one of {sorted(images)}")
    labs = {
        name: build_lab(name, (Site(**site) for site in sites), images)
        for name, sites in data["labs"].items()
    }
    return Definitions(data["versions"], images, data["client_image"], labs)


def build_lab(name: str, sites: Iterable[Site], images: Mapping[str, Image]) -> Lab:
    """Check one lab: known images, names that are valid, host and server names used once."""
    check_name(name)
    lab = Lab(name, tuple(sites))
    if not lab.sites:
        raise LabError(f"lab {name!r} has no site")
    for site in lab.sites:
        _check_site(site, images)
    for what in ("host", "server_name"):
        values = [getattr(site, what) for site in lab.sites]
        if len(set(values)) != len(values):
            raise LabError(f"lab {name!r}: two sites share one {what}: {sorted(values)}")
    return lab


def check_name(name: str) -> None:
    """A lab's name is part of folder, container and network names."""
    if not NAME.fullmatch(name) or name in RESERVED_LABS:
        raise LabError(f"lab name {name!r}: use lower-case letters, digits and hyphens, a letter first")


def _check_site(site: Site, images: Mapping[str, Image]) -> None:
    if site.image not in images:
        raise LabError(f"site {site.host!r}: no image {site.image!r}; there are {sorted(images)}")
    if not NAME.fullmatch(site.host) or site.host in RESERVED_HOSTS:
        raise LabError(f"site {site.host!r}: not a usable host name (reserved: {', '.join(RESERVED_HOSTS)})")
    if not SERVER_NAME.fullmatch(site.server_name):
        raise LabError(f"site {site.host!r}: server name {site.server_name!r} must end in .test (RFC 6761)")
    if site.well_known not in ("file", "synapse"):
        raise LabError(f"site {site.host!r}: well_known is {site.well_known!r}; use file or synapse")


def site_from_argument(text: str) -> Site:
    """`--site NAME=IMAGE` of the command line: host NAME, server name NAME.test, a well-known file."""
    host, found, image = text.partition("=")
    if not found or not host or not image:
        raise LabError(f"--site {text!r}: write NAME=IMAGE, such as demo=debian13")
    return Site(host=host, server_name=f"{host}.test", image=image)


def choose(definitions: Definitions, name: str, site_arguments: list[str], known: Any = None) -> Lab:
    """The lab that `up NAME` means: sites given as arguments, else those of a lab that exists, else labs.yml.

    known: `sites` of the lab's info.json (a list of mappings) or None.
    """
    if site_arguments:
        return build_lab(name, (site_from_argument(text) for text in site_arguments), definitions.images)
    if known:
        return build_lab(name, (Site(**site) for site in known), definitions.images)
    if name not in definitions.labs:
        raise LabError(
            f"no lab {name!r} in {DEFINITIONS.name} (there are {sorted(definitions.labs)}); "
            f"or name its sites: --site {name}=debian13"
        )
    return definitions.labs[name]
