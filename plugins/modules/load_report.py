#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: load_report
short_description: Show what a load on an SFU says about it
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Prints one line for each step of a load, what was at its end in it, and how far one core and one Gbit/s
    would carry. Fails if a step did.
  - Runs on the controller.
attributes:
  action:
    description: This is an action plugin.
    support: full
  check_mode:
    description: It only prints, so it does the same in check mode; it writes no file then.
    support: full
  diff_mode:
    description: It changes nothing on the host.
    support: none
options:
  title:
    description: What was loaded, such as the site's server name.
    type: str
    required: true
  steps:
    description:
      - C(load), the registered result of M(matrixrtc.backend.load_probe), and C(usage), that of
        M(matrixrtc.backend.service_usage), of each step.
    type: list
    elements: dict
    required: true
  file:
    description: A file on the controller for the figures, as JSON.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Show what the load did
  matrixrtc.backend.load_report:
    title: example.org
    steps: [{load: "{{ load }}", usage: "{{ usage }}"}]
"""

RETURN = r"""
steps:
  description:
    - The figures of each step, C(participants), C(publishers), C(seconds), C(received) and C(sent) (Mbit/s at
      the SFU), C(loss) (share of the packets), C(forwarded) and C(missing) (video tracks), C(sfu_cores),
      C(sfu_memory) (bytes), C(client_cores) and C(client_share) (of the client's cores).
  returned: always
  type: list
  elements: dict
capacity:
  description: How far a core and a Gbit/s would carry; empty where the steps do not tell.
  returned: always
  type: dict
"""
