#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The RTC foci are in a site's /.well-known/matrix/client document."""

from __future__ import annotations

DOCUMENTATION = r"""
module: well_known_client
short_description: The RTC foci are in a site's /.well-known/matrix/client document
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Adds the entries of C(org.matrix.msc4143.rtc_foci) to a JSON document that others own.
  - Every other key, their order and their formatting stay, as do other entries of the list. Known entries
    keep their place and their own keys.
  - Entries that this module added earlier and that are not wanted any more are taken out.
  - With O(url) nothing is written. The document is fetched, and the merged one is returned for its owner,
    also as an nginx location that answers with it.
attributes:
  check_mode:
    description: Can run in check mode and tells what it would write.
    support: full
  diff_mode:
    description: Shows the document before and after.
    support: full
options:
  path:
    description: The file that is served as the document.
    type: path
  url:
    description: The address of a document that is somebody else's to write.
    type: str
  foci:
    description: The entries, matched by C(type) and C(livekit_service_url).
    type: list
    elements: dict
    required: true
  base_url:
    description:
      - The address of the homeserver's client API, for a document that does not exist yet.
      - Never changes what a document says.
    type: str
    default: ""
  state:
    description:
      - V(present) has the entries in the document.
      - V(absent) takes ours out. A file that nobody touched since becomes what it was, byte for byte.
      - With O(url) V(absent) takes all entries of O(foci) out.
    type: str
    choices: [present, absent]
    default: present
  owner:
    description: The owner of a new file.
    type: str
    default: root
  group:
    description: The group of a new file.
    type: str
    default: root
  mode:
    description: The mode of a new file, as an octal number in quotes.
    type: str
    default: "0644"
  ca_file:
    description: Certificate authorities to trust for O(url). Empty for the system's.
    type: path
    default: ""
  state_dir:
    description: Where the record of what was added is kept. It is private to root.
    type: path
    default: /var/lib/matrixrtc/well_known
"""

EXAMPLES = r"""
- name: Announce the SFU in the site's own file
  matrixrtc.backend.well_known_client:
    path: /var/www/example.org/.well-known/matrix/client
    foci:
      - type: livekit
        livekit_service_url: https://rtc.example.org/livekit/jwt

- name: Work out what the owner of the document has to publish
  matrixrtc.backend.well_known_client:
    url: https://example.org/.well-known/matrix/client
    foci:
      - type: livekit
        livekit_service_url: https://rtc.example.org/livekit/jwt
  register: document
"""

RETURN = r"""
document:
  description: The document as it is to be. Empty if there is to be none, or if none could be fetched.
  returned: success
  type: str
complete:
  description: Whether the document was as it is to be before.
  returned: success
  type: bool
nginx:
  description:
    - A location that answers with the document, to be included in a server block. Empty if there is no
      document, or if it is too long for nginx to have in its configuration.
  returned: with O(url)
  type: str
snippet:
  description: The entries as they stand in a document.
  returned: success
  type: str
"""

import urllib.error
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.matrixrtc.backend.plugins.module_utils.files import diff_entry
from ansible_collections.matrixrtc.backend.plugins.module_utils.well_known import (
    Outcome,
    Request,
    WellKnownError,
    apply,
    identity,
    new_document,
    snippet,
    with_foci,
    without_foci,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.well_known_nginx import location

LARGEST = 1 << 20
ARGUMENTS = {
    "path": {"type": "path"},
    "url": {"type": "str"},
    "foci": {"type": "list", "elements": "dict", "required": True},
    "base_url": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0644"},
    "ca_file": {"type": "path", "default": ""},
    "state_dir": {"type": "path", "default": "/var/lib/matrixrtc/well_known"},
}


def fetch(module: AnsibleModule) -> str | None:
    """The document that is served, None when there is none; a warning when the server could not be asked."""
    url = module.params["url"]
    try:
        with open_url(url, timeout=10, ca_path=module.params["ca_file"] or None) as answer:
            text: str = answer.read(LARGEST).decode("utf-8")
            return text
    except urllib.error.HTTPError as error:
        if error.code != 404:
            module.warn(f"{url} answers status {error.code}, so what it serves now is not known")
    except (OSError, ValueError) as error:
        module.warn(f"{url} could not be read ({error}), so what it serves now is not known")
    return None


def merged(module: AnsibleModule) -> Outcome:
    """What the owner of a document has to publish, given what is served now."""
    before = fetch(module)
    base_url, foci = module.params["base_url"], module.params["foci"]
    is_wanted = module.params["state"] == "present"
    if before is None:
        return Outcome(None, new_document(base_url, foci) if base_url and is_wanted else None)
    try:
        if not is_wanted:
            return Outcome(before, without_foci(before, [identity(focus) for focus in foci], made_list=True))
        return Outcome(before, with_foci(before, foci))
    except WellKnownError as error:
        module.warn(f"{module.params['url']} {error}")
        return Outcome(None, None)


def write(module: AnsibleModule) -> Outcome:
    """Bring the file to what is wanted. Raises WellKnownError, OSError, LookupError, ValueError."""
    params: dict[str, Any] = module.params
    request = Request(
        path=params["path"],
        foci=params["foci"],
        state_dir=params["state_dir"],
        base_url=params["base_url"],
        present=params["state"] == "present",
        owner=params["owner"],
        group=params["group"],
        mode=int(params["mode"], 8),
    )
    return apply(request, module.check_mode)


def act(module: AnsibleModule) -> Outcome:
    """Write the file or merge the fetched document; what cannot be done ends the module with its reason."""
    params = module.params
    try:
        return merged(module) if params["url"] else write(module)
    except WellKnownError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{params['path']} cannot be written: {error.strerror}"
    except LookupError as error:
        reason = f"{params['path']} cannot be given to {params['owner']}:{params['group']}: {error}"
    except ValueError:
        reason = f"mode: '{params['mode']}' is no octal number. Set it to one in quotes, such as '0644'"
    module.fail_json(msg=f"{reason}.")
    raise AssertionError("fail_json does not return")


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("path", "url")],
        required_one_of=[("path", "url")],
    )
    outcome = act(module)
    is_file = not module.params["url"]
    result: dict[str, Any] = {
        "changed": is_file and outcome.changed,
        "complete": outcome.before is not None and not outcome.changed,
        "document": outcome.after or "",
        "snippet": snippet(module.params["foci"]),
    }
    if not is_file:
        result["nginx"] = location(outcome.after) or "" if outcome.after else ""
        if outcome.after and not result["nginx"]:
            module.warn("The document is too long to stand in nginx's configuration; serve it as a file.")
    if result["changed"]:
        result["diff"] = diff_entry(module.params["path"], outcome.before or "", outcome.after or "")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
