"""What a host serves on 443, asked from the client host as a stranger would."""

from __future__ import annotations

from typing import Any

from lab_playbooks import INVENTORY
from testinfra import get_host


def client() -> Any:
    """The host from which the site is seen from outside."""
    return get_host("ansible://client", ansible_inventory=str(INVENTORY))


def served(name: str, field: str = "serial") -> str:
    """A field of the certificate that `name` shows: serial, issuer or enddate."""
    command = f"echo | openssl s_client -connect {name}:443 -servername {name} 2>/dev/null"
    return str(client().check_output(f"{command} | openssl x509 -noout -{field}")).partition("=")[2]


def status(url: str) -> str:
    """The status of a page, redirects not followed."""
    return str(client().check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {url}"))
