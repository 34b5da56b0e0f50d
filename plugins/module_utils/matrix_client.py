# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The few requests of the Matrix client-server API that a call makes, for one access token."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from .http_client import HttpClient, Response

CLIENT = "/_matrix/client/v3"
TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"  # the stable path is not served
DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
DELAY_PARAMETER = "org.matrix.msc4140.delay"
STICKY_PARAMETER = "org.matrix.msc4354.sticky_duration_ms"
STICKY_EVENTS = "org.matrix.msc4354"
STATE_AFTER = ("state_after", "org.matrix.msc4222.state_after")  # as specified, as Synapse has it
LONGEST_PAUSE = 3.0  # seconds to wait for a rate limit before it is reported instead


class MatrixError(Exception):
    """The homeserver refused a request, or did not answer. `status` is 0 without an answer."""

    def __init__(self, what: str, response: Response) -> None:
        self.what = what
        self.response = response
        self.status = response.status
        self.code = str(response.document().get("errcode", ""))
        reason = response.document().get("error")
        super().__init__(
            f"{what}: {response.summary()}" + (f" ({reason})" if isinstance(reason, str) else "")
        )


@dataclass(frozen=True)
class Account:
    """Who an access token belongs to."""

    user_id: str
    device_id: str

    @property
    def server_name(self) -> str:
        """The part of the user id after the first colon."""
        return self.user_id.partition(":")[2]


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def rate_limit_pause(response: Response) -> float:
    """Seconds that a 429 asks to wait."""
    wanted = response.document().get("retry_after_ms")
    if isinstance(wanted, (int, float)):
        return wanted / 1000
    header = response.header("Retry-After")
    return float(header) if header.isdigit() else 1.0


