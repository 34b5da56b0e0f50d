"""verify.yml without an inventory: it says what it needs, and looks at whatever server it is told of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def verify(folder: Path, **variables: object) -> str:
    """The playbook's output, on one line, when it looks at a site without any inventory."""
    (folder / "variables.json").write_text(json.dumps(variables))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "matrixrtc.backend.verify",
            "--extra-vars=@variables.json",
        ],
        cwd=folder,
        env={**os.environ, "ANSIBLE_HOME": str(folder), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    return " ".join(f"{done.stdout} {done.stderr}".split())


def test_a_missing_name_is_asked_for(tmp_path: Path) -> None:
    assert "matrixrtc_server_name is not set. Set it to the part after the colon" in verify(tmp_path)


def test_a_server_that_is_not_there_is_told_with_the_first_thing_that_is_missing(tmp_path: Path) -> None:
    secret = "syt_a_token_of_alice"
    users = [{"user_id": "@alice:nowhere.invalid", "access_token": secret}]
    told = verify(tmp_path, matrixrtc_server_name="nowhere.invalid", matrixrtc_probe_users=users)
    assert "FAIL tls_server_name" in told
    assert "nowhere.invalid has no address in the name service" in told
    assert "skip announcement" in told
    assert "token_health" not in told, "nobody knows where that is"
    assert secret not in told
