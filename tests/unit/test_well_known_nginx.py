"""A document that nginx is to answer with comes back from nginx as the same document."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.well_known_nginx import (
    HEADERS,
    LONGEST_WORD,
    location,
    quoted,
)
from role_rendering import Role

DOCUMENT = '{\n  "m.homeserver": {"base_url": "https://matrix.example.org"}\n}\n'


def read_by_nginx(word: str) -> str:
    """A word in single quotes as nginx reads it (ngx_conf_file.c, ngx_conf_read_token)."""
    assert word[0] == word[-1] == "'"
    inner = word[1:-1]
    assert not re.search(r"(?<!\\)(\\\\)*'", inner), "the word ends early"
    assert "$" not in inner, "nginx takes it for a variable"
    escapes = {"t": "\t", "r": "\r", "n": "\n", "'": "'", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[0]), inner, flags=re.DOTALL)


def word_of(text: str | None) -> str:
    assert text is not None
    match = re.search(r"return 200 ('.*');\n}\n$", text, re.DOTALL)
    assert match
    return match[1]


@pytest.mark.parametrize(
    "value",
    [
        {"a": "it's"},
        {"a": "\\", "b": 'say "yes"', "c": "\\'"},
        {"a": "line\nnext\ttab\r"},
        {"price": "5$", "$name": "${request_uri}", "b": "\\$"},
        {"a": "Grüße 🎈 \u2028", "b": "#; } {"},
        {"a": "\\n \\t \\u0024"},
    ],
)
def test_nothing_is_lost_in_quotes(value: dict[str, str]) -> None:
    for document in (json.dumps(value, indent=2), json.dumps(value, ensure_ascii=False)):
        assert json.loads(read_by_nginx(quoted(document))) == value
        assert json.loads(read_by_nginx(word_of(location(document)))) == value


def test_the_document_keeps_its_form() -> None:
    assert read_by_nginx(word_of(location(DOCUMENT))) == DOCUMENT.strip()


def test_the_location_answers_as_clients_need_it() -> None:
    text = location(DOCUMENT)
    assert text
    assert text.startswith("location = /.well-known/matrix/client {\n")
    assert "default_type application/json;" in text
    for name, value in HEADERS.items():
        assert f'add_header {name} "{value}" always;' in text
    assert HEADERS["Access-Control-Allow-Origin"] == "*"
    assert "OPTIONS" in HEADERS["Access-Control-Allow-Methods"]


def test_a_long_document_is_minified_and_a_longer_one_refused() -> None:
    spread = json.dumps({"a": [1] * 1500}, indent=2)
    assert len(spread) > LONGEST_WORD
    assert read_by_nginx(word_of(location(spread))) == json.dumps({"a": [1] * 1500}, separators=(",", ":"))
    assert location(json.dumps({"a": [1] * 3000})) is None


def test_what_its_owner_is_shown() -> None:
    role = Role(
        "well_known",
        matrixrtc_server_name="example.org:8448",
        well_known_served_by="nginx",
        __well_known_document={"document": DOCUMENT, "nginx": location(DOCUMENT), "snippet": "{}"},
    )
    assert role.value("__well_known_url") == "https://example.org/.well-known/matrix/client"
    text = role.file("location.conf.j2")
    assert "server block of example.org that" in text
    assert text.endswith(str(location(DOCUMENT)))


@pytest.mark.parametrize(
    ("served_by", "document", "nginx", "shown"),
    [
        ("external", DOCUMENT, "location", "__well_known_whole"),
        ("file", DOCUMENT, "location", "__well_known_whole"),
        ("nginx", DOCUMENT, "location", "__well_known_location"),
        ("nginx", DOCUMENT, "", "__well_known_whole"),
        ("nginx", "", "", "__well_known_part"),
        ("external", "", "", "__well_known_part"),
    ],
)
def test_which_form_is_shown(served_by: str, document: str, nginx: str, shown: str) -> None:
    found = {"document": document, "nginx": nginx, "snippet": '{"a": 1}'}
    role = Role("well_known", well_known_served_by=served_by, __well_known_document=found)
    names = ("__well_known_part", "__well_known_whole")
    forms = {name: role.value(name) for name in names}
    file = role.value("'nginx' if __well_known_snippet.file is search('nginx') else 'json'")
    assert file == ("nginx" if shown == "__well_known_location" else "json")
    if shown in forms:
        assert role.value("__well_known_snippet") == forms[shown]
