#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Write several files in one go, atomically."""

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_files
short_description: Write several files in one go, atomically
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Makes files hold exactly the given text, with the given owner, group and mode, and makes missing folders.
  - It does what a loop over M(ansible.builtin.template) does in a fraction of the time, since it takes one
    connection. Render templates with P(ansible.builtin.template#lookup).
attributes:
  check_mode:
    description: Can run in check mode, also on a host that has neither the folders nor the groups yet.
    support: full
  diff_mode:
    description: Shows the text of every file before and after.
    support: full
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: The file. Missing folders above it are made, readable by all.
        type: path
        required: true
      content:
        description: All of its text.
        type: str
        required: true
      owner:
        description: The file's owner.
        type: str
        default: root
      group:
        description: The file's group.
        type: str
        default: root
      mode:
        description: The file's mode, in octal.
        type: str
        default: "0644"
"""

EXAMPLES = r"""
- name: Write LiveKit's configuration and its unit
  matrixrtc.backend.managed_files:
    files:
      - path: /etc/matrixrtc/livekit/livekit.yaml
        content: "{{ lookup('ansible.builtin.template', 'livekit.yaml.j2') }}"
        group: livekit
        mode: "0640"
      - path: /etc/systemd/system/livekit.service
        content: "{{ lookup('ansible.builtin.template', 'service.j2') }}"
"""

RETURN = r"""
files:
  description: The files that changed.
  returned: always
  type: list
  elements: str
folders:
  description: The folders that were made.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.managed_files import ManagedFile, manage

FILE_OPTIONS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
}


def main() -> None:
    """Read the parameters, write, and tell."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": FILE_OPTIONS}
        },
        supports_check_mode=True,
    )
    wanted = []
    for file in module.params["files"]:
        try:
            mode = int(file["mode"], 8)
        except ValueError:
            module.fail_json(msg=f"mode: '{file['mode']}' is not octal. Set it to digits such as '0640'.")
        wanted.append((ManagedFile(file["path"], file["owner"], file["group"], mode), file["content"]))
    try:
        outcome = manage(wanted, dry=module.check_mode)
    except LookupError as error:
        module.fail_json(msg=f"An owner or group of the files is not known on this host: {error}")
    except OSError as error:
        module.fail_json(msg=str(error))
    # Ansible shows what it gets, also of a task with `diff: false`, and what is written may be a secret.
    shown = {"diff": outcome.diff} if module._diff else {}
    module.exit_json(changed=outcome.changed, files=outcome.files, folders=outcome.folders, **shown)


if __name__ == "__main__":
    main()
