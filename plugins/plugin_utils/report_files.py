# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a report on the controller: its data and its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from ..module_utils.files import atomic_write
from ..module_utils.report_document import file_name
from .report_page import page

COLLECTION = Path(__file__).absolute().parents[2]  # where it is installed, and not where a link leads
REMEDY = (
    "Set matrixrtc_report_dir to a folder on the controller that you may write to, or to '' for no files."
)


class ReportDirError(Exception):
    """The files cannot be written; the text names the variable and what to set it to."""


def collection_version() -> str:
    """The version that is installed, or that of a clone."""
    manifest = COLLECTION / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    return str(yaml.safe_load((COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"])


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def contents(report: Mapping[str, Any]) -> dict[str, str]:
    """What belongs into which file."""
    name = file_name(report["site"])
    return {
        f"{name}.json": json.dumps(report, indent=2, ensure_ascii=False) + "\n",
        f"{name}.html": page(report),
    }


def write(folder: str, report: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Write both files, for their owner alone. Whether they changed, and their paths."""
    place = Path(folder).expanduser().absolute()
    changed, paths = False, []
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in contents(report).items():
            path = place / name
            changed |= atomic_write(str(path), text.encode(), mode=0o600)
            paths.append(str(path))
    except OSError as error:
        raise ReportDirError(
            f"matrixrtc_report_dir: {place} does not take a report: {error}. {REMEDY}"
        ) from error
    return changed, paths
