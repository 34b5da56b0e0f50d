# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What each setting of Synapse is to be, given the operator's value, what is wanted and what we did before.

Nothing here reads a file: values are the plain data of one top-level key of Synapse's configuration, or
MISSING. The rules are those of the MatrixRTC guide as it applies to Synapse 1.116 to 1.163: limits and
durations are only ever raised, list entries are matched by what they announce, flags are switched on, and
nothing else is touched.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .synapse_listeners import OPENID, ListenerError, answers_openid, listener_identity, with_openid
from .synapse_yaml import MISSING

Version = tuple[int, int]

# The top-level keys we set, in the order in which they are worked out, and the first Synapse that knows each.
KEYS: Mapping[str, Version] = {
    "max_event_delay_duration": (1, 116),
    "matrix_rtc": (1, 140),
    "experimental_features": (1, 0),
    "rc_message": (1, 0),
    "rc_delayed_event_mgmt": (1, 126),
    "extra_well_known_client_content": (1, 0),
    "listeners": (1, 0),
    "app_service_config_files": (1, 0),
}
# Flags below experimental_features: the first Synapse that knows each, and the first that needs it no more.
FLAGS: Mapping[str, tuple[Version, Version | None]] = {
    "msc3266_enabled": ((1, 44), (1, 153)),
    "msc4143_enabled": ((1, 140), None),
    "msc4222_enabled": ((1, 119), None),
    "msc4354_enabled": ((1, 150), None),
    "msc4502_enabled": ((1, 160), None),
    "msc4512_enabled": ((1, 161), None),
}
SERVICE_URL = "livekit_service_url"
LISTS: Mapping[str, str] = {
    "matrix_rtc": "transports",
    "extra_well_known_client_content": "org.matrix.msc4143.rtc_foci",
}
# The registrations of application services, and the first Synapse behind which the token service can stand as
# one: it asks the service (MSC4512), answers who is in a room (MSC4502), and takes transports with a URL.
APP_SERVICES = "app_service_config_files"
BEHIND: Version = (1, 161)
# Synapse's own limits where nothing is configured (synapse/config/ratelimiting.py).
LIMITS: Mapping[str, Mapping[str, float]] = {
    "rc_message": {"per_second": 0.2, "burst_count": 10},
    "rc_delayed_event_mgmt": {"per_second": 1, "burst_count": 5},
}
# Synapse reads these old names as long as rc_message itself is not there.
OLD_LIMITS: Mapping[str, Mapping[str, str]] = {
    "rc_message": {"per_second": "rc_messages_per_second", "burst_count": "rc_message_burst_count"},
}
_MILLISECONDS = {
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}


class PolicyError(Exception):
    """The operator's value is of a kind that no wanted value can be joined with. `path`: where it stands."""

    def __init__(self, message: str, path: tuple[str, ...]) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Contribution:
    """One thing we added or changed.

    `path`: keys from the top-level one down; a tuple in it is the identity of a list entry. `before`: what
    was there (MISSING: nothing). `after`: what we wrote. `container`: a mapping or list made for the rest.
    """

    path: tuple[Any, ...]
    before: Any
    after: Any
    container: bool = False


def parse_version(text: str) -> Version:
    """Major and minor number of a version such as 1.163.2 or 1.164.0rc1. Raises ValueError."""
    match = re.match(r"(\d+)\.(\d+)", text)
    if match is None:
        raise ValueError(f"'{text}' is not a version of Synapse")
    return int(match.group(1)), int(match.group(2))


