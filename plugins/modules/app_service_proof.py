#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The proof that Synapse and the token service behind it know each other."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_service_proof
short_description: Prove that Synapse and the token service behind it know each other
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Asks Synapse for a token as the application service itself, for a room that is not there. The request goes
    the whole way, to the token service and back to Synapse, and has to end with 403. It needs no account, and
    nothing changes at either.
  - Clients must not be told of the SFU's address before. They ask nowhere else then.
  - That it worked is written down in O(proof_file), which M(matrixrtc.backend.app_service_registration)
    removes when the registration changes.
attributes:
  check_mode:
    support: full
    description: Nothing is asked and nothing written down.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  homeserver_url:
    description: Synapse's client API, as this host reaches it.
    type: str
    required: true
  server_name:
    description: The server name of the homeserver.
    type: str
    required: true
  livekit_url:
    description: The SFU's address, letter by letter as the token service has it and clients will be told it.
    type: str
    required: true
  path_as_token:
    description: Root's file with the token service's token.
    type: path
    required: true
  proof_file:
    description: Where it is written down.
    type: path
    required: true
  ca_file:
    description: Certificates of authorities to trust. Empty means the system's.
    type: path
    default: ""
  timeout:
    description: Seconds after which it is given up.
    type: float
    default: 15
"""

EXAMPLES = r"""
- name: Prove that Synapse reaches the token service, and it Synapse
  matrixrtc.backend.app_service_proof:
    homeserver_url: http://127.0.0.1:8008
    server_name: example.org
    livekit_url: wss://rtc.example.org/livekit/sfu
    path_as_token: /etc/matrixrtc/as_token
    proof_file: /var/lib/matrixrtc/synapse/wired
"""

RETURN = r"""
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.credentials import CredentialsError
from ansible_collections.matrixrtc.backend.plugins.module_utils.files import atomic_write
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.wiring_proof import WiringError, prove

ARGUMENTS = {
    "homeserver_url": {"type": "str", "required": True},
    "server_name": {"type": "str", "required": True},
    "livekit_url": {"type": "str", "required": True},
    "path_as_token": {"type": "path", "required": True, "no_log": False},
    "proof_file": {"type": "path", "required": True},
    "ca_file": {"type": "path", "default": ""},
    "timeout": {"type": "float", "default": 15},
}


def main() -> None:
    """Ask, and write down that it worked."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    if os.path.exists(given["proof_file"]) or module.check_mode:
        module.exit_json(changed=not os.path.exists(given["proof_file"]))
    http = HttpClient(given["ca_file"], timeout=given["timeout"])
    try:
        prove(
            http,
            given["homeserver_url"],
            given["path_as_token"],
            given["server_name"],
            given["livekit_url"],
            given["timeout"],
        )
        atomic_write(given["proof_file"], b"")
    except (WiringError, CredentialsError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
