#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A systemd service is enabled, running, healthy and running on its present inputs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: applied_service
short_description: A systemd service runs, healthy, on its present inputs
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Compares the files a service was last started with to what is there now, and restarts it if they differ.
    No handler is needed, so a failure of a later task, or a run that is killed, never leaves a service
    running on old files.
  - Waits until the service is healthy, and notices when its process ends instead, whatever its exit status.
  - Keeps the files of the last healthy start. When the service does not come up on new ones they are put
    back, the service is restarted on them, and the module fails with the journal's own words.
  - A service that is stopped is started. One that runs on its present files is never restarted.
attributes:
  check_mode:
    description: Can run in check mode and tells what it would do; O(pending) says what earlier tasks would.
    support: full
  diff_mode:
    description: Shows the hash of the inputs the service runs on, before and after.
    support: full
options:
  name:
    description: The unit's name, without C(.service). See also O(restart_command).
    type: str
    required: true
  state:
    description:
      - V(present) is enabled, running, healthy and running on its inputs.
      - V(absent) is stopped, disabled and forgotten. The unit file is left for the caller to remove.
    type: str
    choices: [present, absent]
    default: present
  inputs:
    description:
      - Files that the service reads when it starts, its unit file included if it is ours.
      - A link counts with its target and, when that is a file, with the file's content.
      - One that does not exist counts as absent.
    type: list
    elements: path
    default: []
  fingerprint:
    description: A further text that decides, such as a hash of settings in files that others own.
    type: str
    default: ""
  pending:
    description: In check mode, whether earlier tasks would change an input. It has no effect otherwise.
    type: bool
    default: false
  enabled:
    description: Whether the unit starts at boot.
    type: bool
    default: true
  daemon_reload:
    description:
      - The unit file is ours, so systemd has to read it again before a start.
      - A unit of ours that does not come up and has no last good files is stopped, rather than left to start
        again and again.
    type: bool
    default: false
  check:
    description: A command that reads the new files before the service is restarted on them.
    type: dict
    suboptions:
      argv:
        description: The command and its arguments.
        type: list
        elements: str
        required: true
      expect:
        description:
          - A regular expression to be found in what the command prints. Its exit status is ignored, since
            LiveKit's is always 0.
        type: str
        required: true
      timeout:
        description: Seconds the command may take.
        type: int
        default: 15
      user:
        description: The user to run it as, such as the service's own. Empty for the one the module runs as.
        type: str
        default: ""
  health:
    description: The page that says the service is ready. Without it, running for one second is enough.
    type: dict
    suboptions:
      url:
        description: Its address, plain HTTP.
        type: str
        required: true
      status:
        description: The HTTP statuses of a healthy service.
        type: list
        elements: int
        default: [200]
      timeout:
        description: Seconds from the start of the process until it has to be healthy.
        type: int
        default: 20
  restart:
    description:
      - V(immediate) restarts a running service as soon as its inputs changed.
      - V(when_idle) waits until nobody is in a call, as O(idle) says, and then restarts it. How it stands is
        shown while it waits. A wait that was cut short begins anew in the next run.
      - V(defer) leaves it running as it is and warns in each run until a run with another policy.
      - A service that does not run is started in all cases.
    type: str
    choices: [immediate, when_idle, defer]
    default: immediate
  idle:
    description:
      - How calls are counted and waited for with O(restart=when_idle), which needs it.
      - An SFU that cannot be asked counts as busy.
    type: dict
    suboptions:
      livekit_url:
        description: LiveKit's address on this host, whose list of rooms tells who is connected.
        type: str
        required: true
      key_file:
        description: LiveKit's key file, to sign the question with.
        type: path
        default: /etc/matrixrtc/livekit/keys.yaml
      metrics_url:
        description: >-
          The page of LiveKit's metrics. If it is set, its C(livekit_participant_total) counts, which is of
          this node alone; the list of rooms is of a whole cluster.
        type: str
        default: ""
      limit:
        description: Seconds to wait at most.
        type: float
        default: 1800
      after:
        description: Whether to V(defer) the restart or V(force) it when somebody is still there after that.
        type: str
        choices: [defer, force]
        default: defer
      waited:
        description: Seconds that were waited already. Set by the action plugin of this module.
        type: float
        default: 0
      pause:
        description: >-
          Return with RV(action=waiting) after this many seconds, 0 for never. Set by the action plugin of
          this module, which then shows how it stands and goes on.
        type: float
        default: 0
  keep:
    description:
      - An upgrade is going on, so the good files that a restart replaces are kept until
        M(matrixrtc.backend.kept_set) puts them back or drops them.
    type: bool
    default: false
  rollback_files:
    description: Files that earlier tasks changed, to put back if no last good files of that path are known.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      backup:
        description: A file that holds what it was. Leave it out if it did not exist.
        type: path
  secret_files:
    description: Files whose words are kept out of every message, such as the one that holds an API secret.
    type: list
    elements: path
    default: []
  restart_command:
    description:
      - The command that restarts a service without a unit, such as one in a container, and its arguments. It
        has to return only when the old process has ended. O(name) is then only what the records are called.
      - Whether the service runs is told by O(health), which it needs.
    type: list
    elements: str
    default: []
  followers:
    description:
      - Units, without C(.service), that read the same inputs, such as the workers of a homeserver. They are
        restarted one after the other when the service is healthy, and have to be active then.
      - When one does not come up everything is put back, as for the service itself. One that is stopped is
        started. With O(state=absent) they run on.
    type: list
    elements: str
    default: []
  log_namespace:
    description: The journal namespace that the unit logs to, if it is not the default one.
    type: str
    default: ""
  state_dir:
    description: Where the records and the last good files are kept. It is private to root.
    type: path
    default: /var/lib/matrixrtc/applied
