#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Install a released program, verified, and switch to it atomically."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_artifact
short_description: Install a released program, verified, and switch to it atomically
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Downloads a release, verifies it, takes the program out of it, tries it and points a link to it.
  - Each version has a folder of its own below O(install_dir). C(current) is a link to the one in use,
    C(previous) to the one before. The last O(keep) are kept, and those are switched to without a download.
  - A version that is in place with the checksum it was installed with needs no network.
  - A release that is missing, cut short, altered or does not run leaves what is in place as it is. The
    message says what was expected and what was found.
  - Restarts nothing. Give C(current) to M(matrixrtc.backend.applied_service) as an input.
attributes:
  check_mode:
    description: Can run in check mode, without any network.
    support: full
  diff_mode:
    description: Shows the version in use before and after.
    support: full
options:
  name:
    description: What the program is called in messages.
    type: str
    required: true
  version:
    description: The wanted version. It names the folder. Needed unless O(state=absent).
    type: str
    default: ""
  state:
    description: Whether the program is installed. V(absent) removes all versions.
    type: str
    choices: [present, absent]
    default: present
  install_dir:
    description: The folder that holds the versions, and nothing else.
    type: path
    required: true
  binary:
    description: The program's file name.
    type: str
    required: true
  url:
    description: Where the release is.
    type: str
    default: ""
  local_file:
    description: The release as a file on the host, instead of O(url).
    type: path
    default: ""
  sha256:
    description: The checksum the release must have. It goes before the three below.
    type: str
    default: ""
  checksums_file:
    description: A file on the host with the checksums of releases, as C(sha256sum) writes them.
    type: path
    default: ""
  checksums_url:
    description: Where the release publishes such a file.
    type: str
    default: ""
  api_url:
    description: The release in the API of GitHub, or a copy of it, whose assets have a C(digest).
    type: str
    default: ""
  asset:
    description: The release's name in the checksums or in the API. By default the last part of its address.
    type: str
    default: ""
  archive:
    description: The release is a tar archive.
    type: bool
    default: false
  tree:
    description:
      - The release is a tar archive with one folder, all of which is installed, such as a web app. O(binary)
        is a file in it.
      - Every file in it is compared with the list at O(contents_url) or O(contents_file), and O(sha256) is
        compared only if it is set. Files that compress well get a compressed copy beside them.
    type: bool
    default: false
  contents_url:
    description: Where the release publishes the checksums of the files in the archive, with O(tree).
    type: str
    default: ""
  contents_file:
    description: That list as a file on the host, instead of O(contents_url).
    type: path
    default: ""
  member:
    description: The program's name in the archive, by default O(binary).
    type: str
    default: ""
  smoke:
    description:
      - Arguments for a short try of the program, as an unprivileged user, before it replaces another one.
      - Without them it is not tried.
    type: list
    elements: str
    default: []
  smoke_expect:
    description: A regular expression to be found in what the program prints then. Its exit status is ignored.
    type: str
    default: ""
  keep:
    description: How many versions to keep, at least two.
    type: int
    default: 2
  http_proxy:
    description:
      - The URL of an HTTP proxy for all downloads, instead of the environment's. It may hold a user and a
        password.
    type: str
    default: ""
  timeout:
    description: Seconds without any data before a download is given up.
    type: int
    default: 30
notes:
  - The environment variables C(http_proxy), C(https_proxy) and C(no_proxy) are honoured.
"""

EXAMPLES = r"""
- name: Install LiveKit
  matrixrtc.backend.release_artifact:
    name: livekit
    version: 1.13.5
    install_dir: /opt/matrixrtc/livekit
    binary: livekit-server
    url: https://github.com/livekit/livekit/releases/download/v1.13.5/livekit_1.13.5_linux_amd64.tar.gz
    checksums_url: https://github.com/livekit/livekit/releases/download/v1.13.5/checksums.txt
    archive: true
    smoke: [--version]
    smoke_expect: version 1\.13\.5

- name: Install a bare program by the digest that its release publishes
  matrixrtc.backend.release_artifact:
    name: lk-jwt-service
    version: 0.8.0
    install_dir: /opt/matrixrtc/lk-jwt-service
    binary: lk-jwt-service
    url: https://github.com/element-hq/lk-jwt-service/releases/download/v0.8.0/lk-jwt-service_linux_amd64
    api_url: https://api.github.com/repos/element-hq/lk-jwt-service/releases/tags/v0.8.0
"""

RETURN = r"""
action:
  description: What was done, or would be in check mode. V(switched) means that the version was still there.
  returned: always
  type: str
  choices: [none, installed, switched, pruned, removed]
version_folder:
  description: The folder that C(current) points to.
  returned: when O(state=present)
  type: str
  sample: 1.13.5
previous_folder:
  description: The folder it pointed to before, empty if there was none.
  returned: always
  type: str
  sample: 1.13.4
path:
  description: The program, by way of C(current).
  returned: when O(state=present)
  type: str
  sample: /opt/matrixrtc/livekit/current/livekit-server
sha256:
  description: The checksum of the installed release, empty in check mode.
  returned: when O(state=present)
  type: str
pruned:
  description: Folders that were removed.
  returned: when O(state=present)
  type: list
  elements: str
