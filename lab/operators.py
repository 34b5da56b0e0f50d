# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The imaginary people who set the lab's hosts up: each is a folder of data below `operators/`.

`operator.yml` says what the lab has to know, `files/` is what lies on the host, and `Dockerfile`, where there
is one, installs what the site's image does not have. README.md describes the format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

from .errors import LabError
from .paths import OPERATORS

# What a host can be for its site, and the label of the name under which it is reached there.
PARTS = {"web": "", "homeserver": "matrix", "rtc": "rtc"}
SERVER_NAME = "SERVER_NAME"
_KNOWN = {
    "like",
    "parts",
    "units",
    "wheels",
    "names",
    "second",
    "homeserver",
    "permissions",
    "urls",
    "inventory",
    "call_page",
}
_TEMPLATE = ".j2"


@dataclass(frozen=True)
class HostFile:
    """A file for a host: absolute `path`, text, mode, numeric owner; with `link` a symbolic link instead."""

    path: str
    text: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""


@dataclass(frozen=True)
class Operator:
    """One operator.yml.

    folders: where files are looked up, those of an operator it is `like` first. parts: none for a machine
    that is only one more of its site, and named after the host. dockerfile: on the site's
    image, '' for none; it finds the Python packages `wheels` in a folder of that name. units: run when the
    host has booted. homeserver: Synapse's `python`, its main `config` file and the `url` of its client API,
    on the host. second: labels of names at a second address of the host. permissions: owner and mode of files
    that are not root's with mode 0644. urls: what the operator serves. inventory: variables of the host.
    call_page: the folder on the host for the page that shows Element Call, '' for none.
    """

    name: str
    folders: tuple[Path, ...]
    parts: tuple[str, ...]
    units: tuple[str, ...]
    dockerfile: str = ""
    wheels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    homeserver: Mapping[str, str] = field(default_factory=dict)
    permissions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    inventory: Mapping[str, Any] = field(default_factory=dict)
    call_page: str = ""

    def host_names(self, server_name: str) -> tuple[str, ...]:
        """The names of a host of this operator's: by its parts, then further ones."""
        labels = [label for part, label in PARTS.items() if part in self.parts] + list(self.names)
        return tuple(f"{label}.{server_name}" if label else server_name for label in labels)

    def second_names(self, server_name: str) -> tuple[str, ...]:
        """The names at the second address of a host of this operator's."""
        return tuple(f"{label}.{server_name}" for label in self.second)

    def host_urls(self, server_name: str) -> tuple[str, ...]:
        """What the operator serves on a host of this site."""
        return tuple(url.replace(SERVER_NAME, server_name) for url in self.urls)

    def files(self, **context: Any) -> list[HostFile]:
        """What lies on the host, templates rendered with `context`. What renders to nothing is not there."""
        server_name = context["site"].server_name
        found = {path: source for folder in self.folders for path, source in _walk(folder)}
        made = (
            self._file(path.replace(SERVER_NAME, server_name), source, context)
            for path, source in found.items()
        )
        return [file for file in made if file.text or file.link]

    def _file(self, path: str, source: Path, context: Mapping[str, Any]) -> HostFile:
        if source.is_symlink():
            return HostFile(path, link=os.readlink(source))
        text = source.read_bytes().decode()  # not read_text: line ends stay as they are
        if source.suffix == _TEMPLATE:
            text = _ENVIRONMENT.from_string(text).render(context)
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        owner = self.permissions.get(path, {})
        return HostFile(
            path, text, int(owner.get("mode", oct(mode)), 8), owner.get("uid", 0), owner.get("gid", 0)
        )


# these are configuration files, not HTML: nothing is to be escaped
_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False
)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder: its path on a host, and where it is."""
    for source in sorted(folder.rglob("*")):
        if source.is_symlink() or source.is_file():
            yield "/" + str(source.relative_to(folder)).removesuffix(_TEMPLATE), source


def load(folder: Path = OPERATORS) -> dict[str, Operator]:
    """Every operator. Raises LabError that names what is wrong."""
    return {path.parent.name: _operator(path) for path in sorted(folder.glob("*/operator.yml"))}


def _operator(path: Path) -> Operator:
    name, data = path.parent.name, yaml.safe_load(path.read_text())
    if unknown := sorted(set(data) - _KNOWN):
        raise LabError(f"operator {name!r}: unknown {', '.join(unknown)}; there are {sorted(_KNOWN)}")
    if not {"parts", "like"} & set(data):
        raise LabError(f"operator {name!r}: parts are missing; use {', '.join(PARTS)}, or [] for none")
    inherited: dict[str, Any] = {"folders": (), "parts": (), "units": ()}
    if "like" in data:
        inherited = vars(_operator(path.parents[1] / data.pop("like") / "operator.yml"))
    own = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    dockerfile = path.with_name("Dockerfile")
    if dockerfile.exists():
        own["dockerfile"] = dockerfile.read_text()
    operator = Operator(
        **{**inherited, **own, "name": name, "folders": (*inherited["folders"], path.with_name("files"))}
    )
    _check(operator)
    return operator


def _check(operator: Operator) -> None:
    if set(operator.parts) - set(PARTS):
        raise LabError(f"operator {operator.name!r}: parts are {operator.parts}; use {', '.join(PARTS)}")
    if "homeserver" in operator.parts and set(operator.homeserver) != {"python", "config", "url"}:
        raise LabError(f"operator {operator.name!r}: homeserver needs python, config and url")
    for path, owner in operator.permissions.items():
        if not re.fullmatch("0[0-7]{3}", owner.get("mode", "0644")) or set(owner) - {"mode", "uid", "gid"}:
            raise LabError(f"operator {operator.name!r}: {path} may have uid, gid, and mode such as '0640'")
