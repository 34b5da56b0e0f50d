"""Rendering a role's templates and variables the way Ansible does, without a play."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).parents[2] / "roles"
SECRET = "k7Wq2mZx9Lr4Tn8Vb3Yd6Hc1Pf5Sg0Ju"
SITE: dict[str, Any] = {
    "matrixrtc_server_name": "example.org",
    "matrixrtc_domain": "rtc.example.org",
    "matrixrtc_livekit_secret": SECRET,
    "ansible_managed": "Ansible managed",
    "ansible_facts": {
        "architecture": "x86_64",
        "default_ipv4": {"address": "192.0.2.1"},
        "default_ipv6": {"address": "2001:db8::1"},
        "all_ipv4_addresses": ["192.0.2.1", "172.17.0.1"],
        "all_ipv6_addresses": ["2001:db8::1", "fe80::1"],
    },
}


def probed(hosts: str = "127.0.0.1 localhost\n", **answers: str) -> dict[str, Any]:
    """What the probe of a host is registered as; an answer's `__` stands for a dot."""
    known = {"private_users": "yes", "hosts": base64.b64encode(hosts.encode()).decode(), **answers}
    return {"stdout_lines": [f"{key.replace('__', '.')}={value}" for key, value in known.items()]}


class Role:
    """A role's variables on a host with the given ones set, as `-e` would."""

    def __init__(self, name: str, **given: Any) -> None:
        self.name = name
        loader = DataLoader()
        values: dict[str, Any] = {}
        for role in ("common", name):
            for kind in ("defaults", "vars"):
                path = ROLES / role / kind / "main.yml"
                if path.exists():
                    values.update(loader.load_from_file(str(path), trusted_as_template=True))
        values.update(SITE, common_host_probe=probed())
        values.update(given)
        self._templar = Templar(loader=loader, variables=values)

    def value(self, expression: str) -> Any:
        """The value of an expression such as a variable's name."""
        return self._templar.template(trust_as_template("{{ " + expression + " }}"))

    def file(self, template: str, role: str = "", **given: Any) -> str:
        """A template of this role, or of another, with further variables of the task."""
        folder = ROLES / (role or self.name) / "templates"
        text = (folder / template).read_text(encoding="utf-8")
        values = {**self._templar.available_variables, **given}
        templar = self._templar.copy_with_new_env(available_variables=values, searchpath=[str(folder)])
        return str(templar.template(trust_as_template(text), escape_backslashes=False))

    def unit(self) -> dict[str, list[str]]:
        """The directives of the role's unit, each with its values in order."""
        text = self.file("service.j2", role="common", common_unit=self.value(f"__{self.name}_unit"))
        found: dict[str, list[str]] = {}
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found.setdefault(name, []).append(value)
        return found


def environment_of(role: Role) -> str:
    """The file with a service's environment."""
    kept = {"livekit": "__livekit_environment", "lk_jwt_service": "__lk_jwt_service_environment_kept"}
    return role.file("environment.j2", role="common", common_environment=role.value(kept[role.name]))
