"""What the module refuses before it calls anybody."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_attendee import full_access
from ansible_collections.matrixrtc.backend.plugins.modules.call_probe import wrong


def site(name: str) -> dict[str, Any]:
    return {"server_name": name, "users": []}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"users": [{}, {}], "sites": None}, ""),
        ({"users": [{}, {}, {}], "sites": None, "participants": 3}, ""),
        ({"users": [{}], "sites": None}, "users has 1 entries"),
        ({"users": [{}, {}], "sites": None, "participants": 11}, "participants is 11; a call has 2 to 10"),
        ({"users": [{}, {}], "sites": None, "participants": 1}, "participants is 1"),
        ({"users": None, "sites": [site("a.org"), site("b.org")]}, ""),
        ({"users": None, "sites": [site("a.org")]}, "two or more"),
        ({"users": None, "sites": [site("a.org"), site("a.org")]}, "each once"),
    ],
)
def test_a_call_needs_two_accounts_or_two_sites(options: dict[str, Any], fault: str) -> None:
    options = {"participants": 2, **options}
    assert fault in wrong(options)
    assert bool(fault) == bool(wrong(options))


def test_an_empty_list_means_the_own_server_and_no_list_that_nobody_knows() -> None:
    assert full_access("a.org", []) == ("a.org",)
    assert full_access("a.org", ["a.org", "b.org"]) == ("a.org", "b.org")
    assert full_access("a.org", None) == ()
