"""What makes a site is read whole and put back as it was, and never over another identity."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.backup_file import (
    BackupError,
    check_password,
    document,
    entries_in,
    file_name,
    newest,
    write_new,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.identity import (
    IdentityError,
    collect,
    restore,
)

SECRET = "k7Wq2mZx9Lr4Tn8Vb3Yd6Hc1Pf5Sg0Ju"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A host's folder with a secret and a certificate as certbot keeps it."""
    top = tmp_path / "matrixrtc"
    (top / "acme" / "archive" / "matrixrtc").mkdir(parents=True)
    (top / "acme" / "live" / "matrixrtc").mkdir(parents=True)
    (top / "acme" / "archive").chmod(0o700)
    (top / "acme" / "empty").mkdir()
    (top / "livekit_secret").write_text(f"{SECRET}\n")
    (top / "livekit_secret").chmod(0o600)
    (top / "acme" / "archive" / "matrixrtc" / "privkey1.pem").write_bytes(b"\x00\xffkey")
    (top / "acme" / "archive" / "matrixrtc" / "privkey1.pem").chmod(0o600)
    (top / "acme" / "live" / "matrixrtc" / "privkey.pem").symlink_to("../../archive/matrixrtc/privkey1.pem")
    (top / "firewall.json").write_text("what the operator had")
    return top


@pytest.fixture
def paths(folder: Path) -> list[str]:
    return [str(folder / "livekit_secret"), str(folder / "as_token"), str(folder / "acme")]


