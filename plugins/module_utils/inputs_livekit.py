# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the LiveKit role's inputs (pitfalls: livekit `pkg/config/config.go` and rtcconfig)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from .inputs_address import check_watch
from .inputs_cluster import check_redis, check_selection
from .inputs_ports import check_ports, flattened
from .inputs_release import check_release
from .inputs_report import Inputs
from .inputs_site import (
    AFTER_WAIT,
    AFTER_WAIT_REMEDY,
    IDLE_RESTART_REMEDY,
    IDLE_RESTARTS,
    LOOPBACK,
    Settings,
    check_livekit_url,
    check_settings,
    check_version,
    is_refused,
    reaches_loopback,
)
from .inputs_turn import check_turn
from .inputs_values import (
    InvalidValueError,
    api_key,
    api_secret,
    at_least,
    boolean,
    host_and_port,
    integer,
    ip_literal,
    mapping,
    media_address,
    one_of,
    port_range,
    prefix,
    sha256,
    shown,
    url,
)

NAME_OF_PAIR = "Set it to a name of letters and digits, or leave it out: the default is matrixrtc."
PROOF_OF_PAIR = "Leave it out and the RTC host makes one, or set it to 32 or more random letters and digits."
BIND_REMEDY = "Set it to a list of addresses such as ['127.0.0.1']."
ADDRESS_REMEDY = (
    "Set it to the address that clients send media to, as IPv4, IPv6 or both: 203.0.113.7,2001:db8::7."
)
EXTRA_REMEDY = "Set it to a mapping of LiveKit's own configuration keys, without this one."

LOG_LEVELS = ("debug", "info", "warn", "error")

# Top-level keys of LiveKit 1.13; it refuses to start on any other, and ends with status 0.
KNOWN_KEYS = frozenset(
    {
        "agents",
        "api",
        "audio",
        "bind_addresses",
        "debug_handler",
        "development",
        "enable_data_tracks",
        "enable_participant_data_blob",
        "ingress",
        "key_file",
        "keys",
        "limit",
        "log_level",
        "logging",
        "metric",
        "node_selector",
        "node_stats",
        "port",
        "prometheus",
        "prometheus_port",
        "psrpc",
        "redis",
        "region",
        "room",
        "rtc",
        "signal_relay",
        "sip",
        "trace",
        "turn",
        "video",
        "webhook",
    }
)
# Keys that the role sets itself, with the variable to use instead.
OWNED_KEYS: Mapping[str, str] = {
    "port": "livekit_port",
    "bind_addresses": "livekit_bind_addresses",
    "keys": "matrixrtc_livekit_key and matrixrtc_livekit_secret",
    "key_file": "matrixrtc_livekit_key and matrixrtc_livekit_secret",
    "webhook.api_key": "matrixrtc_livekit_key",
    "webhook.urls": "livekit_webhook_urls",
    "rtc.tcp_port": "livekit_tcp_port",
    "rtc.udp_port": "livekit_udp_port",
    "rtc.port_range_start": "livekit_port_range_start",
    "rtc.port_range_end": "livekit_port_range_end",
    "rtc.node_ip": "matrixrtc_media_address",
    "rtc.stun_servers": "livekit_stun_servers",
    "rtc.ips.includes": "livekit_media_networks",
    "rtc.advertise_internal_ip": "livekit_advertise_internal_ip",
    "logging.level": "livekit_log_level",
    "prometheus.port": "livekit_prometheus_port",
    "rtc.turn_servers": "livekit_turn_servers",
    **{f"redis.{key}": "matrixrtc_redis" for key in ("address", "sentinel_addresses", "cluster_addresses")},
    "redis.password": "matrixrtc_redis_password",
    "node_selector.kind": "matrixrtc_node_selector",
    "region": "matrixrtc_region",
}


