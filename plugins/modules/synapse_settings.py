#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Settings are in effect in a Synapse homeserver's configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: synapse_settings
short_description: Settings are in effect in a Synapse homeserver's configuration
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Brings the settings that Element Call needs into a homeserver's configuration with the smallest edit.
  - Reads all configuration files in order with Synapse's own rule, by which a later file replaces whole
    top-level keys, and edits each key in the file that wins for it. Keys that no file has go into a file of
    our own in the last configuration directory, or to the end of the last file. No C(-c) option is added.
  - Limits and durations are only raised, flags are switched on, list entries are added or completed. Nothing
    of the operator's is lowered, reordered or dropped, and every other byte of the files stays.
  - What cannot be edited without touching more (anchors, aliases, duplicate keys) is refused with the file,
    the line and the YAML to write instead. So is a file that something else writes, unless O(edit_managed).
  - Before any file is written, Synapse itself judges copies of the new ones, as its own user in its own
    working directory, and its own loader has to read every other value as before.
  - Synapse is not restarted. Give RV(fingerprint) and RV(rollback_files) to
    M(matrixrtc.backend.applied_service), and remove C(pending.json) from O(state_dir) when Synapse is healthy
    on the new settings.
attributes:
  check_mode:
    description: Can run in check mode, which lets Synapse judge the new configuration, too.
    support: full
  diff_mode:
    description: Shows the edited lines alone, since the lines around them may hold secrets.
    support: full
requirements:
  - PyYAML, which Synapse's own Python always has. Set C(ansible_python_interpreter) to that Python, or with
    O(run_prefix) install PyYAML for the host's.
options:
  config:
    description: The files and directories that Synapse is started with, in the order of its C(-c) options.
    type: list
    elements: path
    required: true
  settings:
    description:
      - The settings that are to be in effect.
      - A setting that this Synapse does not know, or does not need any more, is left out.
      - With O(state=absent) only used to compute RV(fingerprint).
    type: dict
    required: true
    suboptions:
      max_event_delay_duration:
        description: The least time for which an event may be delayed, such as C(24h).
        type: str
      experimental_features:
        description:
          - Flags to switch on. V(false) leaves a flag as it is.
          - C(msc4143_enabled) is only set when at least one transport is announced. C(msc3266_enabled) is
            only set for a Synapse before 1.153.
        type: dict
      matrix_rtc:
        description: What is announced to clients.
        type: dict
        suboptions:
          transports:
            description: Entries that have to be there, matched by C(type) and C(livekit_service_url).
            type: list
            elements: dict
      rc_message:
        description: The least rate limit of sending, which includes scheduling delayed events.
        type: dict
        suboptions: &limits
          per_second:
            description: Requests per second.
            type: float
            required: true
          burst_count:
            description: Requests before the limit holds.
            type: int
            required: true
      rc_delayed_event_mgmt:
        description: The least rate limit of restarting, cancelling and sending delayed events.
        type: dict
        suboptions: *limits
      extra_well_known_client_content:
        description:
          - Set C(org.matrix.msc4143.rtc_foci) in it, a list like the transports, if Synapse serves the site's
            C(/.well-known/matrix/client).
        type: dict
      app_service_config_files:
        description:
          - Registrations that have to be there beside the operator's, as paths of this host. Synapse itself
            reads all of them before anything is written.
          - A change of such a file changes RV(fingerprint) as well. Needs Synapse 1.161 or later.
        type: list
        elements: path
  python:
    description: The Python that runs Synapse.
    type: path
    required: true
  user:
    description: The user that runs Synapse.
    type: str
    required: true
  working_directory:
    description: The directory in which Synapse runs.
    type: path
    required: true
  state:
    description:
      - V(present) has the settings in effect.
      - V(absent) takes out what this module added. Files that nobody touched since become what they were,
        byte for byte. In others our own entries go and limits go back to the operator's number.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description:
      - Where the record of what was changed is kept, with the files as they were.
      - It is private to root, since those files hold secrets.
    type: path
    default: /var/lib/matrixrtc/synapse
  new_settings_file:
    description: The name of our own file in the last configuration directory.
    type: str
    default: zz-matrixrtc.yaml
  openid_listener:
    description:
      - Lets a listener answer the token service's question who somebody is, on a server that does not
        federate. The first one with the resource C(client) gets C(openid) beside it.
      - Nothing is changed when a listener has C(federation) or C(openid) already.
    type: bool
    default: false
  edit_managed:
    description:
      - Also edit files that something else writes, told by a header such as "generated by" or by
        placeholders. Otherwise they are refused with the values to set there instead.
    type: bool
    default: false
  run_prefix:
    description:
      - What to put before a command so that it runs in Synapse's container, as the user that runs Synapse.
      - The files are then edited from this host, and O(user) may be numbers, such as V(991:991).
    type: list
    elements: str
    default: []
  container_paths:
    description: With O(run_prefix), the host's folders that the container sees, and where it sees them.
    type: dict
    default: {}
  units:
    description:
      - The systemd units of Synapse and of its workers, without C(.service).
      - A warning names those whose command does not read O(config), as far as that can be told.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Announce the SFU and allow calls
  matrixrtc.backend.synapse_settings:
    config:
      - /etc/matrix-synapse/homeserver.yaml
      - /etc/matrix-synapse/conf.d/
    python: /opt/venvs/matrix-synapse/bin/python
    user: matrix-synapse
    working_directory: /var/lib/matrix-synapse
    settings:
      max_event_delay_duration: 24h
      experimental_features:
        msc4143_enabled: true
        msc4222_enabled: true
      matrix_rtc:
        transports:
          - type: livekit
            livekit_service_url: https://rtc.example.org/livekit/jwt
      rc_message:
        per_second: 0.5
        burst_count: 30
  vars:
    ansible_python_interpreter: /opt/venvs/matrix-synapse/bin/python
  register: synapse
