# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs of one component while they are checked, and what was found wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .inputs_values import InvalidValueError, is_missing, list_of_values

T = TypeVar("T")

# Inputs that the operator sets once for the whole site; every other input is the role's own variable.
OPERATOR_NAMES: Mapping[str, str] = {
    "server_name": "matrixrtc_server_name",
    "domain": "matrixrtc_domain",
    "homeserver_kind": "matrixrtc_homeserver_kind",
    "service_url": "matrixrtc_livekit_service_url",
    "livekit_url": "matrixrtc_livekit_url",
    "announced_url": "matrixrtc_livekit_url",
    "node_ip": "matrixrtc_media_address",
    "key": "matrixrtc_livekit_key",
    "secret": "matrixrtc_livekit_secret",
    "full_access_homeservers": "matrixrtc_full_access_homeservers",
    "allow_any_homeserver": "matrixrtc_allow_any_homeserver",
    "certificate": "matrixrtc_tls_certificate",
    "private_key": "matrixrtc_tls_private_key",
    "ca_file": "matrixrtc_ca_file",
    "transports": "matrixrtc_transports",
    "token_service_mode": "matrixrtc_token_service_mode",
    "homeserver_beside": "matrixrtc_homeserver_beside",
    "token_service_address": "matrixrtc_token_service_address",
    "as_token": "matrixrtc_as_token",
    "hs_token": "matrixrtc_hs_token",
    "http_proxy": "matrixrtc_http_proxy",
    "artifact_folder": "matrixrtc_artifact_folder",
    "tls_mode": "matrixrtc_tls_mode",
    "architecture": "ansible_facts.architecture",
    "distribution": "ansible_facts.distribution",
}
# Where a role has another name for an input than <role>_<input>.
ROLE_NAMES: Mapping[tuple[str, str], str] = {
    ("livekit", "url"): "matrixrtc_livekit_url",
    ("livekit", "turn_udp"): "matrixrtc_turn_udp",
    ("livekit", "turn_tls"): "matrixrtc_turn_tls",
    ("livekit", "turn_domain"): "matrixrtc_turn_domain",
    ("livekit", "turn_servers"): "matrixrtc_turn_servers",
    ("livekit", "cluster_redis_sentinel_password"): "matrixrtc_redis_sentinel_password",
    ("livekit", "redis"): "matrixrtc_redis",
    ("livekit", "redis_password"): "matrixrtc_redis_password",
    ("livekit", "node_selector"): "matrixrtc_node_selector",
    ("livekit", "region"): "matrixrtc_region",
    ("livekit", "watched"): "matrixrtc_media_address",
    ("livekit", "watch"): "matrixrtc_address_watch",
    ("livekit", "watch_name"): "matrixrtc_address_watch_name",
    ("livekit", "watch_stun"): "matrixrtc_address_watch_stun",
    ("livekit", "watch_interval"): "matrixrtc_address_watch_interval",
    ("nginx_proxy", "watch"): "matrixrtc_address_watch",
    ("livekit_redis", "password"): "matrixrtc_redis_password",
    ("livekit_redis", "address"): "matrixrtc_node_address",
    ("matrixrtc_cluster", "redis"): "matrixrtc_redis",
    ("matrixrtc_verify", "users"): "matrixrtc_probe_users",
    ("matrixrtc_verify", "tokens"): "matrixrtc_probe_users",
    ("matrixrtc_verify", "participants"): "matrixrtc_probe_participants",
    ("matrixrtc_verify", "foreign_user"): "matrixrtc_probe_foreign_user",
    ("matrixrtc_cluster", "redis_hosts"): "matrixrtc_redis",
    ("matrixrtc_cluster", "fronts"): "matrixrtc_rtc",
    ("matrixrtc_cluster", "nodes"): "matrixrtc_sfu",
    ("matrixrtc_cluster", "addresses"): "matrixrtc_node_address",
    ("matrixrtc_cluster", "media_addresses"): "matrixrtc_media_address",
    ("matrixrtc_cluster", "turn_tls"): "matrixrtc_turn_tls",
    ("matrixrtc_cluster", "proxy_mode"): "nginx_proxy_mode",
    ("nginx_proxy", "turn_tls"): "matrixrtc_turn_tls",
    ("nginx_proxy", "turn_domain"): "matrixrtc_turn_domain",
    ("nginx_proxy", "turn_address"): "matrixrtc_turn_address",
    ("nginx_proxy", "turn_certificate"): "matrixrtc_turn_tls_certificate",
    ("nginx_proxy", "turn_private_key"): "matrixrtc_turn_tls_private_key",
    ("nginx_proxy", "turn_port"): "livekit_turn_tls_port",
    ("nginx_proxy", "call_domain"): "matrixrtc_call_domain",
    ("livekit", "token_service_port"): "lk_jwt_service_port",
    ("lk_jwt_service", "own_livekit_url"): "lk_jwt_service_livekit_url",
    ("nginx_proxy", "proxy_address"): "lk_jwt_service_hosts",
    ("rtc_certificate", "mode"): "matrixrtc_tls_mode",
    ("rtc_certificate", "file"): "matrixrtc_tls_certificate",
    ("rtc_certificate", "directory"): "matrixrtc_acme_directory",
    ("rtc_certificate", "email"): "matrixrtc_acme_email",
    ("rtc_certificate", "agree_terms"): "matrixrtc_acme_agree_terms",
    ("rtc_certificate", "directory_ca_file"): "matrixrtc_acme_ca_file",
    ("rtc_certificate", "webroot"): "matrixrtc_acme_webroot",
    ("nginx_proxy", "livekit_port"): "livekit_port",
    ("nginx_proxy", "lk_jwt_service_port"): "lk_jwt_service_port",
    ("firewall", "tcp_port"): "livekit_tcp_port",
    ("firewall", "udp_port"): "livekit_udp_port",
    ("firewall", "port_range_start"): "livekit_port_range_start",
    ("firewall", "port_range_end"): "livekit_port_range_end",
    ("well_known", "foci"): "matrixrtc_transports",
    ("element_call", "call_domain"): "matrixrtc_call_domain",
    ("element_call", "certificate"): "matrixrtc_call_tls_certificate",
    ("element_call", "private_key"): "matrixrtc_call_tls_private_key",
    ("element_call", "homeserver_url"): "matrixrtc_homeserver_url",
    ("element_call", "rtc_domain"): "matrixrtc_domain",
    ("element_call", "sticky_events"): "synapse_config_sticky_events",
    ("matrixrtc_load", "accounts"): "matrixrtc_probe_users",
    ("matrixrtc_rotation", "request"): "matrixrtc_rotation",
    ("matrixrtc_stuck", "admin_token"): "matrixrtc_admin_token",
}