notes:
  - The restart waits for the unit to stop, which is bounded by the unit's own C(TimeoutStopSec).
"""

EXAMPLES = r"""
- name: Run LiveKit on its present configuration
  matrixrtc.backend.applied_service:
    name: livekit
    daemon_reload: true
    inputs:
      - /etc/systemd/system/livekit.service
      - /etc/matrixrtc/livekit/livekit.yaml
      - /etc/matrixrtc/livekit/keys.yaml
      - /opt/matrixrtc/livekit/current
    check:
      argv:
        - /opt/matrixrtc/livekit/current/livekit-server
        - --config
        - /etc/matrixrtc/livekit/livekit.yaml
        - ports
      expect: TCP Ports
      user: livekit
    health:
      url: http://127.0.0.1:7880/

- name: Restart Synapse when its settings changed
  matrixrtc.backend.applied_service:
    name: matrix-synapse
    fingerprint: "{{ synapse_config_result.fingerprint }}"
    pending: "{{ synapse_config_result is changed }}"
    rollback_files: "{{ synapse_config_result.rollback_files }}"
    health:
      url: http://127.0.0.1:8008/health
"""

RETURN = r"""
action:
  description: What was done, or would be in check mode.
  returned: always
  type: str
  choices: [none, started, restarted, deferred, waiting, stopped]
reason:
  description: Why the service had to be started anew, empty if it had not.
  returned: when O(state=present)
  type: str
  sample: its inputs changed since it was last started
hash:
  description: The hash of the inputs and the fingerprint. Empty in check mode if O(pending).
  returned: when O(state=present)
  type: str
participants:
  description: How many were in calls when they were last counted, -1 if the SFU did not tell.
  returned: when O(restart=when_idle) and a running service is to be restarted
  type: int
found:
  description: The same in words, or why nobody can tell.
  returned: when RV(participants) is
  type: str
  sample: 3 participants in 1 room
waited:
  description: How many seconds were waited for the last one.
  returned: when RV(participants) is
  type: float
restarts:
  description: How many times the service was started or restarted.
  returned: always
  type: int
rolled_back:
  description: Whether the last good files were put back.
  returned: on failure
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_service import (
    DEFER,
    IMMEDIATE,
    WHEN_IDLE,
    CandidateCheck,
    Health,
    Outcome,
    RollbackFile,
    ServiceError,
    Wanted,
    apply,
    forget,
    predict,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_state import StateError
from ansible_collections.matrixrtc.backend.plugins.module_utils.idle_wait import FORCE, Idle
from ansible_collections.matrixrtc.backend.plugins.module_utils.running_calls import Source
from ansible_collections.matrixrtc.backend.plugins.module_utils.service_host import LocalHost

CHECK_OPTIONS = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "expect": {"type": "str", "required": True},
    "timeout": {"type": "int", "default": 15},
    "user": {"type": "str", "default": ""},
}
HEALTH_OPTIONS = {
    "url": {"type": "str", "required": True},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "timeout": {"type": "int", "default": 20},
}
IDLE_OPTIONS = {
    "livekit_url": {"type": "str", "required": True},
    "key_file": {"type": "path", "default": "/etc/matrixrtc/livekit/keys.yaml", "no_log": False},
    "metrics_url": {"type": "str", "default": ""},
    "limit": {"type": "float", "default": 1800},
    "after": {"type": "str", "choices": [DEFER, FORCE], "default": DEFER},
    "waited": {"type": "float", "default": 0},
    "pause": {"type": "float", "default": 0},
}
ROLLBACK_OPTIONS = {"path": {"type": "path", "required": True}, "backup": {"type": "path"}}
ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "inputs": {"type": "list", "elements": "path", "default": []},
    "fingerprint": {"type": "str", "default": ""},
    "pending": {"type": "bool", "default": False},
    "enabled": {"type": "bool", "default": True},
    "daemon_reload": {"type": "bool", "default": False},
    "check": {"type": "dict", "options": CHECK_OPTIONS},
    "health": {"type": "dict", "options": HEALTH_OPTIONS},
    "restart": {"type": "str", "choices": [IMMEDIATE, WHEN_IDLE, DEFER], "default": IMMEDIATE},
    "idle": {"type": "dict", "options": IDLE_OPTIONS},
    "keep": {"type": "bool", "default": False},
    "rollback_files": {"type": "list", "elements": "dict", "default": [], "options": ROLLBACK_OPTIONS},
    # the names of files, not what they hold
    "secret_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "restart_command": {"type": "list", "elements": "str", "default": []},
    "followers": {"type": "list", "elements": "str", "default": []},
    "log_namespace": {"type": "str", "default": ""},
    "state_dir": {"type": "path", "default": "/var/lib/matrixrtc/applied"},
}


