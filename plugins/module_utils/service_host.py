# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What a host can be asked about a systemd unit: its state, its journal, its health page.

`Host` is the only way out of `applied_service`, so tests put a fake systemd in its place.
"""

from __future__ import annotations

import http.client
import os
import pwd
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from .running_calls import Calls, Source, running_calls

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "InvocationID",
    "ExecMainStartTimestampMonotonic",
    "NeedDaemonReload",
)
JOURNAL_LINES = 20
CANNOT_RUN = (126, 127)  # what a shell says of a command it may not run and of one that is not there
TIMED_OUT = 124  # as timeout(1) says it
HEALTH_ANSWER_SECONDS = 2.0

# Credentials that services are known to log: OpenID and access tokens in URLs, and JSON web tokens.
_TOKEN_PATTERNS = (
    re.compile(r"((?:access_)?token[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+", re.IGNORECASE),
    re.compile(r"()\beyJ[\w-]{10,}\.[\w.-]+"),
)


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit status, and standard output and error together."""

    status: int
    output: str


@dataclass(frozen=True)
class Answer:
    """A health page's answer: the HTTP status, or 0 and the reason why there was none."""

    status: int
    reason: str = ""

    def __str__(self) -> str:
        return f"status {self.status}" if self.status else self.reason


class Host(Protocol):
    """The machine the unit runs on."""

    def run(self, argv: Sequence[str], timeout: float | None = None, user: str = "") -> Ran:
        """Run a command to its end, as `user` if one is given.

        A command that may not be run is status 126, a missing one 127, one cut off by `timeout` (s) is 124.
        """

    def get(self, url: str) -> Answer:
        """Ask a health page once."""

    def in_calls(self, source: Source, kept_keys: bytes) -> Calls:
        """Count who is in calls now; `kept_keys`: the key file that the SFU was started with, if known."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def monotonic(self) -> float:
        """Seconds on the clock systemd uses for its time stamps."""

    def wall(self) -> float:
        """Seconds since the epoch, the clock of files."""


class LocalHost:
    """The host this module runs on."""

    def run(self, argv: Sequence[str], timeout: float | None = None, user: str = "") -> Ran:
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
                cwd="/",
                **_identity(user),
            )
        except OSError as error:
            return Ran(127 if isinstance(error, FileNotFoundError) else 126, str(error))
        except subprocess.TimeoutExpired as error:
            said = error.stdout.decode("utf-8", "replace") if error.stdout else ""
            return Ran(TIMED_OUT, f"{said}(cut off after {timeout:g} s)")
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"))

    def get(self, url: str) -> Answer:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        port = parts.port or http.client.HTTP_PORT
        connection = http.client.HTTPConnection(parts.hostname or "", port, timeout=HEALTH_ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            return Answer(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, str(error) or type(error).__name__)
        finally:
            connection.close()

    def in_calls(self, source: Source, kept_keys: bytes) -> Calls:
        return running_calls(source, kept_keys)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def _identity(user: str) -> dict[str, Any]:
    """The arguments that make a child process run as `user` with that user's groups."""
    if not user:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid)}


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit; the names are those of `systemctl show`."""

    load: str
    active: str
    sub: str
    file_state: str
    invocation: str
    started: float  # on the monotonic clock, in seconds; 0 when it never was
    needs_reload: bool

    @property
    def up(self) -> bool:
        """The unit's process is there. A unit that waits for its next automatic start is not up."""
        return self.active in ("active", "reloading")

    def must_be_switched(self, enabled: bool) -> bool:
        """Whether `systemctl enable` or `disable` is needed; a unit without a say (static) never needs it."""
        if enabled:
            return self.file_state in ("disabled", "enabled-runtime", "linked", "linked-runtime")
        return self.file_state in ("enabled", "enabled-runtime")


def unit_state(host: Host, unit: str) -> UnitState:
    """Ask systemd for the state of `unit`. A unit it does not know has load state `not-found`."""
    said = host.run(["systemctl", "show", "--no-pager", f"--property={','.join(PROPERTIES)}", unit]).output
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    started = values.get("ExecMainStartTimestampMonotonic", "0")
    return UnitState(
        load=values.get("LoadState", ""),
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        file_state=values.get("UnitFileState", ""),
        invocation=values.get("InvocationID", ""),
        started=int(started) / 1e6 if started.isdigit() else 0.0,
        needs_reload=values.get("NeedDaemonReload") == "yes",
    )


def page_state(host: Host, url: str) -> UnitState:
    """The state of a service without a unit, as far as its health page tells: up when the page answers."""
    up = host.get(url).status > 0
    return UnitState("loaded", "active" if up else "unknown", "", "static", "", 0.0, needs_reload=False)


def journal(host: Host, unit: str, since: float, namespace: str = "") -> str:
    """The last lines `unit` and systemd logged about it since `since` (epoch seconds), oldest first."""
    where = [f"--namespace={namespace}"] if namespace else []
    host.run(["journalctl", *where, "--sync"], timeout=10)
    said = host.run(
        [
            "journalctl",
            *where,
            f"--unit={unit}",
            f"--since=@{int(since)}",
            f"--lines={JOURNAL_LINES}",
            "--output=cat",
            "--quiet",
            "--no-pager",
        ],
        timeout=10,
    )
    return said.output.strip()


def redact(text: str, secrets: Sequence[str]) -> str:
    """`text` without the given secrets and without anything that looks like a token."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    for pattern in _TOKEN_PATTERNS:
        text = pattern.sub(r"\1***", text)
    return text
