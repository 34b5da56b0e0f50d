# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a homeserver's listeners answer the token service's question who somebody is, and how to let one.

The question is `/_matrix/federation/v1/openid/userinfo`. It is answered by the resource `federation`, and on
a server that does not federate by `openid`. A separate block with `openid` after one with `federation` takes
federation away, so the word only ever joins the names of a block that serves clients, and only where nothing
federates (measured with Synapse 1.163).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

ANSWERING = {"federation", "openid"}
OPENID = "openid"
EXAMPLE = [
    {
        "type": "http",
        "port": 8008,
        "bind_addresses": ["127.0.0.1"],
        "x_forwarded": True,
        "resources": [{"names": ["client", OPENID]}],
    }
]


class ListenerError(Exception):
    """No listener can be extended; the message says why."""


def answers_openid(listeners: Any) -> bool | None:
    """Whether any of them answers; None when there are none to tell from."""
    blocks = list(_blocks(listeners))
    if not blocks:
        return None
    return any(ANSWERING & set(names) for _, _, names in blocks)


def with_openid(listeners: Any) -> Any:
    """The listeners, of which at least one answers: the first that serves clients does if none did.

    Raises ListenerError.
    """
    if answers_openid(listeners):
        return listeners
    serving = [(listener, block) for listener, block, names in _blocks(listeners) if "client" in names]
    if not serving:
        raise ListenerError("no listener has the resource 'client', which 'openid' could join")
    listener, block = serving[0]
    extended = {**block, "names": [*block["names"], OPENID]}
    resources = [extended if one is block else one for one in listener["resources"]]
    return [{**one, "resources": resources} if one is listener else one for one in listeners]


def listener_identity(item: Any) -> Any:
    """What makes two listeners, or two blocks of resources, the same whatever they serve; None for others.

    Its last part is what to call it.
    """
    if not isinstance(item, dict):
        return None
    names = item.get("names")
    if isinstance(names, list) and names:
        rest = {key: value for key, value in item.items() if key != "names"}
        return (json.dumps([names[0], rest], sort_keys=True, default=str), names[0])
    if "resources" in item and ("port" in item or "path" in item):
        rest = {key: value for key, value in item.items() if key != "resources"}
        return (json.dumps(rest, sort_keys=True, default=str), item.get("port") or item.get("path"))
    return None


def _blocks(listeners: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any], list[Any]]]:
    """Each HTTP listener with each of its blocks of resources, and that block's names."""
    for listener in listeners if isinstance(listeners, list) else ():
        if not isinstance(listener, dict) or listener.get("type") != "http":
            continue
        resources = listener.get("resources")
        for block in resources if isinstance(resources, list) else ():
            names = block.get("names") if isinstance(block, dict) else None
            if isinstance(names, list):
                yield listener, block, names
