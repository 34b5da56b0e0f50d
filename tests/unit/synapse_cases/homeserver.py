"""Homeserver configurations for tests: cases on disk, and the real synapse.config to load them with."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import synapse_proof
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_check import Synapse, Verdict
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_settings import (
    Outcome,
    Request,
    apply,
)

FOLDER = Path(__file__).parent
SERVICE_URL = "https://rtc.lab.test/livekit/jwt"
SFU_URL = "wss://rtc.lab.test/livekit/sfu"
REGISTRATION = "/etc/matrix-synapse/matrixrtc-registration.yaml"
VERSION = "1.163.2"
# The first -c file of every case: what Synapse must have, and nothing that we would touch.
BASE = """\
server_name: lab.test
report_stats: false
suppress_key_server_warning: true
signing_key: ed25519 a_made_up AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
media_store_path: .
database: {name: sqlite3, args: {database: ":memory:"}}
"""


@dataclass
class Case:
    """One configuration: files before and after, by relative path; or what the refusal says."""

    name: str
    title: str
    options: dict[str, str]
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    refused: str = ""

    @property
    def config(self) -> list[str]:
        return ["base.yaml", *self.options.get("config", "homeserver.yaml").split()]

    @property
    def version(self) -> str:
        return self.options.get("version", VERSION)

    @property
    def is_valid_before(self) -> bool:
        return self.options.get("invalid before") != "yes"

    def write(self, folder: Path) -> None:
        """Put the files as they are before into a folder."""
        (folder / "base.yaml").write_text(BASE)
        for path, text in self.before.items():
            target = folder / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(self.encode(text))
        for path in self.config:
            if path.endswith("/"):
                (folder / path).mkdir(exist_ok=True)

    def encode(self, text: str) -> bytes:
        """The bytes of a file of the operator's, in the case's notation."""
        if self.options.get("final newline") == "no":
            text = text.rstrip("\n")
        if self.options.get("end of line") == "crlf":
            text = text.replace("\n", "\r\n")
        return text.encode(self.options.get("encoding", "utf-8"))

    def wanted(self) -> dict[str, Any]:
        """The settings as the role asks for them."""
        none = self.options.get("transports") == "none"
        transports = [] if none else [{"type": "livekit", "livekit_service_url": SERVICE_URL}]
        settings: dict[str, Any] = {
            "max_event_delay_duration": "24h",
            "experimental_features": {
                "msc3266_enabled": True,
                "msc4143_enabled": True,
                "msc4222_enabled": True,
            },
            "matrix_rtc": {"transports": transports},
            "rc_message": {"per_second": 0.5, "burst_count": 30},
            "rc_delayed_event_mgmt": {"per_second": 6.0, "burst_count": 30},
        }
        if self.options.get("token service behind") == "yes":
            settings["experimental_features"].update(msc4502_enabled=True, msc4512_enabled=True)
            settings["matrix_rtc"] = {"transports": [{**transports[0], "url": SFU_URL}]}
            settings["app_service_config_files"] = [REGISTRATION]
        if self.options.get("serves well-known") == "yes":
            settings["extra_well_known_client_content"] = {"org.matrix.msc4143.rtc_foci": transports}
        if self.options.get("openid listener") == "yes":
            settings["listeners"] = {"openid": True}
        return settings


def read_case(path: Path) -> Case:
    """Read a .case file: a title, options, then parts that each begin with a line of four equals signs."""
    head, *parts = path.read_text(encoding="utf-8").split("\n==== ")
    title, *options = head.split("\n")
    case = Case(path.stem, title, dict(line.split(": ", 1) for line in options))
    for part in parts:
        name, _, body = part.partition("\n")
        kind, _, target = name.partition(" ")
        text = body + "\n" if body and not body.endswith("\n") else body
        if kind == "refused":
            case.refused = text
        else:
            getattr(case, kind)[target] = text
    return case


CASES = [read_case(path) for path in sorted(FOLDER.glob("*.case"))]


def synapse_python() -> str:
    """The Python of an installed Synapse; a test that needs it fails when nobody says where it is."""
    python = os.environ.get("SYNAPSE_PYTHON")
    if not python:
        pytest.fail(
            "SYNAPSE_PYTHON is not set. Set it to the Python of a virtual environment with "
            f"matrix-synapse=={VERSION} ('make test' does)."
        )
    return python


class Accepting(Synapse):
    """A Synapse of some version that accepts everything: the loader asks the real one afterwards."""

    def __init__(self, version: str, working_directory: Path) -> None:
        super().__init__("/opt/synapse/bin/python", "root", str(working_directory))
        object.__setattr__(self, "_version", version)

    def version(self) -> str:
        """What it was made with."""
        return str(vars(self)["_version"])

    def judge(self, before: object, after: object, wanted: object) -> Verdict:
        """Yes, ever."""
        return Verdict()


def run(case: Case, folder: Path, present: bool = True, check_mode: bool = False) -> Outcome:
    """Apply the settings of a case to its files in a folder."""
    synapse = Accepting(case.version, folder)
    managed = case.options.get("edit managed") == "yes"
    state = str(folder / ".state")
    request = Request(synapse, case.config, case.wanted(), state, "zz-matrixrtc.yaml", present, managed)
    return apply(request, check_mode)


class Loader:
    """A long-lived process with the real synapse.config, since importing it takes most of a second."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}  # a load takes a tenth of a second
        self.process = subprocess.Popen(
            [synapse_python(), str(FOLDER / "loader.py"), str(Path(synapse_proof.__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, folder: Path, config: list[str]) -> dict[str, Any]:
        """{"values": ...} or {"error": ...} for the -c options, relative to a folder."""
        return self._ask([word for path in config for word in ("-c", str(folder / path))])

    def read(self, paths: list[str]) -> dict[str, Any]:
        """{"read": ...} or {"error": ...} for files: what Synapse's own loader reads in them."""
        return self._ask({"read": paths})

    def _ask(self, question: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=10)
