"""Replacing files atomically, and leaving their metadata as their owner set it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert files.read_text(str(tmp_path / "none")) is None
    assert files.read_bytes(str(tmp_path / "none")) is None


def test_line_ends_are_not_translated(tmp_path: Path) -> None:
    path = tmp_path / "dos"
    path.write_bytes(b"a\r\nb\r")
    assert files.read_text(str(path)) == "a\r\nb\r"


def test_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(UnicodeDecodeError):
        files.read_text(str(path))


def test_new_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "new"
    assert files.atomic_write(str(path), b"x") is True
    assert path.read_bytes() == b"x"
    assert mode_of(path) == 0o600


def test_existing_mode_is_kept_and_second_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    assert files.atomic_write(str(path), b"new") is True
    assert mode_of(path) == 0o640
    inode = path.stat().st_ino
    assert files.atomic_write(str(path), b"new") is False
    assert path.stat().st_ino == inode


def test_mode_alone_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"same")
    path.chmod(0o600)
    assert files.atomic_write(str(path), b"same", mode=0o644) is True
    assert mode_of(path) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_owner_and_group_are_kept_or_set(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 4321, 4322)
    files.atomic_write(str(path), b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4322)
    assert files.atomic_write(str(path), b"new", owner="root", group=0) is True
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)


def test_unknown_owner_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(LookupError):
        files.atomic_write(str(path), b"x", owner="no-such-user-here")
    assert list(tmp_path.iterdir()) == []


def test_symlink_stays_a_symlink(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(real)
    files.atomic_write(str(link), b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_failed_write_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.atomic_write(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_extended_attributes_survive(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.note", b"theirs")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    files.atomic_write(str(path), b"new")
    assert os.getxattr(path, "user.note") == b"theirs"


def test_remove_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    assert files.remove_file(str(path)) is True
    assert files.remove_file(str(path)) is False


def test_diff_entry_is_what_ansible_wants() -> None:
    assert files.diff_entry("/f", "a\n", "b\n") == {
        "before_header": "/f",
        "after_header": "/f",
        "before": "a\n",
        "after": "b\n",
    }