def parse_duration(value: Any) -> int:
    """Milliseconds of a duration as Synapse reads it: a number, or digits and one of s, m, h, d, w, y.

    Raises ValueError. Same rule as Config.parse_duration in synapse/config/_base.py.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"\s*([+-]?\d+)\s*([smhdwy]?)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration such as 24h")
    return int(match.group(1)) * _MILLISECONDS.get(match.group(2), 1)


def identity(item: Any) -> Any:
    """What makes two entries of a list of transports the same: type and service URL, else everything."""
    if isinstance(item, dict) and item.get("type") and item.get(SERVICE_URL):
        return (item["type"], item[SERVICE_URL])
    return listener_identity(item) or (json.dumps(item, sort_keys=True, default=str),)


def identities(key: str, wanted: Any) -> frozenset[Any]:
    """The identities of all list entries in a wanted value."""
    if key == "listeners":
        return frozenset([identity(OPENID)])
    if key == APP_SERVICES:
        return frozenset(identity(path) for path in wanted)
    entries = wanted.get(LISTS[key]) or [] if key in LISTS and isinstance(wanted, dict) else []
    return frozenset(identity(entry) for entry in entries)


# What is wanted --------------------------------------------------------------------------------------


def desired(key: str, value: Any, wanted: Any, version: Version, config: Mapping[str, Any]) -> Any:
    """The value that `key` is to have.

    `value`: the operator's, `wanted`: ours, `config`: the effective configuration, with the new values of the
    keys that KEYS lists before this one. Raises PolicyError.
    """
    if version < KEYS[key]:
        return value
    if key == "max_event_delay_duration":
        return _longer(key, value, wanted)
    if key == "listeners":
        return _answering(key, value)
    if key == APP_SERVICES:
        return _registered(key, value, wanted)
    mapping = {} if value is MISSING or value is None else value
    if not isinstance(mapping, dict):
        raise PolicyError(f"'{key}' is {_kind(value)}, where Synapse wants a mapping", (key,))
    if key == "experimental_features":
        new = _flags(mapping, wanted, version, config)
    elif key in LISTS:
        new = _entries(key, mapping, wanted)
    else:
        new = _limits(key, mapping, wanted, {} if value is not MISSING else config)
    return value if new == mapping else new


def _longer(key: str, value: Any, wanted: Any) -> Any:
    if value is MISSING or value is None:
        return wanted
    try:
        return wanted if parse_duration(wanted) > parse_duration(value) else value
    except ValueError as error:
        raise PolicyError(f"'{key}': {error}", (key,)) from None


def _registered(key: str, value: Any, wanted: Any) -> Any:
    """The operator's bridges stay, in their order; ours comes after them."""
    if value is not MISSING and value is not None and not isinstance(value, list):
        raise PolicyError(f"'{key}' is {_kind(value)}, where Synapse wants a list", (key,))
    known: list[Any] = value if isinstance(value, list) else []
    missing = [path for path in wanted if path not in known]
    return [*known, *missing] if missing else value


def _answering(key: str, value: Any) -> Any:
    """Listeners of which one tells who somebody is."""
    try:
        return with_openid(value)
    except ListenerError as error:
        raise PolicyError(f"'{key}': {error}", (key,)) from None


def _flags(
    value: dict[str, Any], wanted: Mapping[str, Any], version: Version, config: Mapping[str, Any]
) -> dict[str, Any]:
    new = dict(value)
    for name in needed_flags(wanted, version, config):
        new[name] = True
    return new


def needed_flags(wanted: Mapping[str, Any], version: Version, config: Mapping[str, Any]) -> list[str]:
    """The wanted flags that this Synapse knows and needs.

    The transports endpoint of MSC4143 must not be there while nothing is announced: clients believe its empty
    answer and never look further.
    """
    names = []
    for name, value in wanted.items():
        first, last = FLAGS.get(name, ((1, 0), None))
        known = version >= first and (last is None or version < last)
        if value and known and (name != "msc4143_enabled" or transports(config)):
            names.append(name)
    return names


def transports(config: Mapping[str, Any]) -> list[Any]:
    """The transports that an effective configuration announces."""
    section = config.get("matrix_rtc")
    entries = section.get("transports") if isinstance(section, dict) else None
    return entries if isinstance(entries, list) else []


