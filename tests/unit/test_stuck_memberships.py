"""Whose a membership is, until when it lasts, and what is thought of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import (
    EXPIRY,
    MEMBER_TYPE,
    joined,
    left,
    state_key,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import (
    legacy_identity,
    livekit_room,
    member_identity,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_memberships import (
    LEGACY_CALL_TYPE,
    Key,
    StateEvent,
    from_event,
    parse_key,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_verdicts import (
    ACTIVE,
    EXPIRED,
    LEFT,
    SUSPECTED,
    Knowledge,
    Verdict,
    duration,
    judge,
    livekit_rooms,
)
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3_600_000
NOW = 2_000_000_000_000
ROOM, ALICE = "!room:example.org", "@al_ice:example.org"
SERVICE = "https://rtc.example.org/livekit/jwt"
TRANSPORT = {"type": "livekit", "livekit_service_url": SERVICE}
KNOWN = Knowledge(now=NOW, older_than=12 * HOUR, service_url=SERVICE)

localparts = st.text(st.characters(exclude_characters=":\0", codec="utf-8"), max_size=12)
servers = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,12}(:[0-9]{1,5})?", fullmatch=True),
    st.sampled_from(["[::1]", "[2001:db8::1]:8448", "192.0.2.1:443"]),
)
users = st.builds("@{}:{}".format, localparts, servers)
devices = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def event(
    content: object, key: str = f"_{ALICE}_PHONE_m.call", sent: int = NOW - HOUR, sender: str = ALICE
) -> StateEvent:
    found = from_event(
        ROOM,
        {
            "type": MEMBER_TYPE,
            "state_key": key,
            "sender": sender,
            "event_id": "$e",
            "origin_server_ts": sent,
            "content": content,
        },
    )
    assert found is not None
    return found


def verdict(one: StateEvent, known: Knowledge = KNOWN, *others: StateEvent) -> Verdict:
    return judge(one, [entry for each in (one, *others) for entry in each.entries], known)


@given(users, devices, st.sampled_from(["", "org.matrix.msc3757.11", "org.matrix.msc3779.10"]))
def test_every_key_that_clients_write_is_read_back(user: str, device: str, version: str) -> None:
    """Underscores may be in users' names and in devices."""
    key = state_key(user, device, version)
    assert parse_key(key, device) == Key(user, device, not version)
    found = parse_key(key)
    assert found is not None
    assert found.user_id == user
    assert parse_key(f"_{user}_{device}", device) == Key(user, device, True)
    assert parse_key(user) == Key(user)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("_@a_b:example.org_DEV_m.call", Key("@a_b:example.org", "DEV", True)),
        ("_@a_b:example.org:8448_D_E_V_m.call", Key("@a_b:example.org:8448", "D_E_V", True)),
        ("_@a:[::1]_DEV", Key("@a:[::1]", "DEV", True)),
        ("@a:example.org_DEV_m.call", Key("@a:example.org", "DEV", False)),
        ("_@_bridge_x:example.org_m.callROOM", Key("@_bridge_x:example.org", "m.callROOM", True)),
        ("_@a:example.org_DEV_m.call#ROOM", Key("@a:example.org", "DEV", True)),
        ("", None),
        ("_", None),
        ("@a", None),
        ("__@a:example.org", None),
        ("_@a:example.org_", None),
    ],
)
def test_keys(key: str, expected: Key | None) -> None:
    assert parse_key(key) == expected


@given(json_values, st.text(max_size=20), st.integers())
def test_no_content_and_no_key_is_too_odd(content: object, key: str, sent: int) -> None:
    one = event(content, key, sent)
    assert verdict(one).state in (ACTIVE, EXPIRED, SUSPECTED, LEFT)


@given(
    st.integers(0, NOW),
    st.one_of(st.none(), st.integers(0, 2 * NOW)),
    st.one_of(st.none(), st.integers(-HOUR, 100 * HOUR)),
)
def test_nothing_expires_before_its_time(sent: int, created: int | None, lasts: int | None) -> None:
    extra = {**({} if created is None else {"created_ts": created})}
    content = {**joined(ALICE, "PHONE", TRANSPORT), **extra, "expires": lasts}
    (entry,) = event(content, sent=sent).entries
    assert entry.created <= sent, "nobody joins after having said so"
    assert entry.expires == entry.created + (lasts if lasts and lasts > 0 else EXPIRY)
    state = verdict(event(content, sent=sent), replace(KNOWN, older_than=10**15)).state
    assert (state == EXPIRED) <= (entry.expires < NOW)


@pytest.mark.parametrize(
    "content",
    [{}, left("gone"), {"application": "m.call"}, {"memberships": []}, {"memberships": [7, {}]}, None, []],
)
def test_who_has_left(content: object) -> None:
    assert verdict(event(content)).state == LEFT


MEMBERSHIP = joined(ALICE, "PHONE", TRANSPORT)


