"""Write the membership of a user anew as if it were hours old, once or whenever somebody has ended it.

Runs on the homeserver's host. Reads {"room", "key", "user", "device", "hours", "seconds"} from the file that
is its argument. With `seconds` it watches for that long, as a living client does; otherwise it writes once.
"""

from __future__ import annotations

import json
import sys
import time
from urllib.parse import quote

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import (
    MEMBER_TYPE,
    is_joined,
    joined,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from bridge import Bridge

HOUR = 3_600_000


def main() -> None:
    """Write, and perhaps keep it there."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    bridge = Bridge(HttpClient(timeout=20))
    transport = {"type": "livekit", "livekit_service_url": "https://elsewhere.test/jwt"}
    # other words than before: the same content again is no new event to the homeserver
    content = {**joined(given["user"], given["device"], transport), "m.call.intent": "audio"}
    where = (given["room"], MEMBER_TYPE, given["key"], given["user"], content)
    bridge.put(*where, int(time.time() * 1000) - given["hours"] * HOUR)
    end = time.monotonic() + given["seconds"]
    path = f"/rooms/{quote(given['room'])}/state/{MEMBER_TYPE}/{quote(given['key'], safe='')}"
    while time.monotonic() < end:
        time.sleep(0.5)
        if not is_joined(bridge.call("GET", path, given["user"])):
            bridge.put(*where)
            return


if __name__ == "__main__":
    main()
