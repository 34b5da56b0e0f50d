# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What is remembered about a lab between two commands, and the lock that keeps two commands apart."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .artifacts import Artifact
from .definitions import Lab
from .errors import LabError
from .paths import LOCK, STATE, lab_dir, write_private
from .progress import Progress
from .site import SynapseSecrets
from .users import User

INFO = "info.json"


@dataclass
class Info:
    """The content of `info.json` (mode 0600: it has every secret of the lab).

    hosts: those that are finished. wishes: LAB_LIVEKIT and LAB_TOKEN_SERVICE as they were. secrets, users: by
    server name.
    """

    name: str
    sites: list[dict[str, Any]]
    subnet: str = ""
    wishes: dict[str, str] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    secrets: dict[str, SynapseSecrets] = field(default_factory=dict)
    users: dict[str, list[User]] = field(default_factory=dict)

    def save(self) -> None:
        """Write it down, so that a killed `up` goes on where it was."""
        write_private(lab_dir(self.name) / INFO, json.dumps(asdict(self), indent=2) + "\n")


def read(name: str) -> Info | None:
    """What is remembered about a lab, or None. Raises LabError when another version of the lab wrote it."""
    path = lab_dir(name) / INFO
    if not path.exists():
        return None
    try:
        return _from_data(json.loads(path.read_text()))
    except (KeyError, TypeError) as error:
        raise LabError(
            f"lab {name} was made by another version of the lab; remove it: python -m lab down {name}"
        ) from error


def _from_data(data: Mapping[str, Any]) -> Info:
    return Info(
        name=data["name"],
        sites=data["sites"],
        subnet=data["subnet"],
        wishes=data["wishes"],
        hosts=data["hosts"],
        artifacts=[Artifact(**artifact) for artifact in data["artifacts"]],
        secrets={host: SynapseSecrets(**values) for host, values in data["secrets"].items()},
        users={host: [User(**user) for user in people] for host, people in data["users"].items()},
    )


def fresh(lab: Lab) -> Info:
    """The memory of a lab that does not exist yet."""
    return Info(name=lab.name, sites=[site.as_data() for site in lab.sites])


def names() -> list[str]:
    """The labs that something is remembered about."""
    return sorted(path.parent.name for path in STATE.glob(f"*/{INFO}"))


@contextmanager
def locked(progress: Progress, path: Path = LOCK) -> Iterator[None]:
    """Only one command of a clone changes labs at a time; another one waits and says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("Waiting for another lab command to finish"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
