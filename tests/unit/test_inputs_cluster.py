"""How the hosts of a cluster fit together, and the Redis of our own and of others."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import check_inputs
from inputs_support import GOOD_INPUTS, GOOD_SECRET

THREE = {
    "fronts": ["matrix"],
    "nodes": ["sfu2", "sfu3"],
    "redis_hosts": ["matrix"],
    "redis": {},
    "addresses": {"matrix": "10.0.0.1", "sfu2": "10.0.0.2", "sfu3": "10.0.0.3"},
    "media_addresses": {"matrix": "8.8.8.1", "sfu2": "8.8.8.2", "sfu3": "8.8.8.3,2001:4860::3"},
    "turn_tls": "",
    "proxy_mode": "nginx",
}


def problems(component: str, secret: str, **changes: Any) -> dict[str, str]:
    """The first message about each variable."""
    base = THREE if component == "matrixrtc_cluster" else GOOD_INPUTS[component]
    found = check_inputs(component, {**base, **changes}, secret).problems
    return {problem.variable: problem.message for problem in reversed(found)}


def test_a_good_cluster_and_a_site_without_one_have_no_problem():
    assert problems("matrixrtc_cluster", GOOD_SECRET) == {}
    assert problems("matrixrtc_cluster", "", nodes=[], redis_hosts=[], addresses={}) == {}


@pytest.mark.parametrize(
    ("changes", "variable", "says"),
    [
        ({"redis_hosts": []}, "matrixrtc_redis", "sfu2, sfu3 and the front can only be one SFU over a Redis"),
        ({"redis": {"address": "10.0.0.9:6379"}}, "matrixrtc_redis", "would be another one"),
        ({"redis_hosts": ["matrix", "sfu2"]}, "matrixrtc_redis", "would be separate ones"),
        ({"fronts": []}, "matrixrtc_rtc", "0 hosts of the site are in it (none)"),
        ({"fronts": ["matrix", "other"]}, "matrixrtc_rtc", "2 hosts of the site"),
        ({"nodes": ["matrix", "sfu2"]}, "matrixrtc_sfu", "matrix is in matrixrtc_rtc as well"),
        ({"turn_tls": "address"}, "matrixrtc_turn_tls", "that of one node"),
        ({"proxy_mode": "external"}, "nginx_proxy_mode", "somebody else's"),
        ({"addresses": {"matrix": "10.0.0.1", "sfu2": "10.0.0.2"}}, "matrixrtc_node_address", "reach sfu3"),
        (
            {"addresses": {**THREE["addresses"], "sfu3": "sfu3.example.org"}},
            "matrixrtc_node_address",
            "is not an IP address",
        ),
        (
            {"addresses": {**THREE["addresses"], "sfu3": "10.0.0.2"}},
            "matrixrtc_node_address",
            "sfu2 and sfu3 have the same one",
        ),
        (
            {"media_addresses": {**THREE["media_addresses"], "sfu2": "8.8.8.1"}},
            "matrixrtc_media_address",
            "matrix and sfu2 have the same one",
        ),
    ],
)
def test_hosts_that_do_not_fit_together(changes, variable, says):
    found = problems("matrixrtc_cluster", GOOD_SECRET, **changes)
    assert says in found[variable]


def test_every_node_needs_the_same_secret():
    assert "is not set" in problems("matrixrtc_cluster", "")["matrixrtc_livekit_secret"]


@pytest.mark.parametrize(
    ("fault", "variable"),
    [
        ("Redis at 10.0.0.9:6379 does not take the password.", "matrixrtc_redis_password"),
        ("Redis at 10.0.0.9:6379 does not answer: timed out (asked for 10 s).", "matrixrtc_redis"),
    ],
)
def test_what_a_redis_that_is_there_said(fault, variable):
    found = problems("livekit", GOOD_SECRET, redis={"address": "10.0.0.9:6379"}, redis_fault=fault)
    assert fault.rstrip(".") in found[variable]


@pytest.mark.parametrize("password", ["", "short", "two words that are long enough", 5])
def test_a_redis_of_our_own_wants_a_real_password(password):
    assert "matrixrtc_redis_password" in problems("livekit_redis", "", password=password)


def test_a_good_redis_of_our_own():
    assert problems("livekit_redis", "") == {}
