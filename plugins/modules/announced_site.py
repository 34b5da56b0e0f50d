#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/endpoint_announced.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: announced_site
short_description: Find out where a site's token service and SFU are
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Asks a Matrix server what it announces to clients that want to call. With an access token the homeserver
    is asked first, as current clients do; then comes the client well-known.
  - Where the SFU is, the token service tells those who get a token. Without an access token the usual places
    are tried.
  - What is not announced is returned empty; M(matrixrtc.backend.endpoint_probe) says then what is missing.
  - Needs nothing but Python.
attributes:
  check_mode:
    support: full
    description: It only looks, so it does the same in check mode.
  diff_mode:
    support: none
    description: It changes nothing.
options:
  server_name:
    description: The part after the colon in the site's Matrix IDs.
    type: str
    required: true
  domain:
    description: Go by what is announced on this host alone, and by the usual place on it otherwise.
    type: str
    default: ""
  livekit_service_url:
    description: The token service's URL, if it is known already.
    type: str
    default: ""
  livekit_url:
    description: The SFU's websocket URL, if it is known already.
    type: str
    default: ""
  access_token:
    description: A user's access token.
    type: str
    default: ""
  ca_file:
    description: A file with the certificate authorities to trust. Empty means those of the system.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for each answer.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: Find out where calls of a site go
  matrixrtc.backend.announced_site:
    server_name: example.org
  delegate_to: localhost
  register: announced

- name: Look at them
  matrixrtc.backend.endpoint_probe:
    server_name: example.org
    domain: "{{ announced.domain }}"
    livekit_service_url: "{{ announced.livekit_service_url }}"
    livekit_url: "{{ announced.livekit_url }}"
    token_service_mode: "{{ announced.token_service_mode }}"
    udp_ports: ""
  delegate_to: localhost
"""

RETURN = r"""
domain:
  description: The host of the token service, with its port if that is unusual.
  returned: always
  type: str
  sample: rtc.example.org
livekit_service_url:
  description: The token service's URL.
  returned: always
  type: str
  sample: https://rtc.example.org/livekit/jwt
livekit_url:
  description: The SFU's websocket URL.
  returned: always
  type: str
  sample: wss://rtc.example.org/livekit/sfu
token_service_mode:
  description: V(homeserver) if clients are to ask the homeserver for tokens, V(standalone) otherwise.
  returned: always
  type: str
  sample: standalone
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_announced import find
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient

ARGUMENTS = {
    "server_name": {"type": "str", "required": True},
    "domain": {"type": "str", "default": ""},
    "livekit_service_url": {"type": "str", "default": ""},
    "livekit_url": {"type": "str", "default": ""},
    "access_token": {"type": "str", "default": "", "no_log": True},
    "ca_file": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 5},
}


def main() -> None:
    """Read the options, ask, return what is announced."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = module.params
    try:
        http = HttpClient(options["ca_file"], options["timeout"])
    except OSError as error:
        module.fail_json(msg=f"ca_file cannot be used: {error}")
        return
    site = Site(
        server_name=options["server_name"],
        domain=options["domain"],
        http=http,
        service_url=options["livekit_service_url"],
        livekit_url=options["livekit_url"],
        access_token=options["access_token"],
    )
    module.exit_json(changed=False, **find(site).as_options())


if __name__ == "__main__":
    main()