@dataclass
class MatrixClient:
    """Requests with one access token. Every method raises MatrixError when the answer is not a 2xx.

    longest_pause: seconds to wait for a rate limit.
    """

    base_url: str
    token: str
    http: HttpClient
    longest_pause: float = LONGEST_PAUSE

    def ask(self, what: str, method: str, path: str, body: object = None) -> Response:
        """One request; a rate limit is waited for once when it asks for a short pause."""
        url = self.base_url.rstrip("/") + path
        response = self.http.request(method, url, body, self.token)
        if response.status == 429 and rate_limit_pause(response) <= self.longest_pause:
            time.sleep(rate_limit_pause(response))
            response = self.http.request(method, url, body, self.token)
        if not 200 <= response.status < 300:
            raise MatrixError(what, response)
        return response

    def call(self, what: str, method: str, path: str, body: object = None) -> dict[str, object]:
        """One request whose answer is an object."""
        return self.ask(what, method, path, body).document()

    def whoami(self) -> Account:
        """Whose token this is. Tokens without a device cannot make calls: their device_id is ''."""
        found = self.call("asking whose token this is", "GET", f"{CLIENT}/account/whoami")
        return Account(_text(found, "user_id"), _text(found, "device_id"))

    def transports(self) -> list[dict[str, object]]:
        """The transports that the homeserver announces; empty when it has none."""
        found = self.call("asking for the transports", "GET", TRANSPORTS).get("rtc_transports")
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def longest_delay(self) -> int:
        """The longest delay of a delayed event in milliseconds, 0 when the homeserver has none (MSC4140)."""
        found = self.call("asking for capabilities", "GET", f"{CLIENT}/capabilities").get("capabilities")
        entry = found.get("org.matrix.msc4140.delayed_events") if isinstance(found, dict) else None
        longest = entry.get("max_delay_ms") if isinstance(entry, dict) else None
        return longest if isinstance(longest, int) else 0

    def openid_token(self, user_id: str) -> dict[str, object]:
        """A token that proves to another service who the user is."""
        return self.call(
            "asking for an OpenID token",
            "POST",
            f"{CLIENT}/user/{quote(user_id, safe='')}/openid/request_token",
            {},
        )

    def create_room(self, content: Mapping[str, object]) -> str:
        """Make a room; returns its id."""
        return _text(
            self.call("creating the throw-away room", "POST", f"{CLIENT}/createRoom", content), "room_id"
        )

    def join(self, room_id: str, via: str = "") -> None:
        """Join a room, `via` a server that is in it."""
        # the name as specified, and as homeservers before Matrix 1.12 have it
        query = f"?{urlencode({'via': via, 'server_name': via})}" if via else ""
        path = f"{CLIENT}/join/{quote(room_id, safe='')}{query}"
        self.call("joining the throw-away room", "POST", path, {})

    def leave(self, room_id: str) -> None:
        """Leave a room and forget it."""
        room = quote(room_id, safe="")
        self.call("leaving the throw-away room", "POST", f"{CLIENT}/rooms/{room}/leave", {})
        self.call("forgetting the throw-away room", "POST", f"{CLIENT}/rooms/{room}/forget", {})

    def sync(self, room_id: str, since: str = "", timeout: float = 0) -> tuple[str, dict[str, object] | None]:
        """What is new in one room, waited for `timeout` seconds: where to go on, and the room if it is there.

        The filter names the room, so that no answer comes from Synapse's cache of first syncs.
        """
        wanted = {"room": {"rooms": [room_id], "timeline": {"limit": 100}}, "presence": {"types": []}}
        query = {"use_state_after": "true", "org.matrix.msc4222.use_state_after": "true"}
        query |= {"since": since} if since else {}
        options = urlencode({**query, "timeout": str(int(timeout * 1000)), "filter": json.dumps(wanted)})
        answer = self.call("syncing", "GET", f"{CLIENT}/sync?{options}")
        found: object = answer
        for key in ("rooms", "join", room_id):
            found = found.get(key) if isinstance(found, dict) else None
        return _text(answer, "next_batch"), found if isinstance(found, dict) else None

    def state_after(self, room_id: str) -> bool | None:
        """Whether /sync tells the state after the timeline (MSC4222); None without the room in its answer."""
        _since, room = self.sync(room_id)
        return None if room is None else any(key in room for key in STATE_AFTER)

    def unstable_features(self) -> dict[str, object]:
        """What the homeserver can do that is not in the specification yet."""
        path = "/_matrix/client/versions"
        found = self.call("asking what the homeserver can do", "GET", path).get("unstable_features")
        return found if isinstance(found, dict) else {}

    def _state_path(self, room_id: str, kind: str, key: str) -> str:
        return f"{CLIENT}/rooms/{quote(room_id, safe='')}/state/{quote(kind, safe='')}/{quote(key, safe='')}"

    def put_state(self, room_id: str, kind: str, key: str, content: Mapping[str, object]) -> None:
        """Write a state event."""
        self.call(f"writing {kind}", "PUT", self._state_path(room_id, kind, key), content)

    def get_state(self, room_id: str, kind: str, key: str) -> dict[str, object]:
        """Read the content of a state event."""
        return self.call(f"reading {kind}", "GET", self._state_path(room_id, kind, key))

    def schedule_state(
        self, room_id: str, kind: str, key: str, content: Mapping[str, object], delay: int
    ) -> str:
        """Have the homeserver write a state event in `delay` milliseconds (MSC4140); returns the delay id."""
        path = f"{self._state_path(room_id, kind, key)}?{DELAY_PARAMETER}={delay}"
        return _text(self.call(f"scheduling {kind}", "PUT", path, content), "delay_id")

    def send_sticky(
        self, room_id: str, kind: str, content: Mapping[str, object], duration: int, delay: int = 0
    ) -> str:
        """Send an event that sticks for `duration` milliseconds (MSC4354), perhaps after a delay.

        Returns the delay id, '' without a delay.
        """
        query = {STICKY_PARAMETER: duration, **({DELAY_PARAMETER: delay} if delay else {})}
        room, transaction = quote(room_id, safe=""), uuid.uuid4().hex
        path = f"{CLIENT}/rooms/{room}/send/{quote(kind, safe='')}/{transaction}?{urlencode(query)}"
        return _text(self.call(f"sending {kind}", "PUT", path, content), "delay_id")

    def update_delayed(self, delay_id: str, action: str) -> None:
        """`restart`, `cancel` or `send` a delayed event."""
        self.call(f"delayed event, {action}", "POST", f"{DELAYED}/{quote(delay_id, safe='')}/{action}", {})
