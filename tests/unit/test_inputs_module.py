"""The module valid_inputs as Ansible runs it: what it returns, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
MODULE = "ansible_collections.matrixrtc.backend.plugins.modules.valid_inputs"
PASSWORD = "redis-hunter2"  # a free setting that nobody may see
BAD = {"server_name": "https://example.org", "extra_environment": {"LIVEKIT_REDIS_PASSWORD": PASSWORD}}


def run(**arguments: Any) -> tuple[int, dict[str, Any], str]:
    """Run the module on this machine; returns its exit status, result and whole output."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / ".ansible" / "collections")}
    single = {"component": "lk_jwt_service", **arguments}
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments if "collected" in arguments else single}),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


def test_it_fails_with_all_problems() -> None:
    status, result, _output = run(inputs={**BAD, "domain": ""}, secret="secret")
    assert status != 0
    assert result["msg"].splitlines() == [
        "Nothing was changed. Correct these inputs:",
        *(f"- {problem['message']}" for problem in result["problems"]),
    ]
    assert [problem["variable"] for problem in result["problems"]] == [
        "matrixrtc_server_name",
        "matrixrtc_domain",
        "matrixrtc_livekit_secret",
    ]


def test_what_was_collected_is_checked_together_and_told_once() -> None:
    collected = [{"component": name, "inputs": BAD} for name in ("lk_jwt_service", "firewall")]
    status, result, _output = run(collected=collected, problems=["the play's own"])
    assert status != 0
    assert [problem["variable"] for problem in result["problems"]] == ["matrixrtc_server_name"]
    assert result["msg"].splitlines()[1:] == [
        f"- {result['problems'][0]['message']}",
        "- the play's own",
    ]


def test_good_inputs_change_nothing() -> None:
    status, result, _output = run(inputs={"server_name": "example.org", "domain": "rtc.example.org"})
    assert (status, result["changed"], result["problems"]) == (0, False, [])


def test_warnings_reach_ansible() -> None:
    _status, result, _output = run(
        inputs={"allow_any_homeserver": "yes", "full_access_homeservers": ["example.org"]}
    )
    assert len(result["warnings"]) == 1
    assert "matrixrtc_allow_any_homeserver" in str(result["warnings"])


def test_messages_stay_readable_when_the_secret_is_a_word_of_theirs() -> None:
    """Ansible would turn matrixrtc_livekit_secret into matrixrtc_livekit_********."""
    for secret in ("secret", "livekit", "Set"):
        _status, result, _output = run(inputs={}, secret=secret)
        (problem,) = result["problems"]
        assert problem["variable"] == "matrixrtc_livekit_secret"
        assert problem["message"].startswith("matrixrtc_livekit_secret ")


def test_neither_secret_nor_inputs_come_back() -> None:
    secret = "Zq8vT1xWc4Rk9sLm"
    one = {"component": "lk_jwt_service", "inputs": BAD, "secret": secret}
    for arguments in (one, {"collected": [one]}):
        _status, result, output = run(**arguments)
        assert secret not in output
        assert PASSWORD not in output
        assert result["invocation"]["module_args"] == {"component": ["lk_jwt_service"]}


def test_a_play_collects_without_showing_and_checks_at_the_end(tmp_path: Path) -> None:
    secret = "Zq8vT1xWc4Rk9sLm"
    collect = {"component": "lk_jwt_service", "inputs": BAD, "secret": secret, "collect": "yes"}
    tasks = [
        {"matrixrtc.backend.valid_inputs": collect, "register": "noted"},
        {"matrixrtc.backend.valid_inputs": {"collected": ["{{ noted.collected }}"]}},
    ]
    book = tmp_path / "play.yml"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path),
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".ansible" / "collections"),
    }
    command = [
        Path(sys.executable).parent / "ansible-playbook",
        "-i",
        "localhost,",
        "-c",
        "local",
        "-vvv",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
        book,
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "matrixrtc_server_name: 'https://example.org' has a scheme." in done.stdout
    assert "matrixrtc_livekit_secret has 16 characters" in done.stdout
    assert secret not in done.stdout + done.stderr


def test_unknown_components_are_refused() -> None:
    status, result, _output = run(component="coturn", inputs={})
    assert status != 0
    assert "component" in result["msg"]
