"""clear_stuck_calls.yml without an inventory, against a homeserver of a few lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import MEMBER_TYPE, joined

ROOT = Path(__file__).parents[2]
ALICE, BOB, ROOM, TOKEN = "@alice:example.org", "@bob:example.org", "!r:example.org", "syt_secret_of_alice"
HOUR = 3_600_000
KEY = f"_{BOB}_GONE_m.call"
CLIENT = "/_matrix/client/v3"
ROOM_PATH = f"{CLIENT}/rooms/{ROOM}"


class Homeserver(ThreadingHTTPServer):
    """One room with alice in it, a membership of bob, who has left, and alice's own, which is young."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        transport = {"type": "livekit", "livekit_service_url": "https://x.example.org/jwt"}
        now = int(time.time() * 1000)

        def event(kind: str, key: str, sender: str, content: Any, sent: int) -> dict[str, Any]:
            names = {"type": kind, "state_key": key, "sender": sender, "event_id": f"${key}"}
            return {**names, "content": content, "origin_server_ts": sent}

        self.state = [
            event("m.room.create", "", ALICE, {"room_version": "11"}, now),
            event("m.room.power_levels", "", ALICE, {"users": {ALICE: 100}}, now),
            event("m.room.member", ALICE, ALICE, {"membership": "join"}, now),
            event("m.room.member", BOB, BOB, {"membership": "leave"}, now),
            event(MEMBER_TYPE, KEY, BOB, joined(BOB, "GONE", transport), now - HOUR),
            event(
                MEMBER_TYPE, f"_{ALICE}_PHONE_m.call", ALICE, joined(ALICE, "PHONE", transport), now - HOUR
            ),
        ]
        self.written: list[str] = []
        self.limited = 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Homeserver

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.reply(401, {"errcode": "M_UNKNOWN_TOKEN", "error": "Token expired"})
        elif state := [e for e in self.server.state if path.endswith(f"/state/{e['type']}/{e['state_key']}")]:
            self.reply(200, state[0])
        else:
            answers = {
                "/_matrix/client/versions": {"versions": []},
                f"{CLIENT}/account/whoami": {"user_id": ALICE, "device_id": "PHONE"},
                f"{CLIENT}/joined_rooms": {"joined_rooms": [ROOM]},
                f"{CLIENT}/devices": {"devices": [{"device_id": "PHONE"}]},
                f"{CLIENT}/sync": {},
                f"{ROOM_PATH}/state": self.server.state,
            }
            known = path in answers
            self.reply(200 if known else 404, answers.get(path, {"errcode": "M_UNRECOGNIZED"}))

    def do_PUT(self) -> None:
        key = unquote(self.path.rpartition("/")[2])
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.limited:
            self.server.limited -= 1
            self.reply(429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 300})
            return
        self.server.written.append(key)
        for event in self.server.state:
            if event["state_key"] == key and event["type"] == MEMBER_TYPE:
                event.update(content=content, event_id="$new")
        self.reply(200, {"event_id": "$new"})


@pytest.fixture
def homeserver() -> Iterator[Homeserver]:
    server = Homeserver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def play(
    folder: Path, server: Homeserver, *arguments: str, **variables: object
) -> subprocess.CompletedProcess[str]:
    given = {
        "matrixrtc_stuck_access_token": TOKEN,
        "matrixrtc_stuck_homeserver_url": server.url,
        **variables,
    }
    file = folder / "variables.json"
    file.write_text(json.dumps(given))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
    }
    program = str(Path(sys.executable).parent / "ansible-playbook")
    command = [program, str(ROOT / "clear_stuck_calls.yml"), "-e", f"@{file}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)


def test_it_lists_and_changes_nothing(homeserver: Homeserver, tmp_path: Path) -> None:
    done = play(tmp_path, homeserver, "-vvv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{BOB} (GONE): the user is not in the room any more" in done.stdout
    assert "would be ended: by writing it empty" in done.stdout
    assert f"{ALICE} (PHONE): not expired, sent 1 h ago" in done.stdout
    assert homeserver.written == []
    assert "changed=0" in done.stdout
    assert TOKEN not in done.stdout + done.stderr


def test_it_ends_keeps_to_the_rate_limit_and_has_nothing_to_do_afterwards(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    ahead = play(tmp_path, homeserver, "--check", "--diff", matrixrtc_stuck_end=True)
    assert f"-{ROOM} {KEY}" in ahead.stdout
    assert homeserver.written == []
    done = play(tmp_path, homeserver, "--diff", "-v", matrixrtc_stuck_end=True)
    assert done.returncode == 0, done.stdout
    assert homeserver.written == [KEY]
    assert "ended: by writing it empty" in done.stdout
    assert "waited: 0.3" in done.stdout or "waited: 0.4" in done.stdout
    again = play(tmp_path, homeserver, matrixrtc_stuck_end=True)
    assert "changed=0" in again.stdout
    assert homeserver.written == [KEY]


def test_an_expired_token_and_a_server_with_no_admin_api_are_named(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    """As with the Matrix Authentication Service, where no token comes from a login."""
    wrong = play(tmp_path, homeserver, matrixrtc_stuck_access_token="syt_old", matrixrtc_stuck_end=True)
    assert wrong.returncode != 0
    assert "Give a valid access token: this one is wrong, or has expired" in wrong.stdout
    assert "syt_old" not in wrong.stdout
    admin = play(tmp_path, homeserver, matrixrtc_stuck_access_token="", matrixrtc_admin_token=TOKEN)
    assert admin.returncode != 0
    assert "to where Synapse answers /_synapse/admin" in admin.stdout
    stale = play(tmp_path, homeserver, matrixrtc_stuck_access_token="", matrixrtc_admin_token="syt_old")
    assert "mas-cli manage issue-compatibility-token" in stale.stdout
