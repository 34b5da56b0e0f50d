"""Memberships have the keys and the content that today's clients write and understand."""

from __future__ import annotations

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import (
    MEMBER_TYPE,
    is_joined,
    joined,
    left,
    power_levels,
    state_key,
)

TRANSPORT = {"type": "livekit", "livekit_service_url": "https://rtc.example.org/livekit/jwt"}


@pytest.mark.parametrize(
    ("version", "key"),
    [
        ("11", "_@a:b.org_PHONE_m.call"),
        ("12", "_@a:b.org_PHONE_m.call"),
        ("", "_@a:b.org_PHONE_m.call"),
        ("org.matrix.msc3757.11", "@a:b.org_PHONE_m.call"),
        ("org.matrix.msc3779.10", "@a:b.org_PHONE_m.call"),
        ("org.matrix.msc37570", "_@a:b.org_PHONE_m.call"),
    ],
)
def test_state_keys(version: str, key: str) -> None:
    assert state_key("@a:b.org", "PHONE", version) == key


def test_a_membership_says_where_its_media_is() -> None:
    content = joined("@a:b.org", "PHONE", TRANSPORT)
    assert content["foci_preferred"] == [TRANSPORT]
    assert content["focus_active"] == {"type": "livekit", "focus_selection": "multi_sfu"}
    assert content["membershipID"] == "@a:b.org:PHONE"
    assert (content["application"], content["call_id"], content["scope"]) == ("m.call", "", "m.room")
    assert is_joined(content)


def test_leaves_are_told_from_memberships() -> None:
    assert left() == {}
    assert not is_joined(left())
    assert not is_joined(left("delayed"))
    assert not is_joined({"application": "m.call"})


def test_everybody_may_join_calls() -> None:
    assert power_levels() == {"events": {MEMBER_TYPE: 0}}