def variable_name(component: str, key: str) -> str:
    """The variable an operator sets for an input."""
    return ROLE_NAMES.get((component, key)) or OPERATOR_NAMES.get(key) or f"{component}_{key}"


@dataclass(frozen=True)
class Problem:
    """One reason to refuse the inputs; the message starts with the variable's name."""

    variable: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The shape in which modules return it."""
        return {"variable": self.variable, "message": self.message}


@dataclass
class Inputs:
    """Raw values of a component. A key that is absent is not checked; one that is empty is missing."""

    component: str
    values: Mapping[str, Any]
    versions: Mapping[str, Any] = field(default_factory=dict)
    allow_untested: bool = False
    process_folder: str = "/proc"
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def name(self, key: str) -> str:
        """The variable an operator sets for this input."""
        return variable_name(self.component, key)

    def has(self, key: str) -> bool:
        """The input was passed and is not empty."""
        return not is_missing(self.values.get(key))

    def refuse(self, key: str, fault: str, remedy: str) -> None:
        """Record a problem: what is wrong (a clause) and what to set (a sentence)."""
        colon = "" if fault.startswith(("is ", "has ", "cannot ")) else ":"
        problem = Problem(self.name(key), f"{self.name(key)}{colon} {fault}. {remedy}")
        if problem not in self.problems:
            self.problems.append(problem)

    def warn(self, key: str, text: str) -> None:
        """Record something that is allowed and probably not meant."""
        self.warnings.append(f"{self.name(key)}: {text}")

    def read(self, key: str, parse: Callable[[Any], T], remedy: str, required: bool = True) -> T | None:
        """The parsed input; None when it was not passed, is missing or was refused."""
        if key not in self.values:
            return None
        if is_missing(self.values[key]):
            if required:
                self.refuse(key, "is not set", remedy)
            return None
        return self.parse(key, self.values[key], parse, remedy)

    def parse(self, key: str, value: object, parse: Callable[[Any], T], remedy: str) -> T | None:
        """A part of an input, such as one entry of a list, parsed; None when it was refused."""
        try:
            return parse(value)
        except InvalidValueError as error:
            self.refuse(key, str(error), remedy)
            return None

    def read_list(
        self, key: str, parse: Callable[[Any], T], remedy: str, required: bool = True
    ) -> list[T] | None:
        """The parsed entries of a list; None when the list is missing or any entry was refused."""
        entries = self.read(key, list_of_values, remedy, required)
        if entries is None:
            return None
        if required and not entries:
            self.refuse(key, "is an empty list", remedy)
            return None
        parsed = [self.parse(key, entry, parse, remedy) for entry in entries]
        good = [entry for entry in parsed if entry is not None]
        return good if len(good) == len(parsed) else None
