"""The validation play of the real playbook: bad inputs stop it before anything changes, good ones pass.

Each run of ansible-playbook costs seconds, so bad inputs share hosts wherever the pure checks say that each
of them still gets its message; that all are reported proves also that problems are reported together.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils import certificates, sockets
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import check_inputs
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_server import HTTPS, NGINX
from inputs_support import (
    CALL_DOMAIN,
    COMPONENTS_ON,
    DOMAIN,
    GOOD_SECRET,
    VERSIONS,
    bad_inputs,
    busy_ports,
    filled_in,
    inputs_of,
    write_certificates,
)

REPOSITORY = Path(__file__).parents[2]
PLAYBOOK = REPOSITORY / "playbooks" / "site.yml"
VALIDATION = "Validate every input on every host"
FACTS = {
    "architecture": "x86_64",
    "distribution": "Debian",
    "distribution_version": "13",
    "distribution_major_version": "13",
    "distribution_release": "trixie",
    "os_family": "Debian",
    "service_mgr": "systemd",
    "default_ipv4": {"address": "192.0.2.10"},
    "all_ipv4_addresses": ["192.0.2.10", "192.0.2.11"],
}
GOOD_SITE = {
    "matrixrtc_server_name": "example.org",
    "matrixrtc_domain": DOMAIN,
    "matrixrtc_tls_certificate": "FOLDER/good.crt",
    "matrixrtc_tls_private_key": "FOLDER/good.key",
    "matrixrtc_media_address": "8.8.8.8",
    "matrixrtc_turn_udp": True,
    "matrixrtc_turn_tls": "address",
    "matrixrtc_turn_domain": "turn.example.org",
    "matrixrtc_turn_address": "192.0.2.11",
    "matrixrtc_turn_tls_certificate": "FOLDER/good.crt",
    "matrixrtc_turn_tls_private_key": "FOLDER/good.key",
    "livekit_turn_tls_port": 21479,
    "matrixrtc_call_domain": CALL_DOMAIN,
    "matrixrtc_call_tls_certificate": "FOLDER/call.crt",
    "matrixrtc_call_tls_private_key": "FOLDER/good.key",
    "matrixrtc_homeserver_url": "https://matrix.example.org",
    "element_call_delegated_delayed_leave": {"delay_ms": 3600000},
    "matrixrtc_ca_file": "FOLDER/good.crt",
    "livekit_port": 21440,
    "livekit_tcp_port": 21441,
    "livekit_udp_port": "21442-21445",
    "lk_jwt_service_port": 21480,
    "synapse_config_files": ["FOLDER"],
    "synapse_config_python": "FOLDER/synapse",
    "synapse_config_user": "root",
    "synapse_config_working_directory": "/",
    "well_known_served_by": "file",
    "well_known_file": "FOLDER/client",
}
GROUPS = {kind: f"matrixrtc_{kind}" for kind in COMPONENTS_ON}


@dataclass
class Host:
    """A host of the test inventory and the rows of the table that it carries."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    kinds: tuple[str, ...] = ()

    @property
    def groups(self) -> set[str]:
        return {*self.kinds, *(row["where"] for row in self.rows)}

    @property
    def variables(self) -> dict[str, Any]:
        return {name: value for row in self.rows for name, value in row["set"].items()}

    @property
    def facts(self) -> dict[str, Any]:
        return {name: value for row in self.rows for name, value in row["facts"].items()}

    def would_report_all(self, places: dict[str, str]) -> bool:
        """The pure checks give each row its message."""
        variables = filled_in(self.variables, places)
        secret = str(variables.get("matrixrtc_livekit_secret", ""))
        found = [
            problem
            for group in self.groups
            for component in COMPONENTS_ON[group]
            for problem in check_inputs(
                component,
                filled_in(inputs_of(component, variables, self.facts), places),
                secret,
                VERSIONS.get(component),
            ).problems
        ]
        return all(
            any(row["names"] == problem.variable and row["says"] in problem.message for problem in found)
            for row in self.rows
        )

    def takes(self, row: dict[str, Any], places: dict[str, str]) -> bool:
        """Add the row if that hides no message."""
        if (row["set"].keys() & self.variables) or (row["facts"] and self.facts):
            return False
        self.rows.append(row)
        if self.would_report_all(places):
            return True
        self.rows.remove(row)
        return False


def shared_out(rows: list[dict[str, Any]], places: dict[str, str]) -> dict[str, Host]:
    """As few hosts as the rows fit on."""
    hosts: list[Host] = []
    for row in rows:
        if not any(host.takes(row, places) for host in hosts):
            hosts.append(Host([row]))
    return {f"host{number}": host for number, host in enumerate(hosts)}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("site")
    write_certificates(folder)
    with busy_ports() as ports:
        yield {"FOLDER": str(folder), **ports}


def write_facts_module(folder: Path, name: str, facts: dict[str, Any]) -> str:
    """A module that tells the same facts on every machine, so that it does not matter where tests run."""
    folder.mkdir(exist_ok=True)
    answer = json.dumps(
        {"changed": False, "ansible_facts": {f"ansible_{key}": value for key, value in facts.items()}}
    )
    (folder / f"{name}.py").write_text(f"#!/usr/bin/python\nprint({answer!r})\n")
    return name