# The remaining settings, each by itself: how it is read, and what to set.
SETTINGS: Settings = {
    "sha256": (sha256, "Set it to the checksum of the release's archive, or leave it empty.", False),
    "advertise_internal_ip": (boolean, "Set it to true or false.", True),
    "log_level": (one_of(LOG_LEVELS), f"Set it to {', '.join(LOG_LEVELS)}.", True),
    "drain_timeout": (at_least(1), "Set it to a number of seconds.", True),
    "restart": (one_of(IDLE_RESTARTS), IDLE_RESTART_REMEDY, True),
    "restart_wait": (at_least(1), "Set it to a number of seconds.", True),
    "restart_after_wait": (one_of(AFTER_WAIT), AFTER_WAIT_REMEDY, True),
    "stop_timeout": (at_least(1), "Set it to a number of seconds.", True),
    "health_timeout": (at_least(1), "Set it to a number of seconds.", True),
    "open_files": (at_least(1024), "Set it to 1024 or more.", True),
    "socket_buffer": (at_least(212992), "Set it to a number of bytes; LiveKit asks for 16777216.", True),
}


def check_livekit(inputs: Inputs, secret: str) -> None:
    """All inputs of the LiveKit role."""
    check_version(inputs)
    check_release(inputs)
    check_ports(inputs)
    check_credentials(inputs, secret)
    check_addresses(inputs)
    check_watch(inputs)
    check_livekit_url(inputs, "url")
    check_webhooks(inputs)
    check_turn(inputs)
    check_redis(inputs)
    check_selection(inputs)
    check_settings(inputs, SETTINGS)
    check_extra_config(inputs)


def check_webhooks(inputs: Inputs) -> None:
    """Where LiveKit reports joins and leaves; by default built from the token service's port."""
    port = inputs.values.get("token_service_port")
    if is_refused(inputs, "token_service_port") and f":{port}/" in str(inputs.values.get("webhook_urls")):
        return
    remedy = "Set it to a list of URLs of the token service, such as http://127.0.0.1:8080/sfu_webhook."
    inputs.read_list("webhook_urls", lambda value: url(value, ("http", "https")), remedy, required=False)


def check_credentials(inputs: Inputs, secret: str) -> None:
    """The key pair that LiveKit and the token service share. An empty secret is made on the host."""
    key = inputs.read("key", api_key, NAME_OF_PAIR)
    if not secret:
        return
    if inputs.parse("secret", secret, api_secret, PROOF_OF_PAIR) and secret == key:
        inputs.refuse("secret", "is the same as matrixrtc_livekit_key, which is not secret", PROOF_OF_PAIR)


def check_addresses(inputs: Inputs) -> None:
    """Where LiveKit listens, what it tells clients, and whom it asks for its own address."""
    bind = inputs.read_list("bind_addresses", ip_literal, BIND_REMEDY)
    if bind and not any(reaches_loopback(address) for address in bind):
        inputs.refuse("bind_addresses", f"{LOOPBACK} is not in it, where nginx reaches LiveKit", BIND_REMEDY)
    if bind and any(address.is_unspecified for address in bind):
        inputs.warn(
            "bind_addresses",
            "LiveKit's plain HTTP port is open to every network the host is in; its "
            "administration interface must only be reachable through nginx.",
        )
    remedy = "Set it to a list of networks such as ['192.0.2.0/24'], or leave it out."
    inputs.read_list("media_networks", prefix, remedy, required=False)
    remedy = "Set it to a list of addresses: those from which nginx reaches this node."
    inputs.read_list("signalling_clients", ip_literal, remedy, required=False)
    check_stun_servers(inputs)
    addresses = inputs.read("node_ip", media_address, ADDRESS_REMEDY)
    if addresses and all(address.is_private for address in addresses):
        inputs.warn(
            "node_ip",
            f"{shown(inputs.values['node_ip'])} is a private address: people outside your network "
            "will join calls without sound and picture. Set it to the host's public address.",
        )


