#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/nginx_stream.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_stream
short_description: Have an nginx that belongs to somebody else pass plain connections on
version_added: 0.1.0
author:
  - The matrixrtc.backend authors (@matrixrtc)
description:
  - Puts one file with one C(stream) block into the main context of the nginx that is there. The whole
    configuration is tested, nginx is reloaded and never restarted, and the sites are asked what they
    answered before.
  - If anything is worse than before, what was there comes back, nginx is reloaded again, and the module
    fails with what was wrong.
  - An nginx without its stream module, with a C(stream) block already, or with a site that listens where the
    block is to listen, is refused with the ways out, and left alone.
attributes:
  check_mode:
    support: full
    description: Says what would change; nginx still tests the configuration it has, which changes nothing.
  diff_mode:
    support: full
    description: Shows the file before and after.
options:
  name:
    description: The file's name without C(.conf). It has to sort behind the one that loads the module.
    type: str
    required: true
  content:
    description:
      - Content of the file, with the C(stream) block. Lines may be marked as in
        M(matrixrtc.backend.nginx_site). Required unless O(state=absent).
      - The text V(@revision@) becomes a hash of the content, which a server of the block has to return on
        O(status_port) of 127.0.0.1.
    type: str
  status_port:
    description: Where on 127.0.0.1 the block says which revision nginx has loaded.
    type: int
    required: true
  keep_on:
    description:
      - With O(state=absent), a block that listens on exactly these sockets, as V(192.0.2.7:443) or V(*:443),
        stays. For what has to be out of the way before sites listen elsewhere.
    type: list
    elements: str
    default: []
  sites:
    description: The names of our own sites; in check mode they may not have moved out of the way yet.
    type: list
    elements: str
    default: []
  service:
    description: The systemd unit of nginx.
    type: str
    default: nginx
  state:
    description: Whether the block is to be there.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description: Folder for the record of a change in progress.
    type: path
    default: /var/lib/matrixrtc/nginx
"""

EXAMPLES = r"""
- name: End TLS for the relay
  matrixrtc.backend.nginx_stream:
    name: zz-matrixrtc-turn
    content: "{{ lookup('ansible.builtin.template', 'turn.conf.j2') }}"
    status_port: 5350

- name: Take it out again
  matrixrtc.backend.nginx_stream:
    name: zz-matrixrtc-turn
    status_port: 5350
    state: absent
"""

RETURN = r"""
file:
  description: The file.
  returned: when nginx is installed
  type: str
revision:
  description: The revision that nginx serves, '' for none.
  returned: always
  type: str
foreign:
  description: How many sites were compared before and after.
  returned: always
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import NginxSiteError
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_stream import StreamWish, apply


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "content": {"type": "str"},
            "status_port": {"type": "int", "required": True},
            "keep_on": {"type": "list", "elements": "str", "default": []},
            "sites": {"type": "list", "elements": "str", "default": []},
            "service": {"type": "str", "default": "nginx"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "default": "/var/lib/matrixrtc/nginx"},
        },
        required_if=[("state", "present", ["content"])],
        supports_check_mode=True,
    )
    options = module.params
    wish = StreamWish(
        name=options["name"],
        state_folder=options["state_dir"],
        content=options["content"] if options["state"] == "present" else None,
        keep_on=tuple(options["keep_on"]),
        status_port=options["status_port"],
        sites=tuple(options["sites"]),
        service=options["service"],
        check_mode=module.check_mode,
    )
    try:
        outcome = apply(wish)
    except (NginxSiteError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**outcome.as_dict())


if __name__ == "__main__":
    main()