"""

RETURN = r"""
changes:
  description: One line for each value that changed, or would in check mode.
  returned: success
  type: list
  elements: str
  sample: ["rc_message.per_second: 0.2 -> 0.5 (/etc/matrix-synapse/homeserver.yaml)"]
fingerprint:
  description: A hash of those effective settings that this module cares for. Synapse has to run on them.
  returned: success
  type: str
rollback_files:
  description:
    - The files as they were before edits that no running Synapse has confirmed, those of earlier runs too.
    - Without files that were edited since by others. Empty when C(pending.json) was removed since.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The edited file.
      type: str
    backup:
      description: A copy of what it was. None if it did not exist.
      type: str
version:
  description: Synapse's version.
  returned: success
  type: str
  sample: 1.163.2
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_check import Synapse, SynapseError
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_files import ConfigError
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_settings import Request, apply
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_state import StateError

LIMITS = {
    "per_second": {"type": "float", "required": True},
    "burst_count": {"type": "int", "required": True},
}
SETTINGS = {
    "max_event_delay_duration": {"type": "str"},
    "experimental_features": {"type": "dict"},
    "matrix_rtc": {"type": "dict", "options": {"transports": {"type": "list", "elements": "dict"}}},
    "rc_message": {"type": "dict", "options": LIMITS},
    "rc_delayed_event_mgmt": {"type": "dict", "options": LIMITS},
    "extra_well_known_client_content": {"type": "dict"},
    "app_service_config_files": {"type": "list", "elements": "path"},
}
ARGUMENTS = {
    "config": {"type": "list", "elements": "path", "required": True},
    "settings": {"type": "dict", "options": SETTINGS, "required": True},
    "python": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "working_directory": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "state_dir": {"type": "path", "default": "/var/lib/matrixrtc/synapse"},
    "new_settings_file": {"type": "str", "default": "zz-matrixrtc.yaml"},
    "openid_listener": {"type": "bool", "default": False},
    "edit_managed": {"type": "bool", "default": False},
    "run_prefix": {"type": "list", "elements": "str", "default": []},
    "container_paths": {"type": "dict", "default": {}},
    "units": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    request = Request(
        synapse=Synapse(
            params["python"],
            params["user"],
            params["working_directory"],
            tuple(params["run_prefix"]),
            params["container_paths"],
        ),
        config=params["config"],
        settings={
            **{key: value for key, value in params["settings"].items() if value is not None},
            **({"listeners": {"openid": True}} if params["openid_listener"] else {}),
        },
        state_dir=params["state_dir"],
        new_settings_file=params["new_settings_file"],
        present=params["state"] == "present",
        edit_managed=params["edit_managed"],
        units=params["units"],
    )
    try:
        outcome = apply(request, module.check_mode)
    except (ConfigError, SynapseError, StateError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}. Run this again when it is mended.")
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(
        changed=outcome.changed,
        changes=outcome.changes,
        diff=outcome.diff,
        fingerprint=outcome.fingerprint,
        rollback_files=outcome.rollback_files,
        version=outcome.version,
    )


if __name__ == "__main__":
    main()
