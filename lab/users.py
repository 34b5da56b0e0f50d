# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The people of a site: alice, bob and the administrator ops, made with the homeserver's own tools."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from docker.models.containers import Container

from .hosts import execute

PEOPLE = ("alice", "bob")
ADMIN = "ops"

# Runs on the host, under Synapse's Python. Passwords come in the environment, never in an argument: Synapse's
# own registration tool is given them in a file that only root can read and that is gone afterwards.
SCRIPT = """
import json, os, subprocess, sys, tempfile, time, urllib.request
base = os.environ["LAB_URL"]
tool = [sys.executable, "-m", "synapse._scripts.register_new_matrix_user", "-c", os.environ["LAB_CONFIG"]]
people = json.loads(os.environ["LAB_PEOPLE"])
made = []
deadline = time.monotonic() + 60
while True:  # a unit may be active before Synapse listens
    try:
        urllib.request.urlopen(base + "/health", timeout=5).close()
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.3)
for name, password in people.items():
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(password)
        file.flush()
        subprocess.run([*tool, "-u", name, "--admin" if name == os.environ["LAB_ADMIN"] else "--no-admin",
                        "--password-file", file.name, base], check=True, stdout=subprocess.DEVNULL)
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name},
            "password": password, "initial_device_display_name": "lab"}
    request = urllib.request.Request(base + "/_matrix/client/v3/login", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        found = json.load(answer)
    made.append({"user_id": found["user_id"], "access_token": found["access_token"],
                 "device_id": found["device_id"], "password": password,
                 "admin": name == os.environ["LAB_ADMIN"]})
print(json.dumps(made))
"""


@dataclass(frozen=True)
class User:
    """An account and a session of it; `admin`: of the homeserver."""

    user_id: str
    access_token: str
    device_id: str
    password: str
    admin: bool = False


def create(container: Container, homeserver: Mapping[str, str]) -> list[User]:
    """Make everybody on this host and log them in. Raises LabError when the homeserver refuses.

    homeserver: Synapse's `python` and main `config` file on the host, and the `url` of its client API there.
    """
    people = {name: secrets.token_urlsafe(18) for name in (*PEOPLE, ADMIN)}
    environment = {
        "LAB_PEOPLE": json.dumps(people),
        "LAB_ADMIN": ADMIN,
        "LAB_CONFIG": homeserver["config"],
        "LAB_URL": homeserver["url"],
    }
    answer = execute(container, [homeserver["python"], "-c", SCRIPT], environment)
    return [User(**user) for user in json.loads(answer)]
