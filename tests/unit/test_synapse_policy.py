"""What each setting becomes, and what is taken back, as plain data."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_policy import (
    KEYS,
    PolicyError,
    contributions,
    desired,
    identities,
    in_effect,
    parse_duration,
    parse_version,
    retire,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_yaml import (
    MISSING,
    change,
    flow,
    parse,
    render,
    scalar,
)

NOW = (1, 163)
OURS = {"type": "livekit", "livekit_service_url": "https://rtc.lab.test/livekit/jwt"}
THEIRS = {"type": "livekit", "livekit_service_url": "https://other.example.org/livekit/jwt", "x": 1}
NAMED = {**OURS, "name": "a"}
LIMITS = {"per_second": 0.5, "burst_count": 30}
TRANSPORTS = {"transports": [OURS]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1s", 1000), ("90", 90), (5, 5), ("2m", 120_000), ("24h", 86_400_000), ("1d", 86_400_000),
     ("1w", 604_800_000), ("1y", 31_536_000_000), ("-1h", -3_600_000)],
)  # fmt: skip
def test_durations(text: Any, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["24hours", "h", "", "1.5h", "1H", True, None, [], 1.5])
def test_no_durations(text: Any) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_versions() -> None:
    assert [parse_version(text) for text in ("1.163.2", "1.99.0rc1", "1.8")] == [(1, 163), (1, 99), (1, 8)]
    with pytest.raises(ValueError, match="not a version"):
        parse_version("unknown")


@pytest.mark.parametrize(
    ("key", "value", "wanted", "config", "expected"),
    [
        ("max_event_delay_duration", MISSING, "24h", {}, "24h"),
        ("max_event_delay_duration", "2d", "24h", {}, "2d"),
        ("max_event_delay_duration", "1440m", "24h", {}, "1440m"),
        ("rc_message", MISSING, LIMITS, {}, LIMITS),
        ("rc_message", {"per_second": 9, "z": 1}, LIMITS, {}, {"per_second": 9, "z": 1, "burst_count": 30}),
        ("rc_message", MISSING, {"per_second": 0.1, "burst_count": 5}, {}, MISSING),
        ("rc_message", {"per_second": "1e1", "burst_count": float("nan")}, LIMITS, {},
         {"per_second": 10, "burst_count": 30}),
        ("rc_message", MISSING, LIMITS, {"rc_messages_per_second": 4}, {"per_second": 4, "burst_count": 30}),
        ("rc_message", {}, LIMITS, {"rc_messages_per_second": 4}, LIMITS),
        ("rc_delayed_event_mgmt", MISSING, {"per_second": 1.0, "burst_count": 20}, {}, {"burst_count": 20}),
        ("experimental_features", None, {"msc4222_enabled": False}, {}, None),
        ("experimental_features", {"a": 1}, {"msc4222_enabled": True}, {}, {"a": 1, "msc4222_enabled": True}),
        ("experimental_features", MISSING, {"msc4143_enabled": True}, {}, MISSING),
        ("experimental_features", MISSING, {"msc4143_enabled": True}, {"matrix_rtc": TRANSPORTS},
         {"msc4143_enabled": True}),
        ("experimental_features", MISSING, {"msc3266_enabled": True}, {}, MISSING),
        ("experimental_features", MISSING, {"msc9999_enabled": True}, {}, {"msc9999_enabled": True}),
        ("matrix_rtc", {"transports": [THEIRS]}, TRANSPORTS, {}, {"transports": [THEIRS, OURS]}),
        ("matrix_rtc", {"transports": [NAMED]}, TRANSPORTS, {}, {"transports": [NAMED]}),
        ("matrix_rtc", {"transports": [THEIRS]}, {"transports": []}, {}, {"transports": [THEIRS]}),
        ("matrix_rtc", {"transports": [OURS]}, {"transports": [NAMED]}, {}, {"transports": [NAMED]}),
    ],
)  # fmt: skip
def test_desired(key: str, value: Any, wanted: Any, config: dict[str, Any], expected: Any) -> None:
    assert desired(key, value, wanted, NOW, config) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_event_delay_duration", []),
        ("rc_message", 5),
        ("experimental_features", "all"),
        ("matrix_rtc", [OURS]),
        ("matrix_rtc", {"transports": OURS}),
    ],
)
def test_values_that_nothing_can_be_joined_with(key: str, value: Any) -> None:
    wanted = {"max_event_delay_duration": "24h", "matrix_rtc": TRANSPORTS, "rc_message": LIMITS}
    with pytest.raises(PolicyError, match=key):
        desired(key, value, wanted.get(key, {"msc4222_enabled": True}), NOW, {})


def test_settings_a_version_does_not_know_stay_away() -> None:
    assert desired("matrix_rtc", MISSING, TRANSPORTS, (1, 139), {}) is MISSING
    assert desired("rc_delayed_event_mgmt", MISSING, LIMITS, (1, 125), {}) is MISSING
    wanted = {"msc4222_enabled": True, "msc3266_enabled": True, "msc4143_enabled": True}
    config = {"matrix_rtc": TRANSPORTS}
    assert desired("experimental_features", {}, wanted, (1, 118), config) == {"msc3266_enabled": True}
    assert desired("experimental_features", {}, wanted, (1, 152), config) == wanted
    assert "msc3266_enabled" not in desired("experimental_features", {}, wanted, (1, 153), config)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("max_event_delay_duration", MISSING, "24h"),
        ("max_event_delay_duration", "1h", "24h"),
        ("max_event_delay_duration", None, "24h"),
        ("matrix_rtc", MISSING, TRANSPORTS),
        ("matrix_rtc", None, TRANSPORTS),
        ("matrix_rtc", {"transports": None, "x": 1}, TRANSPORTS),
        ("matrix_rtc", {"transports": [THEIRS, {"type": "y"}]}, TRANSPORTS),
        ("matrix_rtc", {"transports": [OURS]}, {"transports": [{**OURS, "url": "wss://x"}]}),
        ("rc_message", {"burst_count": 80}, LIMITS),
        ("rc_message", {"per_second": "0.1"}, LIMITS),
        ("experimental_features", {"a": {"b": []}, "msc4222_enabled": False}, {"msc4222_enabled": True}),
    ],
)
def test_what_was_contributed_can_be_taken_back(key: str, value: Any, wanted: Any) -> None:
    new = desired(key, value, wanted, NOW, {})
    ours = contributions(value, new, (key,))
    assert ours
    back = retire(key, new, ours)
    assert back is value if value is MISSING else back == value
    assert retire(key, back, ours) == back, "taking it back twice changes nothing"
    assert retire(key, new, ours, identities(key, wanted)) != value or key not in ("matrix_rtc",) or value


def test_only_what_is_still_ours_is_taken_back() -> None:
    ours = contributions(MISSING, {"transports": [OURS]}, ("matrix_rtc",))
    changed = {"transports": [THEIRS, {**OURS, "n": 1}], "more": True}
    assert retire("matrix_rtc", changed, ours) == {"transports": [THEIRS], "more": True}
    kept = retire("matrix_rtc", changed, ours, identities("matrix_rtc", TRANSPORTS))
    assert kept == changed
    limits = contributions({"per_second": 0.2}, {"per_second": 0.5}, ("rc_message",))
    assert retire("rc_message", {"per_second": 0.7}, limits) == {"per_second": 0.7}


def test_what_is_in_effect_ignores_spelling() -> None:
    wanted = {
        "max_event_delay_duration": "24h",
        "matrix_rtc": TRANSPORTS,
        "experimental_features": {"msc4222_enabled": True},
        "rc_message": LIMITS,
    }
    one = {"max_event_delay_duration": "1d", "experimental_features": {"msc4222_enabled": True, "z": 1}}
    two = {"max_event_delay_duration": 86_400_000, "rc_message": {"per_second": 0.2, "burst_count": 10}}
    two["experimental_features"] = {"msc4222_enabled": 1}
    assert in_effect(one, wanted, NOW) == in_effect(two, wanted, NOW)
    assert in_effect({**two, "rc_message": LIMITS}, wanted, NOW) != in_effect(two, wanted, NOW)
    assert in_effect({**two, "matrix_rtc": TRANSPORTS}, wanted, NOW) != in_effect(two, wanted, NOW)


def test_keys_are_worked_out_in_the_order_they_need() -> None:
    order = list(KEYS)
    assert order.index("matrix_rtc") < order.index("experimental_features")


# YAML as it is written -------------------------------------------------------------------------------

AWKWARD = [
    "yes",
    "1",
    "0x1f",
    "1:30",
    "#x",
    "{a}",
    "[a",
    "&a",
    "*a",
    "!a",
    "%a",
    "@a",
    "`a",
    "null",
    "~",
    "-",
]
SPACED = [
    "a: b",
    " x ",
    "",
    "x'y\"z",
    "two\nlines",
    "tab\there",
    "- a",
    "a #b",
    "2001-01-01",
    "https://a/b?c,e",
    "1e3",
    "é🎈",
]


@pytest.mark.parametrize("value", [*AWKWARD, *SPACED, True, False, None, 0, -1, 0.5, 1e-7, 1e30])
def test_every_value_survives_being_written(value: Any) -> None:
    assert parse(f"k: {scalar(value)}\n").data == {"k": value}
    assert parse(f"k: [{scalar(value, True)}]\n").data == {"k": [value]}
    data = {"k": {"list": [{"v": value, "w": [value]}], "v": value}}
    assert parse("\n".join(render(data))).data == data
    assert parse(f"{flow(data)}\n").data == data


def test_nothing_to_change_is_no_edit() -> None:
    assert change("a: 1\n", {"a": 1, "b": MISSING}, lambda item: item) == ("a: 1\n", [])