def _entries(key: str, value: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    name = LISTS[key]
    entries = value.get(name)
    if entries is not None and not isinstance(entries, list):
        problem = f"'{name}' in '{key}' is {_kind(entries)}, where Synapse wants a list"
        raise PolicyError(problem, (key, name))
    if not wanted.get(name):
        return value
    new = list(entries or [])
    for entry in wanted[name]:
        matches = [place for place, item in enumerate(new) if identity(item) == identity(entry)]
        if matches:
            new[matches[0]] = {**new[matches[0]], **entry}
        else:
            new.append(dict(entry))
    return {**value, name: new}


def _limits(
    key: str, value: dict[str, Any], wanted: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """`config`: where the section's old names may stand; empty when the section itself is there."""
    new = dict(value)
    for name, least in wanted.items():
        written = value.get(name, _unnamed_limit(key, name, config))
        current = _number(written)
        if current is None or least > current:
            new[name] = int(least) if least == int(least) else least
        elif isinstance(written, str):  # Synapse accepts it at first and fails when it counts
            new[name] = current
    for name in OLD_LIMITS.get(key, {}) if new != value else ():
        old = _unnamed_limit(key, name, config)
        if name not in new and old > LIMITS[key][name]:
            new[name] = old  # the section we make would hide it
    return new


def _unnamed_limit(key: str, name: str, config: Mapping[str, Any]) -> float:
    """The limit that applies while no section names it."""
    default = LIMITS[key][name]
    old = OLD_LIMITS.get(key, {}).get(name)
    return _number(config.get(old, default)) or default if old else default


def _number(value: Any) -> float | None:
    """A limit as a number, also when YAML reads a text (as it does 1e1); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if math.isnan(number):
        return None
    if not isinstance(value, str):
        return value
    return int(number) if number.is_integer() else number


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "a text", bool: "a boolean"}.get(type(value), "a number")


def in_effect(config: Mapping[str, Any], wanted: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """Of an effective configuration, all that decides whether what runs is what is wanted."""
    seen: dict[str, Any] = {}
    for key in wanted:
        value = config.get(key)
        section = value if isinstance(value, dict) else {}
        if key == "max_event_delay_duration":
            seen[key] = _milliseconds(value)
        elif key == "experimental_features":
            seen[key] = {name: bool(section.get(name)) for name in needed_flags(wanted[key], version, config)}
        elif key in LISTS:
            seen[key] = section.get(LISTS[key])
        elif key == APP_SERVICES:
            seen[key] = [path for path in wanted[key] if isinstance(value, list) and path in value]
        elif key == "listeners":
            seen[key] = answers_openid(value)
        else:
            old = {} if key in config else config
            seen[key] = {name: section.get(name, _unnamed_limit(key, name, old)) for name in LIMITS[key]}
    return seen


def _milliseconds(value: Any) -> Any:
    try:
        return parse_duration(value)
    except ValueError:
        return value


# What we did before ----------------------------------------------------------------------------------


def contributions(before: Any, after: Any, path: tuple[Any, ...]) -> list[Contribution]:
    """What leads from the operator's value to ours, outermost first."""
    if isinstance(after, dict):
        base = before if isinstance(before, dict) else {}
        pairs = [(key, base.get(key, MISSING), value) for key, value in after.items()]
    elif isinstance(after, list):
        base_items = before if isinstance(before, list) else []
        pairs = [(identity(item), _entry(base_items, identity(item)), item) for item in after]
    elif before is after or before == after:
        return []
    else:
        return [Contribution(path, before, after)]
    found = [] if type(before) is type(after) else [Contribution(path, before, None, container=True)]
    for step, old, new in pairs:
        if old is MISSING and isinstance(step, tuple):
            found.append(Contribution((*path, step), MISSING, new))
        elif old is MISSING or old != new:
            found += contributions(old, new, (*path, step))
    return found


def retire(key: str, value: Any, ours: Collection[Contribution], keep: frozenset[Any] = frozenset()) -> Any:
    """The value without what we contributed, except list entries in `keep`.

    What the operator has changed since is the operator's. An entry we added goes as a whole; a container
    we made goes when it is empty.
    """
    holder = {} if value is MISSING else {key: copy.deepcopy(value)}
    for one in reversed(list(ours)):
        parent = _walk(holder, one.path[:-1])
        step = one.path[-1]
        if isinstance(parent, list) and isinstance(step, tuple):
            if step not in keep:
                parent[:] = [item for item in parent if identity(item) != step]
            elif one.before is MISSING:
                _strip(_entry(parent, step), one.after)
        elif isinstance(parent, dict) and step in parent:
            untouched = parent[step] in ({}, []) if one.container else parent[step] == one.after
            if untouched and one.before is MISSING:
                del parent[step]
            elif untouched:
                parent[step] = one.before
    return holder.get(key, MISSING)


def _strip(entry: Any, ours: Any) -> None:
    """Of a transport that is ours and stays, all that is not its identity: what is wanted is added anew."""
    if isinstance(entry, dict) and isinstance(ours, dict) and SERVICE_URL in ours:
        for name, value in ours.items():
            if name not in ("type", SERVICE_URL) and entry.get(name, MISSING) == value:
                del entry[name]


def _walk(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        if isinstance(step, tuple):
            value = _entry(value, step) if isinstance(value, list) else MISSING
        else:
            value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
    return value


def _entry(items: list[Any], wanted: Any) -> Any:
    return next((item for item in items if identity(item) == wanted), MISSING)


def describe(before: Any, after: Any, name: str) -> Iterator[str]:
    """One line for each value that changes, such as `rc_message.per_second: 0.2 -> 0.5`."""
    if before is after or before == after:
        return
    if isinstance(before, list) or isinstance(after, list):
        yield from _describe_list(before, after, name)
    elif isinstance(before, dict) or isinstance(after, dict):
        old_map = before if isinstance(before, dict) else {}
        new_map = after if isinstance(after, dict) else {}
        for key in [*old_map, *(key for key in new_map if key not in old_map)]:
            yield from describe(old_map.get(key, MISSING), new_map.get(key, MISSING), f"{name}.{key}")
    else:
        yield f"{name}: {_short(before)} -> {_short(after)}"


def _describe_list(before: Any, after: Any, name: str) -> Iterator[str]:
    added = list(after) if isinstance(after, list) else []
    for item in before if isinstance(before, list) else []:
        alike = [other for other in added if identity(other) == identity(item)]
        if not alike:
            yield f"{name}: removed {_short(item)}"
            continue
        match = item if item in alike else alike[0]
        added.remove(match)
        yield from describe(item, match, f"{name}[{identity(item)[-1]}]")
    yield from (f"{name}: added {_short(item)}" for item in added)


def _short(value: Any) -> str:
    return "not set" if value is MISSING else json.dumps(value, default=str)
