"""Releases that a test puts on the lab's mirror, such as one that does not work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lab_playbooks import INVENTORY

from lab.artifacts import LIVEKIT
from lab.hashing import hash_of_bytes
from lab.livekit import pack
from lab.mirror import release_path

# Each passes the checks before a start: it says its version, and what ports the configuration has.
SCRIPT = """#!/bin/sh
case "$*" in
*--version*) echo "livekit-server version {version}"; exit ;;
*ports*) exec {good} "$@" ;;
esac
{start}
"""
ENDS_AT_ONCE = 'echo "cannot run on this machine"'
# Healthy, but clients are told an address that nobody has.
NO_MEDIA = (
    "sed 's/^\\( *node_ip:\\).*/\\1 192.0.2.1/' /etc/matrixrtc/livekit/livekit.yaml > /tmp/livekit.yaml\n"
    "exec {good} --config /tmp/livekit.yaml"
)


def offer_livekit(version: str, start: str, good: str) -> None:
    """Offer a release of LiveKit whose program starts like this. `good`: a program that is installed."""
    script = SCRIPT.format(version=version, good=good, start=start.format(good=good))
    release = INVENTORY.parent / "mirror" / release_path(LIVEKIT, version)
    release.mkdir(parents=True, exist_ok=True)
    archive = release / LIVEKIT.asset(version, architecture())
    with tempfile.TemporaryDirectory() as work:
        program = Path(work, "livekit-server")
        program.write_text(script, encoding="utf-8")
        pack(program, archive)
    line = f"{hash_of_bytes(archive.read_bytes())}  {archive.name}\n"
    (release / "checksums.txt").write_text(line, encoding="utf-8")


def architecture() -> str:
    """Of the releases that are there."""
    there = next((INVENTORY.parent / "mirror" / LIVEKIT.repository).rglob("livekit_*_linux_*.tar.gz"))
    return there.name.removesuffix(".tar.gz").rpartition("_")[2]
