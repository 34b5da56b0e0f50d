# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The API key pair that LiveKit and the token service share: made on the host once, then only kept.

One file of root's holds the secret. From it and the key's name come the files of the services, each in the
format its service reads:

    livekit_keys    LiveKit's `key_file`: a YAML map of key to secret
    key, secret     the token service's LIVEKIT_KEY_FROM_FILE and LIVEKIT_SECRET_FROM_FILE

While keys are rotated there are two pairs (rotation.py): LiveKit is told of both, the token service of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import string
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .files import read_bytes, remove_file
from .managed_files import ManagedFile, provide_folder, write
from .rotation import Ledger, Pair, chosen

SECRET_LENGTH = 48
SHORTEST_SECRET = 32  # LiveKit itself only logs an error for a shorter one
# No punctuation: a key file may hold one colon only, and odd characters have broken a deployment before.
ALPHABET = string.ascii_letters + string.digits
SECRET_MODE = 0o600

# Of the current pair and all that LiveKit accepts.
FORMATS: Mapping[str, Callable[[Pair, Sequence[Pair]], str]] = {
    # JSON's strings are YAML's, and a key such as 123 stays text
    "livekit_keys": lambda _current, pairs: "".join(
        f"{json.dumps(pair.key)}: {json.dumps(pair.secret)}\n" for pair in pairs
    ),
    "key": lambda current, _pairs: f"{current.key}\n",
    "secret": lambda current, _pairs: f"{current.secret}\n",
}


class CredentialsError(Exception):
    """The credentials cannot be what is asked for. The text holds no secret."""


@dataclass(frozen=True)
class CredentialFile(ManagedFile):
    """A file of a service. `format` is a key of FORMATS."""

    mode: int = 0o640
    format: str = "secret"


@dataclass
class Outcome:
    """What was done, or would be: whether a secret was made, which files changed, which folders were made.

    `webhook_key` is the key that LiveKit is to sign webhooks with, `warning` what has to be said.
    """

    webhook_key: str = ""
    warning: str = ""
    generated: bool = False
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.generated or self.files or self.folders)


def provide(
    key: str,
    secret: str,
    path: str,
    files: Sequence[CredentialFile],
    dry: bool = False,
    ledger: Ledger | None = None,
) -> Outcome:
    """Have the key pair in all files. An empty `secret` keeps the host's or makes one; another replaces it.

    `path` is root's file with the secret. The `ledger` of a rotation goes before `key` and `secret`. With
    `dry` nothing is written. Raises CredentialsError, RotationError, OSError, and LookupError for an owner or
    group the host does not know (not with `dry`: they may be yet to come).
    """
    pair, warning = chosen(ledger, Pair(key, secret))
    outcome = Outcome(ledger.webhook_key if ledger and ledger.under_way else pair.key, warning)
    for name in (path, *(file.path for file in files)):
        outcome.folders += provide_folder(name, dry)
    current = replace(pair, secret=provide_secret(path, pair.secret, outcome, dry))
    accepted = ledger.accepted(current) if ledger else (current,)
    for file in files:
        content = FORMATS[file.format](current, accepted).encode()
        if write(file, content, dry):
            outcome.files.append(file.path)
    outcome.folders = list(dict.fromkeys(outcome.folders))
    return outcome


def remove(paths: Sequence[str], dry: bool = False) -> Outcome:
    """Remove the files, and the folder of each and the one above it when nothing else is left in them."""
    outcome = Outcome(files=[path for path in paths if os.path.lexists(path)])
    if dry:
        return outcome
    for path in outcome.files:
        remove_file(path)
    for path in paths:
        with contextlib.suppress(OSError):  # not empty, or gone with another file
            os.rmdir(os.path.dirname(path))
            os.rmdir(os.path.dirname(os.path.dirname(path)))
    return outcome


def provide_secret(path: str, given: str, outcome: Outcome, dry: bool) -> str:
    """The secret that counts, now in root's file: the given one, else the host's, else a new one."""
    file = ManagedFile(path, os.geteuid(), os.getegid(), SECRET_MODE)
    if given:
        require_length(given, "The secret that was given")
    kept = "" if given and not _has(path, given) else kept_secret(path)
    if not given and not kept:
        outcome.generated = True
        made = new_secret()
        return made if dry else _create(path, made)
    # bytes that say the same are left alone, only their mode and owner are seen to
    content = (read_bytes(path) or b"") if kept else f"{given}\n".encode()
    if write(file, content, dry):
        outcome.files.append(path)
    return kept or given


def _has(path: str, secret: str) -> bool:
    return (read_bytes(path) or b"").decode("utf-8", "replace").strip() == secret


def new_secret() -> str:
    """A secret that nobody has seen."""
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))


def kept_secret(path: str) -> str:
    """The host's secret, '' when there is none yet. One that is too short was not made here: refuse it."""
    raw = read_bytes(path)
    if raw is None:
        return ""
    secret = raw.decode("utf-8", "replace").strip()
    require_length(secret, f"The secret in {path}")
    return secret


def require_length(secret: str, what: str) -> None:
    if len(secret) < SHORTEST_SECRET or len(secret.split()) != 1:
        raise CredentialsError(
            f"{what} is no word of {SHORTEST_SECRET} or more characters (it has {len(secret)}). "
            "Set a longer one, or remove it to have one made."
        )


def _create(path: str, secret: str) -> str:
    """Write a new secret unless there is one by now; returns the one that is in the file then."""
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:  # mkstemp makes it 0600
            stream.write(f"{secret}\n")
            stream.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):  # a link, unlike a rename, never replaces what is there
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
    return kept_secret(path)
