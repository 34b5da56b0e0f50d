# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Let Synapse itself judge a configuration before it is written, without it changing anything.

`python -m synapse.config` with the same files in the same order, as the service's user in its working
directory. Two of its habits are kept from doing harm: it takes the directory of the last file as the place of
its signing key, so that directory is named (--keys-directory), and it creates the media store if there is
none, so it is given one that exists.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .synapse_files import ConfigFile, keys_directory

_SECONDS = 60
_LINES = 12
_VERSION = "import importlib.metadata; print(importlib.metadata.version('matrix-synapse'))"


class SynapseError(Exception):
    """Synapse cannot be asked at all; the message says what is missing."""


@dataclass(frozen=True)
class Synapse:
    """An installed Synapse: its Python, the user that runs it, the directory it runs in."""

    python: str
    user: str
    working_directory: str

    def version(self) -> str:
        """The installed version, such as 1.163.2. Raises SynapseError."""
        if self._is_this_python():
            import importlib.metadata

            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version("matrix-synapse")
            raise SynapseError(f"{self.python} has no package 'matrix-synapse'")
        ran = self._run([self.python, "-I", "-c", _VERSION])
        if ran.returncode != 0:
            raise SynapseError(f"{self.python} has no package 'matrix-synapse'")
        return ran.stdout.strip()

    def groups(self) -> list[int]:
        """The ids of all groups of the service's user. Raises SynapseError."""
        account = self._account()
        return os.getgrouplist(account.pw_name, account.pw_gid)

    def refusal(self, files: Sequence[ConfigFile]) -> str:
        """'' when Synapse accepts this configuration, else its own words. Raises SynapseError."""
        with self._candidates(files) as (folder, paths):
            arguments = [word for path in paths for word in ("-c", path)]
            command = [self.python, "-m", "synapse.config", *arguments]
            ran = self._run([*command, "--keys-directory", keys_directory(files)])
            if ran.returncode == 0 and "Config parses OK" in ran.stdout:
                return ""
            names = {paths[number]: file.path for number, file in enumerate(files)}
            return _words(ran.stdout + ran.stderr, names, folder)

    @contextlib.contextmanager
    def _candidates(self, files: Sequence[ConfigFile]) -> Iterator[tuple[str, list[str]]]:
        """Copies that only root and the service's user can read; the last one is our harmless media store."""
        folder = tempfile.mkdtemp(prefix="matrixrtc-")
        try:
            overlay = f"media_store_path: {folder}\n".encode()
            paths = []
            for number, data in enumerate([*(file.data for file in files), overlay]):
                path = os.path.join(folder, f"{number}.yaml")
                paths.append(path)
                self._give(path, data)
            if self._other_user() is not None:  # last, so that root never writes where somebody else can
                os.chown(folder, self._account().pw_uid, -1)
            yield folder, paths
        finally:
            shutil.rmtree(folder)

    def _give(self, path: str, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            if self._other_user() is not None:
                os.fchown(descriptor, self._account().pw_uid, -1)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        account = self._other_user()
        identity: dict[str, Any] = {}
        if account is not None:
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": self.groups()}
        try:
            return subprocess.run(
                command,
                cwd=self.working_directory,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                **identity,
            )
        except OSError as error:
            raise SynapseError(
                f"{command[0]} cannot be run in {self.working_directory}: {error.strerror}"
            ) from None
        except subprocess.TimeoutExpired:
            raise SynapseError(f"'{' '.join(command)}' took more than {_SECONDS} s") from None

    def _account(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(self.user)
        except KeyError:
            raise SynapseError(
                f"this host has no user '{self.user}', as whom Synapse is said to run"
            ) from None

    def _other_user(self) -> pwd.struct_passwd | None:
        """The service's user if we have to become it, None when we are it."""
        account = self._account()
        return None if account.pw_uid == os.geteuid() else account

    def _is_this_python(self) -> bool:
        return os.path.dirname(os.path.dirname(self.python)) == sys.prefix


def _words(output: str, names: dict[str, str], folder: str) -> str:
    """The last lines of what Synapse printed, about the real files and without values of settings."""
    for candidate, path in names.items():
        output = output.replace(candidate, path)
    output = re.sub(r"input_value=.*", "input_value=...", output.replace(folder, "(a copy)"))
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    named = [number for number, line in enumerate(lines) if re.match(r"[\w.]+(Error|Exception)\b", line)]
    if named and any(
        line.startswith("Traceback ") for line in lines
    ):  # what was wrong, not where in the program
        lines = lines[named[-1] :]
    return "\n".join(lines[-_LINES:]) or "(it said nothing)"
