#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/call_relay.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: turn_probe
short_description: Place a call that may use nothing but a TURN relay
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Has two participants, sessions of the given accounts, exchange a picture and a sound through the SFU, with
    relay candidates only, over the TURN servers that the SFU hands out. Reads which relay was used from the
    statistics of the selected candidate pairs.
  - Nothing is written to the homeserver.
requirements: ["livekit >= 1.2 (it brings numpy)"]
attributes:
  check_mode:
    support: none
    description: It places a call, and is skipped in check mode.
  diff_mode:
    support: none
    description: Nothing is changed.
extends_documentation_fragment: [matrixrtc.backend.called_site]
options:
  users:
    description: Two accounts of the site that may publish.
    type: list
    elements: dict
    required: true
    suboptions:
      user_id:
        description: Whose token it is.
        type: str
        default: ""
      access_token:
        description: An access token with a device.
        type: str
        required: true
  relay:
    description: How the TURN server is reached.
    type: str
    choices: [udp, tls]
    default: udp
  host:
    description: The host of the TURN server, for a site that is told of several. Empty for any.
    type: str
    default: ""
  port:
    description: The port of the TURN server. LiveKit's own over TLS is always at V(443).
    type: int
    default: 3478
  timeout:
    description: Seconds to wait for connections and media.
    type: float
    default: 15
"""

EXAMPLES = r"""
- name: See whether somebody whose network lets nothing else pass can call
  matrixrtc.backend.turn_probe:
    server_name: example.org
    domain: rtc.example.org
    livekit_service_url: https://rtc.example.org/livekit/jwt
    users: "{{ matrixrtc_probe_users }}"
  delegate_to: client
"""

RETURN = r"""
checks:
  description: One check, as M(matrixrtc.backend.report) takes it.
  returned: always
  type: list
  elements: dict
failed_ids:
  description: Its id, if it failed.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import MissingSdkError, load_sdk
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_relay import (
    RELAYS,
    RelayPlan,
    prove_relay,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import as_dicts, failed_ids
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient

USER = {
    "user_id": {"type": "str", "default": ""},
    "access_token": {"type": "str", "required": True, "no_log": True},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server_name": {"type": "str", "required": True},
            "domain": {"type": "str", "required": True},
            "livekit_service_url": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "dict", "required": True, "options": USER},
            "relay": {"type": "str", "choices": list(RELAYS), "default": "udp"},
            "host": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 3478},
            "timeout": {"type": "float", "default": 15},
            "ca_file": {"type": "path", "default": ""},
        },
        supports_check_mode=False,
    )
    options = module.params
    if len(options["users"]) != 2:
        module.fail_json(msg=f"users has {len(options['users'])} entries; a call needs two accounts.")
    try:
        load_sdk()
    except MissingSdkError as error:
        module.fail_json(msg=str(error))
    http = HttpClient(options["ca_file"])
    first, second = (user["access_token"] for user in options["users"])
    check = prove_relay(
        RelayPlan(
            site=Site(options["server_name"], options["domain"], options["livekit_service_url"], "", http),
            tokens=(first, second),
            relay=options["relay"],
            host=options["host"],
            port=options["port"],
            timeout=options["timeout"],
            ca_file=options["ca_file"],
        )
    )
    module.exit_json(changed=False, checks=as_dicts([check]), failed_ids=failed_ids([check]))


if __name__ == "__main__":
    main()
