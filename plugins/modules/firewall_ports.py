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
  - Finds the tool that filters what comes in, and opens the ports there, for IPv4 and IPv6.
  - In nftables, a chain C(matrixrtc) inside the operator's own table and one jump to it at the top of the
    input chain accept the ports. The unit C(matrixrtc-firewall.service) adds them again whenever
    C(nftables.service) starts, restarts or reloads. With iptables it is a chain C(MATRIXRTC), one jump and
    the unit C(matrixrtc-iptables.service), for each family whose C(INPUT) chain drops.
  - In ufw, an application profile C(MatrixRTC) is allowed. In firewalld, the ports that are not open yet are
    added to the zones of the interfaces with a default route, for now and for good.
  - What is ours in a tool that is not the active one any more is taken out, without activating it. Without
    any firewall nothing is changed.
  - No firewall is ever enabled, flushed, reloaded or re-zoned, and no rule of anybody else is changed. When a
    tool refuses our rules, the rules before come back.
  - Ports that containers publish bypass all of these tools. They are returned; a warning names those of them
    that are in O(internal).
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows our own files and our rules before and after.
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
      - V(auto) finds the active tool. The name of one insists on it, and fails where it filters nothing.
      - V(none) opens nothing, and takes out what was opened before.
    type: str
    choices: [auto, nftables, ufw, firewalld, iptables, none]
    default: auto
  internal:
    description: TCP ports that nobody outside is to reach. A container that publishes one is warned about.
    type: list
    elements: int
    default: []
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
places:
  description: The input chains, firewalld zones or ufw profiles with our rules; for iptables, its programs.
  returned: always
  type: list
  elements: str
published:
  description: Ports that containers publish to others, past the host's firewall.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall import apply
from ansible_collections.matrixrtc.backend.plugins.module_utils.firewall_base import FirewallError, Wish

BACKENDS = ("auto", "nftables", "ufw", "firewalld", "iptables", "none")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "tcp": {"type": "list", "elements": "str", "default": []},
            "udp": {"type": "list", "elements": "str", "default": []},
            "backend": {"type": "str", "choices": [*BACKENDS], "default": "auto"},
            "internal": {"type": "list", "elements": "int", "default": []},
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
        internal=tuple(module.params["internal"]),
        folder=module.params["config_dir"],
        check_mode=module.check_mode,
    )
    try:
        outcome = apply(wish)
    except (FirewallError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(**outcome.as_dict())


if __name__ == "__main__":
    main()