def check_stun_servers(inputs: Inputs) -> None:
    """Whom clients ask for their own address.

    Never a media port of the SFU itself: WebRTC takes all that comes from a STUN server's address for STUN
    answers and throws media away (libwebrtc, UDPPort::OnReadPacket).
    """
    if f"{inputs.values.get('domain') or ''}:" in str(inputs.values.get("stun_servers")) and is_refused(
        inputs, "domain"
    ):
        return
    remedy = "Set it to a list of host:port, such as ['stun.example.org:3478']."
    servers = inputs.read_list("stun_servers", host_and_port, remedy, required=False)
    own = {str(inputs.values.get("domain")), *str(inputs.values.get("node_ip")).split(",")}
    for server in servers or []:
        host, _colon, number = server.rpartition(":")
        if host in own and is_media_port(inputs, int(number)):
            inputs.refuse("stun_servers", f"{shown(server)} is one of LiveKit's own media ports", remedy)


def is_media_port(inputs: Inputs, number: int) -> bool:
    """LiveKit receives media on this UDP port. Ports that are refused themselves do not count."""
    values = inputs.values
    try:
        media = port_range(
            values.get("udp_port") or f"{values['port_range_start']}-{values['port_range_end']}"
        )
    except (InvalidValueError, KeyError):
        return False
    return media.first <= number <= media.last


# Free configuration --------------------------------------------------------------------------------


def check_extra_config(inputs: Inputs) -> None:
    """Free LiveKit configuration: nothing the role owns, nothing unsafe, nothing unknown."""
    extra = inputs.read("extra_config", mapping, EXTRA_REMEDY, required=False)
    if not extra:
        return
    flat = dict(flattened(extra))
    for dotted, variable in OWNED_KEYS.items():
        if dotted in flat:
            inputs.refuse(
                "extra_config", f"'{dotted}' in it belongs to the role", f"Remove it and set {variable}."
            )
    _check_unsafe(inputs, flat)
    _check_turn(inputs, flat)
    for key in extra:
        if key not in KNOWN_KEYS:
            _refuse_unknown(inputs, key)


def _is_on(value: object) -> bool:
    try:
        return boolean(value)
    except InvalidValueError:
        return False


def _check_unsafe(inputs: Inputs, flat: Mapping[str, object]) -> None:
    if "development" in flat:
        inputs.refuse(
            "extra_config",
            "'development' in it would make LiveKit accept the public key pair devkey/secret",
            "Remove it.",
        )
    if _is_on(flat.get("room.auto_create", False)):
        inputs.refuse(
            "extra_config",
            "'room.auto_create' in it would let every token holder open rooms, past "
            "matrixrtc_full_access_homeservers",
            "Remove it or set it to false.",
        )
    if "debug_handler" in flat:
        inputs.refuse(
            "extra_config",
            "'debug_handler' in it would show the memory and rooms of the server to anybody",
            "Remove it.",
        )
    if ("prometheus.username" in flat) != ("prometheus.password" in flat):
        inputs.refuse(
            "extra_config",
            "'prometheus' in it has a user name or a password alone; LiveKit would not start",
            "Set both or neither.",
        )


def _check_turn(inputs: Inputs, flat: Mapping[str, object]) -> None:
    ports = [flat.get(f"turn.{key}") for key in ("tls_port", "udp_port")]
    if _is_on(flat.get("turn.enabled", False)) and all(value in (None, 0, "0", "") for value in ports):
        inputs.refuse(
            "extra_config",
            "'turn.enabled' in it has no port, and LiveKit would not start",
            "Set turn.udp_port or turn.tls_port in it, or remove it.",
        )
    for key in ("turn.relay_range_start", "turn.relay_range_end"):
        if key in flat:
            inputs.parse("extra_config", flat[key], integer, f"Set {key} in it to a port.")


def _refuse_unknown(inputs: Inputs, key: str) -> None:
    """An unknown key stops LiveKit; a release newer than the tested ones may know more keys."""
    fault = f"{shown(key)} in it is no key of LiveKit's configuration, and LiveKit would not start"
    if inputs.allow_untested:
        inputs.warn("extra_config", f"{fault}, unless this release knows it.")
        return
    close = difflib.get_close_matches(key, sorted(KNOWN_KEYS), 1)
    inputs.refuse("extra_config", fault, f"Set '{close[0]}' instead." if close else "Remove it.")
