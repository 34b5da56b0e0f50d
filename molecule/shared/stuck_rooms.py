"""Make rooms with call memberships of every shape, as clients that crashed leave them.

Runs on the homeserver's host. Reads {"server", "alice": device, "bob": device, "service": the token service's
URL} from the file that is its argument; prints the rooms by name.
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
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_memberships import LEGACY_CALL_TYPE
from bridge import Bridge

HOUR = 3_600_000
NOW = int(time.time() * 1000)
ELSEWHERE = {"type": "livekit", "livekit_service_url": "https://elsewhere.test/jwt"}


def member(
    user: str, device: str, hours: float = 4, transport: dict[str, str] = ELSEWHERE
) -> dict[str, object]:
    """A membership that lasts some hours."""
    return {**joined(user, device, transport), "expires": int(hours * HOUR)}


def of_user(*devices: str) -> dict[str, object]:
    """The form of 2023: one event for a user, with a list."""
    shared = {"application": "m.call", "call_id": "", "scope": "m.room", "membershipID": "1", "expires": HOUR}
    foci = {"foci_active": [ELSEWHERE]}
    return {"memberships": [{**shared, **foci, "device_id": device} for device in devices]}


def main() -> None:
    """Make the rooms and say what is in them."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    bridge = Bridge(HttpClient(timeout=20))
    for name in ("car_ol", "dave"):
        bridge.register(name)
    alice, bob, carol, dave = (f"@{name}:{given['server']}" for name in ("alice", "bob", "car_ol", "dave"))
    levels = {"power_level_content_override": power_levels(0)}
    phone_a, phone_b, ours = (
        given["alice"],
        given["bob"],
        {"type": "livekit", "livekit_service_url": given["service"]},
    )

    shapes = bridge.room(alice, "11", levels, bob, carol, dave)
    for key, user, content, hours in (
        (f"_{alice}_{phone_a}_m.call", alice, member(alice, phone_a), 9),
        (f"_{bob}_{phone_b}_m.call", bob, member(bob, phone_b, 100), 20),
        (f"_{bob}_{phone_b}_m.call#other", bob, member(bob, phone_b, 4, ours), 1),
        (f"_{bob}_NO_SUCH_m.call", bob, member(bob, "NO_SUCH"), 1),
        (f"_{carol}_PHO_NE", carol, member(carol, "PHO_NE"), 1),
        (f"_{dave}_D_m.call", dave, member(dave, "D"), 0),
        ("_@eve:elsewhere.test_E_m.call", alice, member("@eve:elsewhere.test", "E"), 0),
        (bob, bob, of_user(phone_b), 9),
        (f"_{bob}_LEFT_m.call", bob, left(), 0),
        (f"_{bob}_LEFT2_m.call", bob, left("lost the connection"), 0),
    ):
        bridge.put(shapes, MEMBER_TYPE, key, user, content, NOW - hours * HOUR if hours else 0)
    bridge.put(
        shapes, LEGACY_CALL_TYPE, "old", alice, {"m.intent": "m.room", "m.type": "m.video"}, NOW - 999 * HOUR
    )
    bridge.call("POST", f"/rooms/{shapes}/leave", dave, {})

    locked = bridge.room(bob, "12", {"power_level_content_override": power_levels(50)}, alice)
    bridge.put(locked, MEMBER_TYPE, f"_{bob}_GONE_m.call", bob, member(bob, "GONE"), NOW - HOUR)
    private = bridge.room(bob, "12", levels, carol)
    bridge.put(private, MEMBER_TYPE, f"_{bob}_GONE_m.call", bob, member(bob, "GONE"))
    bridge.put(private, MEMBER_TYPE, carol, carol, of_user("OLD"))
    fresh = bridge.room(bob, "11", levels)
    bridge.put(fresh, MEMBER_TYPE, f"_{bob}_{phone_b}_m.call", bob, member(bob, phone_b), NOW - 3 * HOUR)
    print(json.dumps({"shapes": shapes, "locked": locked, "private": private, "fresh": fresh}))


if __name__ == "__main__":
    main()
