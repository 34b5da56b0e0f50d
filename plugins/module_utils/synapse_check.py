# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Let Synapse itself judge a configuration before it is written, without it changing anything.

Its own Python runs synapse_proof.py on copies of the same files in the same order, as the service's user in
its working directory. Two of its habits are kept from doing harm: it takes the directory of the last file as
the place of its signing key, so that directory is named (--keys-directory), and it creates the media store if
there is none, so it is given one that exists.

In a container the same is done through a command that runs there (`docker exec ...`). The copies then lie in
a private folder below one that the container sees.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import synapse_proof
from .synapse_files import ConfigFile, keys_directory

_SECONDS = 60
_LINES = 12
_PREFIX = ".matrixrtc-candidates-"
_VERSION = "import importlib.metadata; print(importlib.metadata.version('matrix-synapse'))"


class SynapseError(Exception):
    """Synapse cannot be asked at all; the message says what is missing."""


@dataclass(frozen=True)
class Verdict:
    """What Synapse makes of new files. `words` are its own; `wrong`: keys that would have a wrong value."""

    accepted: bool = True
    accepted_before: bool = True
    wrong: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class _Account:
    """Whose processes Synapse's are. `name` is empty for one that only a container has a name for."""

    uid: int
    gid: int
    name: str = ""

    @property
    def groups(self) -> list[int]:
        return os.getgrouplist(self.name, self.gid) if self.name else [self.gid]


