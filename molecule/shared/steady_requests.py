"""Join every second as a client does: OpenID token, token of the SFU, websocket. Runs on the lab's client.

Reads {"server_name", "domain", "homeserver", "token", "age", "ca", "folder"} from the file that is its
argument, and ends when somebody puts a file `end` into the folder. Every other token is kept for `age`
seconds before somebody joins with it, so that what restarts meanwhile has to take tokens of before. Prints
how many were asked for, joined with at once and kept, which keys signed them, how long the slowest took, and
everything that failed as [time, what, answer]. Times are seconds since the epoch.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import Listener, SignalError
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import decode_token
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_token import (
    Access,
    access_of,
    legacy_request,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import MatrixClient

PATIENCE = 30.0


class Joiner:
    """What was asked for and joined with, and what failed."""

    def __init__(self, given: dict[str, object]) -> None:
        domain = str(given["domain"])
        self.http = HttpClient(str(given["ca"]), timeout=PATIENCE)
        self.site = Site(
            server_name=str(given["server_name"]),
            domain=domain,
            service_url=f"https://{domain}/livekit/jwt",
            livekit_url=f"wss://{domain}/livekit/sfu",
            http=self.http,
        )
        self.client = MatrixClient(str(given["homeserver"]), str(given["token"]), self.http)
        self.account = self.client.whoami()
        self.age = float(str(given["age"]))
        self.end = Path(str(given["folder"])) / "end"
        self.counts: Counter[str] = Counter()
        self.signed: Counter[str] = Counter()
        self.slowest = {"token": 0.0, "join": 0.0}
        self.failed: list[tuple[float, str, str]] = []

    def run(self, number: int) -> None:
        """Get a token and join with it, at once or later."""
        access = self.token(number)
        if not access.jwt:
            return
        kept = number % 2 == 0
        due = time.time() + (self.age if kept else 0)
        while time.time() < due and not self.end.exists():
            time.sleep(0.5)
        self.join(access, "kept" if kept else "new")

    def token(self, number: int) -> Access:
        """A token for a room of its own; none when that failed."""
        begun = time.time()
        self.counts["token"] += 1
        openid = self.client.openid_token(self.account.user_id)
        answer = legacy_request(self.site, openid, f"!steady{number}:{self.site.server_name}", self.account)
        access = access_of(answer)
        if access.jwt:
            self.signed[decode_token(access.jwt).issuer] += 1
            self.slowest["token"] = max(self.slowest["token"], time.time() - begun)
        else:
            self.failed.append((begun, "token", answer.summary()))
        return access

    def join(self, access: Access, what: str) -> None:
        """Be let into the room."""
        begun = time.time()
        self.counts[what] += 1
        try:
            listener = Listener(self.http, access.url, access.jwt, PATIENCE)
            listener.relays()
            listener.close()
        except SignalError as error:
            self.failed.append((begun, f"join with a {what} token", str(error)))
        self.slowest["join"] = max(self.slowest["join"], time.time() - begun)


def main() -> None:
    """Once a second, however long an answer takes."""
    joiner, number = Joiner(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), 0
    threads = []
    while not joiner.end.exists():
        number += 1
        threads.append(threading.Thread(target=joiner.run, args=(number,)))
        threads[-1].start()
        time.sleep(1)
    for thread in threads:
        thread.join()
    told = {
        "counts": joiner.counts,
        "signed": joiner.signed,
        "slowest": joiner.slowest,
        "failed": joiner.failed,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
