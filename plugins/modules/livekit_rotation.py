#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""One step of replacing the API key pair that LiveKit and the token service share."""

from __future__ import annotations

DOCUMENTATION = r"""
module: livekit_rotation
short_description: One step of replacing the API key pair that LiveKit and the token service share
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Keeps, in a file that only root can read, which pair the token service signs with and which one LiveKit
    accepts besides. M(matrixrtc.backend.livekit_credentials) brings the services' files to it.
  - Each step does nothing unless it is the next one, so a run that was killed is finished by doing all of
    them again.
  - Secrets never leave the host and are never returned.
attributes:
  check_mode:
    description: Can run in check mode and tells what the step would do.
    support: full
  diff_mode:
    description: Shows what has changed.
    support: none
    details: It would show secrets.
options:
  step:
    description:
      - V(look) changes nothing. With O(livekit_url) it tells whether LiveKit accepts the coming pair, and
        how many are connected.
      - V(begin) starts, goes on, goes back or replaces a leaked pair, as O(request) says.
      - V(sign) has the token service sign with the coming pair. Only when LiveKit was seen to accept it.
      - V(stamp) notes that the token service does so, from which the life of the last old token counts.
      - V(settle) lets go of the old pair when O(token_life) is over, or after a replacement.
    type: str
    choices: [look, begin, sign, stamp, settle]
    default: look
  request:
    description:
      - V(start) a rotation, V(resume) the one that is under way, V(abort) it, or replace a leaked pair at
        once (V(emergency)). The last two go on when they are asked for again.
      - Empty to resume the one that is under way, if there is one, and else to start one.
    type: str
    choices: ["", start, resume, abort, emergency]
    default: ""
  path:
    description: The file in which the step is kept.
    type: path
    required: true
  path_secret:
    description: The file on the host that holds the secret in use.
    type: path
    required: true
  key:
    description: The name of the pair that the inventory gives.
    type: str
    required: true
  secret:
    description: Its secret, empty where the host has made it.
    type: str
    default: ""
  next_key:
    description: The name of the coming pair. Empty to have one made from O(key) and the time.
    type: str
    default: ""
  next_secret:
    description: Its secret, 32 characters at least. Empty to have one made. Needed with O(secret).
    type: str
    default: ""
  token_life:
    description: For how many seconds a token is valid.
    type: int
    default: 3600
  livekit_url:
    description: Where LiveKit answers on this host.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Begin
  matrixrtc.backend.livekit_rotation:
    step: begin
    path: /etc/matrixrtc/livekit_rotation.json
    path_secret: /etc/matrixrtc/livekit_secret
    key: matrixrtc
"""

RETURN = r"""
stage:
  description: Where the rotation is after the step, V(none) if no pair was ever replaced.
  returned: always
  type: str
  choices: [none, prepare, retire, replace, settled]
key:
  description: The name of the pair that the token service signs with.
  returned: always
  type: str
other_key:
  description: The name of the pair that LiveKit accepts besides, if any.
  returned: always
  type: str
given:
  description: Whether the pair in use is given, but not yet as O(key) and O(secret).
  returned: always
  type: bool
remaining:
  description: Seconds until the last token of the old pair has run out.
  returned: always
  type: int
restarts:
  description: What a run restarts that goes on from here, in this order, as far as it has not yet.
  returned: always
  type: list
  elements: str
accepted:
  description: Whether LiveKit accepts the coming pair.
  returned: when O(livekit_url) is set
  type: bool
participants:
  description: How many are connected to this LiveKit.
  returned: when O(livekit_url) is set
  type: int
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.credentials import CredentialsError
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.rotation import (
    PREPARE,
    Ledger,
    Pair,
    RotationError,
    read,
    restarts,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.rotation_steps import (
    Asked,
    next_ledger,
    store,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_sfu import Sfu, SfuError

ARGUMENTS = {
    "step": {"type": "str", "choices": ["look", "begin", "sign", "stamp", "settle"], "default": "look"},
    "request": {"type": "str", "choices": ["", "start", "resume", "abort", "emergency"], "default": ""},
    # the names of files and of pairs are no secrets
    "path": {"type": "path", "required": True},
    "path_secret": {"type": "path", "required": True, "no_log": False},
    "key": {"type": "str", "required": True, "no_log": False},
    "secret": {"type": "str", "default": "", "no_log": True},
    "next_key": {"type": "str", "default": "", "no_log": False},
    "next_secret": {"type": "str", "default": "", "no_log": True},
    "token_life": {"type": "int", "default": 3600, "no_log": False},
    "livekit_url": {"type": "str", "default": ""},
}


def connected(url: str, pair: Pair) -> int:
    """How many are connected to LiveKit, which has to accept the pair. Raises SfuError."""
    return sum(map(len, Sfu(url, pair.key, pair.secret, HttpClient(timeout=10)).connected().values()))


def seen(url: str, ledger: Ledger | None) -> dict[str, Any]:
    """Whether LiveKit has taken up the pair that is to come, or that there is, and how many use it."""
    if ledger is None or not ledger.under_way:
        return {"accepted": True, "participants": 0}
    coming = ledger.other if ledger.stage == PREPARE and ledger.other else ledger.current
    try:
        return {"accepted": True, "participants": connected(url, coming)}
    except SfuError:
        return {"accepted": False, "participants": 0}


def told(ledger: Ledger | None, params: dict[str, Any], now: float) -> dict[str, Any]:
    """What may be known of a ledger."""
    if ledger is None:
        return {"stage": "none", "key": params["key"], "other_key": "", "given": False, "remaining": 0}
    return {
        "stage": ledger.stage,
        "key": ledger.current.key,
        "other_key": ledger.other.key if ledger.other else "",
        "given": bool(params["secret"]) and ledger.current.key != params["key"],
        "remaining": round(ledger.remaining(params["token_life"], now)) if ledger.other else 0,
    }


def main() -> None:
    """Read the parameters, act, and tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    asked = Asked(
        request=params["request"],
        given=Pair(params["key"], params["secret"]),
        coming=Pair(params["next_key"], params["next_secret"]),
        token_life=params["token_life"],
    )
    now = time.time()
    try:
        before = read(params["path"])
        url = params["livekit_url"]
        state = seen(url, before) if url else {}
        if params["step"] in ("sign", "settle") and before and not state.get("accepted"):
            raise RotationError(
                f"LiveKit at {url or '(no livekit_url)'} does not accept {before.webhook_key}: "
                "it does not run, or not on its present key file. Set livekit_restart to immediate and run "
                "rotate_secrets.yml again."
            )
        after = next_ledger(params["step"], before, asked, params["path_secret"], now)
        changed = after is not None and after != before
        if changed and after and not module.check_mode:
            store(params["path"], params["path_secret"], after, before)
    except (RotationError, CredentialsError, OSError) as error:
        module.fail_json(msg=str(error))
    over = after is not None and after.remaining(params["token_life"], now) <= 0
    module.exit_json(
        changed=changed, restarts=restarts(before, after, over), **told(after, params, now), **state
    )


if __name__ == "__main__":
    main()
