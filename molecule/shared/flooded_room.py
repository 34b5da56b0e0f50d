"""Make a room with stale call memberships, and send messages until the homeserver limits the user.

Runs on the homeserver's host. Reads {"user", "token", "memberships"} from the file that is its argument;
prints the room's id.
"""

from __future__ import annotations

import json
import sys

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import (
    MEMBER_TYPE,
    joined,
    power_levels,
    state_key,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from bridge import HOMESERVER, Bridge

MOST = 200  # messages; the largest burst that any lab allows is far below


def main() -> None:
    """Make the room and use the limit up."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    http, user = HttpClient(timeout=20), given["user"]
    bridge = Bridge(http)
    room = bridge.room(user, "11", {"power_level_content_override": power_levels()})
    transport = {"type": "livekit", "livekit_service_url": "https://elsewhere.test/jwt"}
    for number in range(given["memberships"]):
        device = f"FLOOD{number}"
        bridge.put(room, MEMBER_TYPE, state_key(user, device), user, joined(user, device, transport))
    for number in range(MOST):
        path = f"{HOMESERVER}/_matrix/client/v3/rooms/{room}/send/m.room.message/flood{number}"
        answer = http.request("PUT", path, {"msgtype": "m.notice", "body": "test"}, given["token"])
        if answer.status == 429:
            print(room)
            return
    sys.exit(f"{MOST} messages and no limit")


if __name__ == "__main__":
    main()
