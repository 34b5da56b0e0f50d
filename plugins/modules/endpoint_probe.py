#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/endpoint_probe.py and endpoint_host.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_probe
short_description: Check everything a call needs, short of placing one
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Checks names and certificates, the well-known documents, the homeserver's announcements, the token
    service, the SFU's routes and what must stay closed, from where the module runs.
  - With an access token it also takes a LiveKit token as a user does and asks every address that the SFU
    advertises for an answer, as a client behind NAT does. This finds a closed UDP port and a wrong
    C(node_ip), which a call on one network hides.
  - On the RTC host it checks what outsiders cannot see; O(where=rtc_host) needs root.
  - Every check says what was expected and seen and, when it is not as it should be, the likely cause and the
    fix.
  - A fault of the site never fails the task; M(matrixrtc.backend.report) does that, after it has shown all
    checks.
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
    description:
      - The host name of the token service and the SFU. Empty if nobody knows it; then only what does not need
        it is looked at. M(matrixrtc.backend.announced_site) finds out what a site announces.
    type: str
    required: true
  livekit_service_url:
    description: The token service's URL as clients have to be told it.
    type: str
    default: https://<domain>/livekit/jwt
  livekit_url:
    description: The SFU's websocket URL. Empty if nobody knows it.
    type: str
    default: wss://<domain>/livekit/sfu
  where:
    description:
      - Look from outside as clients do, or on the RTC host itself. V(web_app) looks at Element Call at
        O(call_domain) from outside, and at nothing else.
      - V(node) looks at a further node of a cluster on that node, V(node_outside) at its O(media_addresses).
      - V(homeserver) looks at Synapse on its own host, at O(synapse_files) and O(units). This needs PyYAML,
        which Synapse's own Python has.
    type: str
    choices: [outside, rtc_host, web_app, node, node_outside, homeserver]
    default: outside
  call_domain:
    description: The host name of Element Call, with O(where=web_app).
    type: str
    default: ""
  synapse_files:
    description: With O(where=homeserver) the files and folders that Synapse is given with C(-c), in order.
    type: list
    elements: path
    default: []
  synapse_directory:
    description: With O(where=homeserver) the working directory of Synapse.
    type: path
    default: /
  units:
    description: With O(where=homeserver) the systemd units of Synapse and its workers, without C(.service).
    type: list
    elements: str
    default: []
  node:
    description: What to call the node in titles, with O(where=node) and O(where=node_outside).
    type: str
    default: ""
  frame_origins:
    description: The origins that may show Element Call in a frame.
    type: list
    elements: str
    default: []
  homeserver_url:
    description: The client API where Element Call is to log people in. Empty means any, or none.
    type: str
    default: ""
  access_token:
    description: A user's access token. Without one the checks that need an account are skipped.
    type: str
    default: ""
  media_addresses:
    description: The addresses that the SFU should advertise. Empty means that any will do that answers.
    type: list
    elements: str
    default: []
  ca_file:
    description: A file with the certificate authorities to trust. Empty means those of the system.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for each answer.
    type: float
    default: 5
  sfu_port:
    description: The SFU's port for the proxy.
    type: int
    default: 7880
  tcp_port:
    description: The SFU's port for media over TCP; 0 when it is switched off.
    type: int
    default: 7881
  udp_ports:
    description:
      - The SFU's UDP port for media, or a range written V(a-b). Empty means that nobody knows the site's
        ports, and those count that the SFU advertises.
    type: str
    default: 7882-7885
  token_service_port:
    description: The token service's port for the proxy.
    type: int
    default: 8080
  config_dir:
    description: Where the collection's configuration is on the RTC host.
    type: path
    default: /etc/matrixrtc
  homeserver_kind:
    description:
      - What the homeserver is. What that kind cannot do is a warning and no failure, and the remedies are its
        own.
    type: str
    choices: [synapse, ess, mdad, continuwuity, tuwunel, other]
    default: synapse
  token_service_mode:
    description: Who takes users' requests for tokens, the token service itself or the homeserver before it.
    type: str
    choices: [standalone, homeserver]
    default: standalone
  awaited:
    description:
      - Parts whose owners were shown what to set, and may not have done so yet. What fails for that reason is
        a warning.
    type: list
    elements: str
    choices: [homeserver, well_known]
    default: []
"""

EXAMPLES = r"""
- name: Look at the site from outside
  matrixrtc.backend.endpoint_probe:
    server_name: example.org
    domain: rtc.example.org
  delegate_to: localhost
  register: outside

- name: Look at the site from the RTC host
  matrixrtc.backend.endpoint_probe:
    server_name: example.org
    domain: rtc.example.org
    where: rtc_host
  become: true
  register: inside

- name: Show all checks and fail if one failed
  matrixrtc.backend.report:
    title: example.org
    results: ["{{ outside }}", "{{ inside }}"]
