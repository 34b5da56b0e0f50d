"""Synapse in a container: edited from the host, judged inside, and nothing of the judging stays behind."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import synapse_proof
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_check import (
    Synapse,
    SynapseError,
    Verdict,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_files import read_layout
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_proof import MARK, differences, shape

PREFIX = ("docker", "exec", "-u", "991:991", "synapse")
OWNER = f"{os.geteuid()}:{os.getegid()}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "homeserver.yaml").write_text("server_name: lab.test\n")
    return folder


@pytest.fixture
def synapse(data: Path) -> Synapse:
    return Synapse("/usr/local/bin/python", OWNER, "/", PREFIX, {str(data): "/data"})


def judged(synapse: Synapse, data: Path) -> Verdict:
    files = read_layout([str(data / "homeserver.yaml")], "/", "").files
    return synapse.judge(files, files, {"rc_message": shape({"per_second": 1})})


class Engine:
    """Stands for `docker`: answers a command, and looks at what the container would see."""

    def __init__(self, data: Path, status: int = 0, output: str = "", errors: str = "") -> None:
        self.data, self.status, self.output, self.errors = data, status, output, errors
        self.commands: list[list[str]] = []
        self.seen: dict[str, Any] = {}

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if command[-1].startswith("/data/"):
            folder = self.data / command[-1].removeprefix("/data/")
            self.seen = {path.name: path.read_text() for path in folder.iterdir()}
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o400}
            assert "user" not in options
        return subprocess.CompletedProcess(command, self.status, self.output, self.errors)


def test_it_is_judged_inside_on_private_copies_that_go_again(
    synapse: Synapse, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = data / ".matrixrtc-candidates-killed"
    left.mkdir()
    (left / "after-0.yaml").write_text("of a run that was killed")
    engine = Engine(data, output=f'{MARK}{{"accepted": true, "wrong": []}}')
    monkeypatch.setattr(subprocess, "run", engine.run)
    assert judged(synapse, data) == Verdict()
    assert tuple(engine.commands[0][:5]) == PREFIX
    assert engine.commands[0][5] == "/usr/local/bin/python"
    request = json.loads(engine.seen["request.json"])
    assert request["keys_directory"] == "/data"
    assert request["after"] == ["after-0.yaml", "media.yaml"]
    assert engine.seen["after-0.yaml"] == "server_name: lab.test\n"
    assert engine.seen["media.yaml"].startswith("media_store_path: /data/.matrixrtc-candidates-")
    assert [path.name for path in data.iterdir()] == ["homeserver.yaml"]


def test_what_it_says_is_about_the_hosts_files(
    synapse: Synapse, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        answer = f'{MARK}{{"accepted": false, "accepted_before": true}}'
        return subprocess.CompletedProcess(command, 0, answer, f"Error in {command[-1]}/after-0.yaml: bad")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert judged(synapse, data) == Verdict(False, True, (), f"Error in {data}/homeserver.yaml: bad")
    assert [path.name for path in data.iterdir()] == ["homeserver.yaml"]


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ("Error response from daemon: container 4f is not running\n", "is not running. It judges the new"),
        ("Traceback\nimportlib.metadata.PackageNotFoundError: matrix-synapse\n", "has no package"),
    ],
)
def test_a_container_that_cannot_be_asked(
    synapse: Synapse, data: Path, monkeypatch: pytest.MonkeyPatch, errors: str, words: str
) -> None:
    monkeypatch.setattr(subprocess, "run", Engine(data, status=1, errors=errors).run)
    with pytest.raises(SynapseError, match=words):
        synapse.version()


def test_an_engine_that_is_not_there(data: Path) -> None:
    with pytest.raises(SynapseError, match="no-such-engine cannot be run"):
        Synapse("/p", OWNER, "/", ("no-such-engine",), {str(data): "/data"}).version()


def test_paths_inside(synapse: Synapse, data: Path) -> None:
    assert synapse.inside(f"{data}/conf.d") == "/data/conf.d"
    assert synapse.inside(str(data)) == "/data"
    nested = Synapse("/p", OWNER, "/", PREFIX, {"/": "/host", str(data): "/data/"})
    assert nested.inside(f"{data}/a.yaml") == "/data/a.yaml"
    assert nested.inside("/etc/a.yaml") == "/host/etc/a.yaml"
    with pytest.raises(SynapseError, match="in none of the folders that synapse_config_container_paths"):
        synapse.inside(f"{data}-other/a.yaml")


# the proof -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "wanted", "wrong"),
    [
        ({"a": 1}, {"a": 1, "ours": 2}, {"ours": 2}, []),
        ({"a": 1, "b": {"x": 1, "y": [2]}}, {"a": 1, "b": {"y": [2], "x": 1}}, {}, []),
        ({"a": 1}, {"a": True}, {}, ["a"]),
        ({"a": 1}, {}, {}, ["a"]),
        ({"a": 1}, {"a": 1, "b": 2}, {}, ["b"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, {}, ["a"]),
        ({"a": float("nan")}, {"a": float("nan")}, {}, []),
        ({"a": {"b": None}}, {"a": {"b": "None"}}, {}, ["a"]),
        ({1: "x"}, {"1": "x"}, {}, ["1", "1"]),
        ({}, {"ours": 1}, {"ours": 2}, ["ours"]),
        ({"a": {1, 2}}, {"a": {2, 1}}, {}, []),
    ],
)
def test_differences(before: Any, after: Any, wanted: Any, wrong: list[str]) -> None:
    shapes = {key: shape(value) for key, value in wanted.items()}
    assert differences(before, after, json.loads(json.dumps(shapes))) == wrong


def test_a_key_that_is_to_go_has_to_be_gone() -> None:
    assert differences({"ours": 1}, {}, {"ours": None}) == []
    assert differences({"ours": 1}, {"ours": 1}, {"ours": None}) == ["ours"]


def test_the_proof_stands_alone_in_synapses_python() -> None:
    text = Path(synapse_proof.__file__).read_text()
    assert "ansible" not in text.lower().replace("collection", "")
    assert "from ." not in text
