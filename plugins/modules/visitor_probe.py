#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/call_visitor.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: visitor_probe
short_description: See what a user of another homeserver may do on a site's SFU
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Has a user of another homeserver come to a call that nobody has begun, and to one that a user of the site
    has begun. Only users of servers in O(full_access_homeservers) may begin one and send on this SFU. All
    others get into a call that is there, and see and hear who sends there.
  - The tokens are asked for as clients do. The token service verifies users of the other homeserver there, so
    it has to reach it.
  - Nothing is written to any homeserver; the calls belong to no Matrix room.
  - A fault of the site never fails the task; M(matrixrtc.backend.report) does that.
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
  access_token:
    description: The access token of an account of the site, from a login.
    type: str
    required: true
  visitor:
    description: An account of another homeserver.
    type: dict
    required: true
    suboptions:
      user_id:
        description: The account's Matrix ID.
        type: str
        required: true
      access_token:
        description: Its access token, from a login.
        type: str
        required: true
      homeserver_url:
        description: The client API of its homeserver. Empty asks the client well-known.
        type: str
        default: ""
  full_access_homeservers:
    description:
      - The servers whose users may publish on the site's SFU, or V(*). Empty means its own server alone. Left
        out, nobody knows, and it is only reported what the visitor may do.
    type: list
    elements: str
  homeserver_url:
    description: The client API of the site's homeserver. Empty asks the client well-known.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for connections and media.
    type: float
    default: 12
"""

EXAMPLES = r"""
- name: See whether users of other homeservers can watch calls here, and no more
  matrixrtc.backend.visitor_probe:
    server_name: example.org
    domain: rtc.example.org
    livekit_service_url: https://rtc.example.org/livekit/jwt
    access_token: "{{ matrixrtc_probe_users[0].access_token }}"
    visitor: "{{ matrixrtc_probe_foreign_user }}"
    full_access_homeservers: [example.org]
  delegate_to: client
  no_log: true
"""

RETURN = r"""
checks:
  description: Two checks, as M(matrixrtc.backend.report) takes them.
  returned: always
  type: list
  elements: dict
failed_ids:
  description: The ids of those that failed.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_attendee import Home, full_access
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import MissingSdkError, load_sdk
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_visitor import VisitPlan, prove_visit
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import as_dicts, failed_ids
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient

VISITOR = {
    "user_id": {"type": "str", "required": True},
    "access_token": {"type": "str", "required": True, "no_log": True},
    "homeserver_url": {"type": "str", "default": ""},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server_name": {"type": "str", "required": True},
            "domain": {"type": "str", "required": True},
            "livekit_service_url": {"type": "str", "required": True},
            "access_token": {"type": "str", "required": True, "no_log": True},
            "visitor": {"type": "dict", "required": True, "options": VISITOR},
            "full_access_homeservers": {"type": "list", "elements": "str"},
            "homeserver_url": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 12},
            "ca_file": {"type": "path", "default": ""},
        },
        supports_check_mode=False,
    )
    options, visitor = module.params, module.params["visitor"]
    try:
        load_sdk()
        http = HttpClient(options["ca_file"], options["timeout"])
    except MissingSdkError as error:
        module.fail_json(msg=str(error))
        return
    except OSError as error:
        module.fail_json(msg=f"ca_file cannot be used: {error}")
        return
    site = Site(options["server_name"], options["domain"], options["livekit_service_url"], "", http)
    checks = prove_visit(
        VisitPlan(
            site=site,
            host=Home(
                server_name=options["server_name"],
                tokens=(options["access_token"],),
                homeserver_url=options["homeserver_url"],
                full_access=full_access(options["server_name"], options["full_access_homeservers"]),
            ),
            visitor=Home(
                server_name=visitor["user_id"].partition(":")[2],
                tokens=(visitor["access_token"],),
                user_ids=(visitor["user_id"],),
                homeserver_url=visitor["homeserver_url"],
            ),
            timeout=options["timeout"],
        )
    )
    module.exit_json(changed=False, checks=as_dicts(checks), failed_ids=failed_ids(checks))


if __name__ == "__main__":
    main()
