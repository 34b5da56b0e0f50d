"""Make many rooms, one in ten with a membership that nobody stands behind. Runs on the homeserver's host.

Reads {"user", "rooms"} from the file that is its argument.
"""

from __future__ import annotations

import json
import sys

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import (
    MEMBER_TYPE,
    joined,
    power_levels,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from bridge import Bridge


def main() -> None:
    """Make them, as quickly as the homeserver lets us."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    bridge, user = Bridge(HttpClient(timeout=20)), given["user"]
    transport = {"type": "livekit", "livekit_service_url": "https://elsewhere.test/jwt"}
    for number in range(given["rooms"]):
        room = bridge.room(user, "11", {"power_level_content_override": power_levels(0)})
        if number % 10 == 0:
            bridge.put(room, MEMBER_TYPE, f"_{user}_GONE_m.call", user, joined(user, "GONE", transport))


if __name__ == "__main__":
    main()
