#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Show the checks of a site as a table, a JSON document and a page, and fail if one failed
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Prints one line for each check, then the figures of the call, then everything that is not as it should be,
    with what was expected and seen, the likely cause and the fix.
  - Runs on the controller. Every host of the play prints a table of its own, so several sites give several
    tables.
  - Colours are used only where Ansible uses them.
  - With O(dir) it also writes a JSON document, which C(docs/report.schema.json) describes, and an HTML page
    that needs neither a script nor anything else from anywhere. No credential is in any of them.
attributes:
  action:
    description: This is an action plugin.
    support: full
  check_mode:
    description: It prints the same in check mode, and writes no file then.
    support: full
  diff_mode:
    description: The files are new each time, and no diff of them is shown.
    support: none
options:
  title:
    description: What the checks are about, such as the site's server name.
    type: str
    required: true
  results:
    description:
      - Registered results of M(matrixrtc.backend.endpoint_probe) and M(matrixrtc.backend.call_probe), also of
        loops.
      - A result without checks, such as that of a probe that failed itself, counts as a failed check. Skipped
        tasks count for nothing.
    type: list
    elements: dict
    required: true
  sources:
    description: What the site is made of and where it comes from, to be named in the report.
    type: dict
    default: {}
  dir:
    description:
      - A folder on the controller for the files, which only their owner may read. It is made if there
        is none. A relative path counts from where Ansible was started. Empty writes none.
    type: str
    default: ""
  name:
    description:
      - What the files are called, without extension, such as the site's server name; O(title) if empty. What
        does not belong into a file name becomes an underscore.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show what was found
  matrixrtc.backend.report:
    title: example.org
    results: ["{{ outside }}", "{{ call }}"]

- name: Keep it as well, as reports/example.org.json and reports/example.org.html
  matrixrtc.backend.report:
    title: example.org
    results: ["{{ outside }}", "{{ call }}"]
    dir: reports
"""

RETURN = r"""
failed_ids:
  description: The ids of the checks that failed.
  returned: always
  type: list
  elements: str
files:
  description: The files that were written.
  returned: always
  type: list
  elements: str
msg:
  description: The outcome in one sentence.
  returned: always
  type: str
  sample: "example.org: 1 of 23 checks failed: sfu_validate."
"""
