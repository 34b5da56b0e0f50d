#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/acme_certificate.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificate
short_description: Have a certificate of our own through ACME, beside an operator's own certbot
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Lets certbot get a certificate when there is none that will do, that is one for another name, of another
    directory, with another folder for its challenges, or one that its renewals have not kept alive.
  - Before the authority is asked, a file in the folder of the challenges is looked for through the web server
    of this host, since authorities count failures.
  - certbot has a configuration folder of its own (O(folder)), so the accounts, certificates, hooks and timers
    of a certbot that is there already stay as they are.
  - Writes certbot's environment for renewals to the file C(environment) in O(folder), readable by root only.
attributes:
  check_mode:
    description: Can run in check mode; no authority is asked then.
    support: full
  diff_mode:
    description: Shows what has changed.
    support: none
    details: What is written are keys, certificates and perhaps the password of a proxy.
options:
  state:
    description: V(absent) stops O(units) and removes O(files) and O(folders).
    type: str
    choices: [present, absent]
    default: present
  domain:
    description: The host name that the certificate is for.
    type: str
    default: ""
  directory:
    description: The URL of the authority's ACME directory.
    type: str
    default: ""
  webroot:
    description:
      - The folder whose C(.well-known/acme-challenge) the web server shows under C(http://DOMAIN/).
    type: path
    default: ""
  folder:
    description: certbot's configuration folder.
    type: path
    default: ""
  settings:
    description: certbot's settings file, which must name the same directory, webroot and folder.
    type: path
    default: ""
  certbot:
    description: The program.
    type: path
    default: /usr/bin/certbot
  hook:
    description: A program to run after every renewal.
    type: path
    default: ""
  addresses:
    description: The addresses that the web server listens on, if not on all of them.
    type: list
    elements: str
    default: []
  ca_file:
    description: A PEM file of certificates that verify the directory, if the host's own do not.
    type: path
    default: ""
  http_proxy:
    description: The URL of an HTTP proxy on the way to the directory. It may hold a user and a password.
    type: str
    default: ""
  units:
    description: Units of systemd to stop and disable, if their files are among O(files). For O(state=absent).
    type: list
    elements: str
    default: []
  files:
    description: Files to remove. For O(state=absent).
    type: list
    elements: path
    default: []
  folders:
    description:
      - Folders to remove with all they hold. For O(state=absent). Refused while nginx serves a certificate
        from one of them.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Have a certificate
  matrixrtc.backend.acme_certificate:
    domain: rtc.example.org
    directory: https://acme-v02.api.letsencrypt.org/directory
    webroot: /var/lib/matrixrtc-acme/webroot
    folder: /etc/matrixrtc/acme
    settings: /etc/matrixrtc/acme/cli.ini

- name: Forget it
  matrixrtc.backend.acme_certificate:
    state: absent
    folders: [/etc/matrixrtc/acme, /var/lib/matrixrtc-acme]
"""

RETURN = r"""
reason:
  description: Why a certificate was asked for, empty if it was not.
  returned: always
  type: str
  sample: there is none yet
days_left:
  description: Days until the certificate expires, null in check mode.
  returned: always
  type: float
removed:
  description: What was removed, or would be.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.acme_certificate import (
    AcmeError,
    Remains,
    Wish,
    apply,
    remove,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_proxy import without_password

WISHES = ("domain", "directory", "webroot", "folder", "settings")


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "domain": {"type": "str", "default": ""},
            "directory": {"type": "str", "default": ""},
            "webroot": {"type": "path", "default": ""},
            "folder": {"type": "path", "default": ""},
            "settings": {"type": "path", "default": ""},
            "certbot": {"type": "path", "default": "/usr/bin/certbot"},
            "hook": {"type": "path", "default": ""},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "ca_file": {"type": "path", "default": ""},
            "http_proxy": {"type": "str", "default": "", "no_log": True},
            "units": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
            "folders": {"type": "list", "elements": "path", "default": []},
        },
        required_if=[("state", "present", WISHES)],
        supports_check_mode=True,
    )
    options = module.params
    try:
        if options["state"] == "absent":
            lists = {name: tuple(options[name]) for name in ("units", "files", "folders")}
            outcome = remove(Remains(**lists, check_mode=module.check_mode))
        else:
            texts = {name: options[name] for name in (*WISHES, "certbot", "hook", "ca_file", "http_proxy")}
            outcome = apply(
                Wish(**texts, addresses=tuple(options["addresses"]), check_mode=module.check_mode)
            )
    except (AcmeError, OSError) as error:
        module.fail_json(msg=without_password(str(error), options["http_proxy"]))
    module.exit_json(**vars(outcome))


if __name__ == "__main__":
    main()
