# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of an SFU of several nodes: how they fit together, their Redis, and which node gets a room.

Sources: livekit `pkg/config/config.go` and `pkg/routing/selector`, livekit/protocol `redis/redis.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .inputs_report import Inputs
from .inputs_values import (
    InvalidValueError,
    at_least,
    boolean,
    host_and_port,
    ip_literal,
    list_of_values,
    mapping,
    matching,
    one_of,
    plain_text,
    port,
    positive,
    shown,
)

REDIS_REMEDY = (
    "Set it to {'address': '192.0.2.5:6379'}, {'sentinel': {'master': 'mymaster', 'addresses': [...]}} or "
    "{'cluster': [...]}, each address with its port."
)
WAYS = ("address", "sentinel", "cluster")
REDIS_KEYS = {*WAYS, "username", "db", "tls", "ca_file", "server_name"}
SHORTEST_PASSWORD = 16
PASSWORD_REMEDY = "Set it to 16 or more random letters and digits, in a vault."  # noqa: S105 no password

SELECTOR_REMEDY = (
    "Set it to a mapping such as {'kind': 'sysload', 'sysload_limit': 0.8}, with LiveKit's own keys."
)
KINDS = ("any", "sysload", "cpuload", "regionaware")
SORTS = ("random", "sysload", "cpuload", "rooms", "clients", "tracks", "bytespersec")
ALGORITHMS = ("lowest", "twochoice")


# How hosts fit together ------------------------------------------------------------------------------------


def check_cluster(inputs: Inputs, secret: str) -> None:
    """The hosts of one site: `fronts` (with nginx and the token service), further `nodes`, `redis_hosts`.

    addresses, media_addresses: by host, '' where not known. redis: the operator's own, {} for none.
    """
    nodes = [str(name) for name in _entries(inputs, "nodes")]
    redis_hosts = [str(name) for name in _entries(inputs, "redis_hosts")]
    redis = bool(inputs.values.get("redis"))
    if not nodes and not redis_hosts and not redis:
        return
    fronts = [str(name) for name in _entries(inputs, "fronts")]
    if not redis and not redis_hosts:
        inputs.refuse(
            "redis",
            f"is not set and nobody is in matrixrtc_redis, but {', '.join(nodes)} "
            "and the front can only be one SFU over a Redis",
            "Put a host into the group matrixrtc_redis, or set it to a Redis that is there already.",
        )
    if redis and redis_hosts:
        inputs.refuse(
            "redis",
            f"is set, and {', '.join(redis_hosts)} in the group matrixrtc_redis would be another one",
            "Set it, or have the group, not both.",
        )
    check_hosts(inputs, fronts, nodes, redis_hosts)
    check_node_addresses(inputs, [*fronts, *nodes], redis_hosts)
    if not secret:
        inputs.refuse(
            "secret",
            "is not set, and every node of a cluster has to have the same one",
            "Set it to 32 or more random letters and digits, in a vault.",
        )


def check_hosts(
    inputs: Inputs, fronts: Sequence[str], nodes: Sequence[str], redis_hosts: Sequence[str]
) -> None:
    """One front with an nginx of ours, which is a node itself; one Redis."""
    if len(fronts) != 1:
        inputs.refuse(
            "fronts",
            f"{len(fronts)} hosts of the site are in it ({', '.join(fronts) or 'none'}), but a cluster has "
            "one front, with nginx, the token service and a node",
            "Leave one host of the site in the group matrixrtc_rtc and put the others into matrixrtc_sfu.",
        )
    if both := sorted({*fronts} & {*nodes}):
        inputs.refuse(
            "nodes",
            f"{', '.join(both)} is in matrixrtc_rtc as well, where every host is a node already",
            "Leave it in matrixrtc_rtc only.",
        )
    if len(redis_hosts) > 1:
        inputs.refuse(
            "redis_hosts",
            f"{', '.join(redis_hosts)} would be separate ones",
            "Leave one host in it. One that outlives a host needs Sentinels: set matrixrtc_redis.",
        )
    if nodes and inputs.has("turn_tls"):
        inputs.refuse(
            "turn_tls",
            "the relay behind nginx of the front would be that of one node, and rooms are on others as well",
            "Leave it out, or set matrixrtc_turn_udp, with which every node has a relay.",
        )
    if nodes and inputs.values.get("proxy_mode", "nginx") != "nginx":
        inputs.refuse(
            "proxy_mode",
            "the proxy is somebody else's, but further nodes are balanced and heard by an nginx of ours",
            "Set nginx_proxy_mode to nginx, or leave the group matrixrtc_sfu empty.",
        )


def check_node_addresses(inputs: Inputs, nodes: Sequence[str], redis_hosts: Sequence[str]) -> None:
    """Everybody's address is known, and clients can tell the nodes apart."""
    addresses, media = (_mapping(inputs, key) for key in ("addresses", "media_addresses"))
    for host in dict.fromkeys([*nodes, *redis_hosts]):
        if not addresses.get(host):
            inputs.refuse(
                "addresses",
                f"it is not known where the others reach {host}",
                "Set it for that host, or run without --limit.",
            )
        else:
            inputs.parse("addresses", addresses[host], ip_literal, f"Set it for {host} to an IP address.")
    for key, known, remedy in (
        (
            "media_addresses",
            media,
            "Set it for each node to its own public address: media goes straight to it.",
        ),
        ("addresses", addresses, "Set it for each host to its own address."),
    ):
        owners: dict[str, list[str]] = {}
        for host in dict.fromkeys(nodes):
            owners.setdefault(str(known.get(host, "")), []).append(host)
        for address, hosts in owners.items():
            if address and len(hosts) > 1:
                inputs.refuse(key, f"{' and '.join(hosts)} have the same one, {shown(address)}", remedy)


def _entries(inputs: Inputs, key: str) -> list[object]:
    try:
        return list_of_values(inputs.values.get(key) or [])
    except InvalidValueError:
        return []  # the playbook itself makes these lists


def _mapping(inputs: Inputs, key: str) -> Mapping[str, object]:
    found = inputs.values.get(key)
    return found if isinstance(found, Mapping) else {}


# The Redis of the operator, and what LiveKit is told -----------------------------------------------------


def check_redis(inputs: Inputs) -> None:
    """A node's way to Redis; `redis_fault`: what a Redis that is there already said, '' if nothing."""
    sentinel_remedy = "Set it to the password of the Sentinels, or leave it out."
    inputs.read("cluster_redis_sentinel_password", plain_text, sentinel_remedy, required=False)
    remedy = "Set it to a certificate as PEM, or leave it out."
    inputs.read("cluster_redis_certificate", pem_certificate, remedy, required=False)
    redis = inputs.read("redis", redis_mapping, REDIS_REMEDY, required=False)
    if redis is None:
        return
    if inputs.has("redis_fault"):
        fault = str(inputs.values["redis_fault"]).rstrip(".")
        inputs.refuse(
            "redis_password" if "password" in fault else "redis",
            f"{fault[:1].lower()}{fault[1:]}" if fault.startswith("A ") else fault,
            "Start it, open the way to it from this host, or correct the address, the password and tls.",
        )
    elif redis and not inputs.has("redis_password"):
        inputs.warn("redis_password", "Redis has no password: whoever reaches it can end every call.")


def redis_mapping(value: object) -> dict[str, object]:
    """One way to a Redis, with what belongs to it."""
    redis = mapping(value)
    if not redis:
        return redis
    if unknown := sorted({str(key) for key in redis} - REDIS_KEYS):
        raise InvalidValueError(f"{', '.join(unknown)} in it is unknown")
    ways = [key for key in WAYS if redis.get(key)]
    if len(ways) != 1:
        raise InvalidValueError(f"has {' and '.join(ways) or 'neither address nor sentinel nor cluster'}")
    for address in _addresses(redis):
        if ":" not in host_and_port(address):
            raise InvalidValueError(f"{shown(address)} has no port")
    boolean(redis.get("tls", False))
    at_least(0)(redis.get("db", 0))
    if redis.get("server_name"):
        domain_or_word(redis["server_name"])
    return redis


def pem_certificate(value: object) -> str:
    """A certificate as text."""
    if not isinstance(value, str) or not value.startswith("-----BEGIN CERTIFICATE-----"):
        raise InvalidValueError("is not a certificate")
    return value


def domain_or_word(value: object) -> str:
    """The name that a certificate is for."""
    return matching(r"[A-Za-z0-9.-]+", "a host name")(value)


def _addresses(redis: Mapping[str, object]) -> list[object]:
    if redis.get("address"):
        return [redis["address"]]
    if redis.get("cluster"):
        return list_of_values(redis["cluster"])
    sentinel = mapping(redis["sentinel"])
    plain_text(sentinel.get("master") or "")
    if not sentinel.get("master"):
        raise InvalidValueError("has a sentinel without the name of its master")
    return list_of_values(sentinel.get("addresses") or [])


def check_selection(inputs: Inputs) -> None:
    """Which node gets a new room."""
    selector = inputs.read("node_selector", mapping, SELECTOR_REMEDY, required=False) or {}
    for key, parse in (
        ("kind", one_of(KINDS)),
        ("sort_by", one_of(SORTS)),
        ("algorithm", one_of(ALGORITHMS)),
        ("sysload_limit", positive),
        ("cpu_load_limit", positive),
    ):
        if key in selector:
            inputs.parse("node_selector", selector[key], parse, f"Set {key} in it to what LiveKit knows.")
    known = {"kind", "sort_by", "algorithm", "sysload_limit", "cpu_load_limit", "regions"}
    if unknown := sorted({str(key) for key in selector} - known):
        inputs.refuse("node_selector", f"{', '.join(unknown)} in it is unknown to LiveKit", SELECTOR_REMEDY)
    if selector.get("kind") == "regionaware" or selector.get("regions"):
        check_regions(inputs, selector)


def check_regions(inputs: Inputs, selector: Mapping[str, object]) -> None:
    """Every region has a place, and this node is in one of them."""
    remedy = "Set regions in it to a list such as [{'name': 'north', 'lat': 59.9, 'lon': 10.7}]."
    names = []
    for entry in inputs.parse("node_selector", selector.get("regions") or [], list_of_values, remedy) or []:
        if not isinstance(entry, Mapping) or {"name", "lat", "lon"} - set(entry):
            inputs.refuse("node_selector", f"{shown(entry)} in it is no region", remedy)
            return
        names.append(str(entry["name"]))
    region = str(inputs.values.get("region") or "")
    if not names:
        inputs.refuse("node_selector", "it has no regions to choose from", remedy)
    elif region not in names:
        inputs.refuse(
            "region",
            f"{shown(region)} is not among the regions of matrixrtc_node_selector ({', '.join(names)})"
            if region
            else "is not set, and matrixrtc_node_selector chooses by region",
            "Set it for each node to the region that it is in.",
        )


# A Redis of our own ---------------------------------------------------------------------------------------


def check_livekit_redis(inputs: Inputs, _secret: str) -> None:
    """All inputs of the role livekit_redis."""
    inputs.read("package", plain_text, "Set it to a package such as redis-server.")
    inputs.read("program", matching(r"/.+", "an absolute path"), "Set it to the server in that package.")
    inputs.read("address", ip_literal, "Set it to the address at which the nodes reach this host.")
    inputs.read("port", port, "Set it to a port number.")
    inputs.read_list("clients", ip_literal, "Set it to a list of addresses.", required=False)
    inputs.read("memory", matching(r"[0-9]+(kb|mb|gb)", "a size"), "Set it to a size such as 64mb.")
    inputs.read("open_files", at_least(64), "Set it to 64 or more.")
    inputs.read("stop_timeout", at_least(1), "Set it to a number of seconds.")
    inputs.read("password", password, PASSWORD_REMEDY)


def password(value: object) -> str:
    """The password of a Redis that other hosts reach; no message shows it."""
    if not isinstance(value, str) or len(value) < SHORTEST_PASSWORD or value.split() != [value]:
        raise InvalidValueError(f"is no word of {SHORTEST_PASSWORD} or more characters")
    return value
