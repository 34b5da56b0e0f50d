"""Make many rooms without calls. Runs on a lab host.

Reads {"url", "token", "rooms"} from the file that is its argument.
"""

from __future__ import annotations

import json
import sys

from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_homeserver import PatientClient


def main() -> None:
    """Make them, as quickly as the homeserver lets us."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    client = PatientClient(given["url"], given["token"], HttpClient(timeout=20))
    for _number in range(given["rooms"]):
        client.create_room({"preset": "private_chat"})


if __name__ == "__main__":
    main()
