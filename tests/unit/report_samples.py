"""Results as probes return them, of sites in all conditions, for the tests of the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.matrixrtc.backend.plugins.module_utils.report_document import Subject, document

CANARY = "canary-zq81-access-token"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
ALICE, BOB = "@call-test-1:example.org", "@call-test-2:example.org"
# id, title, leg, what is expected, what a healthy site shows, seconds
HEALTHY = (
    (
        "well_known_client",
        "Client well-known",
        "announcement",
        "200, a JSON object",
        "names the token service",
        0.06,
    ),
    (
        "transports",
        "Announced transports",
        "announcement",
        "our token service's URL",
        "one livekit entry",
        0.04,
    ),
    ("tls_rtc", "TLS of rtc.example.org", "entrance", "a valid certificate", "valid for 61 days", 0.09),
    ("sfu_admin_closed", "Admin API of the SFU", "entrance", "403 or 404 from outside", "404", 0.02),
    ("token_health", "Token service", "token", "200 from /healthz", "200", 0.03),
    (
        "account_token",
        "LiveKit token for a user",
        "token",
        "a token to join and publish",
        "may publish",
        0.18,
    ),
    (
        "openid_userinfo",
        "OpenID check for the token service",
        "identity",
        "401 for a made-up token",
        "401",
        0.05,
    ),
    ("sfu_validate", "SFU behind the proxy", "signalling", "401 without a token", "401", 0.03),
    ("sfu_websocket", "Websocket to the SFU", "signalling", "401 for an upgrade", "401 twice", 0.05),
    ("media_udp", "Media over UDP", "media", "an answer on every address", "203.0.113.5:7882 answers", 0.12),
    ("media_tcp", "Media over TCP", "media", "an answer on every address", "203.0.113.5:7881 answers", 0.08),
    ("call_connected", "Connections to the SFU", "media", "both users connected", "both", 0.25),
    ("call_video", "Picture", "media", "each recognises the other's", "48 and 49 pictures", 0.61),
    ("call_encryption", "End-to-end encryption", "media", "nothing without keys", "noise", 0.4),
    ("call_leave", "Leave after a break", "leave", "gone soon after", "gone after 0.12 s", 0.31),
    ("host_services", "Services on the RTC host", "host", "both active", "livekit and lk-jwt-service", 0.05),
    ("host_firewall", "Packet filter on the RTC host", "host", "media ports open", "open in nftables", 0.03),
)
FAULT = {
    "status": "fail",
    "cause": "LiveKit is not running: the proxy has nobody to ask",
    "fix": "systemctl status livekit, then journalctl -u livekit -n 50",
    "shows": '"Something went wrong", OPEN_ID_ERROR, after 5 s',
}
ODD = {
    "status": "warn",
    "seen": "valid for 3 days",
    "cause": "the certificate was not renewed",
    "fix": "renew it, and see why its timer did not",
}


def check(row: tuple[str, str, str, str, str, float], **other: object) -> dict[str, object]:
    """One check as a module returns it, healthy but for what is given."""
    name, title, leg, expected, seen, seconds = row
    made = {"id": name, "title": title, "leg": leg, "expected": expected, "seen": seen, "seconds": seconds}
    return {**made, "status": "ok", "cause": "", "fix": "", "shows": "", **other}


def checks(**other: Mapping[str, object]) -> list[dict[str, object]]:
    """The checks of a site; those named are not healthy."""
    return [check(row, **other.get(row[0], {})) for row in HEALTHY]


def series(user: str, start: float) -> dict[str, object]:
    """What one participant received, second by second."""
    points = [
        {
            "at": second + 1.0,
            "frames_per_second": min(15.0, start + 3 * second),
            "bits_per_second": 180_000.0 + 40_000 * second - 9_000 * second**2,
            "loss": 0.012 if second == 2 else 0.0,
            "round_trip": 0.021 + 0.002 * (second % 3),
        }
        for second in range(6)
    ]
    return {"user": user, "points": points}


FIGURES: dict[str, object] = {
    "room_id": "!probe:example.org",
    "users": [ALICE, BOB],
    "time_to_token": 0.1,
    "time_to_connected": 0.25,
    "time_to_first_frame": 0.61,
    "frames": 97,
    "frames_missed": 1,
    "packets": 420,
    "loss": 0.0125,
    "round_trip": 0.0233,
    "tone_seconds": 5.8,
    "candidate_pairs": [
        {
            "user": ALICE,
            "local": "udp 198.51.100.7:51000 (host)",
            "remote": "udp 203.0.113.5:7882 (host)",
            "remote_address": "203.0.113.5",
            "remote_port": 7882,
            "remote_kind": "host",
            "protocol": "udp",
            "round_trip": 0.023,
            "local_kind": "host",
            "relay_protocol": "",
        }
    ],
    "advertised": ["udp 203.0.113.5:7882", "tcp 203.0.113.5:7881"],
    "livekit_version": "1.13.5",
    "break_off": "disconnect",
    "membership_stayed": 0.12,
    "seconds": 6.31,
    "series": [series(ALICE, 9.0), series(BOB, 12.0)],
}


def person(name: str, others: Mapping[str, float]) -> dict[str, object]:
    """Somebody in a call between sites. `others`: when the picture of each was there, 0 for never."""
    server = name.partition(":")[2]
    return {
        "user_id": name,
        "server_name": server,
        "published_on": f"rtc.{server}",
        "trouble": "",
        "time_to_token": 0.2,
        "time_to_join": 0.5,
        "watched": [
            {
                "user_id": other,
                "on": f"rtc.{other.partition(':')[2]}",
                "membership": 0.3,
                "first_frame": first,
                "frames": 40 if first else 0,
                "tone_seconds": 2.5 if first else 0.0,
            }
            for other, first in others.items()
        ],
    }


def between_sites(**other: Mapping[str, object]) -> list[dict[str, Any]]:
    """A call between two sites."""
    rows = (
        ("cross_join", "Way into the call", "token", "on the own SFU", "everybody on their own", 0.5),
        ("cross_watch", "Sight of the others", "media", "picture and tone of everybody", "everybody", 2.5),
        ("cross_access", "What users of other sites may do", "token", "as the sites say", "as they say", 0.3),
        ("cross_leave", "Leave after a break", "leave", "gone soon after", "gone after 0.4 s", 0.4),
    )
    people = ("@ada:alpha.example", "@ben:beta.example", "@bea:beta.example")
    waits = (
        {people[1]: 1.9, people[2]: 2.52},
        {people[0]: 2.1, people[2]: 0.7},
        {people[0]: 0.0, people[1]: 0.8},
    )
    figures = {
        "mode": "compatibility",
        "room_id": "!cross:alpha.example",
        "users": list(people),
        "participants": [person(name, seen) for name, seen in zip(people, waits, strict=True)],
        "first_frame": 2.52,
        "membership_stayed": 0.41,
        "seconds": 9.3,
    }
    return [{"checks": [check(row, **other.get(row[0], {})) for row in rows], "call": figures}]


def healthy() -> list[dict[str, Any]]:
    """A site where all is well, looked at with a call."""
    return [{"checks": checks(), "call": FIGURES}]


def one_leg_failed() -> list[dict[str, Any]]:
    """A site whose SFU is down: the call ends where it needs it."""
    down = {**FAULT, "seen": "HTTP 502"}
    skipped = {"status": "skip", "seen": "not tried, because account_token failed"}
    lost = {name: skipped for name, *_rest in HEALTHY if name.startswith("call_")}
    return [
        {"checks": checks(tls_rtc=ODD, account_token=down, sfu_validate=down, sfu_websocket=down, **lost)},
        {"skipped": True},
    ]


def everything_failed() -> list[dict[str, Any]]:
    """A site where nothing is as it should be, each for a reason of its own."""
    return [
        {
            "checks": checks(
                **{
                    name: {
                        **FAULT,
                        "seen": f"no answer from https://{'a-very-long-host-name.' * 5}example.org/{name}",
                        "fix": f"repair {name}: " + "and do one thing after the other. " * 4,
                    }
                    for name, *_rest in HEALTHY
                }
            )
        },
        {"failed": True, "msg": "the probe <b>broke</b> & ended"},
    ]


def long_list() -> list[dict[str, Any]]:
    """A cluster with many nodes: many checks, some odd, some left out."""
    rows = [
        (f"node_{node}_{name}", f"{title} of node {node}", leg, expected, seen, seconds)
        for node in range(1, 9)
        for name, title, leg, expected, seen, seconds in HEALTHY
    ]
    found = [check(row) for row in rows]
    found[4] |= {**FAULT, "seen": "HTTP 502"}
    found[9] |= ODD
    found[30] |= {"status": "skip", "seen": "needs an access token"}
    return [{"results": [{"checks": found}]}]


def with_canaries() -> list[dict[str, Any]]:
    """Results that still carry what the modules were given, and quote it where they should not."""
    users = [{"user_id": ALICE, "access_token": CANARY}]
    quoting = {**FAULT, "seen": f"https://rtc.example.org/?access_token={CANARY}x was refused", "cause": JWT}
    return [
        {
            "invocation": {"module_args": {"users": users, "access_token": CANARY}},
            "checks": checks(token_health=quoting, sfu_validate={**FAULT, "seen": f"sent {CANARY}: 401"}),
            "call": {**FIGURES, "jwt": JWT, "access_token": CANARY},
            "item": {"access_token": CANARY},
        }
    ]


def from_outside() -> list[dict[str, Any]]:
    """A healthy site of which nobody gave an account, and whose host is somebody else's."""
    return [{"checks": [check(row) for row in HEALTHY if row[0][:4] not in ("call", "acco", "host")]}]


SAMPLES = {
    "healthy": healthy,
    "one_leg_failed": one_leg_failed,
    "everything_failed": everything_failed,
    "between_sites": lambda: between_sites(cross_watch={**FAULT, "seen": "@bea saw nothing of @ada"}),
    "long_list": long_list,
    "outside": from_outside,
    "nothing": lambda: [{"skipped": True}],
}


def sample(name: str) -> dict[str, object]:
    """The document of a sample."""
    return of(SAMPLES[name]())


def of(results: list[dict[str, Any]]) -> dict[str, object]:
    """The document of results."""
    subject = Subject(
        title="example.org, calls at rtc.example.org",
        site="example.org",
        time="2026-11-27T04:12:09Z",
        version="0.1.0",
        sources={"livekit": "built from its Go module", "token_service": "lab stand-in"},
    )
    return document(subject, results)


def main(folder: Path) -> None:
    """Write the page of every sample, for a browser to look at."""
    from ansible_collections.matrixrtc.backend.plugins.plugin_utils.report_page import page

    for name in SAMPLES:
        (folder / f"{name}.html").write_text(page(sample(name)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
