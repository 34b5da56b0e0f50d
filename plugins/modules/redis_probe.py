#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Say whether a Redis would do for the nodes of an SFU, and why not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_probe
short_description: Say whether a Redis would do for the nodes of an SFU, and why not
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Connects to Redis, or asks Sentinel or a Redis Cluster, from the host it runs on, with the password
    and the trust that LiveKit would have, and fails with the cause when LiveKit could not use it.
  - Waits for one that does not answer, for a bounded time. One that answers and refuses is not asked again.
  - Only reads, and needs no Redis library.
attributes:
  check_mode:
    description: Can run in check mode and returns the same as without it.
    support: full
  diff_mode:
    description: Shows what has changed.
    support: none
    details: Nothing is ever changed.
options:
  redis:
    description: Where it is. One of O(redis.address), O(redis.sentinel) and O(redis.cluster).
    type: dict
    required: true
    suboptions:
      address:
        description: Host and port of one Redis, such as V(192.0.2.5:6379).
        type: str
      sentinel:
        description: C(master), the name of the master, and C(addresses), the C(host:port) of each Sentinel.
        type: dict
      cluster:
        description: C(host:port) of members of a Redis Cluster.
        type: list
        elements: str
      username:
        description: The user, where Redis has several.
        type: str
        default: ""
      db:
        description: The number of the database. Nothing is looked up in it.
        type: int
        default: 0
      tls:
        description: Whether it speaks TLS.
        type: bool
        default: false
      ca_file:
        description: The authorities to trust. Empty means those of the system.
        type: str
        default: ""
      server_name:
        description: The name that the certificate is for. Empty means the host of the address.
        type: str
        default: ""
  password:
    description: The password, empty for none.
    type: str
    default: ""
  sentinel_password:
    description: That of the Sentinels, empty for none.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for one that does not answer.
    type: float
    default: 10
"""

EXAMPLES = r"""
- name: See that this node may use Redis
  matrixrtc.backend.redis_probe:
    redis:
      address: 192.0.2.5:6380
      tls: true
      ca_file: /etc/matrixrtc/livekit/redis_ca.pem
      server_name: matrixrtc-redis
    password: "{{ matrixrtc_redis_password }}"
"""

RETURN = r"""
seen:
  description: Who answered.
  returned: success
  type: str
  sample: 192.0.2.5:6380 is the master
"""

import ssl

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.redis_client import (
    Login,
    RedisError,
    await_usable,
)

REDIS = {
    "address": {"type": "str"},
    "sentinel": {"type": "dict"},
    "cluster": {"type": "list", "elements": "str"},
    "username": {"type": "str", "default": ""},
    "db": {"type": "int", "default": 0},
    "tls": {"type": "bool", "default": False},
    "ca_file": {"type": "str", "default": ""},
    "server_name": {"type": "str", "default": ""},
}


def main() -> None:
    """Read the options, ask, and tell."""
    module = AnsibleModule(
        argument_spec={
            "redis": {
                "type": "dict",
                "required": True,
                "options": REDIS,
                "required_one_of": [("address", "sentinel", "cluster")],
                "mutually_exclusive": [("address", "sentinel", "cluster")],
            },
            "password": {"type": "str", "default": "", "no_log": True},
            "sentinel_password": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    redis = module.params["redis"]
    try:
        tls = ssl.create_default_context(cafile=redis["ca_file"] or None) if redis["tls"] else None
        login = Login(redis["username"], module.params["password"], tls, redis["server_name"])
        sentinel = Login("", module.params["sentinel_password"], tls, redis["server_name"])
        seen = await_usable(redis, login, sentinel, module.params["timeout"])
    except RedisError as error:
        module.fail_json(msg=f"{error}.")
    except (KeyError, ValueError) as error:
        module.fail_json(msg=f"An address of Redis is not written host:port, or one is missing ({error}).")
    except OSError as error:
        module.fail_json(msg=f"{redis['ca_file']} cannot be used as a file of authorities: {error}.")
    module.exit_json(changed=False, seen=seen)


if __name__ == "__main__":
    main()
