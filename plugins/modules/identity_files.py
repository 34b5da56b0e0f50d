#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Read the files that make a site what it is, or put them back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: identity_files
short_description: Read the files that make a site what it is, or put them back
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Returns what is at the given paths, or, with O(entries), puts it back, as root's own.
  - What it returns is secret and never shown; failures are.
  - A file that is there already with another content is not replaced, and then nothing is written at all,
    unless O(replace) says so.
attributes:
  check_mode:
    description: Tells which files would be written, and whether another identity is in the way.
    support: full
  diff_mode:
    description: It would show secrets.
    support: none
options:
  paths:
    description: Files and folders. One that does not exist is left out.
    type: list
    elements: path
    required: true
  entries:
    description:
      - The list that was returned before. Entries that do not belong to O(paths) are another host's.
    type: json
  replace:
    description: Whether another identity that is there goes.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read what makes the site
  matrixrtc.backend.identity_files:
    paths: [/etc/matrixrtc/livekit_secret, /etc/matrixrtc/acme]
  register: identity

- name: Put it back on another host
  matrixrtc.backend.identity_files:
    paths: [/etc/matrixrtc/livekit_secret, /etc/matrixrtc/acme]
    entries: "{{ identity.entries }}"
"""

RETURN = r"""
entries:
  description: What is at the paths.
  returned: when O(entries) is not given
  type: list
  elements: dict
files:
  description: The paths that were written, or would be.
  returned: when O(entries) is given
  type: list
  elements: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_state import StateError
from ansible_collections.matrixrtc.backend.plugins.module_utils.identity import (
    IdentityError,
    collect,
    restore,
)


def main() -> None:
    """Read, or put back, and tell."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "entries": {"type": "json", "no_log": True},
            "replace": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    entries, paths = module.params["entries"], module.params["paths"]
    try:
        if entries is None:
            module.exit_json(changed=False, entries=collect(paths))
        outcome = restore(json.loads(entries), paths, module.params["replace"], dry=module.check_mode)
    except IdentityError as error:
        module.fail_json(
            msg=f"Nothing was written: {error}. Set matrixrtc_restore_replace to true if it may go."
            if "identity of its own" in str(error)
            else f"Nothing was written: {error}."
        )
    except (StateError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(outcome.files), files=outcome.files)


if __name__ == "__main__":
    main()
