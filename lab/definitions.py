# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a lab consists of: `labs.yml` read, checked and turned into objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import LabError
from .operators import PARTS, Operator
from .operators import load as load_operators
from .paths import DEFINITIONS

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
HOST_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
SERVER_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.test")
RESERVED_HOSTS = ("client", "mirror")
# Folders of the lab's own below .lab/, beside those of the labs.
RESERVED_LABS = ("cache",)
DEFAULT_OPERATOR = "package"


@dataclass(frozen=True)
class Image:
    """A distribution: Debian `suite`, image to `pull` where a registry answers, its `python` version."""

    name: str
    suite: str
    pull: str
    python: str
    nginx_http2_directive: bool


@dataclass(frozen=True)
class Host:
    """One host of a site; `access`: whether it is in the inventory, or somebody else's.

    `ipv6`: whether its SFU is reached over IPv6 as well.
    """

    name: str
    operator: Operator
    image: str
    access: bool = True
    ipv6: bool = False


@dataclass(frozen=True)
class Site:
    """A homeserver and its hosts; `well_known` is `file` or `synapse`.

    further_livekit: versions of LiveKit that are on the mirror beside the one that hosts install.
    """

    server_name: str
    hosts: tuple[Host, ...]
    well_known: str = "file"
    further_livekit: tuple[str, ...] = ()

    @property
    def matrix_name(self) -> str:
        """Host name of the client API."""
        return f"matrix.{self.server_name}"

    @property
    def rtc_name(self) -> str:
        """Host name at which clients reach the SFU and the token service."""
        return f"rtc.{self.server_name}"

    def names(self, host: Host) -> tuple[str, ...]:
        """Every name that resolves to the (first) address of a host; each has a certificate of its own."""
        return host.operator.host_names(self.server_name) or (f"{host.name}.{self.server_name}",)

    def second_names(self, host: Host) -> tuple[str, ...]:
        """Every name that resolves to the second address of a host."""
        return host.operator.second_names(self.server_name)

    def host_with(self, part: str) -> Host:
        """The host that is `web`, `homeserver` or `rtc`."""
        return next(host for host in self.hosts if part in host.operator.parts)

    def as_data(self) -> dict[str, Any]:
        """The site as it stands in labs.yml."""
        hosts = [{**vars(host), "operator": host.operator.name} for host in self.hosts]
        return {
            "server_name": self.server_name,
            "well_known": self.well_known,
            "further_livekit": list(self.further_livekit),
            "hosts": hosts,
        }


@dataclass(frozen=True)
class Lab:
    """A named lab and its sites."""

    name: str
    sites: tuple[Site, ...]

    @property
    def places(self) -> tuple[tuple[Site, Host], ...]:
        """Every host with the site that it belongs to."""
        return tuple((site, host) for site in self.sites for host in site.hosts)

    @property
    def has_ipv6(self) -> bool:
        """Whether some host is reached over IPv6, so that the network needs it."""
        return any(host.ipv6 for _site, host in self.places)

    @property
    def has_call_page(self) -> bool:
        """Whether some host shows Element Call, so that the client needs a browser."""
        return any(host.operator.call_page for _site, host in self.places)

    @property
    def further_livekit(self) -> tuple[str, ...]:
        """Versions of LiveKit that are on the mirror beside the one that hosts install."""
        return tuple(version for site in self.sites for version in site.further_livekit)

    @property
    def urls(self) -> tuple[str, ...]:
        """What the operators serve on all hosts."""
        return tuple(url for site, host in self.places for url in host.operator.host_urls(site.server_name))


@dataclass(frozen=True)
class Definitions:
    """All of labs.yml."""

    versions: Mapping[str, str]
    images: Mapping[str, Image]
    operators: Mapping[str, Operator]
    client_image: str
    labs: Mapping[str, Lab]

    def host_images(self) -> set[tuple[str, str]]:
        """Distribution and operator of every host of every lab."""
        places = [place for lab in self.labs.values() for place in lab.places]
        return {(host.image, host.operator.name) for _site, host in places}


def load(path: Path = DEFINITIONS) -> Definitions:
    """Read and check the definitions. Raises LabError that names the offending entry."""
    data = yaml.safe_load(path.read_text())
    images = {name: Image(name=name, **values) for name, values in data["images"].items()}
    operators = load_operators()
    if data["client_image"] not in images:
        raise LabError(f"{path.name}: client_image {data['client_image']!r} is not one of {sorted(images)}")
    labs = {
        name: build_lab(name, (site_from_data(site, operators) for site in sites), images)
        for name, sites in data["labs"].items()
    }
    return Definitions(data["versions"], images, operators, data["client_image"], labs)