def test_proof_comes_before_suspicion_and_the_sfu_before_everything() -> None:
    old = event(MEMBERSHIP, sent=NOW - 20 * HOUR)
    assert verdict(old).state == EXPIRED
    for identity in (
        legacy_identity(ALICE, "PHONE"),
        member_identity(ALICE, "PHONE", legacy_identity(ALICE, "PHONE")),
    ):
        known = replace(
            KNOWN,
            connected={livekit_room(ROOM): frozenset({identity})},
            members=frozenset(),
            devices={ALICE: frozenset()},
        )
        assert verdict(old, known) == Verdict(ACTIVE, "connected to the SFU")
    assert verdict(event(MEMBERSHIP, sent=NOW), replace(KNOWN, members=frozenset())).state == SUSPECTED
    gone = verdict(event(MEMBERSHIP, sent=NOW), replace(KNOWN, devices={ALICE: frozenset({"OTHER"})}))
    assert gone == Verdict(SUSPECTED, "the device does not exist any more")


def test_who_is_in_another_room_is_not_in_this_one_but_an_unknown_room_may_be_this_one() -> None:
    old, here = event(MEMBERSHIP, sent=NOW - 20 * HOUR), frozenset({legacy_identity(ALICE, "PHONE")})
    rooms = livekit_rooms([ROOM, "!other:example.org"])
    known = replace(KNOWN, rooms=rooms)
    assert verdict(old, replace(known, connected={livekit_room("!other:example.org"): here})).state == EXPIRED
    assert verdict(old, replace(known, connected={"a name of tomorrow": here})).state == ACTIVE


def test_absence_counts_only_where_the_device_would_have_to_be() -> None:
    nobody = replace(KNOWN, connected={})
    absent = Verdict(SUSPECTED, "not connected to its SFU")
    assert verdict(event(MEMBERSHIP), nobody) == absent
    assert verdict(event(MEMBERSHIP), KNOWN).state == ACTIVE, "nobody was asked"
    assert verdict(event(MEMBERSHIP), replace(nobody, service_url="https://other/jwt")).state == ACTIVE
    oldest = {**MEMBERSHIP, "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"}}
    elsewhere = {"type": "livekit", "livekit_service_url": "https://elsewhere/jwt"}
    other = event(joined("@b:x", "B", elsewhere), "_@b:x_B_m.call", sender="@b:x")
    assert verdict(event(oldest), nobody) == absent
    assert verdict(event(oldest), nobody, other).state == ACTIVE, "all may be on the other one's SFU"
    assert verdict(event(MEMBERSHIP), nobody, other) == absent


def test_what_was_just_sent_or_has_its_leave_scheduled_is_believed() -> None:
    nobody = replace(KNOWN, connected={})
    assert verdict(event(MEMBERSHIP, sent=NOW - 60_000), nobody).state == ACTIVE
    key = f"_{ALICE}_PHONE_m.call"
    assert verdict(event(MEMBERSHIP), replace(nobody, pending=frozenset({key}))).state == ACTIVE


def test_age_is_the_last_resort() -> None:
    lasting = {**MEMBERSHIP, "expires": 1000 * HOUR}
    assert verdict(event(lasting, sent=NOW - 11 * HOUR)).state == ACTIVE
    assert verdict(event(lasting, sent=NOW - 13 * HOUR)).state == SUSPECTED


def test_a_list_is_as_active_as_its_most_active_device() -> None:
    entry = {"application": "m.call", "call_id": "", "scope": "m.room", "expires": HOUR, "membershipID": "1"}
    both = {"memberships": [{**entry, "device_id": "PHONE"}, {**entry, "device_id": "LAPTOP"}]}
    one = event(both, ALICE, sent=NOW - 9 * HOUR)
    assert verdict(one).state == EXPIRED
    known = replace(KNOWN, connected={livekit_room(ROOM): frozenset({f"{ALICE}:LAPTOP"})})
    assert verdict(one, known).state == ACTIVE
    timed = {"memberships": [{**entry, "device_id": "PHONE", "expires_ts": NOW + HOUR}]}
    assert event(timed, ALICE).entries[0].expires == NOW + HOUR


def test_calls_of_the_old_kind() -> None:
    def call(content: object, sent: int) -> StateEvent:
        raw = {"type": LEGACY_CALL_TYPE, "state_key": "c", "sender": ALICE, "origin_server_ts": sent}
        found = from_event(ROOM, {**raw, "content": content})
        assert found is not None
        return found

    old = call({"m.type": "m.video"}, NOW - 13 * HOUR)
    assert verdict(old).state == SUSPECTED
    assert verdict(old, KNOWN, event(MEMBERSHIP)).state == ACTIVE
    assert verdict(call({"m.type": "m.video"}, NOW - HOUR)).state == ACTIVE
    assert verdict(call({"m.terminated": True}, NOW - 13 * HOUR)).state == LEFT


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3601, "1 h"),
        (3660, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(1000 * seconds) == text
