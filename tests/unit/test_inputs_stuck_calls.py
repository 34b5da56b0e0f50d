"""What is asked of clear_stuck_calls.yml: each mistake names its variable and the remedy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_report import Inputs
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_stuck_calls import check_stuck_calls

GOOD: dict[str, Any] = {
    "site": "example.org",
    "homeserver_url": "",
    "rooms": [],
    "users": [],
    "older_than": "12h",
    "patience": "10min",
    "end": False,
    "join_as_admin": False,
    "legacy_calls": False,
    "admin_token": "given",
    "access_token": "",
}


def problems(**changed: object) -> list[str]:
    inputs = Inputs("matrixrtc_stuck", {**GOOD, **changed})
    check_stuck_calls(inputs, "")
    return [problem.message for problem in inputs.problems]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"rooms": ["!a:example.org", "!kZ0-_x"], "users": ["@a:example.org"]},
        {"admin_token": "", "access_token": "given"},
        {"site": "", "homeserver_url": "http://127.0.0.1:8008"},
        {"join_as_admin": True, "end": "yes", "older_than": 60},
    ],
)
def test_good_inputs(changed: dict[str, object]) -> None:
    assert problems(**changed) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rooms": ["#a:example.org"]}, "matrixrtc_stuck_rooms: '#a:example.org' is not a room's id"),
        ({"rooms": "!a:example.org"}, "matrixrtc_stuck_rooms"),
        ({"users": ["alice"]}, "matrixrtc_stuck_users: 'alice' is not a Matrix ID"),
        ({"older_than": "soon"}, "matrixrtc_stuck_older_than: 'soon' is not a time such as 12h"),
        ({"patience": -1}, "matrixrtc_stuck_patience"),
        ({"end": "perhaps"}, "matrixrtc_stuck_end"),
        ({"legacy_calls": "x"}, "matrixrtc_stuck_legacy_calls"),
        ({"homeserver_url": "matrix.example.org"}, "matrixrtc_stuck_homeserver_url"),
        ({"site": ""}, "matrixrtc_stuck_homeserver_url is not set, nor is matrixrtc_server_name"),
        ({"admin_token": ""}, "matrixrtc_admin_token is not set, nor is matrixrtc_stuck_access_token"),
        (
            {"join_as_admin": True, "access_token": "given"},
            "matrixrtc_stuck_join_as_admin: only an administrator of the server can do that",
        ),
    ],
)
def test_bad_inputs(changed: dict[str, object], said: str) -> None:
    (message,) = problems(**changed)
    assert message.startswith(said), message
    assert message.endswith("."), "says what to set"
