#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a service uses, once a second."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_usage
short_description: Watch what the main process of a service uses
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Reads processor time and memory of a unit's main process once a second, for some seconds. Meant to run
    beside a load, with C(async).
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: Nothing is changed.
options:
  name:
    description: The unit, without C(.service).
    type: str
    required: true
  seconds:
    description: How long to watch, at most 900.
    type: int
    required: true
  stop_file:
    description: A file whose appearance ends it before that. It is removed, at the start as well.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Watch LiveKit for a minute
  matrixrtc.backend.service_usage:
    name: livekit
    seconds: 60
  async: 90
  poll: 0
"""

RETURN = r"""
samples:
  description: C(time) (seconds since the epoch), C(cpu) (processor seconds so far) and C(memory) (bytes).
  returned: always
  type: list
  elements: dict
"""

import contextlib
import os
import time

from ansible.module_utils.basic import AnsibleModule

LONGEST = 900
GLANCE = 0.1  # seconds between looks for the file
UTIME, STIME, RSS = 13, 14, 23  # fields of /proc/PID/stat, from 0 (proc_pid_stat(5))


def sample(pid: str) -> dict[str, float]:
    """One look at a process. Raises OSError when it is gone."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
        text = stream.read()
    # the name of the program, in brackets, may hold anything
    fields = ["", "", *text.rpartition(")")[2].split()]
    ticks = int(fields[UTIME]) + int(fields[STIME])
    return {
        "time": time.time(),
        "cpu": ticks / os.sysconf("SC_CLK_TCK"),
        "memory": int(fields[RSS]) * os.sysconf("SC_PAGE_SIZE"),
    }


def clear(path: str) -> None:
    """Remove the file that stops us."""
    with contextlib.suppress(FileNotFoundError):
        if path:
            os.unlink(path)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "seconds": {"type": "int", "required": True},
            "stop_file": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    name, seconds = module.params["name"], min(module.params["seconds"], LONGEST)
    _status, output, _errors = module.run_command(
        ["systemctl", "show", "--property=MainPID", "--value", name]
    )
    pid = output.strip()
    if not pid.isdigit() or pid == "0":
        module.fail_json(msg=f"{name} is not running: systemctl status {name}")
    stop_file = module.params["stop_file"]
    clear(stop_file)
    samples = []
    due = deadline = time.monotonic()
    deadline += seconds
    while time.monotonic() < deadline and not (stop_file and os.path.exists(stop_file)):
        if time.monotonic() >= due:
            try:
                samples.append(sample(pid))
            except OSError:
                module.fail_json(msg=f"{name} ended while it was watched: journalctl -u {name}")
            due += 1
        time.sleep(GLANCE)
    clear(stop_file)
    module.exit_json(changed=False, samples=samples)


if __name__ == "__main__":
    main()