"""

RETURN = r"""
checks:
  description: The checks in the order in which a client needs things.
  returned: always
  type: list
  elements: dict
  contains:
    id: {description: Name of the check that never changes., type: str}
    title: {description: What is checked., type: str}
    status: {description: "One of V(ok), V(fail), V(warn), V(skip).", type: str}
    expected: {description: What should be seen., type: str}
    seen: {description: What was seen., type: str}
    shows:
      description: What users then see in Element Call, and when. Empty when it shows nothing.
      type: str
    cause: {description: The likely cause., type: str}
    fix: {description: What to do., type: str}
    leg:
      description:
        - The part of a call's way. One of V(announcement), V(entrance), V(token), V(identity), V(signalling),
          V(media), V(leave) and V(host).
      type: str
    seconds: {description: How long the check took., type: float}
  sample:
    - id: sfu_validate
      title: SFU behind the proxy
      status: fail
      expected: 401 from /rtc/validate without a token
      seen: HTTP 502
      cause: "LiveKit is not running: the proxy has nobody to ask."
      fix: systemctl status livekit
      shows: '"Something went wrong", OPEN_ID_ERROR, after 5 s'
      leg: signalling
      seconds: 0.012
failed_ids:
  description: The ids of the checks that failed.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import as_dicts, failed_ids
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_homeserver import (
    SynapseFiles,
    homeserver_checks,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_host import Host, host_checks
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_node import (
    named,
    node_checks,
    node_outside_checks,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_probe import (
    OWNERS,
    awaited,
    outside_checks,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_web_app import WebApp, web_app_checks
from ansible_collections.matrixrtc.backend.plugins.module_utils.homeserver_kinds import (
    HOMESERVER,
    KINDS,
    STANDALONE,
    SYNAPSE,
    TOKEN_SERVICE_MODES,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_values import (
    InvalidValueError,
    port_range,
)

ARGUMENTS = {
    "server_name": {"type": "str", "required": True},
    "domain": {"type": "str", "required": True},
    "livekit_service_url": {"type": "str", "default": "https://<domain>/livekit/jwt"},
    "livekit_url": {"type": "str", "default": "wss://<domain>/livekit/sfu"},
    "where": {
        "type": "str",
        "choices": ["outside", "rtc_host", "web_app", "node", "node_outside", "homeserver"],
        "default": "outside",
    },
    "call_domain": {"type": "str", "default": ""},
    "node": {"type": "str", "default": ""},
    "synapse_files": {"type": "list", "elements": "path", "default": []},
    "synapse_directory": {"type": "path", "default": "/"},
    "units": {"type": "list", "elements": "str", "default": []},
    "frame_origins": {"type": "list", "elements": "str", "default": []},
    "homeserver_url": {"type": "str", "default": ""},
    "access_token": {"type": "str", "default": "", "no_log": True},
    "media_addresses": {"type": "list", "elements": "str", "default": []},
    "ca_file": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 5},
    "sfu_port": {"type": "int", "default": 7880},
    "tcp_port": {"type": "int", "default": 7881},
    "udp_ports": {"type": "str", "default": "7882-7885"},
    "token_service_port": {"type": "int", "default": 8080},
    "config_dir": {"type": "path", "default": "/etc/matrixrtc"},
    "homeserver_kind": {"type": "str", "choices": list(KINDS), "default": SYNAPSE},
    "token_service_mode": {"type": "str", "choices": list(TOKEN_SERVICE_MODES), "default": STANDALONE},
    "awaited": {"type": "list", "elements": "str", "choices": list(OWNERS), "default": []},
}


def main() -> None:
    """Read the options, look, return the checks."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("where", "web_app", ["call_domain"]), ("where", "homeserver", ["synapse_files"])],
        supports_check_mode=True,
    )
    options = module.params
    try:
        if options["udp_ports"]:
            port_range(options["udp_ports"])
        http = HttpClient(options["ca_file"], options["timeout"])
    except (InvalidValueError, OSError) as error:
        module.fail_json(msg=f"An option cannot be used: {error}")
        return
    site = Site(
        server_name=options["server_name"],
        domain=options["domain"],
        http=http,
        service_url=options["livekit_service_url"].replace("<domain>", options["domain"]),
        livekit_url=options["livekit_url"].replace("<domain>", options["domain"]),
        access_token=options["access_token"],
        media_addresses=tuple(options["media_addresses"]),
        sfu_port=options["sfu_port"],
        tcp_port=options["tcp_port"],
        udp_ports=options["udp_ports"],
        token_service_port=options["token_service_port"],
        homeserver_kind=options["homeserver_kind"],
        behind_homeserver=options["token_service_mode"] == HOMESERVER,
    )
    if options["where"] == "web_app":
        app = WebApp(options["call_domain"], tuple(options["frame_origins"]), options["homeserver_url"])
        found = list(web_app_checks(site, app))
    elif options["where"] == "outside":
        found = outside_checks(site)
    elif options["where"] == "homeserver":
        place = SynapseFiles(
            tuple(options["synapse_files"]), options["synapse_directory"], tuple(options["units"])
        )
        found = homeserver_checks(place, site.service_url)
    elif options["where"] == "node":
        found = named(options["node"], node_checks(site, Host(options["config_dir"])))
    elif options["where"] == "node_outside":
        found = named(options["node"], node_outside_checks(site))
    else:
        found = host_checks(site, Host(options["config_dir"]))
    checks = awaited(found, options["awaited"])
    module.exit_json(changed=False, checks=as_dicts(checks), failed_ids=failed_ids(checks))


if __name__ == "__main__":
    main()
