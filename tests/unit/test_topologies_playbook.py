"""Sites in one inventory, each with parts of others: who is shown what, and what hosts have to agree on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible_collections.matrixrtc.backend.plugins.module_utils import sockets
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_server import HTTPS, NGINX
from inputs_support import busy_ports, write_certificates
from test_inputs_playbook import GROUPS, Host, play, recap, refusals


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("sites")
    write_certificates(folder)
    with busy_ports() as ports:
        yield {"FOLDER": str(folder), **ports}


def host(*kinds: str, **variables: Any) -> Host:
    """A host that is of these kinds."""
    first, *others = kinds
    return Host([{"where": first, "set": variables, "facts": {}}], tuple(others))


def test_owners_are_shown_what_to_set_site_by_site(tmp_path: Path, places: dict[str, str]) -> None:
    if sockets.conflicts([sockets.Claim("tcp", HTTPS)], NGINX):
        pytest.skip("something other than nginx holds port 443 here")
    hosts = {
        "theirs": host(
            "rtc",
            matrixrtc_server_name="localhost:8448",
            matrixrtc_full_access_homeservers=["localhost:8448"],
            matrixrtc_homeserver_kind="tuwunel",
        ),
        "ours": host(*GROUPS),
    }
    folder = tmp_path / "matrixrtc-snippets"
    status, output = play(tmp_path, hosts, places, "--tags=external", "--check")
    assert status == 0, output
    assert not folder.exists()
    assert recap(output)["theirs"]["changed"] > 0

    status, output = play(tmp_path, hosts, places, "--tags=external")
    assert status == 0, output
    assert [path.name for path in folder.iterdir()] == ["localhost_8448"]
    files = {path.name: path for path in (folder / "localhost_8448").iterdir()}
    assert files.keys() == {"homeserver.tuwunel.toml.txt", "well-known-client.json.txt"}
    for path in files.values():
        assert path.stat().st_mode & 0o777 == 0o644
    written = files["homeserver.tuwunel.toml.txt"].read_text()
    assert tomllib.loads(written)["global"]["well_known"]["rtc_transports"]
    assert all(line.strip() in output for line in written.splitlines() if '"' not in line)

    files["homeserver.tuwunel.toml.txt"].write_text("old")
    status, output = play(tmp_path, hosts, places, "--tags=external")
    assert status == 0, output
    assert {name: numbers["changed"] for name, numbers in recap(output).items()} == {"theirs": 1, "ours": 0}
    assert files["homeserver.tuwunel.toml.txt"].read_text() == written


def test_snippets_are_no_part_of_an_inventory(tmp_path: Path) -> None:
    """A folder chosen for them may be an inventory; whatever is in it and not ignored is read as one."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {one: {}}}")
    (tmp_path / "homeserver.synapse.yaml.txt").write_text("matrix_rtc: {hosts: {two: {}}}")
    assert set(InventoryManager(DataLoader(), [str(tmp_path)]).hosts) == {"one"}
    (tmp_path / "homeserver.synapse.yaml").write_text("matrix_rtc: {hosts: {two: {}}}")
    assert set(InventoryManager(DataLoader(), [str(tmp_path)]).hosts) == {"one", "two"}


def test_what_is_told_to_others_is_checked_and_hosts_have_to_agree(
    tmp_path: Path, places: dict[str, str]
) -> None:
    hosts = {
        "a": host(
            "rtc",
            matrixrtc_server_name="a.example.org",
            matrixrtc_full_access_homeservers=["a.example.org"],
            matrixrtc_homeserver_kind="dendrite",
            well_known_base_url="matrix.a.example.org",
        ),
        "b1": host("rtc", matrixrtc_server_name="b.example.org:8448", well_known_served_by="external"),
        "b2": host("well_known", matrixrtc_server_name="b.example.org:8448"),
    }
    status, output = play(tmp_path, hosts, places)
    assert status != 0
    told = refusals(output)
    assert "matrixrtc_homeserver_kind: 'dendrite' is none of synapse, ess" in told["a"]
    assert "well_known_base_url: 'matrix.a.example.org' does not start with https://" in told["a"]
    for name in ("b1", "b2"):
        assert "well_known_served_by differs between the hosts of b.example.org:8448" in told[name]
    assert "'b.example.org:8448'" not in told["b2"], "a port in a server name is fine"
    assert {numbers["changed"] for numbers in recap(output).values()} == {0}


def test_two_sites_need_two_server_names(tmp_path: Path, places: dict[str, str]) -> None:
    hosts = {
        "alpha": host("rtc", matrixrtc_domain="rtc.alpha.example.org"),
        "beta": host("rtc", matrixrtc_domain="rtc.beta.example.org"),
    }
    status, output = play(tmp_path, hosts, places)
    assert status != 0
    for told in refusals(output).values():
        assert "matrixrtc_domain differs between the hosts of example.org" in told
        assert "if these are two sites, give each its own matrixrtc_server_name" in " ".join(told.split())
    assert {numbers["changed"] for numbers in recap(output).values()} == {0}
