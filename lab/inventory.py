# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The lab as an Ansible inventory: what an operator would write down about these hosts, and nothing more."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from . import mirror
from .artifacts import COMPONENTS, Artifact
from .definitions import Host, Lab, Site
from .hosts import container_name
from .network import CLIENT
from .paths import EXAMPLES, write_private, write_public
from .site import CA_FILE, certificate_path, key_path
from .users import User

# The groups of the playbooks, and the part of a site whose hosts are in each.
GROUPS = {"matrixrtc_rtc": "rtc", "matrixrtc_homeserver": "homeserver", "matrixrtc_well_known": "web"}
_HEADER = "---\n# Written by `python -m lab up`; the next one overwrites it.\n"


def build(lab: Lab, artifacts: Sequence[Artifact], media_addresses: Mapping[str, str]) -> dict[str, Any]:
    """The content of hosts.yml. The first artifact of each component is the one hosts install.

    A lab with an example inventory of its name has its groups from there. media_addresses: of hosts whose own
    facts do not say which to use.
    """
    hosts = {host.name: host_variables(lab.name, site, host) for site, host in lab.places if host.access}
    for name, address in media_addresses.items():
        hosts[name]["matrixrtc_media_address"] = address
    children: dict[str, Any] = {} if example(lab) else _groups(lab)
    children["lab_client"] = {
        "hosts": {
            CLIENT: {
                "ansible_host": container_name(lab.name, CLIENT),
                "ansible_python_interpreter": "/opt/probe/bin/python",
            }
        }
    }
    return {"all": {"vars": lab_variables(artifacts), "hosts": hosts, "children": children}}


def _groups(lab: Lab) -> dict[str, Any]:
    ours = [host for _site, host in lab.places if host.access]
    groups = {group: [host for host in ours if part in host.operator.parts] for group, part in GROUPS.items()}
    groups.update({"matrixrtc_sfu": [], "matrixrtc_redis": []})
    groups["matrixrtc_element_call"] = [host for host in ours if host.operator.call_page]
    return {group: {"hosts": {host.name: {} for host in members}} for group, members in groups.items()}


def example(lab: Lab) -> Path | None:
    """The example inventory that the lab's hosts belong to: the one with the lab's name, if there is one."""
    folder = EXAMPLES / lab.name
    return folder if folder.is_dir() else None


def lab_variables(artifacts: Sequence[Artifact]) -> dict[str, Any]:
    """Variables of every host: how to reach it, where artifacts come from, and versions the user chose."""
    variables: dict[str, Any] = {
        "ansible_connection": "community.docker.docker",
        "matrixrtc_ca_file": CA_FILE,
        "matrixrtc_release_url": mirror.URL,
        "matrixrtc_release_api_url": mirror.URL,
        "matrixrtc_probe_host": CLIENT,
        "matrixrtc_lab_sources": sources(artifacts),
    }
    for component in COMPONENTS:
        first = next((artifact for artifact in artifacts if artifact.component == component.name), None)
        if first is not None and first.chosen:
            variables[component.version_variable] = first.version
    return variables


def sources(artifacts: Sequence[Artifact]) -> dict[str, str]:
    """Where the components come from, for people; the first artifact of a component counts."""
    found: dict[str, str] = {}
    for artifact in artifacts:
        found.setdefault(artifact.component, artifact.source)
    return found


def host_variables(lab: str, site: Site, host: Host) -> dict[str, Any]:
    """Variables of one host. They win over those of an example inventory, which stand in its groups."""
    variables: dict[str, Any] = {
        "ansible_host": container_name(lab, host.name),
        "ansible_python_interpreter": "/usr/bin/python3",
        "matrixrtc_server_name": site.server_name,
        "matrixrtc_domain": site.rtc_name,
    }
    if "rtc" in host.operator.parts:
        variables["matrixrtc_tls_certificate"] = certificate_path(site.rtc_name)
        variables["matrixrtc_tls_private_key"] = key_path(site.rtc_name)
    if site.well_known == "synapse":
        variables["well_known_served_by"] = "synapse"
    return {**variables, **host.operator.inventory}


def write(
    folder: Path,
    lab: Lab,
    artifacts: Sequence[Artifact],
    users: Mapping[str, Sequence[User]],
    media_addresses: Mapping[str, str],
) -> None:
    """Write hosts.yml, and beside it the users of every site in files that only their owner can read.

    users: by server name; the calls of a site are placed for its RTC host. media_addresses: as of build.
    """
    if found := example(lab):
        # Ansible reads the files of a folder by name: what the lab writes is read later, and wins.
        write_public(folder / "example.yml", (found / "hosts.yml").read_text())
        shutil.copytree(found / "group_vars", folder / "group_vars", dirs_exist_ok=True)
        _fill_vault(folder / "group_vars" / "all")
    write_public(folder / "hosts.yml", _HEADER + _yaml(build(lab, artifacts, media_addresses)))
    for site in lab.sites:
        people = users[site.server_name]
        tokens: dict[str, Any] = {
            "matrixrtc_probe_users": [
                {"user_id": user.user_id, "access_token": user.access_token}
                for user in people
                if not user.admin
            ]
        }
        for user in people:
            if user.admin:
                tokens["matrixrtc_admin_token"] = user.access_token
        text = _HEADER + _yaml(tokens)
        write_private(folder / "host_vars" / site.host_with("rtc").name / "users.yml", text)


def _fill_vault(group_vars: Path) -> None:
    """Give the secrets that an example takes from its vault (`vault_...`) a value, once."""
    vault = group_vars / "lab_vault.yml"
    names = re.findall(r"^[^#\n]*\{\{ (vault_\w+) \}\}", (group_vars / "main.yml").read_text(), re.MULTILINE)
    if names and not vault.exists():
        write_private(vault, _HEADER + _yaml({name: secrets.token_hex(24) for name in names}))


def _yaml(data: Any) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, default_flow_style=False, width=120))
