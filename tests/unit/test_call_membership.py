"""Memberships have the keys and the content that today's clients write and understand."""

from __future__ import annotations

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import (
    MEMBER_TYPE,
    STICKY_TYPE,
    Member,
    is_joined,
    joined,
    joined_sticky,
    left,
    left_sticky,
    member_of,
    power_levels,
    state_key,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_roster import Roster
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import member_identity

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


def state_event(content: dict[str, object]) -> dict[str, object]:
    return {
        "type": MEMBER_TYPE,
        "sender": "@a:b.org",
        "state_key": "_@a:b.org_PHONE_m.call",
        "content": content,
    }


def sticky_event(content: dict[str, object], sender: str = "@a:b.org") -> dict[str, object]:
    return {"type": STICKY_TYPE, "sender": sender, "content": content}


def test_both_kinds_of_membership_say_who_publishes_where() -> None:
    state = member_of(state_event(joined("@a:b.org", "PHONE", TRANSPORT)))
    assert state == Member("@a:b.org", "PHONE", "https://rtc.example.org/livekit/jwt")
    assert state.identity == "@a:b.org:PHONE"
    sticky = member_of(sticky_event(joined_sticky("@a:b.org", "PHONE", "one", TRANSPORT)))
    assert sticky == Member("@a:b.org", "PHONE", "https://rtc.example.org/livekit/jwt", "one")
    assert sticky.identity == member_identity("@a:b.org", "PHONE", "one")


@pytest.mark.parametrize("content", [left(), left("delayed"), {"application": "m.call"}])
def test_who_left_is_no_member(content: dict[str, object]) -> None:
    assert member_of(state_event(content)) is None


def test_a_sticky_event_is_believed_only_about_its_sender_and_this_call() -> None:
    content = joined_sticky("@a:b.org", "PHONE", "one", TRANSPORT)
    assert member_of(sticky_event(content, sender="@c:b.org")) is None
    assert member_of(sticky_event({**content, "slot_id": "m.call#other"})) is None
    assert member_of(sticky_event(left_sticky("one"))) is None


@pytest.mark.parametrize("foci", [[], None, [{"type": "mesh"}], [{"type": "livekit"}], ["livekit"]])
def test_a_membership_without_a_transport_has_no_url(foci: object) -> None:
    member = member_of(state_event({**joined("@a:b.org", "PHONE", TRANSPORT), "foci_preferred": foci}))
    assert member is not None
    assert member.service_url == ""


class Rooms:
    """Answers to /sync, one after the other."""

    def __init__(self, *rooms: dict[str, object] | None) -> None:
        self.rooms = list(rooms)

    def sync(self, _room: str, since: str, _timeout: float) -> tuple[str, dict[str, object] | None]:
        return f"{since}1", self.rooms.pop(0)


def test_the_roster_follows_state_and_sticky_events() -> None:
    event = state_event(joined("@a:b.org", "PHONE", TRANSPORT))
    gone = state_event(left())
    rooms = Rooms({"state_after": {"events": [event]}}, None, {"timeline": {"events": [gone]}})
    roster = Roster(rooms, "!room", sticky=False)  # type: ignore[arg-type]
    for expected in (1, 1, 0):
        roster.update(0)
        assert len(roster.members) == expected
    event = sticky_event(joined_sticky("@a:b.org", "PHONE", "one", TRANSPORT))
    others = sticky_event(joined_sticky("@c:b.org", "TV", "one", TRANSPORT), sender="@c:b.org")
    gone = sticky_event(left_sticky("one"))
    rooms = Rooms({"msc4354_sticky": {"events": [event, others]}}, {"timeline": {"events": [gone]}})
    roster = Roster(rooms, "!room", sticky=True)  # type: ignore[arg-type]
    roster.update(0)
    assert roster.of("@a:b.org", "PHONE")
    roster.update(0)
    assert [member.user_id for member in roster.members.values()] == ["@c:b.org"], (
        "a sticky key is its sender's"
    )
