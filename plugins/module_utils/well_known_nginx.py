# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A JSON document as an nginx location that answers with it, for somebody to include in a server block."""

from __future__ import annotations

import json

PATH = "/.well-known/matrix/client"
LONGEST_WORD = 4000  # bytes; nginx reads its configuration in pieces of 4096, and a word has to fit into one

# What the client-server API wants on every answer (Web browser clients), with `always` also on errors.
HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
}


def quoted(document: str) -> str:
    """A JSON document as a word in single quotes, in which nginx sees neither escapes nor variables.

    nginx has no way to write a dollar sign that is none of a variable, JSON has: it can only stand in a text.
    """
    text = document.replace("$", "\\u0024")
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def location(document: str) -> str | None:
    """The location, None when the document is too long for a word of nginx's however it is spaced."""
    minified = json.dumps(json.loads(document), ensure_ascii=False, separators=(",", ":"))
    for text in (document.strip(), minified):
        word = quoted(text)
        if len(word.encode()) <= LONGEST_WORD:
            headers = "".join(f'    add_header {name} "{value}" always;\n' for name, value in HEADERS.items())
            # `return` answers OPTIONS too, unlike a file.
            return (
                f"location = {PATH} {{\n"
                f"    default_type application/json;\n{headers}    return 200 {word};\n}}\n"
            )
    return None
