"""A site that was saved and taken away is the same one again where it is restored."""

from __future__ import annotations

from pathlib import Path

import pytest
import steps
from lab_playbooks import play

SECRET = "/etc/matrixrtc/livekit_secret"
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What an operator has in a vault, and where backups go."""
    folder = tmp_path_factory.mktemp("backup")
    (folder / "vault.yml").write_text(
        f"matrixrtc_backup_password: {PASSWORD}\nmatrixrtc_backup_dir: {folder}/backups\n"
    )
    return ("-e", f"@{folder}/vault.yml")


def test_the_way_there_and_back(rtc, secrets):
    before = rtc.file(SECRET).content_string
    running = steps.running(rtc)
    saved = play("backup", *secrets).ok()
    assert steps.running(rtc) == running
    (backup,) = (Path(secrets[1][1:]).parent / "backups").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600

    play("uninstall").ok()
    assert not rtc.file("/etc/matrixrtc").exists
    looked = play("restore", *secrets, "--check").ok()
    assert not rtc.file(SECRET).exists
    restored = play("restore", *secrets).ok()
    assert looked.changed == restored.changed == 1
    assert play("restore", *secrets).ok().changed == 0
    assert (rtc.file(SECRET).mode, rtc.file(SECRET).user) == (0o600, "root")
    for run in (saved, looked, restored):
        for secret in (before.strip(), PASSWORD):
            assert secret not in run.output

    play("site").ok()
    assert rtc.file(SECRET).content_string == before
    assert play("site").ok().changed == 0
    steps.assert_calls_work()


def test_a_site_that_lives_there_is_not_replaced(rtc, secrets):
    kept = rtc.file(SECRET).content_string
    rtc.check_output(f"sed -i s/^.../new/ {SECRET}")
    refused = play("restore", *secrets)
    assert refused.status != 0
    assert "this host has an identity of its own" in refused.output
    assert rtc.file(SECRET).content_string != kept
    play("restore", *secrets, "-e", "matrixrtc_restore_replace=true").ok()
    assert rtc.file(SECRET).content_string == kept
    assert play("site").ok().changed == 0


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
