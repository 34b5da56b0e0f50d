# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The folders below lab/operators: how one becomes the files of a host, and that each of them does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lab import definitions, operators, site
from lab.errors import LabError
from lab.operators import HostFile

SETTINGS = definitions.load()
SECRETS = site.SynapseSecrets("reg-secret", "mac-secret", "form-secret", "ed25519 a_lab c2VlZA\n")


@dataclass
class FakeSite:
    server_name: str = "a.test"


def write(root: Path, name: str, yml: str, files: dict[str, str], dockerfile: str = "") -> Path:
    """An operator's folder below `root`."""
    folder = root / name
    folder.mkdir(parents=True)
    for path, text in files.items():
        (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / path).write_text(text, newline="")
    (folder / "operator.yml").write_text(yml)
    if dockerfile:
        (folder / "Dockerfile").write_text(dockerfile)
    return folder


def made(root: Path, name: str) -> dict[str, HostFile]:
    return {file.path: file for file in operators.load(root)[name].files(site=FakeSite(), secret="x")}


def test_files_lie_on_the_host_as_they_are_and_templates_are_rendered(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "ann",
        "parts: [web]\npermissions:\n  /etc/key: {uid: 7, gid: 8, mode: '0640'}\n",
        {
            "etc/plain": "{{ no template }}\r\n",
            "etc/key.j2": "{{ secret }}\n",
            "etc/none.j2": "{% if false %}\nnothing\n{% endif %}\n",
            "srv/SERVER_NAME/x": "y",
            "usr/run": "#!/bin/sh\n",
        },
    )
    (folder / "files/usr/run").chmod(0o755)
    (folder / "files/etc/link").symlink_to("/etc/plain")
    found = made(tmp_path, "ann")
    assert found["/etc/plain"] == HostFile("/etc/plain", "{{ no template }}\r\n")
    assert found["/etc/key"] == HostFile("/etc/key", "x\n", 0o640, 7, 8)
    assert found["/etc/link"] == HostFile("/etc/link", link="/etc/plain")
    assert found["/usr/run"].mode == 0o755
    assert set(found) == {"/etc/plain", "/etc/key", "/etc/link", "/usr/run", "/srv/a.test/x"}


def test_an_operator_like_another_one(tmp_path: Path) -> None:
    write(tmp_path, "ann", "parts: [web]\nunits: [nginx]\n", {"a": "1", "b": "1"}, "FROM SITE\nRUN x\n")
    write(tmp_path, "bob", "like: ann\nunits: [ssh]\n", {"b": "2"})
    found = made(tmp_path, "bob")
    assert (found["/a"].text, found["/b"].text) == ("1", "2")
    bob = operators.load(tmp_path)["bob"]
    assert (bob.parts, bob.units, bob.dockerfile) == (("web",), ("ssh",), "FROM SITE\nRUN x\n")


@pytest.mark.parametrize(
    ("yml", "said"),
    [
        ("parts: [web]\npackages: [ufw]\n", "unknown packages"),
        ("units: [nginx]\n", "use web, homeserver, rtc"),
        ("parts: [mail]\n", "use web, homeserver, rtc"),
        ("parts: [homeserver]\n", "needs python, config and url"),
        ("parts: [web]\npermissions:\n  /x: {mode: rw}\n", "such as '0640'"),
        ("parts: [web]\npermissions:\n  /x: {owner: root}\n", "such as '0640'"),
    ],
)
def test_what_is_refused(tmp_path: Path, yml: str, said: str) -> None:
    write(tmp_path, "ann", yml, {})
    with pytest.raises(LabError, match=said):
        operators.load(tmp_path)


@pytest.mark.parametrize("lab", SETTINGS.labs.values(), ids=lambda lab: lab.name)
def test_every_host_of_labs_yml_can_be_set_up(lab: definitions.Lab) -> None:
    addresses = {"client": "172.30.0.3", **{host.name: "172.30.0.10" for _site, host in lab.places}}
    addresses |= {f"{name}.second": "172.30.0.110" for name in list(addresses)}
    for one, host in lab.places:
        files = host.operator.files(
            site=one, host=host, image=SETTINGS.images[host.image], secrets=SECRETS, addresses=addresses
        )
        paths = {file.path for file in files}
        assert set(host.operator.permissions) <= paths
        for file in files:
            assert "SERVER_NAME" not in file.path + file.text
            text = re.sub(r"(?m)#.*", "", file.text.replace(site.CA_FILE, ""))
            for ours in ("matrixrtc", "livekit", "msc4143", "msc4222"):
                assert ours not in text, f"{file.path} knows of {ours}"
            if file.path.endswith((".yaml", ".yml")) and not file.link:
                assert isinstance(yaml.safe_load(file.text), dict), file.path
        if host.operator.homeserver:
            assert host.operator.homeserver["config"] in paths


@pytest.mark.parametrize("operator", SETTINGS.operators.values(), ids=lambda operator: operator.name)
def test_images_of_operators_are_built_on_the_sites(operator: operators.Operator) -> None:
    assert not operator.dockerfile or operator.dockerfile.count("FROM SITE\n") == 1
