# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Writes and reads the backup of a site on the controller. Documented in modules/site_backup.py."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.vault import VaultLib, VaultSecret, is_encrypted
from ansible.plugins.action import ActionBase
from ansible_collections.matrixrtc.backend.plugins.module_utils.backup_file import (
    BackupError,
    check_password,
    document,
    entries_in,
    file_name,
    newest,
    write_new,
)


def vault_of(password: str) -> tuple[VaultLib, VaultSecret]:
    """Ansible's own encryption with this password."""
    secret = VaultSecret(password.encode())
    return VaultLib([("default", secret)]), secret


class ActionModule(ActionBase):  # type: ignore[misc]
    """The backup never leaves the controller, and nobody is shown what is in it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"state", "server_name", "folder", "file", "password", "unencrypted", "hosts"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Save or read."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        act = self._read if arguments.get("state") == "read" else self._save
        try:
            return {**result, **act(arguments)}
        except (BackupError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}

    def _save(self, arguments: dict[str, Any]) -> dict[str, Any]:
        password = str(arguments.get("password") or "")
        check_password(password, boolean(arguments.get("unencrypted", False), strict=False))
        saved_at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        text = document(arguments["server_name"], saved_at, arguments["hosts"])
        folder = os.path.abspath(os.path.expanduser(arguments["folder"]))
        path = os.path.join(folder, file_name(arguments["server_name"], saved_at, bool(password)))
        if not self._task.check_mode:
            if password:
                vault, secret = vault_of(password)
                text = vault.encrypt(text, secret).decode()
            write_new(path, text)
        return {"changed": True, "path": path}

    def _read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        path = arguments.get("file") or newest(
            os.path.expanduser(arguments["folder"]), arguments["server_name"]
        )
        path = os.path.abspath(os.path.expanduser(path))
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
        try:
            text = self._opened(text, str(arguments.get("password") or ""))
            entries = entries_in(text, arguments["server_name"])
        except BackupError as error:
            raise BackupError(f"{path} cannot be restored. {error}") from error
        return {"changed": False, "path": path, "entries": entries, "_ansible_no_log": True}

    @staticmethod
    def _opened(text: str, password: str) -> str:
        if not is_encrypted(text):
            return text
        if not password:
            raise BackupError("It is encrypted, and matrixrtc_backup_password is not set.")
        try:
            return str(vault_of(password)[0].decrypt(text).decode())
        except AnsibleError as error:
            raise BackupError("matrixrtc_backup_password is not the password it was saved with.") from error
