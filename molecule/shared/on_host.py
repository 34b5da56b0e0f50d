"""Run a script of this folder, with the collection's own Python, on a host that has nothing but Python."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
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
