#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin site_backup, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_backup
short_description: Write the backup of a site on the controller, or read it
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Keeps what M(matrixrtc.backend.identity_files) has read from the hosts of a site in one file on the
    controller, which only its owner may read, encrypted as C(ansible-vault) does it.
  - A backup is never overwritten. What is read from one is never shown.
attributes:
  check_mode:
    description: Tells which file it would write.
    support: full
  diff_mode:
    description: It would show secrets.
    support: none
options:
  state:
    description: V(saved) writes a new backup, V(read) returns what is in one.
    type: str
    choices: [saved, read]
    default: saved
  server_name:
    description: The site. A backup of another one is refused.
    type: str
    required: true
  folder:
    description: The folder of backups on the controller.
    type: path
    required: true
  file:
    description: The backup to read. Without it, the site's last one in O(folder).
    type: path
    default: ""
  password:
    description: The password of the backup.
    type: str
    default: ""
  unencrypted:
    description: Whether a backup may be written without a password.
    type: bool
    default: false
  hosts:
    description: By host, the entries that were read. Needed with O(state=saved).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Keep it on the controller
  matrixrtc.backend.site_backup:
    server_name: example.org
    folder: backups
    password: "{{ matrixrtc_backup_password }}"
    hosts:
      rtc1: "{{ identity.entries }}"
"""

RETURN = r"""
path:
  description: The backup.
  returned: always
  type: str
entries:
  description: What is in it.
  returned: when O(state=read)
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """The action plugin does the work; without it there is nothing to run."""
    module = AnsibleModule(argument_spec={})
    module.fail_json(msg="site_backup is an action plugin and runs on the controller only.")


if __name__ == "__main__":
    main()
