"""A good site, its certificates, and the table of bad inputs, for the tests of input validation."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_report import variable_name
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_server import LIMITS
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DATA = Path(__file__).parent / "data"
DOMAIN = "rtc.example.org"
CALL_DOMAIN = "call.example.org"
TURN_DOMAIN = "turn.example.org"
GOOD_SECRET = "k8Wq2Zt5Yx1Rv7Lm4Pn9c3Hd6Gf0Js5T"

# Rare ports, so that a LiveKit on the developer's machine is in nobody's way.
GOOD_INPUTS: dict[str, dict[str, Any]] = {
    "livekit": {
        "version": "1.13.5",
        "port": 21440,
        "tcp_port": 21441,
        "token_service_port": 21480,
        "udp_port": "21442-21445",
        "port_range_start": 0,
        "port_range_end": 0,
        "bind_addresses": ["127.0.0.1", "::1"],
        "node_ip": "8.8.8.8,2001:4860:4860::8888",
        "media_networks": ["8.8.8.8/32", "2001:4860::/32"],
        "watched": "8.8.8.8,2001:4860:4860::8888",
        "watch": "",
        "watch_name": "",
        "watch_stun": "",
        "watch_interval": 60,
        "first_addresses": ["192.0.2.10"],
        "stun_servers": ["stun.example.org:3478", "[2001:db8::1]:3478", "stun.example.org"],
        "turn_udp": True,
        "turn_udp_port": 21478,
        "turn_tls": "address",
        "turn_domain": TURN_DOMAIN,
        "turn_tls_port": 21479,
        "turn_relay_range_start": 22000,
        "turn_relay_range_end": 22999,
        "turn_allowed_networks": [],
        "turn_denied_networks": ["100.64.0.0/10", "64:ff9b::/96"],
        "turn_servers": [
            {"host": "turn.example.org", "port": 3478, "protocol": "udp", "secret": "s", "ttl": 600},
            {"host": "192.0.2.9", "port": 443, "protocol": "tls", "username": "u", "credential": "c"},
        ],
        "url": f"wss://{DOMAIN}/livekit/sfu",
        "webhook_urls": ["http://127.0.0.1:21480/sfu_webhook"],
        "redis": {},
        "redis_fault": "",
        "redis_password": "",
        "cluster_redis_sentinel_password": "",
        "cluster_redis_certificate": "",
        "signalling_clients": [],
        "node_selector": {"kind": "sysload", "sysload_limit": 0.8, "sort_by": "rooms", "algorithm": "lowest"},
        "region": "",
        "drain_timeout": 18000,
        "extra_config": {
            "room": {"auto_create": False, "max_participants": 20},
            "limit": {"num_tracks": 400},
        },
        "key": "matrixrtc",
        "sha256": "",
        "http_proxy": "http://user:p%40ss@proxy.example.org:3128",
        "artifact_folder": "",
        "artifact": {},
        "prometheus_port": 0,
        "advertise_internal_ip": False,
        "log_level": "info",
        "restart": "immediate",
        "restart_wait": 1800,
        "restart_after_wait": "defer",
        "stop_timeout": 30,
        "health_timeout": 20,
        "open_files": 500000,
        "socket_buffer": 16777216,
    },
    "lk_jwt_service": {
        "version": "0.8.0",
        "port": 21480,
        "service_url": f"https://{DOMAIN}/livekit/jwt",
        "livekit_url": f"wss://{DOMAIN}/livekit/sfu",
        "own_livekit_url": f"wss://{DOMAIN}/livekit/sfu",
        "announced_url": f"wss://{DOMAIN}/livekit/sfu",
        "token_service_mode": "standalone",
        "homeserver_beside": True,
        "token_service_address": "http://127.0.0.1:8080",
        "as_token": "",
        "hs_token": "",
        "full_access_homeservers": ["example.org"],
        "allow_any_homeserver": False,
        "ca_file": "",
        "sha256": "",
        "http_proxy": "http://user:p%40ss@proxy.example.org:3128",
        "artifact_folder": "",
        "artifact": {},
        "extra_environment": {"LIVEKIT_REDIS_URL": "redis://127.0.0.1:6379"},
        "key": "matrixrtc",
        "bind_address": "127.0.0.1",
        "hosts": {"matrix.example.org": "192.0.2.7"},
        "homeserver_urls": {"example.org": "https://matrix.example.org"},
        "sanity_check_interval": 60,
        "log_level": "warn",
        "log_namespace": "",
        "restart": "immediate",
        "restart_wait": 1800,
        "restart_after_wait": "defer",
        "stop_timeout": 10,
        "health_timeout": 20,
        "open_files": 16384,
        "memory_max": "256M",
        "denied_networks": ["link-local", "192.0.2.0/24"],
    },
    "rtc_certificate": {
        "mode": "files",
        "file": "FOLDER/good.crt",
        "private_key": "FOLDER/good.key",
        "proxy_mode": "nginx",
        "service": "nginx",
        "site": "zz-matrixrtc-acme",
        "listen_addresses": [],
        "directory": "https://acme-v02.api.letsencrypt.org/directory",
        "email": "admin@example.org",
        "agree_terms": False,
        "directory_ca_file": "",
        "http_proxy": "http://user:p%40ss@proxy.example.org:3128",
        "webroot": "",
        "certbot": "/usr/bin/certbot",
    },
    "nginx_proxy": {
        "mode": "nginx",
        "upstream_address": "127.0.0.1",
        "proxy_address": "127.0.0.1",
        "watch": "",
        "tls_mode": "files",
        "certificate": "FOLDER/good.crt",
        "private_key": "FOLDER/good.key",
        "service_url": f"https://{DOMAIN}/livekit/jwt",
        "livekit_url": f"wss://{DOMAIN}/livekit/sfu",
        "ca_file": "FOLDER/good.crt",
        "token_service_port": 21480,
        "lk_jwt_service_port": 21480,
        "sfu_port": 21440,
        "livekit_port": 21440,
        "service": "nginx",
        "site": "zz-matrixrtc",
        "access_log": "/var/log/nginx/matrixrtc_access.log",
        "error_log": "/var/log/nginx/error.log",
        "turn_tls": "address",
        "turn_domain": TURN_DOMAIN,
        "turn_address": "192.0.2.11",
        "turn_certificate": "FOLDER/good.crt",
        "turn_private_key": "FOLDER/good.key",
        "turn_port": 21479,
        "turn_status_port": 5350,
        "turn_split_port": 5351,
        "turn_connections": 400,
        "turn_site": "zz-matrixrtc_turn",
        "sites_port": 8443,
        "own_sites": ["zz-matrixrtc"],
        "own_addresses": ["192.0.2.10", "192.0.2.11"],
        "first_addresses": ["192.0.2.10"],
        "call_domain": CALL_DOMAIN,
        "listen_addresses": [],
        "unlimited_clients": ["192.0.2.0/24", "2001:db8::/64"],
        "local_sources": [],
        "sfu_nodes": ["192.0.2.6:7880"],
        "sfu_sources": ["192.0.2.6"],
        "body_size": "64k",
        **dict.fromkeys(LIMITS, 120),
    },
    "livekit_redis": {
        "address": "192.0.2.5",
        "port": 21480,
        "package": "redis-server",
        "program": "/usr/bin/redis-server",
        "password": GOOD_SECRET,
        "clients": ["192.0.2.6", "2001:db8::6"],
        "memory": "64mb",
        "open_files": 10032,
        "stop_timeout": 10,
    },
    "matrixrtc_cluster": {
        "fronts": ["matrix"],
        "nodes": [],
        "redis_hosts": [],
        "redis": {},
        "addresses": {"matrix": "192.0.2.5"},
        "media_addresses": {"matrix": "8.8.8.8"},
        "turn_tls": "",
        "proxy_mode": "nginx",
    },
    "matrixrtc_federation": {
        "partners": ["beta.example.net", "localhost:8448"],
        "called": ["example.org", "beta.example.net", "localhost:8448"],
    },
    "matrixrtc_verify": {
        "users": 2,
        "tokens": 2,
        "participants": 2,
        "foreign_given": True,
        "foreign_user": "@carol:beta.example.net",
        "foreign_token": True,
    },
    "matrixrtc_stuck": {
        "site": "example.org",
        "homeserver_url": "http://127.0.0.1:8008",
        "rooms": ["!meeting:example.org", "!kZ0-_x"],
        "users": ["@alice:example.org"],
        "older_than": "12h",
        "patience": 600,
        "end": False,
        "join_as_admin": False,
        "legacy_calls": False,
        "admin_token": "given",
        "access_token": "",
    },
    "matrixrtc_load": {
        "confirm": DOMAIN,
        "steps": [[2, 1], ["8", "2"]],
        "seconds": 20,
        "video": "720p",
        "during_calls": False,
        "accounts": 2,
    },
    "matrixrtc_rotation": {"request": "", "wait": 0, "token_life": 3600, "disconnect": False},
    "firewall": {
        "tcp_ports": [443, 21441],
        "udp_ports": ["21442-21445"],
        "backend": "auto",
        "tcp_port": 21441,
        "udp_port": "21442-21445",
        "port_range_start": 0,
        "port_range_end": 0,
    },
    "synapse_config": {
        "transports": [{"type": "livekit", "livekit_service_url": f"https://{DOMAIN}/livekit/jwt"}],
        "max_event_delay_duration": "24h",
        "service_url": f"https://{DOMAIN}/livekit/jwt",
        "rc_message": {"per_second": 0.5, "burst_count": 30},
        "announced_url": f"wss://{DOMAIN}/livekit/sfu",
        "token_service_mode": "standalone",
        "homeserver_beside": True,
        "token_service_address": "http://127.0.0.1:8080",
        "as_token": "",
        "hs_token": "",
        "registration_file": "/etc/registration.yaml",
        "expected_participants": 30,
        "sticky_events": False,
        "serves_well_known": False,
        "files": ["FOLDER"],
        "python": "FOLDER/synapse",
        "user": "root",
        "working_directory": "/",
        "service": "matrix-synapse",
        "health_url": "http://127.0.0.1:8008/health",
        "health_timeout": 60,
        "restart": "immediate",
        "worker_services": ["synapse-worker@1", "federation_sender"],
        "restart_command": ["sh", "-c", "exit 0"],
        "run_prefix": [],
        "container_paths": {},
        "edit_managed": False,
        "openid_listener": False,
    },
    "element_call": {
        "split_port": 0,
        "version": "0.26.1",
        "package": "full",
        "sha256": "",
        "call_domain": CALL_DOMAIN,
        "rtc_domain": DOMAIN,
        "certificate": "FOLDER/call.crt",
        "private_key": "FOLDER/good.key",
        "ca_file": "FOLDER/call.crt",
        "frame_origins": ["https://chat.example.org", "https://chat.example.net:8443"],
        "homeserver_url": "https://matrix.example.org",
        "matrix_rtc_mode": "",
        "sticky_events": False,
        "media_quality": {"video_codec": "vp9", "video": {"max_resolution": 1080}},
        "delayed_leave": {"delay_ms": 18000},
        "delegated_delayed_leave": {"delay_ms": 3600000, "restart_ms": 300000},
        "wait_for_key_rotation_ms": "",
        "extra_config": {"ssla": "https://example.org/terms"},
        "service": "nginx",
        "site": "zz-matrixrtc_call",
        "listen_addresses": [],
        "access_log": "/var/log/nginx/matrixrtc_call_access.log",
        "hsts_seconds": 0,
        "http_proxy": "",
        "artifact_folder": "",
        "artifact": {},
    },
    "well_known": {
        "served_by": "file",
        "file": "FOLDER/client",
        "base_url": "",
        "owner": "root",
        "group": "root",
        "mode": "0644",
        "service_url": f"https://{DOMAIN}/livekit/jwt",
        "foci": [{"type": "livekit", "livekit_service_url": f"https://{DOMAIN}/livekit/jwt"}],
        "announced_url": f"wss://{DOMAIN}/livekit/sfu",
        "token_service_mode": "standalone",
    },
}
# Which components' inputs are checked on a host of each kind.
COMPONENTS_ON = {
    "rtc": ("livekit", "matrixrtc_cluster", "lk_jwt_service", "rtc_certificate", "nginx_proxy", "firewall"),
    "homeserver": ("synapse_config",),
    "well_known": ("well_known",),
    "element_call": ("element_call",),
}
SITE = {
    "server_name": "example.org",
    "domain": DOMAIN,
    "homeserver_kind": "synapse",
    "architecture": "x86_64",
    "distribution": "Debian",
    "distribution_version": "13",
}
VERSIONS: dict[str, dict[str, Any]] = {
    "livekit": {
        "tested": ["1.13.5"],
        "untested": ["1.13.8"],
        "bad": [{"version": "1.10.0", "reason": "it hands out malformed TURN addresses."}],
        "minimum": "1.9.10",
        "minimum_reason": "current web clients cannot join older ones",
    },
    "lk_jwt_service": {
        "tested": ["0.8.0"],
        "minimum": "0.7.0",
        "minimum_reason": "older ones let everybody publish",
    },
    "element_call": {"tested": ["0.26.1"], "untested": ["0.24.0"], "minimum": "0.24.0"},
}


def bad_inputs() -> list[dict[str, Any]]:
    """The table of bad inputs, with what may be left out filled in."""
    rows = yaml.safe_load((DATA / "bad_inputs.yml").read_text(encoding="utf-8"))
    return [{"set": {}, "facts": {}, "where": "rtc", **row} for row in rows]


def filled_in(value: Any, places: dict[str, str]) -> Any:
    """A value with the placeholders of the table (FOLDER, BUSY_TCP, BUSY_UDP) replaced."""
    if isinstance(value, dict):
        return {key: filled_in(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, places) for item in value]
    if isinstance(value, str):
        for placeholder, place in places.items():
            value = value.replace(placeholder, place)
    return value


TOKEN_PORT = "lk_jwt_service_port"
SERVICE_URL = "matrixrtc_livekit_service_url"
UDP = ("livekit_udp_port", "livekit_port_range_start", "livekit_port_range_end")


def _transport(address: Any) -> dict[str, Any]:
    return {"type": "livekit", "livekit_service_url": address}


# What roles derive from other variables, as their defaults do: component, input, from which variables.
DERIVED: tuple[tuple[str, str, Callable[..., Any], tuple[str, ...]], ...] = (
    ("livekit", "stun_servers", lambda name: [f"{name}:3478"], ("matrixrtc_domain",)),
    ("livekit", "webhook_urls", lambda port: [f"http://127.0.0.1:{port}/sfu_webhook"], (TOKEN_PORT,)),
    ("nginx_proxy", "sfu_port", lambda port: port, ("livekit_port",)),
    ("nginx_proxy", "token_service_port", lambda port: port, (TOKEN_PORT,)),
    ("synapse_config", "transports", lambda address: [_transport(address)], (SERVICE_URL,)),
    ("well_known", "foci", lambda address: [_transport(address)], (SERVICE_URL,)),
    ("firewall", "tcp_ports", lambda port: [443, port], ("livekit_tcp_port",)),
    ("firewall", "udp_ports", lambda udp, first, last: [f"{first}-{last}" if first else udp], UDP),
)
USUAL = {
    "matrixrtc_domain": DOMAIN,
    "livekit_port": 21440,
    "livekit_tcp_port": 21441,
    "livekit_udp_port": "21442-21445",
    "livekit_port_range_start": 0,
    "livekit_port_range_end": 0,
    "lk_jwt_service_port": 21480,
}


def _with_derived(component: str, variables: dict[str, Any]) -> dict[str, Any]:
    """What roles derive from a site's names and ports follows them, wrong ones too."""
    values = GOOD_INPUTS[component]
    domain = variables.get("matrixrtc_domain", DOMAIN)
    if isinstance(domain, str):
        values = filled_in(values, {f"//{DOMAIN}/": f"//{domain}/"})
    if "full_access_homeservers" in values:
        values["full_access_homeservers"] = [variables.get("matrixrtc_server_name", "example.org")]
    for role, key, derive, sources in DERIVED:
        if role == component and any(source in variables for source in sources):
            values[key] = derive(*({**USUAL, **variables}[source] for source in sources))
    return values