def site_from_data(data: Mapping[str, Any], operators: Mapping[str, Operator]) -> Site:
    """A site from what stands in labs.yml. Raises LabError for an operator that there is not."""
    for host in data["hosts"]:
        if host["operator"] not in operators:
            raise LabError(
                f"host {host['name']!r}: no operator {host['operator']!r}; there are {sorted(operators)}"
            )
    hosts = tuple(Host(**{**host, "operator": operators[host["operator"]]}) for host in data["hosts"])
    further = tuple(data.get("further_livekit", ()))
    return Site(**{**data, "hosts": hosts, "further_livekit": further})


def build_lab(name: str, sites: Iterable[Site], images: Mapping[str, Image]) -> Lab:
    """Check one lab: known images, names that are valid and used once, every part of a site on one host."""
    check_name(name)
    lab = Lab(name, tuple(sites))
    if not lab.sites:
        raise LabError(f"lab {name!r} has no site")
    for site in lab.sites:
        _check_site(site)
    for _site, host in lab.places:
        _check_host(host, images)
    _check_unique(name, "host", [host.name for _site, host in lab.places])
    _check_unique(name, "server_name", [site.server_name for site in lab.sites])
    return lab


def _check_unique(lab: str, what: str, values: Sequence[str]) -> None:
    if len(set(values)) != len(values):
        raise LabError(f"lab {lab!r}: two share one {what}: {sorted(values)}")


def check_name(name: str) -> None:
    """A lab's name is part of folder, container and network names."""
    if not NAME.fullmatch(name) or name in RESERVED_LABS:
        raise LabError(
            f"lab name {name!r}: use lower-case letters, digits, hyphens and underscores, a letter first"
        )


def _check_host(host: Host, images: Mapping[str, Image]) -> None:
    if host.image not in images:
        raise LabError(f"host {host.name!r}: no image {host.image!r}; there are {sorted(images)}")
    if not HOST_NAME.fullmatch(host.name) or host.name in RESERVED_HOSTS:
        raise LabError(f"host {host.name!r}: not a usable name (reserved: {', '.join(RESERVED_HOSTS)})")


def _check_site(site: Site) -> None:
    if not SERVER_NAME.fullmatch(site.server_name):
        raise LabError(f"server name {site.server_name!r} must end in .test (RFC 6761)")
    if site.well_known not in ("file", "synapse"):
        raise LabError(f"site {site.server_name}: well_known is {site.well_known!r}; use file or synapse")
    parts = sorted(part for host in site.hosts for part in host.operator.parts)
    if parts != sorted(PARTS):
        raise LabError(
            f"site {site.server_name}: its hosts are {', '.join(parts)}; each of {', '.join(PARTS)} once"
        )


def site_from_argument(text: str, operators: Mapping[str, Operator]) -> Site:
    """`--site NAME=IMAGE` or `NAME=IMAGE:OPERATOR`: one host NAME of that operator's, for NAME.test."""
    name, found, image = text.partition("=")
    image, _colon, operator = image.partition(":")
    if not found or not name or not image:
        raise LabError(f"--site {text!r}: write NAME=IMAGE, such as demo=debian13")
    host = {"name": name, "operator": operator or DEFAULT_OPERATOR, "image": image}
    return site_from_data({"server_name": f"{name}.test", "hosts": [host]}, operators)


def choose(definitions: Definitions, name: str, site_arguments: list[str], known: Any = None) -> Lab:
    """The lab that `up NAME` means: sites given as arguments, else those of a lab that exists, else labs.yml.

    known: `sites` of the lab's info.json (a list of mappings) or None.
    """
    operators, images = definitions.operators, definitions.images
    if site_arguments:
        return build_lab(name, (site_from_argument(text, operators) for text in site_arguments), images)
    if known:
        return build_lab(name, (site_from_data(site, operators) for site in known), images)
    if name not in definitions.labs:
        raise LabError(
            f"no lab {name!r} in {DEFINITIONS.name} (there are {sorted(definitions.labs)}); "
            f"or name its sites: --site {name}=debian13"
        )
    return definitions.labs[name]
