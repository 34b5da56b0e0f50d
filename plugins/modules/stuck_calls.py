#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/stuck_calls.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stuck_calls
short_description: List stale call memberships, and end them
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Lists who is said to be in a call, in given rooms or in all rooms of a server, with age and with what
    stands behind it. A client that crashed may leave a membership (the state event
    C(org.matrix.msc3401.call.member)) that shows a call in which nobody is.
  - Ends those that nobody stands behind, if O(end) is set, ten rooms at a time. A membership of a device that
    is connected to the SFU is never touched, and none that its client wrote anew between the look and the
    write.
  - Uses the least power that works. A member with enough power writes the empty membership. What only its own
    user may write is redacted. An administrator of the server who is not in a room comes in only with
    O(join_as_admin), and leaves again with the power levels as they were.
  - Keeps to the homeserver's rate limits, and reads the rooms again afterwards, for a living client writes
    its membership again.
  - Shows a table. Memberships of Matrix 2.0 (sticky events, MSC4354) are no state. They end by themselves
    within an hour, and there is nothing here to clear.
attributes:
  check_mode:
    description: Lists and changes nothing, as without O(end).
    support: full
  diff_mode:
    description: Shows the memberships before and after.
    support: full
options:
  homeserver_url:
    description: The homeserver's client API. Empty asks the client well-known of O(server_name).
    type: str
    default: ""
  server_name:
    description: The part after the colon in the server's Matrix IDs, where there is no O(homeserver_url).
    type: str
    default: ""
  access_token:
    description:
      - Of a member of the rooms, or of an administrator of the server. It comes from a login or, on a server
        with the Matrix Authentication Service, from C(mas-cli manage issue-compatibility-token).
    type: str
    required: true
  admin:
    description:
      - Whether the token is an administrator's and rooms are read through Synapse's admin API, which works
        without being in them.
    type: bool
    default: false
  rooms:
    description:
      - The ids of the rooms. None means all, those of the server with O(admin), else those of the user.
    type: list
    elements: str
    default: []
  end:
    description: Whether to end what is stuck. Otherwise it is only listed.
    type: bool
    default: false
  join_as_admin:
    description:
      - Whether an administrator of the server may be made administrator of a room they are not in, join, end
        the membership, put the power levels back and leave. The room sees it. Needs O(admin).
    type: bool
    default: false
  older_than:
    description:
      - Age that a membership must have to be taken for stuck where nothing else is known, such as V(12h) or
        V(30min). A client that is alive renews its own every few hours.
    type: str
    default: 12h
  users:
    description: Whose memberships to end. None means everybody's.
    type: list
    elements: str
    default: []
  legacy_calls:
    description: Whether to look for C(org.matrix.msc3401.call) as well, which no client uses any more.
    type: bool
    default: false
  livekit_url:
    description: LiveKit on the host where the module runs, to ask who is connected. Empty asks nobody.
    type: str
    default: ""
  livekit_key_file:
    description: The key file of that LiveKit. Needed with O(livekit_url).
    type: path
    default: /etc/matrixrtc/livekit/keys.yaml
  livekit_service_url:
    description:
      - The token service that leads to that LiveKit. A device that publishes through it has to be there.
    type: str
    default: ""
  reread:
    description: Seconds that a living client is given to write its membership again.
    type: float
    default: 10
  patience:
    description: Time to wait for the homeserver's rate limits in all, such as V(10min).
    type: str
    default: 10min
  ca_file:
    description: A file with the certificate authorities to trust. Empty means those of the system.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for each answer.
    type: float
    default: 30
"""

EXAMPLES = r"""
- name: List what is stuck in the rooms of a server
  matrixrtc.backend.stuck_calls:
    homeserver_url: https://matrix.example.org
    access_token: "{{ matrixrtc_admin_token }}"
    admin: true
  register: calls

- name: End what is stuck in one room, as a member of it
  matrixrtc.backend.stuck_calls:
    server_name: example.org
    access_token: "{{ my_token }}"
    rooms: ["!meeting:example.org"]
    end: true
"""

RETURN = r"""
memberships:
  description: Every membership that has not ended, by room, the oldest first.
  returned: always
  type: list
  elements: dict
  contains:
    room_id: {description: The room., type: str}
    type: {description: The type of the event., type: str}
    user_id: {description: Who is said to be in the call., type: str}
    devices: {description: With which devices., type: list, elements: str}
    state_key: {description: The key of the state event., type: str}
    event_id: {description: The state event., type: str}
    state: {description: "V(active), V(expired) or V(suspected).", type: str}
    reason: {description: Why., type: str}
    age: {description: Seconds since it was written., type: int}
    outcome:
      description:
        - V(kept), V(would_end), V(ended), V(changed_meanwhile), V(refused), V(came_back) or V(still_there).
      type: str
    said: {description: "How it was ended, or why not, with the way out.", type: str}
left:
  description: How many memberships say that their user has left.
  returned: always
  type: int
rooms:
  description: How many rooms were read.
  returned: always
  type: int
rooms_without_us:
  description: How many rooms were left out because no user of the server is in them any more.
  returned: always
  type: int
seconds:
  description: How long reading them took.
  returned: always
  type: float
waited:
  description: Seconds that the homeserver's rate limits asked to wait.
  returned: always
  type: float
sticky:
  description: By room, the sticky memberships (MSC4354) that a member sees, who has named the room.
  returned: always
  type: dict
