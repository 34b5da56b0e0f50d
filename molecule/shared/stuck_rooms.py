"""Make rooms with call memberships of every shape, as clients that crashed leave them. Runs on a lab host.

Reads {"url", "alice": token, "bob": token, "service": the token service's URL} from the file that is its
argument; prints {"open": room, "locked": room, "foreign": room, "keys": {what: state key}}.
"""

from __future__ import annotations

import json
import sys
import time

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import (
    MEMBER_TYPE,
    joined,
    left,
    power_levels,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_homeserver import PatientClient

HOUR = 3_600_000


def legacy(device: str, created: int) -> dict[str, object]:
    """The per-user form of 2023, with a list."""
    entry = {
        "application": "m.call",
        "call_id": "",
        "scope": "m.room",
        "device_id": device,
        "membershipID": "1",
        "expires": HOUR,
        "created_ts": created,
        "foci_active": [{"type": "livekit", "livekit_service_url": "https://elsewhere.example/jwt"}],
    }
    return {"memberships": [entry]}


def main() -> None:
    """Make the rooms and say what is in them."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    http = HttpClient(timeout=20)
    alice, bob = (PatientClient(given["url"], given[name], http) for name in ("alice", "bob"))
    a, b = alice.whoami(), bob.whoami()
    transport = {"type": "livekit", "livekit_service_url": given["service"]}
    now = int(time.time() * 1000)
    stale = {"created_ts": now - 9 * HOUR, "expires": 4 * HOUR}

    def room(creator: PatientClient, version: str, level: int, *others: tuple[PatientClient, str]) -> str:
        made = creator.create_room(
            {
                "preset": "private_chat",
                "room_version": version,
                "invite": [user for _client, user in others],
                "power_level_content_override": power_levels(level),
            }
        )
        for client, _user in others:
            client.join(made)
        return made

    opened = room(alice, "11", 0, (bob, b.user_id))
    keys = {
        "expired": f"_{a.user_id}_OLD_m.call",
        "crashed": f"_{b.user_id}_{b.device_id}_m.call",
        "without device": f"_{b.user_id}_NO_SUCH_m.call",
        "of 2024": f"_{b.user_id}_GONE",
        "per user": b.user_id,
        "left": f"_{b.user_id}_LEFT_m.call",
        "left with a reason": f"_{b.user_id}_LEFT2_m.call",
    }
    for client, key, content in (
        (alice, keys["expired"], {**joined(a.user_id, "OLD", transport), **stale}),
        (bob, keys["crashed"], joined(b.user_id, b.device_id, transport)),
        (bob, keys["without device"], joined(b.user_id, "NO_SUCH", transport)),
        (bob, keys["of 2024"], joined(b.user_id, "GONE", transport)),
        (bob, keys["per user"], legacy("PHONE", now - 9 * HOUR)),
        (bob, keys["left"], left()),
        (bob, keys["left with a reason"], left("lost the connection")),
    ):
        client.put_state(opened, MEMBER_TYPE, key, content)

    locked = room(bob, "11", 50, (alice, a.user_id))
    bob.put_state(locked, MEMBER_TYPE, keys["crashed"], joined(b.user_id, b.device_id, transport))
    foreign = room(bob, "12", 0)
    bob.put_state(foreign, MEMBER_TYPE, keys["crashed"], joined(b.user_id, b.device_id, transport))
    print(json.dumps({"open": opened, "locked": locked, "foreign": foreign, "keys": keys}))


if __name__ == "__main__":
    main()
