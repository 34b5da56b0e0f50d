"""Hold a call of two users for some seconds and print its checks and figures. Runs on the lab's client.

Reads {"server_name", "domain", "alice", "bob", "ca", "seconds"} from the file that is its argument.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_proof import Plan, place_call
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import as_dicts
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient


def main() -> None:
    """Call, and say how it was."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    site = Site(
        server_name=given["server_name"],
        domain=given["domain"],
        service_url=f"https://{given['domain']}/livekit/jwt",
        livekit_url=f"wss://{given['domain']}/livekit/sfu",
        http=HttpClient(given["ca"]),
    )
    plan = Plan(
        site=site,
        tokens=(given["alice"], given["bob"]),
        media_seconds=given["seconds"],
        timeout=given["seconds"] + 15,
        prove_encryption=False,
    )
    checks, figures = place_call(plan)
    print(json.dumps({"checks": as_dicts(checks), "figures": asdict(figures)}))


if __name__ == "__main__":
    main()
