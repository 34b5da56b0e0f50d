# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m lab.call_links LAB`: two links to a call, for alice and bob, and how a browser gets to them.

For a lab whose operator has a page that shows Element Call. Whoever has a link is that person, in this lab.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlencode

import docker

from . import definitions, hosts, network, state
from .definitions import Site
from .errors import LabError
from .network import CLIENT
from .paths import lab_dir
from .users import User

# Runs on the client host, which knows the lab's names. Tokens are in its environment.
SCRIPT = """
import json, os, urllib.parse, urllib.request
first, second = json.loads(os.environ["LAB_PEOPLE"])
def ask(user, path, body):
    url = os.environ["LAB_URL"] + "/_matrix/client/v3/" + path
    token = {"Authorization": "Bearer " + user["access_token"]}
    request = urllib.request.Request(url, json.dumps(body).encode(), token)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
room = ask(first, "createRoom", {
    "preset": "private_chat", "name": "A call in the lab", "invite": [second["user_id"]],
    "power_level_content_override": {"events": {"org.matrix.msc3401.call.member": 0}}})["room_id"]
ask(second, "join/" + urllib.parse.quote(room), {})
print(room)
"""


def make_room(client: docker.DockerClient, lab: str, site: Site, people: Sequence[User]) -> str:
    """A room of the two in which both may be in a call; returns its ID."""
    environment = {
        "LAB_PEOPLE": json.dumps([vars(user) for user in people]),
        "LAB_URL": f"https://{site.matrix_name}",
    }
    container = hosts.get(client, lab, CLIENT)
    return hosts.execute(container, ["/opt/probe/bin/python", "-c", SCRIPT], environment).strip()


def link(site: Site, user: User, room: str) -> str:
    """The address of the page that shows Element Call to this user."""
    fragment = {
        "homeserver": f"https://{site.matrix_name}",
        "user": user.user_id,
        "token": user.access_token,
        "device": user.device_id,
        "room": room,
        "call": f"https://call.{site.server_name}",
    }
    return f"https://chat.{site.server_name}/#{urlencode(fragment)}"


def text(lab: str, site: Site, address: str, subnet: str, links: Sequence[str]) -> str:
    """What a person has to know."""
    names = " ".join(f"{name}.{site.server_name}" for name in ("chat", "call", "matrix", "rtc"))
    authority = os.path.relpath(lab_dir(lab) / "ca" / "ca.crt")
    lines = [
        "A call to look at: open both links, in two windows or by two people, and press “Join call”.",
        *(f"\n  {one}" for one in links),
        "\nA browser needs the lab's names and its authority. Either a throw-away one on this machine:\n",
        "  chromium --user-data-dir=$(mktemp -d) --ignore-certificate-errors \\",
        f'    --host-resolver-rules="MAP *.{site.server_name} {address}"',
        f"\nor any other: add '{address} {names}' to its /etc/hosts,",
        f"import {authority} as an authority for web sites, and remove both afterwards.",
        f"On another machine also: sudo ip route add {subnet} via ADDRESS-OF-THIS-MACHINE",
    ]
    return "\n".join(lines)


def main(name: str) -> None:
    """Make the room and print the links."""
    info = state.read(name)
    lab = definitions.choose(definitions.load(), name, [], info.sites if info else None)
    if info is None or not lab.has_call_page:
        raise LabError(f"lab {name} is not there, or has no page that shows Element Call")
    (site,) = lab.sites
    people = [user for user in info.users[site.server_name] if not user.admin]
    room = make_room(docker.from_env(), name, site, people)
    address = network.plan(lab, info.subnet).addresses[site.hosts[0].name]
    print(text(name, site, address, info.subnet, [link(site, user, room) for user in people]))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except LabError as error:
        sys.exit(f"Error: {error}")
