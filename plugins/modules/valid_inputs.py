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
    description: Whose inputs they are. Needed unless there is O(collected).
    type: str
    choices:
      - livekit
      - livekit_redis
      - matrixrtc_cluster
      - lk_jwt_service
      - rtc_certificate
      - nginx_proxy
      - firewall
      - synapse_config
      - well_known
      - element_call
      - matrixrtc_stuck
      - matrixrtc_load
      - matrixrtc_rotation
      - matrixrtc_federation
      - matrixrtc_verify
  inputs:
    description:
      - The values as the operator gave them, by the name of the role's variable without the role's name.
      - An absent one is not checked. An empty one counts as missing.
      - Never logged and, but for O(collect), never returned, since free settings may hold passwords.
    type: dict
  secret:
    description: The LiveKit API secret. Empty if the RTC host is to make one. No message shows it.
    type: str
    default: ""
  versions:
    description:
      - What is known of the component's releases.
      - C(tested) and C(untested) are lists of release numbers, C(bad) is a list of C(version) and C(reason),
        C(minimum) is the oldest release that may run, with C(minimum_reason). C(allowed) is a list of
        releases that the operator wants although they are bad or too old.
    type: dict
    default: {}
  allow_untested:
    description: Warn of releases and distributions that are not tested, instead of refusing them.
    type: bool
    default: false
  collect:
    description:
      - Return the inputs as RV(collected) instead of looking at them, without a connection to the host, so
        that one task can check those of all components.
    type: bool
    default: false
  collected:
    description: What earlier tasks returned as RV(collected). All of it is checked, problems are told once.
    type: list
    elements: dict
    default: []
    suboptions:
      component:
        description: As O(component).
        type: str
        required: true
        choices:
          - livekit
          - livekit_redis
          - matrixrtc_cluster
          - lk_jwt_service
          - rtc_certificate
          - nginx_proxy
          - firewall
          - synapse_config
          - well_known
          - element_call
          - matrixrtc_stuck
          - matrixrtc_load
          - matrixrtc_rotation
          - matrixrtc_federation
          - matrixrtc_verify
      inputs:
        description: As O(inputs).
        type: dict
        required: true
      secret:
        description: As O(secret).
        type: str
        default: ""
      versions:
        description: As O(versions).
        type: dict
        default: {}
      allow_untested:
        description: As O(allow_untested).
        type: bool
        default: false
  problems:
    description: What the play itself found to be wrong, to be told with the rest.
    type: list
    elements: str
    default: []
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

- name: Take note of the inputs of the firewall
  matrixrtc.backend.valid_inputs:
    component: firewall
    inputs:
      backend: nftables
    collect: true
  register: firewall_preflight

- name: Refuse wrong inputs of everything together
  matrixrtc.backend.valid_inputs:
    collected: "{{ [firewall_preflight] | selectattr('collected', 'defined') | map(attribute='collected') }}"
"""

RETURN = r"""
problems:
  description: What is wrong. The module fails if there is anything, naming all.
  returned: without O(collect)
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
collected:
  description: The inputs for a later task with O(collected). Not shown, at any verbosity.
  returned: with O(collect)
  type: dict
warnings:
  description: What is allowed and probably not meant, such as a certificate that expires soon.
  returned: when there is something to warn of
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import CHECKS, check_inputs

ONE = {
    "secret": {"type": "str", "default": "", "no_log": True},
    "versions": {"type": "dict", "default": {}},
    "allow_untested": {"type": "bool", "default": False},
}
COMPONENT = {"type": "str", "choices": list(CHECKS)}
INPUTS = {"type": "dict", "no_log": True}
COLLECTED = {"component": {**COMPONENT, "required": True}, "inputs": {**INPUTS, "required": True}, **ONE}


def main() -> None:
    """Read the parameters, check, and tell."""
    module = AnsibleModule(
        argument_spec={
            "component": COMPONENT,
            "inputs": INPUTS,
            **ONE,
            "collect": {"type": "bool", "default": False},
            "collected": {"type": "list", "elements": "dict", "default": [], "options": COLLECTED},
            "problems": {"type": "list", "elements": "str", "default": []},
        },
        required_together=[("component", "inputs")],
        supports_check_mode=True,
    )
    params = module.params
    given = params["collected"] + ([params] if params["component"] else [])
    found = [
        check_inputs(one["component"], one["inputs"], one["secret"], one["versions"], one["allow_untested"])
        for one in given
    ]
    # Ansible blanks out the values of no_log parameters wherever they occur in a result. Here that would make
    # messages unreadable: they quote inputs on purpose, and a secret such as 'secret' is part of a variable's
    # name. No message quotes the secret or a free setting, so it is enough to keep the parameters out.
    module.no_log_values = set()
    module.params = {"component": [one["component"] for one in given]}
    for warning in dict.fromkeys(warning for one in found for warning in one.warnings):
        module.warn(warning)
    problems = list(
        {problem.message: problem.as_dict() for one in found for problem in one.problems}.values()
    )
    lines = [problem["message"] for problem in problems] + params["problems"]
    if lines:
        text = "\n".join(f"- {line}" for line in lines)
        module.fail_json(msg=f"Nothing was changed. Correct these inputs:\n{text}", problems=problems)
    module.exit_json(changed=False, problems=problems)


if __name__ == "__main__":
    main()