def inputs_of(
    component: str, variables: dict[str, Any], facts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a component's preflight passes when the operator sets these variables on a good site."""
    values = {
        **SITE,
        **_with_derived(component, variables),
        **(facts or {}),
    }
    for key in values:
        if variable_name(component, key) in variables:
            values[key] = variables[variable_name(component, key)]
    return values


def write_certificates(folder: Path) -> None:
    """Certificates of every kind the table names, valid for a year unless their name says otherwise."""
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    _write_key(folder / "good.key", key)
    _write_key(folder / "other.key", other)
    _write_key(folder / "encrypted.key", key, b"a password")
    _write_certificate(folder / "good.crt", key, [DOMAIN, TURN_DOMAIN])
    _write_certificate(folder / "call.crt", key, [CALL_DOMAIN])
    _write_certificate(folder / "wildcard.crt", key, ["*.example.org"])
    _write_certificate(folder / "wildcard_too_high.crt", key, ["*.org"])
    _write_certificate(folder / "other.crt", key, ["matrix.example.org", "www.example.org"])
    _write_certificate(folder / "expired.crt", key, [DOMAIN], days=(-90, -1))
    _write_certificate(folder / "early.crt", key, [DOMAIN], days=(2, 90))
    _write_certificate(folder / "soon.crt", key, [DOMAIN], days=(-80, 10))
    (folder / "broken.crt").write_text(
        "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"
    )
    for name, version in (("synapse", "1.163.2"), ("older-synapse", "1.160.2")):
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")  # what a Python is asked for
        (folder / name).chmod(0o755)
    (folder / "nan").write_text('{"NaN": "a NaN",\n "b": [NaN]}')
    (folder / "no_list").write_text('{"org.matrix.msc4143.rtc_foci": {}}')
    (folder / "client").write_text('{"m.homeserver": {"base_url": "https://matrix.example.org"}}')


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> None:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )


