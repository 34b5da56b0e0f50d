#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/load_media.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: load_probe
short_description: Put synthetic participants on an SFU for some seconds
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Has O(participants) join one call on the site's SFU, O(publishers) of them sending a picture and a sound
    as Element Call does (VP8 with three layers, Opus), all of them receiving everything, and counts what
    arrived.
  - They are sessions of the given accounts. Their tokens come from the token service, as a client's do, so no
    secret of the SFU is needed. Nothing is written to the homeserver; the call belongs to no Matrix room.
  - Bounded in number and time. Everybody leaves, whatever happens; the SFU notices a killed run by itself.
  - Only for a site whose owner wants this. The playbook C(load_test) asks for that.
  - Runs where the participants are to be, with a Python that has the LiveKit SDK.
requirements: ["livekit >= 1.2 (it brings numpy)"]
attributes:
  check_mode:
    support: none
    description: It measures, and is skipped in check mode.
  diff_mode:
    support: none
    description: Nothing is changed.
extends_documentation_fragment: [matrixrtc.backend.called_site]
options:
  access_token:
    description: The access token of an account of the site that may publish.
    type: str
    required: true
  participants:
    description: How many join, 2 to 100.
    type: int
    required: true
  publishers:
    description: How many of them send, at most O(participants).
    type: int
    required: true
  video:
    description: The size of the largest layer that is sent.
    type: str
    choices: [720p, 360p, 180p]
    default: 720p
  seconds:
    description: How long the load is steady, 5 to 300; joining takes some seconds more.
    type: int
    default: 20
  timeout:
    description: Seconds that one participant may take to join.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Have eight participants in a call, two of them sending
  matrixrtc.backend.load_probe:
    server_name: example.org
    domain: rtc.example.org
    livekit_service_url: https://rtc.example.org/livekit/jwt
    access_token: "{{ token }}"
    participants: 8
    publishers: 2
  delegate_to: client
"""

RETURN = r"""
load:
  description:
    - C(start) and C(end) of the steady part (seconds since the epoch), C(participants), C(publishers),
      C(bytes_sent) and C(bytes_received) by all participants together, C(packets) that arrived and C(lost)
      ones, C(tracks) (video tracks of which frames arrived, counted at each receiver), C(client_cpu)
      (processor seconds of all participants) and C(client_processors) of the machine they are on.
  returned: always
  type: dict
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import MissingSdkError
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_sessions import made_up_room, session
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site, discover
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_token import (
    NoAccessError,
    publishing_access,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.load_media import (
    LoadError,
    LoadParticipant,
    run,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import MatrixClient, MatrixError

MOST, LONGEST = 100, 300
PAUSE = 0.15  # seconds between token requests: below the limit per client that the role nginx_proxy sets


def participants(site: Site, client: MatrixClient, options: dict[str, Any]) -> list[LoadParticipant]:
    """Everybody with a token of their own. Raises NoAccessError and MatrixError."""
    account = client.whoami()
    openid = client.openid_token(account.user_id)
    room = made_up_room(site, "load")
    people = []
    for number in range(options["participants"]):
        access = publishing_access(site, openid, room, session(account, number))
        people.append(LoadParticipant(access, options["video"] if number < options["publishers"] else ""))
        time.sleep(PAUSE)
    return people


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server_name": {"type": "str", "required": True},
            "domain": {"type": "str", "required": True},
            "livekit_service_url": {"type": "str", "required": True},
            "access_token": {"type": "str", "required": True, "no_log": True},
            "participants": {"type": "int", "required": True},
            "publishers": {"type": "int", "required": True},
            "video": {"type": "str", "choices": ["720p", "360p", "180p"], "default": "720p"},
            "seconds": {"type": "int", "default": 20},
            "timeout": {"type": "int", "default": 20},
            "ca_file": {"type": "path", "default": ""},
        },
        supports_check_mode=False,
    )
    options = module.params
    if not 2 <= options["participants"] <= MOST or not 1 <= options["publishers"] <= options["participants"]:
        module.fail_json(msg=f"Set participants to 2 to {MOST} and publishers to 1 to participants.")
    if not 5 <= options["seconds"] <= LONGEST:
        module.fail_json(msg=f"Set seconds to 5 to {LONGEST}.")
    http = HttpClient(options["ca_file"])
    site = Site(options["server_name"], options["domain"], options["livekit_service_url"], "", http)
    base_url = discover(site).base_url
    if not base_url:
        module.fail_json(msg=f"The client well-known of {site.server_name} names no homeserver.")
    try:
        people = participants(site, MatrixClient(base_url, options["access_token"], http), options)
        load = run(people, options["seconds"], options["timeout"], options["ca_file"])
    except (LoadError, MatrixError, MissingSdkError, NoAccessError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, load=load)


if __name__ == "__main__":
    main()
