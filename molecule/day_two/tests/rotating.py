"""A rotation of keys in the background, and people who join all the while."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import steps
import yaml
from lab_playbooks import INVENTORY, ROOT, Run
from on_host import program, put
from testinfra.host import Host

CA = "/usr/local/share/ca-certificates/matrixrtc-lab.crt"
LEDGER = "/etc/matrixrtc/livekit_rotation.json"
LOG = "/var/log/nginx/matrixrtc_access.log"
FOLDER = "/run/steady"
TAKEN = ("101", "200", "499")  # 499: the client went away first


def until(what: str, seconds: float, found: Callable[[], Any]) -> Any:
    """What `found` finds, as soon as it finds anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = found()
        if seen:
            return seen
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds} s")


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
        self.client.check_output(f"rm -rf {FOLDER} && mkdir {FOLDER}")
        put(self.client, f"{FOLDER}/program", program("steady_requests.py"))
        put(self.client, f"{FOLDER}/given", json.dumps(given).encode())
        self.client.check_output(
            f"cd {FOLDER} && (setsid python3 program given >told 2>errors; touch over) >/dev/null 2>&1 &"
        )
        return self

    def __exit__(self, *_what: object) -> None:
        self.client.check_output(f"touch {FOLDER}/end")
        until("the last join", 60, lambda: self.client.run(f"test -e {FOLDER}/over").rc == 0)
        errors = self.client.file(f"{FOLDER}/errors").content_string
        assert not errors, errors
        self.told = json.loads(self.client.file(f"{FOLDER}/told").content_string)
        lines = self.rtc.check_output(f"tail -n +{self.before + 1} {LOG}").splitlines()
        self.refused = [line for line in lines if _status(line) not in TAKEN and "/twirp/" not in line]


def _status(line: str) -> str:
    """The status in a line of our access log."""
    return line.split('"')[2].split()[0]


class Rotation:
    """rotate_secrets.yml, going on beside the test, and not longer than the `with` block."""

    def __init__(self, *arguments: str) -> None:
        command = ["ansible-playbook", "-i", str(INVENTORY), "rotate_secrets.yml", *arguments]
        environment = {
            k: v for k, v in os.environ.items() if k not in ("ANSIBLE_CONFIG", "ANSIBLE_FORCE_COLOR")
        }
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Rotation:
        return self

    def __exit__(self, *_what: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def kill(self) -> None:
        """End it as somebody does who pulls the plug."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def end(self) -> Run:
        """How it went."""
        output, _ = self.process.communicate()
        return Run(self.process.returncode, output)
