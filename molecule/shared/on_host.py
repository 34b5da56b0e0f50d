"""Run a script of this folder, with the collection's own Python, on a host: at once, or beside the test."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CA = "/usr/local/share/ca-certificates/matrixrtc-lab.crt"  # of the lab, on its client
PIECE = 60_000  # bytes; a single argument may have 128 KiB
MODULES = "ansible_collections/matrixrtc/backend/plugins/module_utils"


def program(script: str, *extra: str) -> bytes:
    """One file that `python3` runs: the script, further ones that it imports, and all of module_utils."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for depth in range(1, MODULES.count("/") + 2):
            archive.writestr("/".join([*MODULES.split("/")[:depth], "__init__.py"]), "")
        for path in sorted((ROOT / "plugins" / "module_utils").glob("*.py")):
            archive.write(path, f"{MODULES}/{path.name}")
        for name in extra:
            archive.write(Path(__file__).with_name(name), name)
        archive.write(Path(__file__).with_name(script), "__main__.py")
    return packed.getvalue()


def put(host: Any, path: str, content: bytes) -> None:
    """Write a file on a host of testinfra, in pieces that fit into a command line."""
    host.check_output(f": > {path}")
    for start in range(0, len(content), PIECE):
        piece = base64.b64encode(content[start : start + PIECE]).decode()
        host.check_output(f"echo {piece} | base64 -d >> {path}")


def until(what: str, seconds: float, found: Callable[[], Any]) -> Any:
    """What `found` finds, as soon as it finds anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = found()
        if seen:
            return seen
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds} s")


class Background:
    """A script that goes on beside the test, in a folder of its own on a host."""

    def __init__(self, host: Any, folder: str, python: str = "/opt/probe/bin/python") -> None:
        self.host, self.folder, self.python = host, folder, python

    def begin(self, script: str, given: Mapping[str, Any]) -> None:
        """Start it; it reads `given` from the file that is its argument."""
        self.host.check_output(f"rm -rf {self.folder} && mkdir {self.folder}")
        put(self.host, f"{self.folder}/program", program(script))
        put(self.host, f"{self.folder}/given", json.dumps(given).encode())
        self.host.check_output(
            f"cd {self.folder} && "
            f"(setsid {self.python} program given >told 2>errors; touch over) >/dev/null 2>&1 &"
        )

    def read(self, name: str, seconds: float) -> str:
        """The content of a file that it writes, once it is there."""

        def content() -> str:
            done = self.host.run(f"cat {self.folder}/{name}")
            return (done.stdout or "-") if done.rc == 0 else ""

        try:
            return str(until(name, seconds, content))
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.host.run(f'tail -5 {self.folder}/errors').stdout}") from late

    def told(self, seconds: float) -> Any:
        """What it has printed, when it is over."""
        self.read("over", seconds)
        printed = self.host.file(f"{self.folder}/told").content_string
        assert printed, self.host.file(f"{self.folder}/errors").content_string
        return json.loads(printed)