def everything(folder: Path) -> dict[str, tuple[int, Any]]:
    """All that is below a folder: modes, contents and targets."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content: Any = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return found


def moved(folder: Path, away: str = "gone") -> None:
    """The host is another one from now on."""
    folder.rename(folder.with_name(away))


def test_what_was_read_is_put_back_as_it_was(folder, paths):
    before = everything(folder)
    entries = json.loads(json.dumps(collect(paths)))
    moved(folder)
    outcome = restore(entries, paths, other_goes=False, dry=False)
    del before["firewall.json"]
    assert everything(folder) == before
    assert len(outcome.files) == len(before)
    assert restore(entries, paths, other_goes=False, dry=False).files == []


def test_what_belongs_to_the_host_is_not_read(paths):
    assert not [entry for entry in collect(paths) if "firewall" in entry["path"]]


def test_a_check_writes_nothing(folder, paths):
    entries = collect(paths)
    moved(folder)
    assert str(folder / "livekit_secret") in restore(entries, paths, other_goes=False, dry=True).files
    assert not folder.exists()


def test_another_identity_stays_and_nothing_is_written(folder, paths):
    entries = collect(paths)
    moved(folder)
    folder.mkdir()
    (folder / "livekit_secret").write_text("another\n")
    with pytest.raises(IdentityError, match=r"identity of its own: \S+livekit_secret$"):
        restore(entries, paths, other_goes=False, dry=False)
    assert everything(folder) == {"livekit_secret": (0o100644, b"another\n")}
    restore(entries, paths, other_goes=True, dry=False)
    assert (folder / "livekit_secret").read_text() == f"{SECRET}\n"
    assert (folder / "livekit_secret").stat().st_mode & 0o777 == 0o600


def test_each_host_gets_its_own(folder, paths):
    entries = collect(paths)
    moved(folder)
    assert restore(entries, paths[:1], other_goes=False, dry=False).files == paths[:1]
    assert sorted(everything(folder)) == ["livekit_secret"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"path": "TOP/acme/../../passwd", "kind": "file", "mode": "0600", "content": ""}, "not plain"),
        ({"path": "TOP/acme/../x", "kind": "folder", "mode": "0700"}, "not plain"),
        ({"path": "acme/x", "kind": "file", "mode": "0600", "content": ""}, "not plain"),
        ({"path": "TOP/acme/x", "kind": "link", "mode": "0777", "target": "/etc/shadow"}, "leads out"),
        ({"path": "TOP/acme/x", "kind": "link", "mode": "0777", "target": "../../../x"}, "leads out"),
        ({"path": "TOP/acme/x", "kind": "pipe", "mode": "0600"}, "neither a file"),
        ({"path": "TOP/acme/x", "kind": "file", "mode": "0600", "content": "%"}, "cannot be read"),
        ({"path": "TOP/acme/x", "kind": "file", "mode": "rw", "content": ""}, "no mode"),
        ({"path": "TOP/acme/x", "kind": "file", "content": ""}, "no mode"),
    ],
)
def test_a_backup_that_was_tampered_with_is_refused(folder, paths, entry, says):
    before = everything(folder)
    entry["path"] = entry["path"].replace("TOP", str(folder))
    with pytest.raises(IdentityError, match=says) as caught:
        restore([entry], paths, other_goes=True, dry=False)
    assert "content" not in str(caught.value) or says == "cannot be read"
    assert everything(folder) == before


def test_no_file_becomes_more_than_it_may(folder, paths):
    entry = {"path": paths[0], "kind": "file", "mode": "4777", "content": base64.b64encode(b"x").decode()}
    restore([entry], paths, other_goes=True, dry=False)
    assert os.stat(paths[0]).st_mode & 0o7777 == 0o755


# The file on the controller


def test_a_document_holds_the_entries_of_all_hosts():
    text = document("example.org", "20261127T040000Z", {"rtc": [{"path": "/a"}], "redis": [{"path": "/b"}]})
    assert entries_in(text, "example.org") == [{"path": "/a"}, {"path": "/b"}]


@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        ({"rtc": [], "redis": []}, "nothing to save on rtc, redis. Run site.yml first"),
        ({"rtc": [{"path": "/a"}], "redis": ""}, "redis was not read"),
    ],
)
def test_half_a_backup_is_none(hosts, says):
    with pytest.raises(BackupError, match=says):
        document("example.org", "20261127T040000Z", hosts)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a backup of a site"),
        ("[]", "not a backup of a site"),
        ('{"format": 1}', "not a backup of a site"),
        ('{"format": 2}', "has the format 2"),
        ('{"format": 1, "server_name": "other.org", "entries": []}', "It is the backup of other.org"),
    ],
)
def test_what_is_no_backup_of_the_site_is_refused(text, says):
    with pytest.raises(BackupError, match=says):
        entries_in(text, "example.org")


def test_the_last_backup_of_the_site_is_taken(tmp_path):
    for name in (
        file_name("example.org", "20261127T040000Z", is_encrypted=True),
        file_name("example.org", "20261128T040000Z", is_encrypted=False),
        file_name("example.org", "20261126T040000Z", is_encrypted=True),
        file_name("sub.example.org", "20261201T040000Z", is_encrypted=True),
        "example.org_notes.vault",
    ):
        (tmp_path / name).touch()
    assert newest(str(tmp_path), "example.org") == str(tmp_path / "example.org_20261128T040000Z.json")
    for missing in (str(tmp_path), str(tmp_path / "absent")):
        with pytest.raises(BackupError, match=r"no backup of other\.org"):
            newest(missing, "other.org")


def test_a_port_in_the_name_makes_no_folder():
    assert file_name("[2001:db8::1]:8448", "20261127T040000Z", is_encrypted=True).startswith("-2001-db8")


@pytest.mark.parametrize(
    ("password", "unencrypted", "says"),
    [("", False, "matrixrtc_backup_password is not set"), ("hunter2", True, "shorter than 12")],
)
def test_secrets_are_not_written_in_plain_text_by_oversight(password, unencrypted, says):
    with pytest.raises(BackupError, match=says) as caught:
        check_password(password, unencrypted)
    assert "hunter2" not in str(caught.value)


def test_plain_text_on_request():
    check_password("", unencrypted=True)
    check_password("correct horse battery", unencrypted=False)


def test_nobody_else_may_read_it_and_nothing_is_overwritten(tmp_path):
    path = tmp_path / "backups" / "example.org.vault"
    write_new(str(path), "x")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with pytest.raises(FileExistsError):
        write_new(str(path), "y")
