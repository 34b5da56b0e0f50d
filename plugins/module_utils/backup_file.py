# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The backup of a site on the controller: one JSON document, encrypted as ansible-vault does it.

`ansible-vault view` shows it to whoever has the password.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

FORMAT = 1
ENCRYPTED, PLAIN = ".vault", ".json"
SHORTEST_PASSWORD = 12  # whoever has the file can try passwords for as long as they like


class BackupError(Exception):
    """There is no such backup, or there cannot be one. The text is for the operator and holds no secret."""


def check_password(password: str, unencrypted: bool) -> None:
    """Secrets are written in plain text only where that is asked for. Raises BackupError."""
    if password and len(password) < SHORTEST_PASSWORD:
        fault = f"matrixrtc_backup_password is shorter than {SHORTEST_PASSWORD} characters"
        raise BackupError(f"{fault}. Set it to a longer one.")
    if not password and not unencrypted:
        raise BackupError(
            "matrixrtc_backup_password is not set, and a backup holds secrets. Set it, in a vault; or set "
            "matrixrtc_backup_unencrypted to true where the controller's disk is safe enough."
        )


def document(server_name: str, saved_at: str, hosts: Mapping[str, Any]) -> str:
    """The backup's text. `hosts`: the entries of each host, no list for one that was not read."""
    unread = sorted(name for name, entries in hosts.items() if not isinstance(entries, list))
    if unread:
        raise BackupError(
            f"{' and '.join(unread)} was not read. Run it for all hosts of the site, without --limit."
        )
    entries = [entry for found in hosts.values() for entry in found]
    if not entries:
        raise BackupError(f"There is nothing to save on {', '.join(hosts)}. Run site.yml first.")
    content = {"format": FORMAT, "server_name": server_name, "saved_at": saved_at, "entries": entries}
    return json.dumps(content, indent=1) + "\n"


def entries_in(text: str, server_name: str) -> list[Any]:
    """The entries of a backup of this site. Raises BackupError."""
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise BackupError(f"It has the format {content['format']}, and this collection knows {FORMAT}.")
        saved, entries = content["server_name"], content["entries"]
    except (ValueError, TypeError, KeyError) as error:
        raise BackupError("It is not a backup of a site.") from error
    if saved != server_name:
        raise BackupError(f"It is the backup of {saved}, and matrixrtc_server_name is {server_name}.")
    return list(entries)


def file_name(server_name: str, saved_at: str, is_encrypted: bool) -> str:
    """Such as example.org_20261127T040000Z.vault: later ones sort last, and none replaces another."""
    return f"{_plain(server_name)}_{saved_at}{ENCRYPTED if is_encrypted else PLAIN}"


def newest(folder: str, server_name: str) -> str:
    """The path of the site's last backup in a folder. Raises BackupError."""
    pattern = re.compile(rf"{re.escape(_plain(server_name))}_\d{{8}}T\d{{6}}Z({ENCRYPTED}|{PLAIN})")
    names: Sequence[str] = os.listdir(folder) if os.path.isdir(folder) else []
    found = sorted(name for name in names if pattern.fullmatch(name))
    if not found:
        raise BackupError(
            f"There is no backup of {server_name} in {folder}. Set matrixrtc_restore_file to the file, or "
            "matrixrtc_backup_dir to its folder."
        )
    return os.path.join(folder, found[-1])


def _plain(server_name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", server_name)


def write_new(path: str, text: str) -> None:
    """Make a file that nobody but its owner may read, from its first moment on."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
