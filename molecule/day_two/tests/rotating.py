"""Where a rotation of keys is, and people who join all the while."""

from __future__ import annotations

import json
from typing import Any

import steps
import yaml
from lab_playbooks import INVENTORY
from on_host import CA, Background
from testinfra.host import Host

LEDGER = "/etc/matrixrtc/livekit_rotation.json"
LOG = "/var/log/nginx/matrixrtc_access.log"
FOLDER = "/run/steady"
TAKEN = ("101", "200", "499")  # 499: the client went away first


def ledger(host: Host) -> dict[str, Any]:
    """Where the rotation is on the host."""
    found = host.run(f"cat {LEDGER}").stdout
    return json.loads(found) if found else {"stage": "none"}


def signing(host: Host) -> str:
    """The key that the token service signs with."""
    return host.check_output("cat /etc/matrixrtc/lk-jwt-service/key").strip()


def started(host: Host, unit: str) -> str:
    """What is different after each start of a unit."""
    return host.check_output(f"systemctl show {unit} --property=InvocationID")


class Joins:
    """Somebody joins every second until the block ends; then `told` is what steady_requests.py says.

    `refused` has what nginx answered with an error, also to the clients of calls.
    """

    def __init__(self, rtc: Host, site: str, age: float) -> None:
        self.rtc, self.site, self.age = rtc, site, age
        self.told: dict[str, Any] = {}
        self.refused: list[str] = []
        (self.client,) = steps.hosts("lab_client")
        self.script = Background(self.client, FOLDER, "python3")

    def __enter__(self) -> Joins:
        users = yaml.safe_load((INVENTORY / "host_vars" / "matrix" / "users.yml").read_text())
        given = {
            "server_name": self.site,
            "domain": f"rtc.{self.site}",
            "homeserver": f"https://matrix.{self.site}",
            "token": users["matrixrtc_probe_users"][0]["access_token"],
            "age": self.age,
            "ca": CA,
            "folder": FOLDER,
        }
        self.before = int(self.rtc.check_output(f"wc -l < {LOG}"))
        self.script.begin("steady_requests.py", given)
        return self

    def __exit__(self, *_what: object) -> None:
        self.client.check_output(f"touch {FOLDER}/end")
        self.told = self.script.told(60)
        errors = self.client.file(f"{FOLDER}/errors").content_string
        assert not errors, errors
        lines = self.rtc.check_output(f"tail -n +{self.before + 1} {LOG}").splitlines()
        self.refused = [line for line in lines if _status(line) not in TAKEN and "/twirp/" not in line]


def _status(line: str) -> str:
    """The status in a line of our access log."""
    return line.split('"')[2].split()[0]
