"""The RTC foci in documents that others own."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.well_known import (
    KEY,
    Request,
    WellKnownError,
    apply,
    identity,
    new_document,
    snippet,
    with_foci,
    without_foci,
)

OURS = {"type": "livekit", "livekit_service_url": "https://rtc.lab.test/livekit/jwt"}
THEIRS = {"type": "livekit", "livekit_service_url": "https://other.example.org/livekit/jwt"}
LINE = '{"type": "livekit", "livekit_service_url": "https://rtc.lab.test/livekit/jwt"}'
MINIFIED = '{"type":"livekit","livekit_service_url":"https://rtc.lab.test/livekit/jwt"}'
INDENTED = """\
{
  "m.homeserver": {
    "base_url": "https://m.lab.test"
  },
  "io.element.e2ee": {"default": true}
}
"""
LIST = """\
"org.matrix.msc4143.rtc_foci": [
    {
      "type": "livekit",
      "livekit_service_url": "https://rtc.lab.test/livekit/jwt"
    }
  ]"""
BRACES = """\
{
  "org.matrix.msc4143.rtc_foci": [{
    "type": "livekit",
    "livekit_service_url": "https://other.example.org/livekit/jwt"
  }]
}
"""
ODD = """
 { "ключ" : "Grüße \\"\\u00e9, 🎈" ,
   "a":{ "b" :[ ] } }

