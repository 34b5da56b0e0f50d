"""Run the collection's playbooks on the scenario's lab from a test, as an operator would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
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


class Begun:
    """A run that goes on beside the test. It is over when a `with` block is; a failed test kills it."""

    def __init__(self, playbook: str, *arguments: str) -> None:
        command = ["ansible-playbook", "-i", str(INVENTORY), f"{playbook}.yml", *arguments]
        kept_out = ("ANSIBLE_CONFIG", "ANSIBLE_FORCE_COLOR")
        # What it prints is read while it runs, and Python keeps back what goes to a file.
        environment = {k: v for k, v in os.environ.items() if k not in kept_out} | {"PYTHONUNBUFFERED": "1"}
        descriptor, self._output = tempfile.mkstemp()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(descriptor)

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, kind: object, *_what: object) -> None:
        if kind is not None:
            self.kill()
        self.wait()
        os.unlink(self._output)

    @property
    def printed(self) -> str:
        """What it has printed until now."""
        return Path(self._output).read_text(encoding="utf-8")

    def wait_for(self, text: str, seconds: float) -> None:
        """Return when it has printed `text`; fail the test when it ends or the time is over before."""
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            assert self._process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.5)

    def wait(self) -> Run:
        """How it went, when it has ended."""
        status = self._process.wait()
        return Run(status, self.printed)

    def kill(self) -> None:
        """End it and all that it has started, as somebody does who pulls the plug."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)


def play(playbook: str, *arguments: str) -> Run:
    """Run one of the root playbooks (`site`, `verify`, `uninstall`) and return how it went."""
    with Begun(playbook, *arguments) as begun:
        return begun.wait()
