# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Synapse's configuration as Synapse itself finds and merges it.

The rules are those of find_config_files and read_config_files in synapse/config/_base.py: files in the order
of the -c options, a directory stands for its *.yaml files in plain string order, a later file replaces whole
top-level keys, a file that holds no mapping is ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .files import read_bytes
from .synapse_yaml import Document, YamlError, parse

HEADER = (
    "# Kept by the Ansible collection matrixrtc.backend (role synapse_config); settings for Element Call.\n"
    "# What one of your own files defines is changed there instead, and is not repeated here.\n"
)


class ConfigError(Exception):
    """The configuration cannot be read or changed. The message names file and line and quotes no secret."""


@dataclass(frozen=True)
class ConfigFile:
    """One file of the configuration as it is on disk. `path` is the one Synapse is given."""

    path: str
    data: bytes
    document: Document

    @property
    def text(self) -> str:
        return self.document.text

    @property
    def values(self) -> dict[str, Any]:
        """Its top-level keys; empty for a file that Synapse ignores."""
        return self.document.data or {}

    @property
    def is_usable(self) -> bool:
        """Whether keys can be added to it: a mapping, or nothing but comments."""
        return self.document.data is not None or self.document.is_blank


@dataclass(frozen=True)
class Layout:
    """All files in the order in which Synapse applies them, and where a file of our own may stand.

    `drop_in` is None where a new file could change Synapse's idea of its configuration directory: that is the
    directory of the last file, and the signing key is looked for, or made anew, there.
    """

    files: tuple[ConfigFile, ...]
    drop_in: str | None

    def file(self, path: str) -> ConfigFile | None:
        """The file with the given path."""
        return next((file for file in self.files if file.path == path), None)


def read_layout(config: Sequence[str], working_directory: str, drop_in_name: str) -> Layout:
    """Read everything the -c options name. Raises ConfigError."""
    paths = [os.path.join(working_directory, path) for path in config]
    files = tuple(read_file(path) for path in find_files(paths))
    if not files:
        raise ConfigError(f"no configuration file is found in {', '.join(paths)}")
    return Layout(files, _drop_in(paths[-1], files, drop_in_name))


def find_files(paths: Iterable[str]) -> list[str]:
    """The files that a list of -c options stands for, in order."""
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = [os.path.join(path, name) for name in os.listdir(path) if name.endswith(".yaml")]
        found += sorted(entry for entry in inside if os.path.isfile(entry))
    return found


def read_file(path: str) -> ConfigFile:
    """Read and parse one file. Raises ConfigError."""
    data = read_bytes(path)
    if data is None:
        raise ConfigError(f"{path} does not exist, yet Synapse is said to read it")
    return parse_file(path, data)


def parse_file(path: str, data: bytes) -> ConfigFile:
    """A configuration file with the given content. Raises ConfigError."""
    try:
        return ConfigFile(path, data, parse(data.decode("utf-8")))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8") from None
    except YamlError as error:
        rendered = re.search(rb"\{\{|\{%|<%|\$\{", data)
        hint = " (it looks like a template; edit what it is made from)" if rendered else ""
        raise ConfigError(f"{path}, line {error.line}: not valid YAML{hint}: {error}") from None


def merge(files: Iterable[ConfigFile]) -> dict[str, Any]:
    """The effective top-level keys."""
    merged: dict[str, Any] = {}
    for file in files:
        merged.update(file.values)
    return merged


def keys_directory(files: Sequence[ConfigFile]) -> str:
    """What Synapse takes as its configuration directory."""
    return os.path.abspath(os.path.dirname(files[-1].path))


def _drop_in(last: str, files: Sequence[ConfigFile], name: str) -> str | None:
    if not os.path.isdir(last) or keys_directory(files) != os.path.abspath(last):
        return None
    return os.path.join(last, name)
