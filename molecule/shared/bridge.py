"""A bridge's requests to the lab's homeserver: in any user's name, and with a time in the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import CLIENT

TOKEN = "bridge-as-token-of-the-lab"
HOMESERVER = "http://127.0.0.1:8008"


@dataclass(frozen=True)
class Bridge:
    """Speaks for everybody of the lab's server."""

    http: HttpClient

    def call(
        self, method: str, path: str, user: str = "", body: object = None, ts: int = 0
    ) -> dict[str, object]:
        """One request in a user's name; `ts` is when it shall have happened, 0 for now."""
        query = {**({"user_id": user} if user else {}), **({"ts": ts} if ts else {})}
        url = f"{HOMESERVER}{CLIENT}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self.http.request(method, url, body, TOKEN)
        if answer.status != 200:
            raise SystemExit(f"{method} {path} as {user}: {answer.summary()} {answer.text()}")
        return answer.document()

    def register(self, name: str) -> None:
        """Make a user without any device."""
        body = {"type": "m.login.application_service", "username": name, "inhibit_login": True}
        url = f"{HOMESERVER}{CLIENT}/register"
        answer = self.http.request("POST", url, body, TOKEN)
        if answer.status != 200 and answer.document().get("errcode") != "M_USER_IN_USE":
            raise SystemExit(f"registering {name}: {answer.summary()}")

    def room(self, creator: str, version: str, content: Mapping[str, object], *others: str) -> str:
        """Make a private room with these users in it."""
        base = {"preset": "private_chat", "room_version": version, "invite": list(others)}
        made = str(self.call("POST", "/createRoom", creator, {**base, **content})["room_id"])
        for other in others:
            self.call("POST", f"/join/{quote(made)}", other, {})
        return made

    def put(self, room: str, kind: str, key: str, user: str, content: object, ts: int = 0) -> None:
        """Write a state event."""
        path = f"/rooms/{quote(room)}/state/{quote(kind)}/{quote(key, safe='')}"
        self.call("PUT", path, user, content, ts)
