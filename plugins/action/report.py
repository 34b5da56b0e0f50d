# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Shows the checks of a site as a table and in files, fails when one failed. See modules/report.py."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, failed_ids
from ansible_collections.matrixrtc.backend.plugins.module_utils.report_document import Subject, document
from ansible_collections.matrixrtc.backend.plugins.module_utils.report_table import (
    WORDS,
    Line,
    calls_of,
    collect,
    render,
    verdict,
)
from ansible_collections.matrixrtc.backend.plugins.plugin_utils.report_files import (
    ReportDirError,
    collection_version,
    now,
    write,
)

COLOURS = {OK: "COLOR_OK", FAIL: "COLOR_ERROR", WARN: "COLOR_CHANGED", SKIP: "COLOR_SKIP"}


def coloured(line: Line) -> str:
    """The line with its status word in colour; Ansible adds none when its output is not a terminal."""
    word = WORDS.get(line.style, "")
    if not word or word not in line.text:
        return line.text
    colour = getattr(constants, COLOURS[line.style])
    before, _word, after = line.text.partition(word)
    return f"{before}{stringc(word, colour)}{after}"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller, needs no connection."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Show the checks of the given results."""
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={
                "title": {"type": "str", "required": True},
                "results": {"type": "list", "elements": "dict", "required": True},
                "sources": {"type": "dict", "default": {}},
                "dir": {"type": "str", "default": ""},
                "name": {"type": "str", "default": ""},
            }
        )
        checks = collect(options["results"])
        sources = [f"{name}: {source}" for name, source in options["sources"].items()]
        display = Display()
        lines = render(options["title"], checks, calls_of(options["results"]), sources, display.columns)
        display.display("\n".join(coloured(line) for line in lines))
        failed = failed_ids(checks)
        result = {
            "changed": False,
            "failed": bool(failed) or not checks,
            "failed_ids": failed,
            "files": [],
            "msg": verdict(options["title"], checks),
        }
        if options["dir"]:
            self._write(options, result)
        return result

    def _write(self, options: dict[str, Any], result: dict[str, Any]) -> None:
        """Put the report into its files. Every run has a time of its own, so every run changes them."""
        if self._task.check_mode:
            result["changed"] = True
            return
        subject = Subject(
            title=options["title"],
            site=options["name"] or options["title"],
            time=now(),
            version=collection_version(),
            sources=options["sources"],
        )
        try:
            result["changed"], result["files"] = write(options["dir"], document(subject, options["results"]))
        except ReportDirError as error:
            result.update(failed=True, msg=f"{result['msg']} {error}")
            return
        Display().display("\n" + "\n".join(f"  written   {path}" for path in result["files"]))
