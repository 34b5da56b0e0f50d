"""Element Call comes back by itself when LiveKit is restarted at once in the middle of a call."""

from __future__ import annotations

import json

import steps
from figures import record
from lab_playbooks import INVENTORY
from on_host import Background, until

SITE = "call.test"
FOLDER, SIGN = "/run/restart", "both-see-each-other"
BUDGET = 10.0  # seconds until both see each other again


def test_both_see_each_other_again_after_a_restart(rtc):
    (client,) = steps.hosts("lab_client")
    users = json.loads((INVENTORY.parent / "info.json").read_text())["users"][SITE]
    people = [
        {"user": user["user_id"], "token": user["access_token"], "device": user["device_id"]}
        for user in users
        if not user["admin"]
    ]
    script = Background(client, FOLDER)
    script.begin("browser_call.py", {"site": SITE, "people": people, "interrupted": f"{FOLDER}/{SIGN}"})
    until("a call", 120, lambda: client.run(f"cd {FOLDER} && ls {SIGN} over").stdout)
    rtc.check_output("systemctl restart livekit")
    client.check_output(f"rm -f {FOLDER}/{SIGN}")
    seen = script.told(120)
    assert "fault" not in seen, json.dumps(seen, indent=2)
    away = seen["without a picture"]
    record("Element Call: without a picture while LiveKit is restarted", away, budget=BUDGET)
    assert 0 < away <= BUDGET, seen
