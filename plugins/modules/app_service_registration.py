#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The registration with which the token service stands behind Synapse."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_service_registration
short_description: The registration with which the token service stands behind Synapse
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Writes the registration of the token service as an application service, for the token service or for
    Synapse. On a host that is both, call it once for each.
  - The two tokens are made on the host, once, in files that only root can read, unless they are given.
  - The tokens never leave the host and are never returned. All writes are atomic.
attributes:
  check_mode:
    description: Can run in check mode, also on a host that has neither the files nor their owners yet.
    support: full
  diff_mode:
    description: Shows what has changed.
    support: none
    details: It would show the tokens.
options:
  state:
    description: V(absent) removes O(path), O(path_as_token), O(path_hs_token) and O(proof_file).
    type: str
    choices: [present, absent]
    default: present
  path:
    description: The registration. Missing folders above it are made, readable by all.
    type: path
    required: true
  owner:
    description: The owner of the registration, by name or number.
    type: str
    default: root
  group:
    description: The group of the registration, by name or number.
    type: str
    default: root
  mode:
    description: The mode of the registration, in octal.
    type: str
    default: "0640"
  server_name:
    description: The server name of the homeserver. Needed unless O(state=absent).
    type: str
    default: ""
  url:
    description: Where the homeserver reaches the token service. Needed unless O(state=absent).
    type: str
    default: ""
  as_token:
    description: The token service's token at the homeserver. Empty to use the host's, or to have one made.
    type: str
    default: ""
  hs_token:
    description: The homeserver's token at the token service. Empty to use the host's, or to have one made.
    type: str
    default: ""
  path_as_token:
    description: Root's file on the host with the first.
    type: path
    required: true
  path_hs_token:
    description: Root's file on the host with the second.
    type: path
    required: true
  proof_file:
    description:
      - What M(matrixrtc.backend.app_service_proof) writes once the registration works. It is removed when the
        registration changes.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Tell Synapse of the token service
  matrixrtc.backend.app_service_registration:
    path: /etc/matrix-synapse/matrixrtc-registration.yaml
    owner: matrix-synapse
    mode: "0400"
    server_name: example.org
    url: http://127.0.0.1:8080
    path_as_token: /etc/matrixrtc/as_token
    path_hs_token: /etc/matrixrtc/hs_token
  no_log: true
"""

RETURN = r"""
generated:
  description: Whether a token was made by this call.
  returned: always
  type: bool
proven:
  description: Whether this registration was seen to work. In check mode, whether it will have been.
  returned: always
  type: bool
files:
  description: The files that changed. Their content is not shown.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.credentials import CredentialsError
from ansible_collections.matrixrtc.backend.plugins.module_utils.managed_files import ManagedFile
from ansible_collections.matrixrtc.backend.plugins.module_utils.registration import (
    Tokens,
    is_proven,
    provide,
    withdraw,
)

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0640"},
    "server_name": {"type": "str", "default": ""},
    "url": {"type": "str", "default": ""},
    "as_token": {"type": "str", "default": "", "no_log": True},
    "hs_token": {"type": "str", "default": "", "no_log": True},
    "path_as_token": {"type": "path", "required": True, "no_log": False},
    "path_hs_token": {"type": "path", "required": True, "no_log": False},
    "proof_file": {"type": "path", "default": ""},
}


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ["server_name", "url"])],
        supports_check_mode=True,
    )
    params = module.params
    tokens = Tokens(params["path_as_token"], params["path_hs_token"], params["as_token"], params["hs_token"])
    owner, group = (int(name) if name.isdigit() else name for name in (params["owner"], params["group"]))
    try:
        if params["state"] == "absent":
            outcome = withdraw(tokens, params["path"], module.check_mode)
        else:
            file = ManagedFile(params["path"], owner, group, int(params["mode"], 8))
            outcome = provide(tokens, params["server_name"], params["url"], file, module.check_mode)
        proven = is_proven(params["proof_file"], outcome, module.check_mode)
    except ValueError as error:
        module.fail_json(msg=f"mode: {error}. Set it to octal digits in quotes, such as '0640'.")
    except LookupError as error:
        module.fail_json(msg=f"The owner or group of the file is not known on this host: {error}")
    except (CredentialsError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=outcome.changed, generated=outcome.generated, proven=proven, files=outcome.files)


if __name__ == "__main__":
    main()