def _write_certificate(
    path: Path, key: ec.EllipticCurvePrivateKey, names: list[str], days: tuple[int, int] = (-1, 365)
) -> None:
    """A certificate signed by its own key; `days` are its first and last day from now."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def busy_ports() -> Iterator[dict[str, str]]:
    """A TCP and a UDP port of the loopback interface that this process holds."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        stream.bind(("127.0.0.1", 0))
        stream.listen()
        datagram.bind(("127.0.0.1", 0))
        yield {"BUSY_TCP": str(stream.getsockname()[1]), "BUSY_UDP": str(datagram.getsockname()[1])}


def quiet_process_folder(folder: Path) -> str:
    """A stand-in for /proc on a host where nothing listens."""
    os.makedirs(folder / "net")
    for table in ("tcp", "tcp6", "udp", "udp6"):
        (folder / "net" / table).write_text("  sl  local_address rem_address   st\n")
    return str(folder)


def process_folder(folder: Path, port: int, cgroup: str) -> str:
    """A stand-in for /proc: one process, of this control group, listens on the TCP port of 127.0.0.1."""
    quiet_process_folder(folder)
    row = f"0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1\n"
    (folder / "net" / "tcp").write_text("  sl  local_address\n" + row)
    (folder / "77" / "fd").mkdir(parents=True)
    (folder / "77" / "fd" / "3").symlink_to("socket:[4711]")
    (folder / "77" / "comm").write_text("some-server\n")
    (folder / "77" / "cgroup").write_text(cgroup)
    return str(folder)
