#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/firewall.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_ports
short_description: Open ports in the firewall that is active on a host
version_added: 0.1.0
author:
  - The matrixrtc.backend authors (@matrixrtc)
description:
  - Finds the tool that filters what comes in. In nftables, a chain C(matrixrtc) inside the operator's own
    table and one jump to it at the top of the input chain accept the ports, applied as one transaction.
  - The operator's files stay untouched. The unit C(matrixrtc-firewall.service) adds the rules again
    whenever C(nftables.service) starts, restarts or reloads.
  - With ufw, firewalld or iptables nothing is changed; the commands that open the ports are returned as a
    warning. Without any firewall nothing is changed either.
  - No firewall is ever enabled, flushed or reloaded, and no rule of anybody else is changed.
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows our own files before and after; the rules are one of them.
options:
  tcp:
    description: TCP ports, as numbers or ranges such as V(7882-7885).
    type: list
    elements: str
    default: []
  udp:
    description: UDP ports, as numbers or ranges.
    type: list
    elements: str
    default: []
  backend:
    description:
      - V(auto) finds the active tool. V(nftables) insists on nftables. V(none) opens nothing, and takes out
        what was opened before.
    type: str
    choices: [auto, nftables, none]
    default: auto
  state:
    description: With V(absent) our rules, files and unit go.
    type: str
    choices: [present, absent]
    default: present
  config_dir:
    description: Folder for the rules that the unit adds.
    type: path
    default: /etc/matrixrtc/firewall
"""

EXAMPLES = r"""
- name: Open the ports of the SFU
  matrixrtc.backend.firewall_ports:
    tcp: [443, 7881]
    udp: [7882-7885]

- name: Close them again
  matrixrtc.backend.firewall_ports:
    state: absent
"""

RETURN = r"""
backend:
  description: The tool that filters what comes in, V(none) when nothing does.
  returned: always
  type: str
msg:
  description: What that means.
  returned: always
  type: str
chains:
  description: The input chains that jump to our rules.
  returned: always
  type: list
  elements: str
commands:
  description: What the operator has to run where we leave the firewall alone.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall import FirewallError, Wish, apply


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "tcp": {"type": "list", "elements": "str", "default": []},
            "udp": {"type": "list", "elements": "str", "default": []},
            "backend": {"type": "str", "choices": ["auto", "nftables", "none"], "default": "auto"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "config_dir": {"type": "path", "default": "/etc/matrixrtc/firewall"},
        },
        supports_check_mode=True,
    )
    wish = Wish(
        tcp=tuple(module.params["tcp"]),
        udp=tuple(module.params["udp"]),
        is_present=module.params["state"] == "present",
        backend=module.params["backend"],
        folder=module.params["config_dir"],
        check_mode=module.check_mode,
    )
    try:
        outcome = apply(wish)
    except (FirewallError, OSError) as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(**outcome.as_dict())


if __name__ == "__main__":
    main()
