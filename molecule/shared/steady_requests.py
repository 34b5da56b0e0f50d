"""Ask for a token every second, and whether the SFU takes it and the oldest one. Runs on the lab's client.

Reads {"server_name", "domain", "homeserver", "token", "life", "ca", "folder"} from the file that is its
argument, and ends when somebody puts a file `end` into the folder. A token that is older than `life` seconds
is not asked about. Prints how often each key signed, how long the slowest token took, and every request that
failed as [time, what, answer]. Times are seconds since the epoch.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import decode_token
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_token import (
    access_of,
    legacy_request,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import MatrixClient


class Asker:
    """What was asked, and what failed."""

    def __init__(self, given: dict[str, object]) -> None:
        domain = str(given["domain"])
        self.http = HttpClient(str(given["ca"]), timeout=30)
        self.site = Site(
            server_name=str(given["server_name"]),
            domain=domain,
            service_url=f"https://{domain}/livekit/jwt",
            livekit_url=f"wss://{domain}/livekit/sfu",
            http=self.http,
        )
        self.client = MatrixClient(str(given["homeserver"]), str(given["token"]), self.http)
        self.account = self.client.whoami()
        self.openid = self.client.openid_token(self.account.user_id)
        self.life = float(str(given["life"]))
        self.signed: Counter[str] = Counter()
        self.slowest = 0.0
        self.failed: list[tuple[float, str, str]] = []
        self.tokens: list[tuple[float, str]] = []

    def ask(self, number: int) -> None:
        """One token, and whether it and the oldest one that is still good are taken."""
        begun = time.time()
        answer = legacy_request(
            self.site, self.openid, f"!steady{number}:{self.site.server_name}", self.account
        )
        self.slowest = max(self.slowest, time.time() - begun)
        jwt = access_of(answer).jwt
        if not jwt:
            self.failed.append((begun, "token", answer.summary()))
            return
        self.signed[decode_token(jwt).issuer] += 1
        self.tokens.append((begun, jwt))
        oldest = next(token for made, token in self.tokens if begun - made < self.life)
        for what, token in (("new", jwt), ("oldest", oldest)):
            reply = self.http.request(
                "GET", f"https://{self.site.domain}/livekit/sfu/rtc/validate", token=token
            )
            if reply.status != 200:
                self.failed.append((time.time(), f"join with the {what} token", reply.summary()))


def main() -> None:
    """Ask once a second, however long an answer takes."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    asker, end, number = Asker(given), Path(given["folder"]) / "end", 0
    threads = []
    while not end.exists():
        number += 1
        threads.append(threading.Thread(target=asker.ask, args=(number,)))
        threads[-1].start()
        time.sleep(1)
    for thread in threads:
        thread.join()
    told = {"asked": number, "signed": asker.signed, "failed": asker.failed, "slowest": asker.slowest}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
