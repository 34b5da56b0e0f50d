"""The calls of the cluster's site, and its machines."""

from __future__ import annotations

import subprocess
from typing import Any

import held_calls
from held_calls import Seen

__all__ = ["Calls", "Seen", "address_of", "docker"]


class Calls(held_calls.Calls):
    """Calls of two at the cluster's site."""

    def __init__(self, number: int, seconds: float = 240) -> None:
        super().__init__("cluster.test", number, seconds)


def address_of(host: Any) -> str:
    """Its address in the lab."""
    return str(host.check_output("hostname -I").split()[0])


def docker(*words: str) -> None:
    """A command of the engine, for a machine that is lost."""
    subprocess.run(["docker", *words], check=True, capture_output=True)
