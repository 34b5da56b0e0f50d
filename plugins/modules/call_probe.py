#!/usr/bin/python
# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A thin shell around module_utils/call_proof.py and call_sites.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: call_probe
short_description: Place a real call between users, and break it off
version_added: 0.1.0
author: ["The matrixrtc.backend authors (@matrixrtc)"]
description:
  - Places a call the way Element Call does, from discovery over the OpenID token, both token endpoints and
    memberships with delayed leaves to a picture and a sound that are sent with end-to-end encryption.
  - Judges what arrives, not that something arrives. The picture carries a code that names its sender, the
    tone has the sender's frequency, and somebody with other keys must see and hear nothing.
  - The way of the media must lead to an address that the SFU itself advertises and that answers a stranger's
    first packet. On one network a wrong address or a closed UDP port goes unnoticed otherwise.
  - With more O(participants) than two, everybody has to recognise the picture of everybody, and who does not
    see whom is named. Two of them send sound as well.
  - Then one user vanishes without telling the homeserver. How long its membership stays is the only sign of a
    missing or rejected webhook.
  - The room is made for the call and left afterwards, the memberships end, nothing stays on the homeserver.
    Give it accounts of its own, for their other devices see the invitation.
  - With O(sites) the call is between users of several sites instead. Everybody publishes on the SFU of their
    own homeserver and receives from each other member on the SFU that this member's event names, as it comes
    from the own homeserver through /sync. Users of other sites also try to publish on each SFU, and to open a
    room there.
  - A fault of the site never fails the task; M(matrixrtc.backend.report) does that, after it has shown all
    checks.
requirements:
  - livekit 1.2 (the LiveKit SDK for Python, which brings numpy) in the Python that runs the module
attributes:
  check_mode:
    support: none
    description: A call cannot be placed without placing it; the module is skipped in check mode.
  diff_mode:
    support: none
    description: Nothing stays changed.
