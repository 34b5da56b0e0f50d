#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Refuse wrong inputs of a component before anything changes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: valid_inputs
short_description: Refuse wrong inputs of a component before anything changes
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Checks every input of one component of a MatrixRTC backend, by itself, against the others and against the
    host, and reports all problems together. Each names the variable, what is wrong with it and what to set.
  - Numbers and booleans may be given as text, as they are on the command line.
  - Only reads. Looks at files, listening ports and, for certificates, asks the C(openssl) program.
  - Ports that the component's own service holds already are no problem.
attributes:
  check_mode:
    description: Can run in check mode and returns the same as without it.
    support: full
  diff_mode:
    description: Shows what has changed.
    support: none
    details: Nothing is ever changed.
options:
  component:
    description: Whose inputs they are.
    type: str
    required: true
    choices: [livekit, lk_jwt_service, rtc_certificate, nginx_proxy, firewall, synapse_config, well_known]
  inputs:
    description:
      - The values as the operator gave them, by the name of the role's variable without the role's name.
      - An absent one is not checked. An empty one counts as missing.
      - Never logged and never returned, since free settings may hold passwords.
    type: dict
    required: true
  secret:
    description: The LiveKit API secret. Empty if the RTC host is to make one. No message shows it.
    type: str
    default: ""
  versions:
    description:
      - What is known of the component's releases.
      - C(tested) and C(untested) are lists of release numbers, C(bad) is a list of C(version) and C(reason),
        C(minimum) is the oldest release that may run, with C(minimum_reason).
    type: dict
    default: {}
  allow_untested:
    description: Warn of releases and distributions that are not tested, instead of refusing them.
    type: bool
    default: false
  collect:
    description: Return the problems instead of failing, so that a play can gather those of all components.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Refuse wrong inputs of LiveKit
  matrixrtc.backend.valid_inputs:
    component: livekit
    inputs:
      server_name: example.org
      domain: rtc.example.org
      version: 1.13.5
      port: 7880
      tcp_port: 7881
      udp_port: 7882-7885
    versions:
      tested: ["1.13.5"]
      bad:
        - version: 1.10.0
          reason: it hands out malformed TURN addresses
"""

RETURN = r"""
problems:
  description: What is wrong. Without O(collect) the module fails if there is anything, naming all.
  returned: always
  type: list
  elements: dict
  contains:
    variable:
      description: The variable that the operator sets.
      type: str
      sample: matrixrtc_server_name
    message:
      description: The variable, what is wrong with it, and what to set.
      type: str
      sample: >-
        matrixrtc_server_name: 'https://example.org' has a scheme.
        Set it to the part after the colon in your Matrix IDs, such as example.org.
warnings:
  description: What is allowed and probably not meant, such as a certificate that expires soon.
  returned: when there is something to warn of
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import CHECKS, check_inputs


def main() -> None:
    """Read the parameters, check, and tell."""
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str", "required": True, "choices": list(CHECKS)},
            "inputs": {"type": "dict", "required": True, "no_log": True},
            "secret": {"type": "str", "default": "", "no_log": True},
            "versions": {"type": "dict", "default": {}},
            "allow_untested": {"type": "bool", "default": False},
            "collect": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    found = check_inputs(
        params["component"], params["inputs"], params["secret"], params["versions"], params["allow_untested"]
    )
    # Ansible blanks out the values of no_log parameters wherever they occur in a result. Here that would make
    # messages unreadable: they quote inputs on purpose, and a secret such as 'secret' is part of a variable's
    # name. No message quotes the secret or a free setting, so it is enough to keep the parameters out.
    module.no_log_values = set()
    module.params = {**params, "inputs": sorted(params["inputs"]), "secret": bool(params["secret"])}
    problems = [problem.as_dict() for problem in found.problems]
    for warning in found.warnings:
        module.warn(warning)
    if problems and not params["collect"]:
        lines = "\n".join(f"- {problem['message']}" for problem in problems)
        module.fail_json(msg=f"Nothing was changed. Correct these inputs:\n{lines}", problems=problems)
    module.exit_json(changed=False, problems=problems)


if __name__ == "__main__":
    main()
