#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""How many are in calls at the moment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sfu_rooms
short_description: Count who is connected to the SFU
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Asks LiveKit on its own host, with the first key of its key file, which rooms there are and who is in
    them.
attributes:
  check_mode:
    support: full
    description: It only asks.
  diff_mode:
    support: none
    description: Nothing is changed.
options:
  livekit_url:
    description: LiveKit's address on its own host.
    type: str
    required: true
  livekit_key_file:
    description: LiveKit's key file.
    type: path
    default: /etc/matrixrtc/livekit/keys.yaml
  timeout:
    description: Seconds that one answer may take.
    type: float
    default: 10
"""

EXAMPLES = r"""
- name: See whether somebody is in a call
  matrixrtc.backend.sfu_rooms:
    livekit_url: http://127.0.0.1:7880
  register: rooms
"""

RETURN = r"""
rooms:
  description: How many rooms have somebody in them.
  returned: always
  type: int
participants:
  description: How many are connected, in all rooms together.
  returned: always
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_sfu import Sfu, SfuError, first_pair


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "livekit_url": {"type": "str", "required": True},
            "livekit_key_file": {
                "type": "path",
                "default": "/etc/matrixrtc/livekit/keys.yaml",
                "no_log": False,
            },
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    try:
        key, secret = first_pair(module.params["livekit_key_file"])
        module.no_log_values.add(secret)
        http = HttpClient(timeout=module.params["timeout"])
        found = Sfu(module.params["livekit_url"], key, secret, http).connected()
    except SfuError as error:
        module.fail_json(msg=str(error))
    occupied = [people for people in found.values() if people]
    module.exit_json(changed=False, rooms=len(occupied), participants=sum(map(len, occupied)))


if __name__ == "__main__":
    main()
