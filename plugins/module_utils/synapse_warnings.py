# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What an operator should know about a homeserver's configuration although it is no reason to refuse it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .synapse_files import Layout
from .synapse_listeners import answers_openid
from .synapse_plan import FileChange
from .synapse_policy import KEYS, LISTS, Version, identity
from .synapse_rendered import sign_of
from .synapse_units import Unit, own_settings, unread
from .synapse_yaml import duplicates


def settings_warnings(
    settings: Mapping[str, Any], config: Mapping[str, Any], version: Version
) -> Iterator[str]:
    """What the effective configuration lacks or has too much of."""
    for key in settings:
        if version < KEYS[key]:
            yield f"Synapse {version[0]}.{version[1]} does not know '{key}'; it was left out"
    experimental = config.get("experimental_features")
    if isinstance(experimental, dict) and experimental.get("msc4140_max_delayed_events_per_user") == 0:
        yield "msc4140_max_delayed_events_per_user is 0, which switches delayed events off"
    if "extra_well_known_client_content" in settings and not config.get("public_baseurl"):
        yield "public_baseurl is not set, and without it Synapse serves no /.well-known/matrix/client"
    for key, name in LISTS.items():
        yield from _twins(config.get(key), name)
    if any(hides_clients(one) for one in _list(config.get("listeners"))):
        yield "a loopback listener has no 'x_forwarded: true': all clients of its proxy share one rate limit"


def file_warnings(layout: Layout, changes: Sequence[FileChange]) -> Iterator[str]:
    """What is odd about the files themselves."""
    for change in changes:
        file = layout.file(change.path)
        sign = sign_of(file.document) if file is not None and change.path != layout.drop_in else None
        if sign is not None:
            yield f"{change.path}, line {sign.line}: {sign.reason}, so what writes it may undo these changes"
    for file in layout.files:
        for name, line, first in duplicates(file.document.root):
            yield (
                f"{file.path}, line {line}: '{name}' stands here a second time (first on line {first}), and "
                f"only the last one counts; it was left as it is"
            )


def unit_warnings(
    units: Sequence[Unit], settings: Mapping[str, Any], shared: Sequence[str], config: Mapping[str, Any]
) -> Iterator[str]:
    """What the units of Synapse and its workers do not read, and what none of their listeners answers."""
    listeners = _list(config.get("listeners"))
    for unit in units:
        problem = unread(unit, shared)
        if problem:
            yield problem
        for path, values in own_settings(unit, shared):
            hidden = [key for key in settings if key != "listeners" and key in values]
            if hidden:
                names = ", ".join(hidden)
                yield f"{path}, which {unit.name}.service reads too, has its own {names}: take it out there"
            listeners += _list(values.get("worker_listeners"))
    if answers_openid(listeners) is False:
        yield (
            "no listener has the resource 'federation' or 'openid', so the token service cannot ask who "
            "somebody is, and nobody can join a call. Add 'openid' to the names of a listener's resources "
            "that have 'client', or set synapse_config_openid_listener to true"
        )


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _twins(section: Any, name: str) -> Iterator[str]:
    """Entries that announce the same service twice, once with a trailing slash."""
    entries = section.get(name) if isinstance(section, dict) else None
    urls = [identity(entry)[-1] for entry in entries or []]
    for url in urls:
        if isinstance(url, str) and not url.endswith("/") and f"{url}/" in urls:
            yield f"{name} has both {url} and {url}/: remove the one with the slash at its end"


def hides_clients(listener: Any) -> bool:
    """A listener for a proxy on this host that takes everybody for that proxy."""
    if not isinstance(listener, dict) or listener.get("x_forwarded") or listener.get("type") != "http":
        return False
    addresses = listener.get("bind_addresses") or []
    is_local = bool(addresses) and all(address in ("127.0.0.1", "::1", "localhost") for address in addresses)
    return is_local and "client" in str(listener.get("resources"))
