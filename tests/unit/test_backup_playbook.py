"""backup.yml and restore.yml as they are run: the way there and back, and what nobody may see on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
SECRET = "k7Wq2mZx9Lr4Tn8Vb3Yd6Hc1Pf5Sg0Ju"
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----redis"
PASSWORD = "correct horse battery staple"


@dataclass
class Sites:
    """A site whose hosts are folders of this machine, and the controller."""

    top: Path

    @property
    def backups(self) -> list[Path]:
        return sorted((self.top / "backups").glob("*"))

    def host(self, name: str) -> Path:
        return self.top / "etc" / name

    def moves(self) -> None:
        """The hosts are new ones from now on."""
        (self.top / "etc").rename(self.top / "old")

    def play(
        self, playbook: str, hosts: dict[str, list[str]], *options: str, **variables: object
    ) -> tuple[int, str]:
        """Run a playbook; `hosts`: by group. Returns its exit status and all it printed."""
        given = {
            "matrixrtc_server_name": "example.org",
            "matrixrtc_domain": "rtc.example.org",
            "matrixrtc_backup_dir": str(self.top / "backups"),
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "common_config_dir": f"{self.top}/etc/{{{{ inventory_hostname }}}}",
            **variables,
        }
        children = {group: {"hosts": {name: {} for name in names}} for group, names in hosts.items()}
        inventory = self.top / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"all": {"vars": given, "children": children}}))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.top / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.top / "remote"),
            "ANSIBLE_NOCOLOR": "1",
        }
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        command = [program, "-i", str(inventory), "-vvv", "--diff", *options, str(REPOSITORY / playbook)]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        output = done.stdout + done.stderr
        for secret in (SECRET, PRIVATE_KEY, PASSWORD):
            assert secret not in output
        return done.returncode, output


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    sites = Sites(tmp_path)
    sites.host("rtc").mkdir(parents=True)
    (sites.host("rtc") / "livekit_secret").write_text(f"{SECRET}\n")
    (sites.host("rtc") / "livekit_secret").chmod(0o600)
    (sites.host("redis") / "redis").mkdir(parents=True)
    (sites.host("redis") / "redis" / "private_key.pem").write_text(PRIVATE_KEY)
    return sites


HOSTS = {"matrixrtc_rtc": ["rtc"], "matrixrtc_redis": ["redis"]}


def changed(output: str) -> int:
    return sum(map(int, re.findall(r"changed=(\d+)", output)))


def test_the_way_there_and_back(sites: Sites) -> None:
    status, output = sites.play("backup.yml", HOSTS, matrixrtc_backup_password=PASSWORD)
    assert status == 0, output
    (backup,) = sites.backups
    assert re.fullmatch(r"example\.org_\d{8}T\d{6}Z\.vault", backup.name)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert str(backup) in output
    assert backup.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")

    sites.moves()
    status, output = sites.play("restore.yml", HOSTS, "--check", matrixrtc_backup_password=PASSWORD)
    assert (status, changed(output)) == (0, 2), output
    assert not sites.host("rtc").exists()

    status, output = sites.play("restore.yml", HOSTS, matrixrtc_backup_password=PASSWORD)
    assert (status, changed(output)) == (0, 2), output
    assert (sites.host("rtc") / "livekit_secret").read_text() == f"{SECRET}\n"
    assert (sites.host("redis") / "redis" / "private_key.pem").read_text() == PRIVATE_KEY
    assert sorted(path.name for path in sites.host("rtc").iterdir()) == ["livekit_secret"]
    assert f"{sites.host('rtc')}/livekit_secret from {backup}. Run site.yml" in " ".join(output.split())

    status, output = sites.play("restore.yml", HOSTS, matrixrtc_backup_password=PASSWORD)
    assert (status, changed(output)) == (0, 0), output

    (sites.host("redis") / "redis" / "private_key.pem").write_text("another")
    (sites.host("rtc") / "livekit_secret").unlink()
    status, output = sites.play("restore.yml", HOSTS, matrixrtc_backup_password=PASSWORD)
    assert status != 0
    assert "this host has an identity of its own" in output
    assert "matrixrtc_restore_replace" in output
    assert not (sites.host("rtc") / "livekit_secret").exists(), "the other hosts wait for all"


def test_ansible_vault_opens_it(sites: Sites) -> None:
    """So that nobody needs this collection to get at their secrets."""
    sites.play("backup.yml", HOSTS, matrixrtc_backup_password=PASSWORD)
    (sites.top / "password").write_text(PASSWORD)
    program = str(Path(sys.executable).with_name("ansible-vault"))
    words = [program, "view", "--vault-password-file", str(sites.top / "password"), str(sites.backups[0])]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(shown)["server_name"] == "example.org"


def test_no_password_is_no_backup(sites: Sites) -> None:
    status, output = sites.play("backup.yml", HOSTS)
    assert status != 0
    assert "matrixrtc_backup_password is not set, and a backup holds secrets" in output
    assert sites.backups == []


def test_plain_text_where_it_is_asked_for(sites: Sites) -> None:
    status, output = sites.play("backup.yml", HOSTS, matrixrtc_backup_unencrypted=True)
    assert status == 0, output
    (backup,) = sites.backups
    assert backup.suffix == ".json"
    assert backup.stat().st_mode & 0o777 == 0o600
    sites.moves()
    status, output = sites.play("restore.yml", HOSTS, matrixrtc_restore_file=str(backup))
    assert status == 0, output
    assert (sites.host("rtc") / "livekit_secret").read_text() == f"{SECRET}\n"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"matrixrtc_backup_password": "another password"}, "is not the password it was saved with"),
        ({}, "It is encrypted, and matrixrtc_backup_password is not set"),
        ({"matrixrtc_backup_dir": "/nonexistent"}, "There is no backup of example.org in /nonexistent"),
        ({"matrixrtc_restore_file": "/nonexistent"}, "No such file"),
        (
            {"matrixrtc_server_name": "other.org", "matrixrtc_restore_file": "BACKUP"},
            "is the backup of example.org",
        ),
    ],
)
def test_what_cannot_be_restored_says_why(sites: Sites, variables: dict[str, str], says: str) -> None:
    sites.play("backup.yml", HOSTS, matrixrtc_backup_password=PASSWORD)
    sites.moves()
    if "BACKUP" in variables.values():
        variables = {
            **variables,
            "matrixrtc_restore_file": str(sites.backups[0]),
            "matrixrtc_backup_password": PASSWORD,
        }
    status, output = sites.play("restore.yml", HOSTS, **variables)
    assert status != 0
    assert says in output
    assert not sites.host("rtc").exists()


def test_a_site_that_was_never_deployed_has_nothing_to_save(sites: Sites) -> None:
    sites.moves()
    status, output = sites.play("backup.yml", HOSTS, matrixrtc_backup_password=PASSWORD)
    assert status != 0
    assert "There is nothing to save on redis, rtc" in output
    assert sites.backups == []


def test_a_part_of_a_site_is_not_saved(sites: Sites) -> None:
    status, output = sites.play("backup.yml", HOSTS, "--limit=rtc", matrixrtc_backup_password=PASSWORD)
    assert status != 0
    assert "redis was not read" in output
    assert sites.backups == []
