"""Run the collection's playbooks on the scenario's lab from a test, as an operator would."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / ".lab" / os.environ.get("MOLECULE_SCENARIO_NAME", "default") / "inventory"


@dataclass(frozen=True)
class Run:
    """What an ansible-playbook run printed and how it ended."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        """The sum of `changed` over the hosts of the recap."""
        return sum(int(n) for n in re.findall(r"changed=(\d+)", self.output))

    def ok(self) -> Run:
        """Return the run itself, or fail the test with all that it printed."""
        assert self.status == 0, self.output
        return self


def play(playbook: str, *arguments: str) -> Run:
    """Run one of the root playbooks (`site`, `verify`, `uninstall`) and return how it went."""
    command = ["ansible-playbook", "-i", str(INVENTORY), f"{playbook}.yml", *arguments]
    environment = {k: v for k, v in os.environ.items() if k not in ("ANSIBLE_CONFIG", "ANSIBLE_FORCE_COLOR")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return Run(done.returncode, done.stdout + done.stderr)