problems:
  description: What could not be put back as it was.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site, discover
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_stuck_calls import seconds
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_values import InvalidValueError
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import MatrixError
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_calls import Task, as_dict, clear
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_ending import (
    CAME_BACK,
    ENDED,
    HELD,
    REFUSED,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_homeserver import (
    Homeserver,
    PatientClient,
    kinds_of,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_sfu import Sfu, SfuError, first_pair

LARGEST_STATE = 256 * 1024 * 1024  # bytes of a large room's state
MAS = (
    "With the Matrix Authentication Service: mas-cli manage issue-compatibility-token NAME"
    " --yes-i-want-to-grant-synapse-admin-privileges"
)

ARGUMENTS = {
    "homeserver_url": {"type": "str", "default": ""},
    "server_name": {"type": "str", "default": ""},
    "access_token": {"type": "str", "required": True, "no_log": True},
    "admin": {"type": "bool", "default": False},
    "rooms": {"type": "list", "elements": "str", "default": []},
    "users": {"type": "list", "elements": "str", "default": []},
    "end": {"type": "bool", "default": False},
    "join_as_admin": {"type": "bool", "default": False},
    "older_than": {"type": "str", "default": "12h"},
    "legacy_calls": {"type": "bool", "default": False},
    "livekit_url": {"type": "str", "default": ""},
    "livekit_key_file": {"type": "path", "default": "/etc/matrixrtc/livekit/keys.yaml", "no_log": False},
    "livekit_service_url": {"type": "str", "default": ""},
    "reread": {"type": "float", "default": 10},
    "patience": {"type": "str", "default": "10min"},
    "ca_file": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 30},
}


def sfu_from(module: AnsibleModule) -> Sfu | None:
    """LiveKit, with the first key of its key file; fails when that cannot be read."""
    if not module.params["livekit_url"]:
        return None
    try:
        key, secret = first_pair(module.params["livekit_key_file"])
    except SfuError as error:
        module.fail_json(msg=f"livekit_key_file: {error}")
    module.no_log_values.add(secret)
    return Sfu(module.params["livekit_url"], key, secret, HttpClient(timeout=module.params["timeout"]))


def discovered(module: AnsibleModule, http: HttpClient) -> str:
    """The client API that the well-known of the server name names; fails when it names none."""
    name = module.params["server_name"]
    site = Site(server_name=name, domain="", service_url="", livekit_url="", http=http)
    found = discover(site).base_url if name else ""
    if not found:
        module.fail_json(
            msg=f"The client well-known of {name or 'no server'} names no homeserver. Set homeserver_url."
        )
    return found


def task_from(module: AnsibleModule, client: PatientClient) -> Task:
    """What is asked for. Raises MatrixError when the token is not taken."""
    options = module.params
    return Task(
        server=Homeserver(client, options["admin"], kinds_of(options["legacy_calls"])),
        me=client.whoami(),
        rooms=tuple(options["rooms"]),
        users=tuple(options["users"]),
        end=options["end"] and not module.check_mode,
        join_as_admin=options["join_as_admin"],
        older_than=seconds(options["older_than"]),
        sfu=sfu_from(module),
        service_url=options["livekit_service_url"].rstrip("/"),
        reread=options["reread"],
    )


def client_from(module: AnsibleModule) -> PatientClient:
    """The homeserver, asked with the token."""
    options = module.params
    if options["join_as_admin"] and not options["admin"]:
        module.fail_json(
            msg="join_as_admin needs the token of an administrator of the server: set admin to true."
        )
    try:
        http = HttpClient(options["ca_file"], options["timeout"], largest_body=LARGEST_STATE)
    except OSError as error:
        module.fail_json(msg=f"ca_file cannot be used: {error}")
    base_url = options["homeserver_url"] or discovered(module, http)
    return PatientClient(base_url, options["access_token"], http, patience=seconds(options["patience"]))


def main() -> None:
    """Read the options, look, end, and return what was found."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        client = client_from(module)
        task = task_from(module, client)
        result = clear(task)
    except InvalidValueError as error:
        module.fail_json(msg=f"older_than or patience: {error}.")
        return
    except (MatrixError, SfuError) as error:
        module.fail_json(msg=f"{error}. {advice(error, module.params['admin'])}.")
        return
    found = [as_dict(one, result.now) for one in result.outcomes]
    answer = {
        "memberships": found,
        "left": result.left,
        "rooms": result.rooms,
        "rooms_without_us": task.server.without_us,
        "seconds": round(result.seconds, 3),
        "sticky": result.sticky,
        "problems": result.problems,
        "waited": round(client.waited, 1),
    }
    outcomes = {one.outcome for one in result.outcomes}
    if task.end and (result.problems or outcomes & {REFUSED, HELD}):
        module.fail_json(msg="Not everything could be ended: see the reasons.", **answer)
    module.exit_json(changed=task.end and bool(outcomes & {ENDED, CAME_BACK}), **answer)


def advice(error: Exception, admin: bool) -> str:
    """What to do about an error that stopped everything."""
    status = getattr(error, "status", None)
    if isinstance(error, SfuError):
        return "See that LiveKit runs: it knows who is in a call. To go by age alone leave livekit_url empty"
    if status == 401:
        return f"Give a valid access token: this one is wrong, or has expired. {MAS if admin else ''}".strip()
    if status == 403 and admin:
        return f"The token has to be that of an administrator of the server. {MAS}"
    if status == 403:
        return "The token's user has to be in the room. An administrator's token sees all rooms (admin)"
    if status == 404 and admin:
        return (
            "Set homeserver_url (matrixrtc_stuck_homeserver_url) to where Synapse answers /_synapse/admin,"
            " such as http://127.0.0.1:8008 on its host"
        )
    if status == 429:
        return "Run it again later for the rest, or raise patience"
    return "See that the homeserver runs and that homeserver_url is its client API"


if __name__ == "__main__":
    main()
