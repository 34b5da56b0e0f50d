#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The API key pair that LiveKit and the token service share."""

from __future__ import annotations

DOCUMENTATION = r"""
module: livekit_credentials
short_description: The API key pair that LiveKit and the token service share
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Makes the API secret on the host, once, in a file that only root can read, and never replaces it.
  - Writes the files from which the services read it, each in the service's own format. All writes are atomic.
  - A secret that is given wins over the host's and replaces it.
  - The secret never leaves the host and is never returned.
attributes:
  check_mode:
    description: Can run in check mode, also on a host that has neither the files nor their groups yet.
    support: full
  diff_mode:
    description: Shows what has changed.
    support: none
    details: It would show the secret.
options:
  state:
    description:
      - V(absent) removes O(files), O(path_secret) if it is given, and the folder of each and the one above it
        when nothing else is left in them.
    type: str
    choices: [present, absent]
    default: present
  key:
    description: The name of the key pair. Needed unless O(state=absent).
    type: str
    default: ""
  secret:
    description: The secret, 32 characters at least. Empty to use the one on the host, or to have one made.
    type: str
    default: ""
  path_secret:
    description: The file on the host that holds the secret. Needed unless O(state=absent).
    type: path
    default: ""
  path_rotation:
    description:
      - The file in which M(matrixrtc.backend.livekit_rotation) keeps where a rotation of keys is, which goes
        before O(key) and O(secret). LiveKit is told of both pairs while one is under way.
    type: path
    default: ""
  files:
    description: The files of the services.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file. Missing folders above it are made, readable by all.
        type: path
        required: true
      format:
        description:
          - V(livekit_keys) is LiveKit's key file, V(key) and V(secret) are a line with nothing else.
        type: str
        choices: [livekit_keys, key, secret]
        required: true
      owner:
        description: The file's owner.
        type: str
        default: root
      group:
        description: The file's group, which should be the service's.
        type: str
        default: root
      mode:
        description: The file's mode, in octal. LiveKit refuses a key file that others may read.
        type: str
        default: "0640"
"""

EXAMPLES = r"""
- name: Provide LiveKit's API key
  matrixrtc.backend.livekit_credentials:
    key: matrixrtc
    path_secret: /etc/matrixrtc/livekit_secret
    files:
      - path: /etc/matrixrtc/livekit/keys.yaml
        format: livekit_keys
        group: livekit
  no_log: true
"""

RETURN = r"""
generated:
  description: Whether the secret was made by this call.
  returned: always
  type: bool
files:
  description: The files that changed. Their content is not shown.
  returned: always
  type: list
  elements: str
webhook_key:
  description: The name of the key that LiveKit is to sign its webhooks with.
  returned: when O(state=present)
  type: str
folders:
  description: The folders that were made, or would be in check mode.
  returned: when O(state=present)
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.credentials import (
    FORMATS,
    CredentialFile,
    CredentialsError,
    provide,
    remove,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.rotation import RotationError, read

FILE_OPTIONS = {
    "path": {"type": "path", "required": True},
    "format": {"type": "str", "required": True, "choices": list(FORMATS)},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0640"},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "key": {"type": "str", "default": "", "no_log": False},  # the name of the pair, which is no secret
    "secret": {"type": "str", "default": "", "no_log": True},
    "path_secret": {"type": "path", "default": "", "no_log": False},
    "path_rotation": {"type": "path", "default": "", "no_log": False},
    "files": {"type": "list", "elements": "dict", "default": [], "options": FILE_OPTIONS},
}


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    absent = params["state"] == "absent"
    missing = [name for name in ("key", "path_secret") if not params[name]]
    if missing and not absent:
        module.fail_json(msg=f"{' and '.join(missing)} must be set unless state is absent.")
    try:
        if absent:
            paths = [file["path"] for file in params["files"]] + [params["path_secret"]]
            outcome = remove([path for path in paths if path], dry=module.check_mode)
        else:
            files = [CredentialFile(**{**file, "mode": int(file["mode"], 8)}) for file in params["files"]]
            path, dry = params["path_secret"], module.check_mode
            ledger = read(params["path_rotation"]) if params["path_rotation"] else None
            outcome = provide(params["key"], params["secret"], path, files, dry, ledger)
    except ValueError as error:
        module.fail_json(msg=f"mode: {error}. Set it to octal digits in quotes, such as '0640'.")
    except LookupError as error:
        module.fail_json(msg=f"An owner or group of the files is not known on this host: {error}")
    except (CredentialsError, RotationError, OSError) as error:
        module.fail_json(msg=str(error))
    if outcome.warning:
        module.warn(outcome.warning)
    facts = {} if absent else {"folders": outcome.folders, "webhook_key": outcome.webhook_key}
    module.exit_json(changed=outcome.changed, generated=outcome.generated, files=outcome.files, **facts)


if __name__ == "__main__":
    main()
