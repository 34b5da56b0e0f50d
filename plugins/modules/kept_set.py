#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The files that an upgrade of a service replaced come back, or are dropped."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kept_set
short_description: Put back or drop what an upgrade of a service replaced
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - M(matrixrtc.backend.applied_service) with O(matrixrtc.backend.applied_service#module:keep) keeps the good
    files that a restart replaces. This module puts them back when calls over the new ones fail, or drops them
    when they pass.
  - It restarts nothing. Run M(matrixrtc.backend.applied_service) after it.
attributes:
  check_mode:
    description: Tells what it would do.
    support: full
  diff_mode:
    description: The files may be secret.
    support: none
options:
  name:
    description: The unit's name, without C(.service).
    type: str
    required: true
  state:
    description:
      - With V(returned) the files are what they were before the upgrade, and nothing is kept any more.
      - With V(dropped) nothing is kept any more.
    type: str
    choices: [returned, dropped]
    required: true
  state_dir:
    description: Where the records and sets are. As for M(matrixrtc.backend.applied_service).
    type: path
    default: /var/lib/matrixrtc/applied
"""

EXAMPLES = r"""
- name: Take back the upgrade
  matrixrtc.backend.kept_set:
    name: livekit
    state: returned
"""

RETURN = r"""
paths:
  description: What was put back, or would be.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_state import (
    State,
    StateError,
    put_back,
    read_input,
)


def differing(state: State) -> list[str]:
    """The paths whose files are not those of the kept set, without changing any."""
    kept = state.kept_set()
    return [item.path for item in kept if _facts(read_input(item.path)) != _facts(item)]


def _facts(item: object) -> tuple[object, ...]:
    return tuple(getattr(item, name) for name in ("kind", "content", "target", "mode", "uid", "gid"))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["returned", "dropped"], "required": True},
            "state_dir": {"type": "path", "default": "/var/lib/matrixrtc/applied"},
        },
        supports_check_mode=True,
    )
    state = State(module.params["state_dir"], module.params["name"])
    returned = module.params["state"] == "returned"
    try:
        if module.check_mode:
            paths = differing(state) if returned else []
            module.exit_json(changed=bool(paths) or state.release(dry=True), paths=paths)
        with state.locked():
            paths = [item.path for item in state.kept_set() if put_back(item)] if returned else []
            # dropped last: a run that is killed before puts the rest back the next time
            module.exit_json(changed=state.release() or bool(paths), paths=paths)
    except StateError as error:
        module.fail_json(msg=str(error), paths=[])


if __name__ == "__main__":
    main()
