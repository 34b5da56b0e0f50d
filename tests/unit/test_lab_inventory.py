# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The inventory a lab writes: what the playbooks and molecule rely on."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager

from lab import definitions, inventory
from lab.artifacts import Artifact
from lab.users import User

LAB = definitions.load().labs["default"]
LIVEKIT = Artifact(
    "livekit", "1.13.5", "livekit_1.13.5_linux_amd64.tar.gz", "/x", "0" * 64, "built from Go module v1.13.5"
)
STAND_IN = Artifact(
    "token_service", "0.8.0", "lk-jwt-service_linux_amd64", "/y", "1" * 64, "lab stand-in (contract of 0.8)"
)


def test_groups_and_hosts() -> None:
    children = inventory.build(LAB, [LIVEKIT, STAND_IN], {})["all"]["children"]
    for group in ("matrixrtc_rtc", "matrixrtc_homeserver", "matrixrtc_well_known"):
        assert list(children[group]["hosts"]) == ["d13", "d12"]
    assert children["lab_client"]["hosts"]["client"] == {
        "ansible_host": "matrixrtc-default-client",
        "ansible_python_interpreter": "/opt/probe/bin/python",
    }


def test_a_site_is_described_as_an_operator_would() -> None:
    hosts = inventory.build(LAB, [], {})["all"]["hosts"]
    assert hosts["d13"] == {
        "ansible_host": "matrixrtc-default-d13",
        "ansible_python_interpreter": "/usr/bin/python3",
        "matrixrtc_server_name": "d13.test",
        "matrixrtc_domain": "rtc.d13.test",
        "matrixrtc_tls_certificate": "/etc/ssl/lab/rtc.d13.test.crt",
        "matrixrtc_tls_private_key": "/etc/ssl/lab/rtc.d13.test.key",
    }
    assert hosts["d12"]["well_known_served_by"] == "synapse"


def test_a_site_on_several_hosts() -> None:
    split = definitions.load().labs["split"]
    content = inventory.build(split, [], {})["all"]
    children = content["children"]
    assert {group: list(children[group]["hosts"]) for group in inventory.GROUPS} == {
        "matrixrtc_rtc": ["rtc"],
        "matrixrtc_homeserver": ["homeserver"],
        "matrixrtc_well_known": [],  # the web server is somebody else's
    }
    assert content["hosts"]["homeserver"] == {
        "ansible_host": "matrixrtc-split-homeserver",
        "ansible_python_interpreter": "/usr/bin/python3",
        "matrixrtc_server_name": "split.test",
        "matrixrtc_domain": "rtc.split.test",
    }


def test_an_operators_own_variables() -> None:
    hosts = inventory.build(definitions.load().labs["existing"], [], {})["all"]["hosts"]
    assert hosts["existing"]["synapse_config_files"] == ["/srv/synapse/homeserver.yaml"]


def test_an_example_inventory_has_the_groups_and_the_lab_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = tmp_path / "examples" / "default"
    (example / "group_vars" / "all").mkdir(parents=True)
    (example / "hosts.yml").write_text("all: {children: {matrixrtc_rtc: {hosts: {d13: {}}}}}\n")
    (example / "group_vars" / "all" / "main.yml").write_text("matrixrtc_server_name: example.org\n")
    monkeypatch.setattr(inventory, "EXAMPLES", tmp_path / "examples")
    inventory.write(tmp_path / "inventory", LAB, [], {"d13.test": [], "d12.test": []}, {})
    loader = DataLoader()
    manager = InventoryManager(loader=loader, sources=[str(tmp_path / "inventory")])
    assert [host.name for host in manager.groups["matrixrtc_rtc"].hosts] == ["d13"]
    assert "matrixrtc_homeserver" not in manager.groups
    variables = VariableManager(loader=loader, inventory=manager).get_vars(host=manager.get_host("d13"))
    assert variables["matrixrtc_server_name"] == "d13.test"


def test_calls_are_placed_for_the_rtc_host(tmp_path: Path) -> None:
    alice = User("@alice:split.test", "syt_secret", "DEVICE", "correct horse")
    inventory.write(tmp_path, definitions.load().labs["split"], [], {"split.test": [alice]}, {})
    assert [path.parent.name for path in tmp_path.glob("host_vars/*/users.yml")] == ["rtc"]


def test_every_report_can_say_where_components_come_from() -> None:
    older = Artifact("livekit", "1.13.4", "a", "/z", "2" * 64, "another")
    variables = inventory.lab_variables([LIVEKIT, older, STAND_IN])
    assert variables["matrixrtc_lab_sources"] == {
        "livekit": "built from Go module v1.13.5",
        "token_service": "lab stand-in (contract of 0.8)",
    }
    assert (
        variables["matrixrtc_release_url"] == variables["matrixrtc_release_api_url"] == "http://mirror.test"
    )


def test_versions_are_set_only_when_the_user_chose_them() -> None:
    assert "livekit_version" not in inventory.lab_variables([LIVEKIT, STAND_IN])
    chosen = Artifact("livekit", "1.13.9", "a", "/z", "2" * 64, "the file x (LAB_LIVEKIT)", chosen=True)
    variables = inventory.lab_variables([chosen, STAND_IN])
    assert variables["livekit_version"] == "1.13.9"
    assert "lk_jwt_service_version" not in variables


def test_tokens_are_for_their_owner_only_and_passwords_stay_out(tmp_path: Path) -> None:
    alice = User("@alice:d13.test", "syt_secret", "DEVICE", "correct horse")
    ops = User("@ops:d13.test", "syt_power", "DEVICE", "correct horse", admin=True)
    inventory.write(tmp_path, LAB, [LIVEKIT, STAND_IN], {"d13.test": [alice, ops], "d12.test": []}, {})
    file = tmp_path / "host_vars" / "d13" / "users.yml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert yaml.safe_load(file.read_text()) == {
        "matrixrtc_probe_users": [{"user_id": "@alice:d13.test", "access_token": "syt_secret"}],
        "matrixrtc_admin_token": "syt_power",
    }
    public = (tmp_path / "hosts.yml").read_text()
    assert "syt_secret" not in public
    assert "syt_power" not in public
    assert yaml.safe_load(public) == inventory.build(LAB, [LIVEKIT, STAND_IN], {})
