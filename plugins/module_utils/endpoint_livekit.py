# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the few settings of LiveKit that a check needs, on hosts whose Python has no YAML library."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence


def unquoted(text: str) -> str:
    """A YAML scalar without its quotes and without a comment behind it."""
    value = text.strip()
    quoted = re.match(r"(['\"])(.*?)\1\s*(#.*)?$", value)
    return quoted.group(2) if quoted else re.sub(r"\s+#.*$", "", value)


def flat_settings(text: str) -> dict[str, str]:
    """Scalars of a YAML or JSON document by dotted path; the items of a list have their number in it.

    Understands what a serializer writes: nested mappings and lists of scalars in block style.
    'room.auto_create' is 'false', 'webhook.urls.0' the first URL.
    """
    if text.lstrip().startswith("{"):
        return dict(_flattened("", json.loads(text)))
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    counts: dict[str, int] = {}
    for line in text.splitlines():
        content = line.strip()
        if not content or content.startswith(("#", "---")):
            continue
        indent = len(line) - len(line.lstrip())
        item = re.match(r"- (.*)$", content)
        # An item of a list may stand at the same column as the key above it.
        while path and (path[-1][0] > indent or (path[-1][0] == indent and not item)):
            path.pop()
        parent = ".".join(name for _column, name in path)
        if item:
            found[f"{parent}.{counts.get(parent, 0)}"] = unquoted(item.group(1))
            counts[parent] = counts.get(parent, 0) + 1
            continue
        name, _colon, value = content.partition(":")
        key = f"{parent}.{unquoted(name)}" if parent else unquoted(name)
        if value.strip() and not value.strip().startswith("#"):
            found[key] = unquoted(value)
        else:
            path.append((indent, unquoted(name)))
    return found


def _flattened(path: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair for name, inner in value.items() for pair in _flattened(f"{path}.{name}".lstrip("."), inner)
        ]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [pair for number, inner in enumerate(value) for pair in _flattened(f"{path}.{number}", inner)]
    return [(path, json.dumps(value) if isinstance(value, bool) else str(value))]


def key_pairs(text: str) -> dict[str, str]:
    """The API keys and secrets of a LiveKit key file, one `key: secret` on each line."""
    pairs = {}
    for line in text.splitlines():
        name, colon, secret = line.partition(": ")
        if colon and not line.lstrip().startswith("#"):
            pairs[unquoted(name)] = unquoted(secret)
    return pairs


def is_false(value: str) -> bool:
    """A YAML boolean that is off."""
    return value.lower() in ("false", "no", "off")


def list_at(settings: Mapping[str, str], path: str) -> list[str]:
    """The items of a list of scalars."""
    return [value for key, value in settings.items() if re.fullmatch(re.escape(path) + r"\.\d+", key)]
