# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the roles download: the components, their versions, and what the user may name instead."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from .errors import LabError
from .paths import CLONE

VERSION = re.compile(r"\d+\.\d+\.\d+[\w.-]*")


@dataclass(frozen=True)
class Component:
    """A piece of software that the roles download.

    repository: upstream's. role, version_variable, default_version: where its version is set.
    environment: the variable in which a user names a version or a file.
    """

    name: str
    repository: str
    role: str
    version_variable: str
    default_version: str
    environment: str

    def asset(self, version: str, architecture: str) -> str:
        """The release asset's file name, as upstream writes it."""
        if self.name == "livekit":
            return f"livekit_{version}_linux_{architecture}.tar.gz"
        if self.name == "element_call":
            return f"element-call-embedded-{version}.tar.gz"
        return f"lk-jwt-service_linux_{architecture}"


LIVEKIT = Component(
    name="livekit",
    repository="livekit/livekit",
    role="livekit",
    environment="LAB_LIVEKIT",
    version_variable="livekit_version",
    default_version="1.13.5",
)
TOKEN_SERVICE = Component(
    name="token_service",
    repository="element-hq/lk-jwt-service",
    role="lk_jwt_service",
    environment="LAB_TOKEN_SERVICE",
    version_variable="lk_jwt_service_version",
    default_version="0.8.0",
)
ELEMENT_CALL = Component(
    name="element_call",
    repository="element-hq/element-call",
    role="element_call",
    environment="LAB_ELEMENT_CALL",
    version_variable="element_call_version",
    default_version="0.26.1",
)
COMPONENTS = (LIVEKIT, TOKEN_SERVICE, ELEMENT_CALL)
BY_NAME = {component.name: component for component in COMPONENTS}


@dataclass(frozen=True)
class Artifact:
    """A file as upstream would publish it.

    source: where it comes from, for people. chosen: whether the user named its version or the file.
    """

    component: str
    version: str
    asset: str
    path: str
    sha256: str
    source: str
    chosen: bool = False


@dataclass(frozen=True)
class Wish:
    """One entry of LAB_LIVEKIT, LAB_TOKEN_SERVICE or LAB_ELEMENT_CALL: a version, a file, or both."""

    version: str | None
    file: Path | None


def role_version(component: Component, clone: Path = CLONE) -> str:
    """The version the role installs by default, read from its defaults."""
    defaults = clone / "roles" / component.role / "defaults" / "main.yml"
    values = yaml.safe_load(defaults.read_text()) if defaults.exists() else {}
    return str((values or {}).get(component.version_variable, component.default_version))


def parse_wishes(text: str) -> list[Wish]:
    """`[VERSION=]FILE` or `VERSION`, several separated by commas; the first one is what hosts install.

    Raises LabError when an entry is neither a version nor a file that exists.
    """
    return [_parse_wish(part.strip()) for part in text.split(",") if part.strip()]


def _parse_wish(text: str) -> Wish:
    version, equals, name = text.partition("=")
    if equals and VERSION.fullmatch(version):
        return Wish(version=version, file=_existing(name))
    if VERSION.fullmatch(text) and not Path(text).exists():
        return Wish(version=text, file=None)
    return Wish(version=None, file=_existing(text))


def _existing(name: str) -> Path:
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise LabError(f"{name!r} is neither a version such as 1.13.5 nor a file that exists")
    return path