def inventory(folder: Path, hosts: dict[str, Host], places: dict[str, str]) -> Path:
    """An inventory of hosts that are all this machine, without privileges."""
    groups: dict[str, Any] = {group: {"hosts": {}} for group in GROUPS.values()}
    for name, host in hosts.items():
        module = write_facts_module(folder / "library", f"facts_of_{name}", {**FACTS, **host.facts})
        variables = filled_in({**GOOD_SITE, **host.variables}, places)
        for kind in host.groups:
            groups[GROUPS[kind]]["hosts"][name] = {**variables, "ansible_facts_modules": [module]}
    shared = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
    }
    path = folder / "inventory.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": shared, "children": groups}}))
    return path


def play(folder: Path, hosts: dict[str, Host], places: dict[str, str], *options: str) -> tuple[int, str]:
    """Run the playbook; returns its exit status and output."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_LIBRARY": str(folder / "library"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
        "ANSIBLE_FORKS": "4",
        "ANSIBLE_NOCOLOR": "1",
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "--inventory", str(inventory(folder, hosts, places)), *options, str(PLAYBOOK)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def recap(output: str) -> dict[str, dict[str, int]]:
    """The numbers of the play recap, by host."""
    lines = re.findall(r"^(\S+)\s+: (ok=.+)$", output, re.MULTILINE)
    return {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)} for host, line in lines
    }


def refusals(output: str) -> dict[str, str]:
    """What each host was refused for, as one text."""
    found = re.findall(r"^fatal: \[(\S+)\]: FAILED! => (\{.*\})$", output, re.MULTILINE)
    return {host: json.loads(result)["msg"] for host, result in found}


def _listeners(*arguments: Any, look: Any = sockets.listeners) -> list[sockets.Listener]:
    return list(look(*arguments))


@pytest.fixture(scope="module")
def refused(
    tmp_path_factory: pytest.TempPathFactory, places: dict[str, str]
) -> tuple[dict[str, Host], int, str]:
    """One run with the whole table."""
    ask, look = functools.cache(certificates.run_openssl), functools.cache(_listeners)
    with pytest.MonkeyPatch.context() as patch:  # the same host is asked thousands of times
        patch.setattr(certificates, "run_openssl", lambda arguments: ask(tuple(arguments)))
        patch.setattr(sockets, "listeners", lambda folder, protocols: look(folder, frozenset(protocols)))
        hosts = shared_out(bad_inputs(), places)
    return hosts, *play(tmp_path_factory.mktemp("refused"), hosts, places)


def test_the_validation_stops_the_run(refused: tuple[dict[str, Host], int, str]) -> None:
    _hosts, status, output = refused
    assert status != 0, output
    assert re.findall(r"^PLAY \[(.+?)\]", output, re.MULTILINE) == [VALIDATION]


def test_nothing_changes_on_any_host(refused: tuple[dict[str, Host], int, str]) -> None:
    hosts, _status, output = refused
    numbers = recap(output)
    assert numbers.keys() == hosts.keys(), output
    for host, counted in numbers.items():
        assert (counted["changed"], counted["unreachable"], counted["failed"]) == (0, 0, 1), (
            f"{host}: {output}"
        )


@pytest.mark.parametrize("row", bad_inputs(), ids=lambda row: row["bad"].replace(" ", "-"))
def test_bad_input_is_refused_by_name(row: dict[str, Any], refused: tuple[dict[str, Host], int, str]) -> None:
    hosts, _status, output = refused
    (host,) = (name for name, host in hosts.items() if row in host.rows)
    lines = refusals(output).get(host, "").splitlines()
    told = [line for line in lines if line.startswith(f"- {row['names']}") and row["says"] in line]
    assert told, f"{row['names']} / {row['says']}: {lines or output}"


def test_a_secret_is_never_shown(refused: tuple[dict[str, Host], int, str]) -> None:
    hosts, _status, output = refused
    secrets = [host.variables.get("matrixrtc_livekit_secret", "") for host in hosts.values()]
    for secret in secrets:
        assert len(secret) < 12 or secret not in output


def test_good_inputs_pass_as_text_too(tmp_path: Path, places: dict[str, str]) -> None:
    """Numbers and booleans on the command line are text, and work as what they look like."""
    if sockets.conflicts([sockets.Claim("tcp", HTTPS)], NGINX):
        pytest.skip("something other than nginx holds port 443 here")
    hosts = {"good": Host(kinds=tuple(GROUPS))}
    text = [
        "--extra-vars=livekit_port=21440",
        "--extra-vars=livekit_tcp_port=21441",
        "--extra-vars=livekit_udp_port=21442",
        "--extra-vars=lk_jwt_service_port=21480",
        "--extra-vars=livekit_version=1.99.0",
        "--extra-vars=matrixrtc_allow_untested_versions=yes",
        "--extra-vars=matrixrtc_allow_any_homeserver=true",
        f"--extra-vars=matrixrtc_livekit_secret={GOOD_SECRET}",
        '--extra-vars={"matrixrtc_full_access_homeservers": ["*"]}',
    ]
    status, output = play(tmp_path, hosts, places, "--tags=validate", "-vvv", *text)
    assert status == 0, output
    assert {counted["changed"] for counted in recap(output).values()} == {0}
    assert "'1.99.0' is unknown to this collection" in output
    assert GOOD_SECRET not in "\n".join(line for line in output.splitlines() if "--extra-vars" not in line)
