"""Calls that go on in the background while a test does something to the site."""

from __future__ import annotations

import json
from dataclasses import dataclass

import steps
import yaml
from lab_playbooks import INVENTORY
from on_host import CA, Background

FOLDER = "/run/lasting"
FRAMES_PER_SECOND = 30  # what participants send (load_media.py)


@dataclass(frozen=True)
class Seen:
    """What one participant saw: gaps between pictures as (start, seconds), and how often they began anew."""

    call: str
    addresses: list[str]
    made_anew: int
    gaps: list[list[float]]

    @property
    def longest(self) -> float:
        """The longest time without a picture, 0 when there was none that anybody would notice."""
        return max((seconds for _start, seconds in self.gaps), default=0.0)

    @property
    def frames_lost(self) -> int:
        """The frames that would have been shown in the gaps."""
        return round(sum(seconds for _start, seconds in self.gaps) * FRAMES_PER_SECOND)


class Calls:
    """Some calls of two. With `with`, they run until the block ends; then `seen` is what everybody saw."""

    def __init__(self, site: str, number: int, seconds: float = 240) -> None:
        self.site = site
        self.number = number
        self.seconds = seconds
        self.seen: list[Seen] = []
        (self.client,) = steps.hosts("lab_client")
        self.script = Background(self.client, FOLDER)

    def __enter__(self) -> Calls:
        users = yaml.safe_load((INVENTORY / "host_vars" / "matrix" / "users.yml").read_text())
        given = {
            "server_name": self.site,
            "domain": f"rtc.{self.site}",
            "homeserver": f"https://matrix.{self.site}",
            "tokens": [user["access_token"] for user in users["matrixrtc_probe_users"]],
            "calls": self.number,
            "seconds": self.seconds,
            "ca": CA,
            "folder": FOLDER,
        }
        self.script.begin("lasting_calls.py", given)
        return self

    def __exit__(self, *_what: object) -> None:
        self.end()
        self.seen = [
            Seen(str(one["call"]), one["addresses"], one["made_anew"], one["gaps"])
            for one in self.script.told(60)
        ]

    def end(self) -> None:
        """Have everybody leave."""
        self.client.check_output(f"touch {FOLDER}/end")

    def places(self) -> dict[str, str]:
        """The SFU's address of each call, once all pictures move."""
        found: dict[str, str] = json.loads(self.script.read("running", 90))
        return found

    def of(self, *calls: str) -> list[Seen]:
        """What the participants of these calls saw."""
        return [one for one in self.seen if one.call in calls]
