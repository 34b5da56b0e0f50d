"""What an address that is watched does not go together with; the rest is in the table of bad inputs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_address import (
    check_watch,
    check_watched_nginx,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_report import Inputs

NAME = {"watch": "name", "watch_name": "home.example.net", "watch_stun": "", "watch_interval": 60}


def messages(component: str, check: Any, **values: Any) -> list[str]:
    inputs = Inputs(component, values)
    check(inputs)
    return [problem.message for problem in inputs.problems]


def test_an_address_of_the_role_alone_is_not_watched():
    (message,) = messages("livekit", check_watch, **NAME, node_ip="8.8.4.4", watched="8.8.8.8")
    assert message.startswith("matrixrtc_address_watch is set, but livekit_node_ip is not")
    assert "Set matrixrtc_media_address" in message


def test_nodes_of_a_cluster_are_not_watched():
    redis = {"address": "10.0.0.9:6379"}
    (message,) = messages("livekit", check_watch, **NAME, node_ip="8.8.8.8", watched="8.8.8.8", redis=redis)
    assert "nodes of a cluster" in message


@pytest.mark.parametrize(
    ("node_ip", "own"),
    [
        ("8.8.8.8", ["8.8.8.8"]),
        ("8.8.8.8,2001:4860::8888", ["8.8.8.8", "2001:4860::8888"]),
        ("10.0.0.5", ["10.0.0.5"]),  # a site for one's own network
        ("8.8.8.8", []),  # no default route that is known
        ("10.0.0.5", ["8.8.8.8"]),  # it became public
    ],
)
def test_an_interface_with_the_address_can_be_watched(node_ip, own):
    watch = {**NAME, "watch": "interface", "watch_name": ""}
    assert (
        messages("livekit", check_watch, **watch, node_ip=node_ip, watched=node_ip, first_addresses=own) == []
    )


def test_behind_nat_of_one_family_the_interface_is_not_enough():
    both = "8.8.8.8,2001:4860::8888"
    own = ["10.0.0.5", "2001:4860::8888"]
    watch = {**NAME, "watch": "interface", "watch_name": ""}
    (message,) = messages("livekit", check_watch, **watch, node_ip=both, watched=both, first_addresses=own)
    assert "this host has '10.0.0.5' where clients are told '8.8.8.8'" in message


def test_nginx_may_use_addresses_that_stay():
    at = {"listen_addresses": ["127.0.0.1", "192.0.2.11"], "proxy_address": "127.0.0.1"}
    assert (
        messages("nginx_proxy", check_watched_nginx, watch="name", first_addresses=["192.0.2.10"], **at) == []
    )


def test_nginx_may_not_know_the_token_service_by_an_address_that_may_change():
    at = {"listen_addresses": [], "proxy_address": "192.0.2.10"}
    (message,) = messages(
        "nginx_proxy", check_watched_nginx, watch="name", first_addresses=["192.0.2.10"], **at
    )
    assert "lk_jwt_service_hosts" in message