def _check_from(check: dict[str, Any]) -> CandidateCheck:
    return CandidateCheck(tuple(check["argv"]), check["expect"], check["timeout"], check["user"])


def _idle_from(idle: dict[str, Any]) -> Idle:
    source = Source(idle["livekit_url"], idle["key_file"], idle["metrics_url"])
    return Idle(source, idle["limit"], idle["after"], idle["waited"], idle["pause"])


def _counted(outcome: Outcome) -> dict[str, Any]:
    """What was seen of calls, if they were counted."""
    calls = outcome.calls
    if calls is None:
        return {}
    participants = -1 if calls.fault else calls.participants
    return {"participants": participants, "found": str(calls), "waited": outcome.waited}


def wanted_from(params: dict[str, Any]) -> Wanted:
    """The module's parameters as the typed request that the logic takes."""
    check, health = params["check"], params["health"]
    return Wanted(
        name=params["name"],
        state_dir=params["state_dir"],
        inputs=tuple(params["inputs"]),
        fingerprint=params["fingerprint"],
        enabled=params["enabled"],
        daemon_reload=params["daemon_reload"],
        check=_check_from(check) if check else None,
        health=Health(health["url"], tuple(health["status"]), health["timeout"]) if health else None,
        restart=params["restart"],
        rollback_files=tuple(RollbackFile(file["path"], file["backup"]) for file in params["rollback_files"]),
        secret_files=tuple(params["secret_files"]),
        log_namespace=params["log_namespace"],
        restart_command=tuple(params["restart_command"]),
        followers=tuple(params["followers"]),
        idle=_idle_from(params["idle"]) if params["idle"] else None,
        keep=params["keep"],
    )


def diff_of(wanted: Wanted, outcome: Outcome) -> dict[str, str]:
    """What the service runs on, before and after, as Ansible's diff."""
    before = f"runs on inputs {outcome.previous_hash[:16] or '(none)'}\n"
    stays = outcome.action in ("none", "deferred")
    after = before if stays else f"runs on inputs {outcome.hash[:16] or '(yet to be written)'}\n"
    return {"before_header": wanted.unit, "after_header": wanted.unit, "before": before, "after": after}


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("restart", WHEN_IDLE, ["idle"])]
    )
    wanted = wanted_from(module.params)
    if wanted.health and not wanted.health.url.startswith("http://"):
        module.fail_json(
            msg=f"health.url: '{wanted.health.url}' is no plain HTTP address. Set it to http://..."
        )
    if wanted.restart_command and not wanted.health and module.params["state"] == "present":
        module.fail_json(
            msg="health: is not set. With restart_command only it tells whether the service runs."
        )
    host = LocalHost()
    try:
        if module.params["state"] == "absent":
            gone = forget(wanted, host, dry=module.check_mode)
            module.exit_json(changed=gone.changed, action=gone.action, restarts=0)
        pending = module.params["pending"]
        outcome = predict(wanted, host, pending) if module.check_mode else apply(wanted, host)
    except ServiceError as error:
        module.fail_json(msg=str(error), restarts=error.restarts, rolled_back=error.rolled_back)
    except StateError as error:
        module.fail_json(msg=str(error), restarts=0, rolled_back=False)
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(
        changed=outcome.changed,
        action=outcome.action,
        reason=outcome.reason,
        hash=outcome.hash,
        restarts=outcome.restarts,
        **_counted(outcome),
        diff=diff_of(wanted, outcome),
    )


if __name__ == "__main__":
    main()
