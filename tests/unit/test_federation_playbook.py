"""Whom verify.yml calls from site to site: sites of a run whose probe users exist, and partners besides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import check_inputs

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "playbooks" / "shared" / "federation.yml"


def site(name: str, **variables: Any) -> dict[str, Any]:
    users = [{"user_id": f"@probe:{name}", "access_token": "token"}]
    return {"matrixrtc_server_name": name, "matrixrtc_probe_users": users, **variables}


def called(
    folder: Path, hosts: dict[str, dict[str, Any]], *arguments: str, **variables: Any
) -> tuple[Any, Any]:
    """The sites and modes as the playbook passes them; the first host has failed before."""
    group = {"hosts": {name: {} for name in hosts}}
    children = {"matrixrtc_rtc": group, "matrixrtc_homeserver": group}
    variables["ansible_python_interpreter"] = sys.executable
    inventory = {"all": {"hosts": hosts, "children": children, "vars": variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    fact = {"sites": "{{ matrixrtc_federated_sites }}", "modes": "{{ matrixrtc_federated_modes }}"}
    copy = {"content": "{{ found | to_json }}", "dest": str(folder / "found.json"), "mode": "0600"}
    first = {"ansible.builtin.fail": None, "when": f"inventory_hostname == '{next(iter(hosts))}'"}
    book = [
        {"hosts": "matrixrtc_rtc", "gather_facts": False, "tasks": [first]},
        {
            "hosts": "matrixrtc_rtc",
            "gather_facts": False,
            "vars_files": [str(SHARED)],
            "tasks": [{"ansible.builtin.copy": copy, "vars": {"found": fact}, "run_once": True}],
        },
    ]
    (folder / "play.yml").write_text(json.dumps(book))
    environment = {**os.environ, "ANSIBLE_HOME": str(folder), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "-c", "local"]
    done = subprocess.run(
        [*command, *arguments, "play.yml"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "found.json").exists(), done.stdout
    found = json.loads((folder / "found.json").read_text())
    return found["sites"], found["modes"]


def test_sites_with_users_are_called_also_when_one_of_them_failed(tmp_path: Path) -> None:
    hosts = {
        "a": site("a.org", matrixrtc_full_access_homeservers=["a.org", "b.org"]),
        "b": site("b.org"),
        "without": {"matrixrtc_server_name": "c.org"},
        "none": site("d.org", matrixrtc_probe_users=[]),
    }
    sites, modes = called(tmp_path, hosts)
    assert [(entry["server_name"], entry["full_access_homeservers"]) for entry in sites] == [
        ("a.org", ["a.org", "b.org"]),
        ("b.org", []),
    ]
    assert sites[1]["users"] == [{"user_id": "@probe:b.org", "access_token": "token"}]
    assert modes == ["compatibility"]


def test_partners_come_besides_and_sticky_events_are_needed_everywhere(tmp_path: Path) -> None:
    sticky = {"synapse_config_sticky_events": True}
    hosts = {"a": site("a.org", **sticky), "b": site("b.org", **sticky), "c": site("c.org")}
    partners = [{"server_name": "d.org", "users": [{"access_token": "other"}]}]
    sites, modes = called(tmp_path, hosts, matrixrtc_federation_partners=partners)
    assert [entry["server_name"] for entry in sites] == ["a.org", "b.org", "c.org", "d.org"]
    assert "full_access_homeservers" not in sites[-1], "nobody knows their list"
    assert modes == ["compatibility"]
    (tmp_path / "found.json").unlink()
    sites, modes = called(tmp_path, hosts, "--limit=a,b")
    assert [entry["server_name"] for entry in sites] == ["a.org", "b.org"]
    assert modes == ["compatibility", "matrix_2_0"]


def test_a_partner_is_a_server_name_and_called_once() -> None:
    def refused(*partners: str, inventory: tuple[str, ...] = ()) -> str:
        values = {"partners": list(partners), "called": [*inventory, *partners]}
        return " ".join(one.message for one in check_inputs("matrixrtc_federation", values).problems)

    assert refused("d.org") == ""
    for name, fault in (("https://d.org", "has a scheme"), ("*.d.org", "has a wildcard")):
        assert f"matrixrtc_federation_partners: {name!r} {fault}" in refused(name)
    assert "matrixrtc_federation_partners" in refused(""), "an entry without a server name"
    assert "'a.org' is called already" in refused("a.org", inventory=("a.org",))
