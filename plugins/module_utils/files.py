# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Reading and replacing files that others may own, without ever leaving half of one behind."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
import tempfile

# A new file nobody chose a mode for may hold a secret, so it is private to its owner.
_NEW_FILE_MODE = 0o600


def read_bytes(path: str) -> bytes | None:
    """The bytes of `path`, or None when there is no such file. Any other OSError is the caller's."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def read_text(path: str) -> str | None:
    """The text of `path` with its line ends untouched, or None when there is no such file.

    Raises UnicodeDecodeError when the file is not UTF-8.
    """
    data = read_bytes(path)
    return None if data is None else data.decode("utf-8")


def atomic_write(
    path: str,
    data: bytes,
    mode: int | None = None,
    owner: str | int | None = None,
    group: str | int | None = None,
) -> bool:
    """Make `path` hold exactly `data`; True when its content, mode, owner or group changed.

    What is None stays as it is on an existing file; a new file gets mode 0600 and the caller's own ids.
    A reader sees the old file or the new one, never a part: a temporary file in the same directory is
    written, synced and renamed over the target. A symlink stays one; the file it points to is replaced.
    Extended attributes (access lists, SELinux contexts) of an existing file are kept.

    Raises OSError when that is impossible (the old file is then untouched, the temporary one is removed)
    and LookupError when `owner` or `group` is a name the host does not know.
    """
    target = os.path.realpath(path)
    current = _stat(target)
    uid = _user_id(owner) if owner is not None else (current.st_uid if current else os.geteuid())
    gid = _group_id(group) if group is not None else (current.st_gid if current else os.getegid())
    if mode is None:
        mode = stat.S_IMODE(current.st_mode) if current else _NEW_FILE_MODE
    if current and read_bytes(target) == data:
        return _set_metadata(target, current, mode, uid, gid)
    _replace(target, data, mode, uid, gid, keep_attributes=current is not None)
    return True


def remove_file(path: str) -> bool:
    """Remove `path` if it exists; True when it did."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    _sync_directory(os.path.dirname(path) or ".")
    return True


def diff_entry(path: str, before: str, after: str) -> dict[str, str]:
    """One entry of Ansible's `diff` list; Ansible makes the unified diff of `before` and `after` itself."""
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _user_id(owner: str | int) -> int:
    return owner if isinstance(owner, int) else pwd.getpwnam(owner).pw_uid


def _group_id(group: str | int) -> int:
    return group if isinstance(group, int) else grp.getgrnam(group).gr_gid


def _set_metadata(path: str, current: os.stat_result, mode: int, uid: int, gid: int) -> bool:
    """Give an existing file its mode and owners; True when one of them differed."""
    other_owner = (current.st_uid, current.st_gid) != (uid, gid)
    other_mode = stat.S_IMODE(current.st_mode) != mode
    if other_owner:
        os.chown(path, uid, gid)
    if other_owner or other_mode:  # chown clears the set-id bits, so the mode comes after it
        os.chmod(path, mode)
    return other_owner or other_mode


def _replace(target: str, data: bytes, mode: int, uid: int, gid: int, keep_attributes: bool) -> None:
    directory, name = os.path.split(target)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=directory or ".")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if keep_attributes:
                shutil.copystat(target, temporary)
                os.utime(temporary)  # the attributes were wanted, the old times were not
            if os.fstat(descriptor).st_uid != uid or os.fstat(descriptor).st_gid != gid:
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(directory or ".")


def _sync_directory(directory: str) -> None:
    """Make a rename or removal survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