"""
UNKNOWN = f'{json.dumps(THEIRS)}, {{"type": "nextgen_new_foci_type", "x": [{{}}, "]"]}}'
EXTENDED = '{"livekit_service_url": "https://rtc.lab.test/livekit/jwt", "w": 3, "type": "livekit"}'


def list_in(columns: str, eol: str = "\n") -> str:
    """The list with other columns per level and another line end."""
    return LIST.replace("  ", columns).replace("\n", eol)


# Document before, document after.
DOCUMENTS = {
    "one line": ('{"a": {"b": "c"}}', f'{{"a": {{"b": "c"}}, "{KEY}": [{LINE}]}}'),
    "minified": ('{"a":{"b":"c"},"z":[1]}\n', f'{{"a":{{"b":"c"}},"z":[1],"{KEY}":[{MINIFIED}]}}\n'),
    "indented": (INDENTED, INDENTED.replace("}\n}", f"}},\n  {LIST}\n}}")),
    "four columns": ('{\n    "a": 1\n}', f'{{\n    "a": 1,\n    {list_in("    ")}\n}}'),
    "tabs": (
        '{\r\n\t"a": 1\r\n}\r\n',
        f'{{\r\n\t"a": 1,\r\n\t{list_in(chr(9), chr(13) + chr(10))}\r\n}}\r\n',
    ),
    "empty object": ("{}\n", f"{{\n  {LIST}\n}}\n"),
    "empty list": (f'{{\n  "{KEY}": [],\n  "a": "b"\n}}', f'{{\n  {LIST},\n  "a": "b"\n}}'),
    "unknown types first": (f'{{"{KEY}": [{UNKNOWN}], "a": 1}}', f'{{"{KEY}": [{UNKNOWN}, {LINE}], "a": 1}}'),
    "braces beside brackets": (BRACES, BRACES.replace("}]", f"}}, {LINE}]")),
    "there already, extended": (f'{{"{KEY}": [{EXTENDED}]}}', f'{{"{KEY}": [{EXTENDED}]}}'),
    "odd": (ODD, f'{{"{KEY}": [{LINE}]}}'),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document(name: str) -> None:
    before, after = DOCUMENTS[name]
    result = with_foci(before, [OURS])
    assert json.loads(result) == {**json.loads(before), KEY: json.loads(after)[KEY]}
    if name != "odd":
        assert result == after
    assert with_foci(result, [OURS]) == result


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_other_byte_stays(name: str) -> None:
    before, _ = DOCUMENTS[name]
    result = with_foci(before, [OURS])
    cuts = range(len(before) + 1)
    assert any(result.startswith(before[:cut]) and result.endswith(before[cut:]) for cut in cuts)


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "there already, extended"])
def test_document_without_ours_again(name: str) -> None:
    before, _ = DOCUMENTS[name]
    after = with_foci(before, [OURS])
    result = without_foci(after, [identity(OURS)], made_list=KEY not in json.loads(before))
    assert json.loads(result) == json.loads(before)
    if name not in ("empty object", "empty list", "odd"):
        assert result == before


def test_known_entry_gets_what_is_missing_and_keeps_the_rest() -> None:
    before = f'{{"{KEY}": [{{"w": 3, "type": "livekit", "livekit_service_url": "u", "url": "old"}}]}}'
    wanted = {"type": "livekit", "livekit_service_url": "u", "url": "wss://new", "n": [1]}
    after = before.replace('"old"', '"wss://new", "n": [1]')
    assert with_foci(before, [wanted]) == after


def test_retired_entries_go_and_wanted_ones_stay() -> None:
    before = json.dumps({KEY: [THEIRS, OURS, {"type": "x"}]})
    retired = [identity(THEIRS), identity(OURS)]
    assert json.loads(with_foci(before, [OURS], retired)) == {KEY: [OURS, {"type": "x"}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not valid JSON"),
        ("<html>", "is not valid JSON"),
        ('{"a": 1,}', "is not valid JSON"),
        ('{"a": NaN}', "is not valid JSON"),
        ('\ufeff{"a": 1}', "is not valid JSON"),
        ("[]", "holds no JSON object"),
        (f'{{"{KEY}": [], "{KEY}": []}}', "twice"),
        (f'{{"{KEY}": {{}}}}', 'is no list. Write instead:\n\n{\n  "org.matrix.msc4143.rtc_foci": [\n    {'),
    ],
)
def test_what_is_no_such_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(WellKnownError) as refusal:
        with_foci(text, [OURS])
    assert words in str(refusal.value)


def test_snippet_and_new_document() -> None:
    assert json.loads(snippet([OURS])) == {KEY: [OURS]}
    assert json.loads(new_document("https://m.lab.test", [OURS])) == {
        "m.homeserver": {"base_url": "https://m.lab.test"},
        KEY: [OURS],
    }


# The file --------------------------------------------------------------------------------------------


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    path = tmp_path / "client"
    path.write_text(DOCUMENTS["indented"][0])
    return Request(str(path), [OURS], str(tmp_path / "state" / "well_known"))


def present(request: Request, **other: Any) -> bool:
    return apply(replace(request, **other)).changed


def absent(request: Request) -> bool:
    return apply(replace(request, present=False)).changed


def text_of(request: Request) -> str:
    return Path(request.path).read_text()


def test_file_comes_and_goes(request_: Request, tmp_path: Path) -> None:
    os.chmod(request_.path, 0o640)
    assert present(request_)
    assert text_of(request_) == DOCUMENTS["indented"][1]
    assert not present(request_)
    assert stat.S_IMODE(os.stat(request_.path).st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert absent(request_)
    assert text_of(request_) == DOCUMENTS["indented"][0]
    assert not absent(request_)
    assert not os.path.exists(request_.state_dir)


def test_check_mode_writes_nothing(request_: Request, tmp_path: Path) -> None:
    outcome = apply(request_, check_mode=True)
    assert (outcome.before, outcome.after) == DOCUMENTS["indented"]
    assert text_of(request_) == DOCUMENTS["indented"][0]
    assert not (tmp_path / "state").exists()


def test_another_domain_replaces_our_entry(request_: Request) -> None:
    present(request_)
    present(request_, foci=[THEIRS])
    assert json.loads(text_of(request_))[KEY] == [THEIRS]
    absent(request_)
    assert text_of(request_) == DOCUMENTS["indented"][0]


def test_an_entry_of_the_operators_is_never_taken_out(request_: Request) -> None:
    before = json.dumps({KEY: [OURS]})
    Path(request_.path).write_text(before)
    assert not present(request_)
    assert present(request_, foci=[THEIRS])
    assert json.loads(text_of(request_))[KEY] == [OURS, THEIRS]
    absent(request_)
    assert text_of(request_) == before


def test_absent_after_an_edit_takes_out_only_ours(request_: Request) -> None:
    present(request_)
    document = json.loads(text_of(request_))
    document["new"] = 1
    document[KEY].append(THEIRS)
    Path(request_.path).write_text(json.dumps(document))
    absent(request_)
    kept = json.loads(text_of(request_))
    assert kept == {**json.loads(DOCUMENTS["indented"][0]), KEY: [THEIRS], "new": 1}


def test_an_edit_in_between_is_kept_over_further_runs(request_: Request) -> None:
    present(request_)
    Path(request_.path).write_text(text_of(request_).replace('"default": true', '"default": false'))
    assert not present(request_)
    present(request_, foci=[OURS, THEIRS])
    absent(request_)
    expected = DOCUMENTS["indented"][0].replace('"default": true', '"default": false')
    assert text_of(request_) == expected


def test_keys_added_to_an_entry_of_the_operators_go_too(request_: Request) -> None:
    before = json.dumps({KEY: [OURS]})
    Path(request_.path).write_text(before)
    present(request_, foci=[{**OURS, "url": "wss://rtc.lab.test"}])
    present(request_, foci=[{**OURS, "url": "wss://rtc.lab.test"}, THEIRS])
    assert json.loads(text_of(request_))[KEY] == [{**OURS, "url": "wss://rtc.lab.test"}, THEIRS]
    absent(request_)
    assert text_of(request_) == before


def test_new_file_needs_the_address_and_goes_again(request_: Request) -> None:
    os.unlink(request_.path)
    with pytest.raises(WellKnownError, match="set well_known_base_url"):
        present(request_)
    ids: dict[str, Any] = {"owner": os.geteuid(), "group": os.getegid()}
    assert present(request_, base_url="https://m.lab.test", **ids)
    assert stat.S_IMODE(os.stat(request_.path).st_mode) == 0o644
    assert not present(request_, base_url="https://m.lab.test", **ids)
    assert absent(request_)
    assert not os.path.exists(request_.path)


class KilledError(BaseException):
    """Stands for a SIGKILL."""


@pytest.mark.parametrize("survived", [0, 1])
def test_killed_anywhere_the_next_run_finishes(
    request_: Request, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    writes = 0

    def renaming(source: str, target: str, rename: Any = os.rename) -> None:
        nonlocal writes
        if writes == survived:
            raise KilledError
        writes += 1
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", renaming)
        with pytest.raises(KilledError):
            present(request_)
    assert present(request_)
    assert not present(request_)
    absent(request_)
    assert text_of(request_) == DOCUMENTS["indented"][0]


def test_a_damaged_record_is_said_to_be_one(request_: Request) -> None:
    present(request_)
    record = next(Path(request_.state_dir).iterdir())
    record.write_text("{}")
    with pytest.raises(WellKnownError, match="is damaged"):
        present(request_)


def test_a_refusal_names_the_file(request_: Request) -> None:
    Path(request_.path).write_text("{")
    with pytest.raises(WellKnownError, match="client is not valid JSON"):
        present(request_)
    Path(request_.path).write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(WellKnownError, match="client is not UTF-8"):
        present(request_)