options:
  server_name:
    description: The part after the colon in the site's Matrix IDs. Needed unless O(sites) is given.
    type: str
  domain:
    description: The host name of the token service and the SFU. Needed unless O(sites) is given.
    type: str
  sites:
    description:
      - Two or more sites for a call between their users. Of the other options only O(mode), O(media_seconds),
        O(leave_timeout), O(ca_file) and O(timeout) count then.
    type: list
    elements: dict
    suboptions:
      server_name:
        description: The part after the colon in the site's Matrix IDs.
        type: str
        required: true
      users:
        description:
          - Accounts of the site's homeserver, with devices. Two for each show that a site that is broken does
            not disturb the others.
        type: list
        elements: dict
        required: true
        suboptions:
          user_id:
            description: The account's Matrix ID. When given, the token must be this user's.
            type: str
            default: ""
          access_token:
            description: The user's access token.
            type: str
            required: true
      homeserver_url:
        description: The client API. Empty asks the client well-known.
        type: str
        default: ""
      full_access_homeservers:
        description:
          - The servers whose users may publish on the site's SFU, or V(*). Empty means its own server alone.
            Left out, nobody knows, and it is only reported what users of others may do.
        type: list
        elements: str
  mode:
    description:
      - With O(sites) how memberships are written, as Element Call's setting of that name. In V(compatibility)
        they are state events. V(matrix_2_0) has sticky events (MSC4354) and hashed identities, and needs
        homeservers that have them.
    type: str
    choices: [compatibility, matrix_2_0]
    default: compatibility
  users:
    description:
      - Two or more accounts of the site's homeserver, of which as many take part as O(participants) says.
        Their tokens come from a login, so that they have a device.
    type: list
    elements: dict
    suboptions:
      user_id:
        description: The account's Matrix ID. When given, the token must be this user's.
        type: str
        default: ""
      access_token:
        description: The user's access token.
        type: str
        required: true
  participants:
    description:
      - How many participants there are, 2 to 10. Those beyond the accounts in O(users) are further sessions
        of these, in turn. They publish and watch like the others; the homeserver is told nothing of them.
    type: int
    default: 2
  homeserver_url:
    description: The client API. Empty asks the client well-known.
    type: str
    default: ""
  homeserver_kind:
    description:
      - What the homeserver is. What that kind cannot do is a warning and no failure. Without delayed events
        nothing ends the membership of a user who vanished, so that is not measured then.
    type: str
    choices: [synapse, ess, mdad, continuwuity, tuwunel, other]
    default: synapse
  token_service_mode:
    description:
      - With V(homeserver) the token service stands behind the homeserver, and both users take the tokens they
        talk with there. Those of the token service itself are asked for all the same.
    type: str
    choices: [standalone, homeserver]
    default: standalone
  livekit_service_url:
    description: The token service's URL as clients have to be told it.
    type: str
    default: https://<domain>/livekit/jwt
  livekit_url:
    description: The SFU's websocket URL.
    type: str
    default: wss://<domain>/livekit/sfu
  media_addresses:
    description: The addresses that the SFU should advertise. Empty means that any will do that answers.
    type: list
    elements: str
    default: []
  tcp_port:
    description: The SFU's port for media over TCP; 0 when it is switched off.
    type: int
    default: 7881
  udp_ports:
    description:
      - The SFU's UDP port for media, or a range written V(a-b). Empty means that nobody knows the site's
        ports, and those count that the SFU advertises.
    type: str
    default: 7882-7885
  force_tcp:
    description: Whether the media has to take TCP, as for users whose network blocks UDP.
    type: bool
    default: false
  break_off:
    description:
      - How the second user vanishes. V(disconnect) ends the session with the SFU, V(kill) kills its process,
        which takes LiveKit about 20 seconds longer to notice.
    type: str
    choices: [disconnect, kill]
    default: disconnect
  leave_timeout:
    description:
      - Seconds that a membership may stay after the break. V(0) means 5 for V(disconnect) and 40 for V(kill),
        and 8 with O(sites).
    type: float
    default: 0
  media_seconds:
    description: Seconds of recognised media before it is judged.
    type: float
    default: 3
  prove_encryption:
    description: Whether a third participant without the keys listens in, to prove that it gets nothing.
    type: bool
    default: true
  ca_file:
    description: A file with the certificate authorities to trust. Empty means those of the system.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for the media, and at most for each answer.
    type: float
    default: 12
"""

EXAMPLES = r"""
- name: Place a call
  matrixrtc.backend.call_probe:
    server_name: example.org
    domain: rtc.example.org
    users: "{{ matrixrtc_probe_users }}"
  delegate_to: probe.example.net
  register: call
  no_log: true

- name: Place a call as from a network that blocks UDP, and let one user crash
  matrixrtc.backend.call_probe:
    server_name: example.org
    domain: rtc.example.org
    users: "{{ matrixrtc_probe_users }}"
    force_tcp: true
    break_off: kill
  delegate_to: probe.example.net
  no_log: true

- name: Place a call of six participants
  matrixrtc.backend.call_probe:
    server_name: example.org
    domain: rtc.example.org
    users: "{{ matrixrtc_probe_users }}"
    participants: 6
  delegate_to: probe.example.net
  no_log: true

- name: Place a call between two sites
  matrixrtc.backend.call_probe:
    sites:
      - server_name: alpha.example
        users: "{{ users_of_alpha }}"
        full_access_homeservers: [alpha.example]
      - server_name: beta.example
        users: "{{ users_of_beta }}"
  delegate_to: probe.example.net
  no_log: true
"""

RETURN = r"""
checks:
  description: The checks in the order of the call, in the form of M(matrixrtc.backend.endpoint_probe).
  returned: always
  type: list
  elements: dict
failed_ids:
  description: The ids of the checks that failed.
  returned: always
  type: list
  elements: str
