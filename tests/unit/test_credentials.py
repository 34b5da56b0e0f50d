"""The secret is made once, kept for good, private, and the same in every file."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.credentials import (
    CredentialFile,
    CredentialsError,
    provide,
    remove,
)

GIVEN = "q8Zk3Vn6Xb1Rw9Lt4Yp7Hd2Mf5Cg0SjT"
ME = os.geteuid()
MINE = os.getegid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "hostname").write_text("rtc\n")
    return tmp_path / "etc" / "matrixrtc"


@pytest.fixture
def secret(folder: Path) -> str:
    return str(folder / "livekit_secret")


@pytest.fixture
def files(folder: Path) -> list[CredentialFile]:
    return [
        CredentialFile(str(folder / "livekit" / "keys.yaml"), ME, MINE, format="livekit_keys"),
        CredentialFile(str(folder / "jwt" / "key"), ME, MINE, format="key"),
        CredentialFile(str(folder / "jwt" / "secret"), ME, MINE, format="secret"),
    ]


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_made_once_and_kept(secret: str, files: list[CredentialFile]) -> None:
    first = provide("matrixrtc", "", secret, files)
    assert (first.changed, first.generated) == (True, True)
    made = Path(secret).read_text()
    assert re.fullmatch(r"[A-Za-z0-9]{48}\n", made)
    again = provide("matrixrtc", "", secret, files)
    assert (again.changed, again.generated, again.files) == (False, False, [])
    assert Path(secret).read_text() == made


def test_two_hosts_have_two_secrets(tmp_path: Path) -> None:
    for host in ("a", "b"):
        provide("matrixrtc", "", str(tmp_path / host / "secret"), [])
    assert (tmp_path / "a" / "secret").read_text() != (tmp_path / "b" / "secret").read_text()


def test_every_service_reads_the_same_pair(secret: str, files: list[CredentialFile]) -> None:
    provide("123", "", secret, files)
    known = Path(secret).read_text().strip()
    assert yaml.safe_load(Path(files[0].path).read_text()) == {"123": known}
    assert Path(files[1].path).read_text() == "123\n"
    assert Path(files[2].path).read_text() == f"{known}\n"


def test_modes(secret: str, files: list[CredentialFile], folder: Path) -> None:
    before = os.umask(0o077)
    try:
        provide("matrixrtc", "", secret, files)
    finally:
        os.umask(before)
    assert mode(secret) == 0o600
    assert {mode(file.path) for file in files} == {0o640}
    assert {mode(path) for path in (folder, folder / "livekit", folder / "jwt")} == {0o755}


def test_modes_that_were_opened_are_closed_again(secret: str, files: list[CredentialFile]) -> None:
    provide("matrixrtc", "", secret, files)
    for path in (secret, files[0].path):
        os.chmod(path, stat.S_IRUSR | stat.S_IROTH)
    assert provide("matrixrtc", "", secret, files).files == [secret, files[0].path]
    assert (mode(secret), mode(files[0].path)) == (0o600, 0o640)


def test_given_secret_wins_and_is_kept_afterwards(secret: str, files: list[CredentialFile]) -> None:
    provide("matrixrtc", "", secret, files)
    outcome = provide("matrixrtc", GIVEN, secret, files)
    assert (outcome.generated, set(outcome.files)) == (False, {secret, files[0].path, files[2].path})
    assert Path(files[2].path).read_text() == f"{GIVEN}\n"
    assert provide("matrixrtc", GIVEN, secret, files).changed is False
    assert provide("matrixrtc", "", secret, files).changed is False


def test_secret_of_the_operator_is_not_reformatted(secret: str, files: list[CredentialFile]) -> None:
    Path(secret).parent.mkdir()
    Path(secret).write_text(GIVEN)
    os.chmod(secret, stat.S_IRUSR | stat.S_IWUSR)
    outcome = provide("matrixrtc", "", secret, files)
    assert secret not in outcome.files
    assert Path(secret).read_text() == GIVEN
    assert Path(files[2].path).read_text() == f"{GIVEN}\n"


@pytest.mark.parametrize("kept", ["", "short", "two words that are long enough together"])
def test_a_kept_secret_that_is_none_is_refused_and_not_replaced(
    secret: str, files: list[CredentialFile], kept: str
) -> None:
    Path(secret).parent.mkdir()
    Path(secret).write_text(kept)
    with pytest.raises(CredentialsError, match=re.escape(secret)) as caught:
        provide("matrixrtc", "", secret, files)
    assert Path(secret).read_text() == kept
    assert not kept or kept not in str(caught.value)
    assert provide("matrixrtc", GIVEN, secret, files).changed is True


def test_a_short_given_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        provide("matrixrtc", "hunter2-hunter2", secret, [])
    assert "hunter2" not in str(caught.value)
    assert not os.path.exists(secret)


def test_another_run_that_was_first_wins(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and writing somebody else may have made one: it must not be replaced."""
    real = os.fsync

    def other_run(descriptor: int) -> None:
        Path(secret).write_text(GIVEN)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", other_run)
    outcome = provide("matrixrtc", "", secret, [])
    assert outcome.generated
    assert Path(secret).read_text() == GIVEN
    assert os.listdir(os.path.dirname(secret)) == ["livekit_secret"]


def test_check_mode_on_a_bare_host(secret: str, files: list[CredentialFile], folder: Path) -> None:
    strangers = [replace(file, group="lk-jwt-service-to-be") for file in files]
    outcome = provide("matrixrtc", "", secret, strangers, dry=True)
    assert (outcome.changed, outcome.generated) == (True, True)
    assert outcome.folders == [str(folder), str(folder / "livekit"), str(folder / "jwt")]
    assert not folder.exists()


def test_check_mode_afterwards(secret: str, files: list[CredentialFile]) -> None:
    provide("matrixrtc", "", secret, files)
    assert provide("matrixrtc", "", secret, files, dry=True).changed is False
    assert provide("other", "", secret, files, dry=True).files == [files[0].path, files[1].path]
    assert provide("matrixrtc", GIVEN, secret, files, dry=True).changed is True
    assert Path(files[1].path).read_text() == "matrixrtc\n"
    os.chmod(files[1].path, stat.S_IRUSR)
    assert provide("matrixrtc", "", secret, files, dry=True).files == [files[1].path]


def test_check_mode_where_a_group_is_yet_to_come(secret: str, files: list[CredentialFile]) -> None:
    provide("matrixrtc", "", secret, files)
    stranger = replace(files[0], group="livekit-to-be")
    assert provide("matrixrtc", "", secret, [stranger], dry=True).files == [files[0].path]


def test_unknown_group_is_an_error_outside_check_mode(secret: str, files: list[CredentialFile]) -> None:
    with pytest.raises(LookupError, match="nobody-knows"):
        provide("matrixrtc", "", secret, [replace(files[0], group="nobody-knows")])


def test_remove_takes_empty_folders_with_it(secret: str, files: list[CredentialFile], folder: Path) -> None:
    provide("matrixrtc", "", secret, files)
    jwt = [file.path for file in files[1:]]
    assert remove(jwt, dry=True).changed is True
    assert remove(jwt).changed is True
    assert sorted(os.listdir(folder)) == ["livekit", "livekit_secret"]
    remove([files[0].path, secret])
    assert not folder.exists()
    assert folder.parent.exists()
    assert remove([secret]).changed is False