"""

import dataclasses
import http.client
import ssl
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.matrixrtc.backend.plugins.module_utils.artifact import (
    CURRENT,
    VERSION,
    Outcome,
    Program,
    install,
    predict,
    remove,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_proxy import (
    through,
    way,
    without_password,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.release_source import (
    ArtifactError,
    DownloadError,
    Source,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.service_host import LocalHost

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "version": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "install_dir": {"type": "path", "required": True},
    "binary": {"type": "str", "required": True},
    "url": {"type": "str", "default": ""},
    "local_file": {"type": "path", "default": ""},
    "sha256": {"type": "str", "default": ""},
    "checksums_file": {"type": "path", "default": ""},
    "checksums_url": {"type": "str", "default": ""},
    "api_url": {"type": "str", "default": ""},
    "asset": {"type": "str", "default": ""},
    "archive": {"type": "bool", "default": False},
    "tree": {"type": "bool", "default": False},
    "contents_url": {"type": "str", "default": ""},
    "contents_file": {"type": "path", "default": ""},
    "member": {"type": "str", "default": ""},
    "smoke": {"type": "list", "elements": "str", "default": []},
    "smoke_expect": {"type": "str", "default": ""},
    "keep": {"type": "int", "default": 2},
    "http_proxy": {"type": "str", "default": "", "no_log": True},
    "timeout": {"type": "int", "default": 30},
}
LASTING_ERRORS = range(400, 500)  # 429 too: a rate limit does not end within seconds


class UrlBody:
    """A response that is being read."""

    def __init__(self, response: Any) -> None:
        announced = response.headers.get("Content-Length", "")
        self.length = int(announced) if announced.isdigit() else None
        self._response = response

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._response.read(size)
        except http.client.IncompleteRead as error:
            raise DownloadError(f"the connection was closed {error.expected} bytes early") from None
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(str(error) or type(error).__name__) from None
        return data


class UrlSite(LocalHost):
    """The outside world, through Ansible's own HTTP client, which knows about proxies."""

    def __init__(self, timeout: int, http_proxy: str = "") -> None:
        self._timeout = timeout
        self._proxy = http_proxy

    @contextmanager
    def open(self, url: str) -> Iterator[UrlBody]:
        try:
            with through(self._proxy):
                response = open_url(
                    url, timeout=self._timeout, http_agent="matrixrtc.backend", decompress=False
                )
        except urllib.error.HTTPError as error:
            lasting = error.code in LASTING_ERRORS
            raise self._failed(f"status {error.code} {error.reason}", not lasting) from None
        except urllib.error.URLError as error:
            raise self._failed(str(error.reason), not isinstance(error.reason, ssl.SSLError)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(str(error) or type(error).__name__) from None
        with response:
            yield UrlBody(response)

    def _failed(self, found: str, temporary: bool = True) -> DownloadError:
        return DownloadError(without_password(found, self._proxy) + way(self._proxy), temporary)


def fault_of(params: dict[str, Any]) -> str:
    """What is wrong with the parameters, '' if nothing is."""
    if params["state"] == "absent":
        return ""
    if not VERSION.match(params["version"]):
        return f"version: '{params['version']}' cannot name a folder. Set it to a version such as 1.13.5."
    if bool(params["url"]) == bool(params["local_file"]):
        return "Set either url or local_file."
    if params["tree"] and bool(params["contents_url"]) == bool(params["contents_file"]):
        return "Set either contents_url or contents_file: with tree every file of the archive is verified."
    if params["keep"] < 2:
        return f"keep: {params['keep']} leaves nothing to go back to. Set it to 2 or more."
    return ""


def program_from(params: dict[str, Any]) -> Program:
    """The module's parameters as the typed request that the logic takes."""
    return Program(
        name=params["name"],
        version=params["version"],
        install_dir=params["install_dir"].rstrip("/"),
        binary=params["binary"],
        archive=params["archive"],
        tree=params["tree"],
        member=params["member"],
        keep=params["keep"],
        smoke=tuple(params["smoke"]),
        smoke_expect=params["smoke_expect"],
    )


def diff_of(program: Program, outcome: Outcome) -> dict[str, str]:
    """The version in use before and after, as Ansible's diff."""
    header = program.path(CURRENT)
    before, after = (f"{name}\n" if name else "" for name in (outcome.before, outcome.after))
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    fault = fault_of(params)
    if fault:
        module.fail_json(msg=fault)
    program = program_from(params)
    source = Source(**{field.name: params[field.name] for field in dataclasses.fields(Source)})
    try:
        if params["state"] == "absent":
            outcome = remove(program, dry=module.check_mode)
        elif module.check_mode:
            outcome = predict(program, source)
        else:
            outcome = install(program, source, UrlSite(params["timeout"], params["http_proxy"]))
    except ArtifactError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{program.name} {program.version} cannot be installed: {error}.")
    facts = {"changed": outcome.changed, "action": outcome.action, "previous_folder": outcome.before}
    if params["state"] == "present":
        facts.update(
            version_folder=outcome.after,
            path=program.path(CURRENT, program.binary),
            sha256=outcome.sha256,
            pruned=outcome.pruned,
        )
    module.exit_json(diff=diff_of(program, outcome), **facts)


if __name__ == "__main__":
    main()
