#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/nginx_site.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_site
short_description: Add a site to an nginx that belongs to somebody else
version_added: 0.1.0
author:
  - The matrixrtc.backend authors (@matrixrtc)
description:
  - Puts one file with one site into the nginx that is there. The whole configuration is tested, nginx is
    reloaded and never restarted, the new site is probed and the other sites are asked what they answered
    before.
  - If anything is worse than before, the file that was there comes back, nginx is reloaded again, and the
    module fails with what was wrong.
  - An nginx that does not accept its present configuration is reported with file and line, and left alone.
  - A run that was killed halfway is taken back by the next one before it starts its own change.
  - An unchanged site that nginx serves already causes no reload.
attributes:
  check_mode:
    support: full
    description: Says what would change; nginx still tests the configuration it has, which changes nothing.
  diff_mode:
    support: full
    description: Shows the site's file before and after.
options:
  name:
    description:
      - Name of the site; its file is called O(name).conf, in C(sites-available) with a link in
        C(sites-enabled) where nginx reads that folder, else in C(conf.d).
    type: str
    required: true
  server_name:
    description:
      - The host name under which the site is asked. Another site with this name on the same port is
        refused.
    type: str
    default: ""
  content:
    description:
      - Content of the file, for the http block. Required unless O(state=absent).
      - A line that starts with V(@feature@) stays only where the feature is there, one with V(@!feature@)
        only where it is not. Features are V(http2) (the directive C(http2 on)), V(mlkem) (the group
        X25519MLKEM768), V(tickets) (nginx rotates the keys of TLS session tickets), V(gzip_static) (nginx can
        serve compressed copies that lie beside the files), V(ipv6) and V(ipv4) (sockets of these
        families can be opened).
      - The text V(@revision@) becomes a hash of the content; see O(revision_path).
    type: str
  revision_path:
    description:
      - Path at which the site answers this host with V(@revision@), to tell whether nginx has loaded it.
    type: str
    default: ""
  probes:
    description: Requests that the site must answer correctly, made from this host over loopback.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path to ask for.
        type: str
        required: true
      method:
        description: The HTTP method.
        type: str
        default: GET
      body:
        description: A JSON document to send.
        type: str
        default: ""
      status:
        description: The right answers.
        type: list
        elements: int
        required: true
      source:
        description:
          - V(outside) asks from an address of the host that is not the one it asks, as a stranger would.
            Such a probe is skipped on a host that has no other address.
        type: str
        choices: [local, outside]
        default: local
      backend:
        description:
          - Who answers behind nginx. When nobody does (502, 503, 504), that is a warning and the site
            stays.
        type: str
        default: ""
      header_counts:
        description: How often headers must be in the answer.
        type: dict
        default: {}
  port:
    description: The port of the site, for V(@ipv4@).
    type: int
    default: 443
  connections:
    description: How many connections nginx should be able to hold; fewer are a warning.
    type: int
    default: 0
  service:
    description: The systemd unit of nginx.
    type: str
    default: nginx
  logs:
    description:
      - The log files that the site writes. With O(state=absent) they are removed, with what logrotate made of
        them, unless something else in nginx's configuration writes them too. A change that is taken back
        removes those that it made.
    type: list
    elements: path
    default: []
  keep_on:
    description:
      - With O(state=absent), a site that listens on none but these sockets, as V(192.0.2.7:443) or V(*:443),
        stays. For one that is to listen elsewhere from now on, which nginx cannot do in one step.
    type: list
    elements: str
    default: []
  address:
    description: Where the proxy that serves the site listens on port 443, with O(state=probed).
    type: str
    default: 127.0.0.1
  state:
    description:
      - Whether the site is to be there. V(probed) changes nothing and needs no nginx; it asks the O(probes)
        of a site that another proxy serves at O(address), and fails if an answer is wrong.
    type: str
    choices: [present, absent, probed]
    default: present
  state_dir:
    description: Folder for the record of a change in progress.
    type: path
    default: /var/lib/matrixrtc/nginx
"""

EXAMPLES = r"""
- name: Add the site
  matrixrtc.backend.nginx_site:
    name: zz-matrixrtc
    server_name: rtc.example.org
    content: "{{ lookup('ansible.builtin.template', 'site.conf.j2') }}"
    revision_path: /.matrixrtc-revision
    probes:
      - path: /livekit/jwt/healthz
        status: [200]
        backend: the token service on 127.0.0.1:8080
      - path: /livekit/sfu/twirp/livekit.RoomService/ListRooms
        source: outside
        status: [403]

- name: Take the site out again
  matrixrtc.backend.nginx_site:
    name: zz-matrixrtc
    server_name: rtc.example.org
    revision_path: /.matrixrtc-revision
    logs: [/var/log/nginx/matrixrtc_access.log]
    state: absent

- name: See whether another proxy serves the site
  matrixrtc.backend.nginx_site:
    name: zz-matrixrtc
    server_name: rtc.example.org
    probes:
      - path: /livekit/jwt/healthz
        status: [200]
    state: probed
"""

RETURN = r"""
file:
  description: The file of the site.
  returned: when nginx is installed
  type: str
revision:
  description: The revision that nginx serves, '' when the content does not tell.
  returned: always
  type: str
probes:
  description: What the site answered, as C(probe) and C(status).
  returned: always, empty when nothing had to be changed
  type: list
  elements: dict
foreign:
  description: How many of the other sites were compared before and after.
  returned: always
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_checks import Probe
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import NginxSiteError
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_site import Wish, apply, look

PROBE_OPTIONS = {
    "path": {"type": "str", "required": True},
    "method": {"type": "str", "default": "GET"},
    "body": {"type": "str", "default": ""},
    "status": {"type": "list", "elements": "int", "required": True},
    "source": {"type": "str", "choices": ["local", "outside"], "default": "local"},
    "backend": {"type": "str", "default": ""},
    "header_counts": {"type": "dict", "default": {}},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "server_name": {"type": "str", "default": ""},
            "content": {"type": "str"},
            "revision_path": {"type": "str", "default": ""},
            "probes": {"type": "list", "elements": "dict", "default": [], "options": PROBE_OPTIONS},
            "port": {"type": "int", "default": 443},
            "connections": {"type": "int", "default": 0},
            "service": {"type": "str", "default": "nginx"},
            "logs": {"type": "list", "elements": "path", "default": []},
            "keep_on": {"type": "list", "elements": "str", "default": []},
            "address": {"type": "str", "default": "127.0.0.1"},
            "state": {"type": "str", "choices": ["present", "absent", "probed"], "default": "present"},
            "state_dir": {"type": "path", "default": "/var/lib/matrixrtc/nginx"},
        },
        required_if=[
            ("state", "present", ["content", "server_name"]),
            ("state", "probed", ["server_name", "probes"]),
        ],
        supports_check_mode=True,
    )
    options = module.params
    wish = Wish(
        name=options["name"],
        state_folder=options["state_dir"],
        content=options["content"] if options["state"] == "present" else None,
        server_name=options["server_name"],
        probes=tuple(Probe(**{**probe, "status": tuple(probe["status"])}) for probe in options["probes"]),
        revision_path=options["revision_path"],
        service=options["service"],
        port=options["port"],
        connections=options["connections"],
        logs=tuple(options["logs"]),
        keep_on=tuple(options["keep_on"]),
        check_mode=module.check_mode,
    )
    try:
        outcome = look(wish, options["address"]) if options["state"] == "probed" else apply(wish)
    except (NginxSiteError, OSError) as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(**outcome.as_dict())


if __name__ == "__main__":
    main()