@dataclass(frozen=True)
class Synapse:
    """An installed Synapse: its Python, the user that runs it, the directory it runs in.

    `run_prefix`: what stands before a command so that it runs in Synapse's container, as its user.
    `container_paths`: the folders of the host that the container sees, and where it sees them.
    """

    python: str
    user: str
    working_directory: str
    run_prefix: tuple[str, ...] = ()
    container_paths: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> str:
        """The installed version, such as 1.163.2. Raises SynapseError."""
        absent = f"{self.python} has no package 'matrix-synapse'"
        if self._is_this_python():
            import importlib.metadata

            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version("matrix-synapse")
            raise SynapseError(absent)
        ran = self._run([self.python, "-I", "-c", _VERSION])
        if ran.returncode == 0:
            return ran.stdout.strip()
        if self.run_prefix and "PackageNotFoundError" not in ran.stderr:
            said = (ran.stderr.strip() or ran.stdout.strip() or f"status {ran.returncode}").splitlines()[-1]
            raise SynapseError(
                f"'{' '.join([*self.run_prefix, self.python])}' does not run Synapse's Python: {said}. It "
                f"judges the new settings, so the container has to run: start it, or correct "
                f"synapse_config_run_prefix and synapse_config_python (a path inside the container)"
            )
        raise SynapseError(absent)

    def groups(self) -> list[int]:
        """The ids of all groups of the service's user. Raises SynapseError."""
        return self._account().groups

    def judge(
        self, before: Sequence[ConfigFile], after: Sequence[ConfigFile], wanted: Mapping[str, Any]
    ) -> Verdict:
        """Synapse's verdict on the files as they are to be. Raises SynapseError.

        `wanted`: shapes (synapse_proof.shape) by top-level key that changes, None for one that is to go.
        """
        request: dict[str, Any] = {
            "before": [f"before-{number}.yaml" for number in range(len(before))],
            "after": [f"after-{number}.yaml" for number in range(len(after))],
            "wanted": dict(wanted),
            "registrations": "app_service_config_files" in wanted,
        }
        files = dict(zip(request["after"], after, strict=True))
        contents = {name: file.data for name, file in files.items()}
        contents.update(zip(request["before"], (file.data for file in before), strict=True))
        with self._folder() as (folder, inside):
            contents["media.yaml"] = f"media_store_path: {inside}\n".encode()
            for when in ("before", "after"):  # last, so that it wins
                request[when] = [*request[when], "media.yaml"]
            request["keys_directory"] = self.inside(keys_directory(after))
            contents["request.json"] = json.dumps(request).encode()
            contents["proof.py"] = inspect.getsource(synapse_proof).encode()
            self._fill(folder, contents)
            ran = self._run([self.python, f"{inside}/proof.py", inside])
        names = {f"{inside}/{name}": file.path for name, file in files.items()}
        return _verdict(ran, names, inside)

    def inside(self, path: str) -> str:
        """Where Synapse sees a path of this host. Raises SynapseError when its container does not see it."""
        if not self.run_prefix:
            return path
        for host in sorted(self.container_paths, key=len, reverse=True):
            if path == host.rstrip("/") or path.startswith(host.rstrip("/") + "/"):
                return self.container_paths[host].rstrip("/") + path[len(host.rstrip("/")) :]
        raise SynapseError(
            f"{path} is in none of the folders that synapse_config_container_paths names. Add the folder "
            f"that the container mounts, and where it sees it"
        )

    @contextlib.contextmanager
    def _folder(self) -> Iterator[tuple[str, str]]:
        """A new folder that only root can use yet, and where Synapse sees it."""
        parent = None
        if self.run_prefix:
            parent = self._visible_folder()
            for name in os.listdir(parent):  # of a run that was killed: the caller keeps a second one off
                if name.startswith(_PREFIX):
                    shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        try:
            yield folder, self.inside(folder)
        finally:
            shutil.rmtree(folder)

    def _visible_folder(self) -> str:
        folders = [folder for folder in self.container_paths if os.path.isdir(folder)]
        if not folders:
            raise SynapseError(
                "synapse_config_container_paths names no folder of this host. Set it to the folder with the "
                "configuration and where the container sees it, such as {'/srv/synapse': '/data'}"
            )
        return folders[0]

    def _fill(self, folder: str, contents: Mapping[str, bytes]) -> None:
        """Files that only root and the service's user can read.

        The folder may lie in one of that user's, so it is held open: nobody can put another in its place.
        """
        account = self._account()
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(directory).st_uid != os.geteuid():
                raise SynapseError(f"{folder} was replaced by somebody else during this run")
            for name, data in contents.items():
                _give(directory, name, data, account.uid)
            if account.uid != os.geteuid():  # last, so that root never writes where somebody else can
                os.fchown(directory, account.uid, -1)
        finally:
            os.close(directory)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        account = self._account()
        options: dict[str, Any] = {
            "cwd": self.working_directory,
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        }
        if self.run_prefix:
            options = {"cwd": "/", "env": None}
        elif account.uid != os.geteuid():
            options |= {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
        whole = [*self.run_prefix, *command]
        try:
            return subprocess.run(
                whole,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
                **options,
            )
        except OSError as error:
            raise SynapseError(f"{whole[0]} cannot be run in {options['cwd']}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise SynapseError(f"'{' '.join(whole)}' took more than {_SECONDS} s") from None

    def _account(self) -> _Account:
        number = re.fullmatch(r"(\d+)(?::(\d+))?", self.user)
        if number:
            uid = int(number.group(1))
            return _Account(uid, int(number.group(2) or uid))
        try:
            entry = pwd.getpwnam(self.user)
        except KeyError:
            raise SynapseError(
                f"this host has no user '{self.user}', as whom Synapse is said to run"
            ) from None
        return _Account(entry.pw_uid, entry.pw_gid, entry.pw_name)

    def _is_this_python(self) -> bool:
        return not self.run_prefix and os.path.dirname(os.path.dirname(self.python)) == sys.prefix


def _give(directory: int, name: str, data: bytes, uid: int) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        if uid != os.geteuid():
            os.fchown(descriptor, uid, -1)


def _verdict(ran: subprocess.CompletedProcess[str], names: Mapping[str, str], folder: str) -> Verdict:
    """What the proof says, and Synapse's words beside it."""
    printed, mark, answer = ran.stdout.rpartition(synapse_proof.MARK)
    if not mark:
        words = _words(ran.stdout + ran.stderr, names, folder)
        raise SynapseError(f"Synapse's Python could not read a copy of the configuration. It says:\n{words}")
    said = json.loads(answer)
    if said["accepted"]:
        return Verdict(wrong=tuple(said["wrong"]))
    return Verdict(False, said["accepted_before"], words=_words(printed + ran.stderr, names, folder))


def _words(output: str, names: Mapping[str, str], folder: str) -> str:
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
