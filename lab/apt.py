# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""How this machine reaches the Debian archive, so that the images reach it in the same way."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ARCHIVE = "http://deb.debian.org/debian"
# Settings that decide whether a download works; everything else of the machine's configuration stays its own.
_SETTING = re.compile(r'^Acquire::(https?::Proxy[^ ]*|Check-Valid-Until|Check-Date|ForceIPv[46]) ".+";$')
# Descriptions in other languages are most of what an update downloads.
_NO_TRANSLATIONS = 'Acquire::Languages "none";\n'
_ARCHIVE = re.compile(r"https?://\S+/debian(?=/?(\s|$))")


@dataclass(frozen=True)
class AptSettings:
    """Archive address without a trailing slash, and the text of an apt.conf file (may be empty)."""

    archive: str
    conf: str


def host_settings(etc_apt: Path = Path("/etc/apt")) -> AptSettings:
    """The settings of this machine; plain Debian's defaults where it is not a Debian."""
    return AptSettings(archive=find_archive(etc_apt), conf=relevant_conf(_dump()) + _NO_TRANSLATIONS)


def find_archive(etc_apt: Path) -> str:
    """The first Debian archive named in sources.list or sources.list.d, both formats, comments skipped."""
    files = [etc_apt / "sources.list", *sorted(etc_apt.glob("sources.list.d/*"))]
    for path in files:
        if not path.is_file() or path.suffix not in (".list", ".sources"):
            continue
        for line in path.read_text().splitlines():
            found = None if line.lstrip().startswith("#") else _ARCHIVE.search(line)
            if found:
                return found.group(0)
    return DEFAULT_ARCHIVE


def relevant_conf(dump: str) -> str:
    """The lines of `apt-config dump` that a download depends on."""
    return "".join(f"{line}\n" for line in dump.splitlines() if _SETTING.match(line))


def _dump() -> str:
    if shutil.which("apt-config") is None:
        return ""
    return subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