call:
  description:
    - What was measured. Times are in seconds from the first request of a participant.
    - With O(sites) there are only V(mode), V(room_id), V(users), V(participants), V(first_frame),
      V(membership_stayed) and V(seconds).
  returned: always
  type: dict
  contains:
    room_id: {description: The throw-away room., type: str}
    users: {description: Who called; further sessions with their device., type: list, elements: str}
    time_to_token: {description: Until all had their LiveKit tokens., type: float}
    time_to_connected: {description: Until all were connected to the SFU., type: float}
    time_to_first_frame: {description: Until all had recognised a picture., type: float}
    frames: {description: Pictures that were recognised., type: int}
    frames_missed: {description: Pictures in between that never came., type: int}
    packets: {description: Media packets received., type: int}
    loss: {description: The share of packets that were lost., type: float}
    round_trip: {description: The longest mean round trip of a connection., type: float}
    tone_seconds: {description: Sound that was recognised., type: float}
    candidate_pairs: {description: The way of each connection., type: list, elements: dict}
    advertised: {description: The addresses that the SFU advertised., type: list, elements: str}
    livekit_version: {description: The SFU's version., type: str}
    break_off: {description: How the second user vanished., type: str}
    membership_stayed: {description: How long its membership stayed after that., type: float}
    seconds: {description: How long all of it took., type: float}
    series:
      description:
        - What each participant received over time, as C(user) and C(points), two of these a second. A point
          has C(at) in seconds, C(frames_per_second), C(bits_per_second), C(loss) from 0 to 1 and
          C(round_trip) in seconds.
      type: list
      elements: dict
    mode: {description: The mode of a call between sites., type: str}
    first_frame: {description: The longest time until the first picture of another site., type: float}
    participants:
      description: Who published where, and saw whom where and when.
      type: list
      elements: dict
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_attendee import Home, full_access
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import MissingSdkError, load_sdk
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_membership import COMPATIBILITY, MODES
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_proof import KILL, Plan, place_call
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_sites import SitesPlan, place_sites_call
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import as_dicts, failed_ids
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.homeserver_kinds import (
    HOMESERVER,
    KINDS,
    STANDALONE,
    SYNAPSE,
    TOKEN_SERVICE_MODES,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_verify import FEWEST, MOST

LEAVE_TIMEOUTS = {"disconnect": 5.0, "kill": 40.0}
SITES_LEAVE_TIMEOUT = 8.0
ANSWER_TIMEOUT = 5.0

USERS = {
    "type": "list",
    "elements": "dict",
    "options": {
        "user_id": {"type": "str", "default": ""},
        "access_token": {"type": "str", "required": True, "no_log": True},
    },
}
ARGUMENTS = {
    "server_name": {"type": "str"},
    "domain": {"type": "str"},
    "users": USERS,
    "sites": {
        "type": "list",
        "elements": "dict",
        "options": {
            "server_name": {"type": "str", "required": True},
            "users": {**USERS, "required": True},
            "homeserver_url": {"type": "str", "default": ""},
            "full_access_homeservers": {"type": "list", "elements": "str"},
        },
    },
    "mode": {"type": "str", "choices": list(MODES), "default": COMPATIBILITY},
    "participants": {"type": "int", "default": FEWEST},
    "homeserver_url": {"type": "str", "default": ""},
    "homeserver_kind": {"type": "str", "choices": list(KINDS), "default": SYNAPSE},
    "token_service_mode": {"type": "str", "choices": list(TOKEN_SERVICE_MODES), "default": STANDALONE},
    "livekit_service_url": {"type": "str", "default": "https://<domain>/livekit/jwt"},
    "livekit_url": {"type": "str", "default": "wss://<domain>/livekit/sfu"},
    "media_addresses": {"type": "list", "elements": "str", "default": []},
    "tcp_port": {"type": "int", "default": 7881},
    "udp_ports": {"type": "str", "default": "7882-7885"},
    "force_tcp": {"type": "bool", "default": False},
    "break_off": {"type": "str", "choices": ["disconnect", KILL], "default": "disconnect"},
    "leave_timeout": {"type": "float", "default": 0},
    "media_seconds": {"type": "float", "default": 3},
    "prove_encryption": {"type": "bool", "default": True},
    "ca_file": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 12},
}


def sites_plan(options: dict[str, Any], http: HttpClient) -> SitesPlan:
    """The call between sites that the options describe."""
    homes = [
        Home(
            server_name=site["server_name"],
            tokens=tuple(user["access_token"] for user in site["users"]),
            user_ids=tuple(user["user_id"] for user in site["users"]),
            homeserver_url=site["homeserver_url"],
            full_access=full_access(site["server_name"], site["full_access_homeservers"]),
        )
        for site in options["sites"]
    ]
    return SitesPlan(
        homes=tuple(homes),
        http=http,
        mode=options["mode"],
        media_seconds=options["media_seconds"],
        timeout=options["timeout"],
        leave_timeout=options["leave_timeout"] or SITES_LEAVE_TIMEOUT,
    )


def wrong(options: dict[str, Any]) -> str:
    """What is wrong with the options together, '' if nothing is."""
    if not options["sites"]:
        count, participants = len(options["users"] or []), options["participants"]
        if not FEWEST <= participants <= MOST:
            return f"participants is {participants}; a call has {FEWEST} to {MOST} here."
        return "" if count >= FEWEST else f"users has {count} entries; a call needs two accounts."
    names = [site["server_name"] for site in options["sites"]]
    if len(names) < 2 or len(set(names)) < len(names):
        return f"sites has {', '.join(names)}; a call between sites needs two or more, each once."
    return ""


def main() -> None:
    """Read the options, call, return the checks and the figures."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_one_of=[["users", "sites"]],
        mutually_exclusive=[["users", "sites"]],
        required_by={"users": ["server_name", "domain"]},
        supports_check_mode=False,
    )
    options = module.params
    if wrong(options):
        module.fail_json(msg=wrong(options))
    try:
        load_sdk()
        http = HttpClient(options["ca_file"], min(options["timeout"], ANSWER_TIMEOUT))
    except MissingSdkError as error:
        module.fail_json(msg=str(error))
        return
    except OSError as error:
        module.fail_json(msg=f"ca_file cannot be used: {error}")
        return
    if options["sites"]:
        http.timeout = options["timeout"]
        checks, sites_figures = place_sites_call(sites_plan(options, http))
        module.exit_json(
            changed=False, checks=as_dicts(checks), failed_ids=failed_ids(checks), call=asdict(sites_figures)
        )
    site = Site(
        server_name=options["server_name"],
        domain=options["domain"],
        http=http,
        service_url=options["livekit_service_url"].replace("<domain>", options["domain"]),
        livekit_url=options["livekit_url"].replace("<domain>", options["domain"]),
        media_addresses=tuple(options["media_addresses"]),
        tcp_port=options["tcp_port"],
        udp_ports=options["udp_ports"],
        homeserver_kind=options["homeserver_kind"],
        behind_homeserver=options["token_service_mode"] == HOMESERVER,
    )
    users = options["users"][: options["participants"]]
    checks, figures = place_call(
        Plan(
            site=site,
            tokens=tuple(user["access_token"] for user in users),
            user_ids=tuple(user["user_id"] for user in users),
            participants=options["participants"],
            homeserver_url=options["homeserver_url"],
            media_seconds=options["media_seconds"],
            timeout=options["timeout"],
            break_off=options["break_off"],
            force_tcp=options["force_tcp"],
            leave_timeout=options["leave_timeout"] or LEAVE_TIMEOUTS[options["break_off"]],
            prove_encryption=options["prove_encryption"],
        )
    )
    module.exit_json(
        changed=False, checks=as_dicts(checks), failed_ids=failed_ids(checks), call=asdict(figures)
    )


if __name__ == "__main__":
    main()
