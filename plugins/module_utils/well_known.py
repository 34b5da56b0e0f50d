# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The RTC foci (MSC4143) in a /.well-known/matrix/client document that others own.

Entries are added, completed and removed in the text itself; all other keys keep their order and every byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .files import atomic_write, read_bytes, remove_file

KEY = "org.matrix.msc4143.rtc_foci"
Focus = Mapping[str, Any]
Identity = tuple[str, str]
_SPACE = re.compile(r"[ \t\r\n]*")


class WellKnownError(Exception):
    """The document cannot be edited. The message says where, why, and what to write instead."""


@dataclass(frozen=True)
class Entry:
    """One member of an object (with its key) or item of an array: where it begins, where its value stands."""

    start: int
    value: int
    end: int
    key: str = ""


@dataclass(frozen=True)
class Record:
    """What we did to a document: our entries, the text before us (None: no file), the digest of ours."""

    ours: tuple[Identity, ...] = ()
    before: str | None = None
    after: str = ""
    made_list: bool = False


@dataclass(frozen=True)
class Outcome:
    """The document before and after; None where there is none."""

    before: str | None
    after: str | None

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True)
class Request:
    """A document on disk. `base_url` is the homeserver's, only used for a new document."""

    path: str
    foci: Sequence[Focus]
    state_dir: str
    base_url: str = ""
    present: bool = True
    owner: str | int | None = None
    group: str | int | None = None
    mode: int = 0o644


def identity(focus: Any) -> Identity:
    """What makes two entries the same: type and service URL, else the whole entry."""
    if isinstance(focus, Mapping) and focus.get("type") and focus.get("livekit_service_url"):
        return (str(focus["type"]), str(focus["livekit_service_url"]))
    return ("", json.dumps(focus, sort_keys=True))


# The text --------------------------------------------------------------------------------------------


def with_foci(text: str, foci: Sequence[Focus], retired: Collection[Identity] = ()) -> str:
    """The document with every focus in it, and without those that are retired. Raises WellKnownError.

    Known entries keep their place and their other keys; new ones come last. Other keys of the document, their
    order and formatting stay.
    """
    current = _foci(text, foci)
    gone = set(retired) - {identity(focus) for focus in foci}
    text = _without_items(text, [identity(item) in gone for item in current])
    kept = [item for item in current if identity(item) not in gone]
    new = [dict(focus) for focus in foci if identity(focus) not in map(identity, kept)]
    for place, item in enumerate(kept):
        for focus in foci:
            if identity(focus) == identity(item):
                text = _completed(text, place, item, focus)
    if not new:
        return text
    member = _member(text)
    if member is None:
        return _insert(text, _start(text), f"{_dump(KEY)}", new)
    for item in new:
        text = _insert(text, member.value, "", item)
    return text


def without_foci(text: str, ours: Collection[Identity], made_list: bool) -> str:
    """The document without our entries, and without the list if we made it and nothing else is in it."""
    current = _foci(text, [])
    text = _without_items(text, [identity(item) in ours for item in current])
    member = _member(text)
    if member is None or not made_list or _foci(text, []):
        return text
    members = list(_entries(text, _start(text)))
    return _cut(text, members, members.index(member))


def new_document(base_url: str, foci: Sequence[Focus]) -> str:
    """A whole document for a site that has none yet."""
    document = {"m.homeserver": {"base_url": base_url}, KEY: [dict(focus) for focus in foci]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def snippet(foci: Sequence[Focus]) -> str:
    """What has to stand in a document, for a person to write."""
    return json.dumps({KEY: [dict(focus) for focus in foci]}, indent=2, ensure_ascii=False)


def _foci(text: str, wanted: Sequence[Focus]) -> list[Any]:
    """The entries that a document has. Raises WellKnownError for what is no such document."""
    try:
        document = json.loads(text, parse_constant=lambda name: _refuse_constant(text, name))
    except ValueError as error:
        raise WellKnownError(f"is not valid JSON ({error})") from None
    if not isinstance(document, dict):
        raise WellKnownError("holds no JSON object")
    if sum(entry.key == KEY for entry in _entries(text, _start(text))) > 1:
        raise WellKnownError(f"has '{KEY}' twice. Keep one of them")
    foci = document.get(KEY, [])
    if not isinstance(foci, list):
        raise WellKnownError(f"has '{KEY}' that is no list. Write instead:\n\n{snippet(wanted)}")
    return foci


def _refuse_constant(text: str, name: str) -> None:
    """Refuse what Python takes for JSON and clients do not."""
    words = re.finditer(rf'"(?:[^"\\]|\\.)*"|{name}', text)
    position = next(word.start() for word in words if word.group() == name)
    raise json.JSONDecodeError(f"{name} is no JSON value", text, position)


def _start(text: str) -> int:
    return _skip(text, 0)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _entries(text: str, opening: int) -> Iterator[Entry]:
    """The entries of the object or array that opens at a position of a valid JSON text."""
    decoder = json.JSONDecoder()
    position = _skip(text, opening + 1)
    while text[position] not in "}]":
        start = position
        key = ""
        if text[opening] == "{":
            key, position = decoder.raw_decode(text, position)
            position = _skip(text, _skip(text, position) + 1)
        _, end = decoder.raw_decode(text, position)
        yield Entry(start, position, end, key)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)


def _member(text: str) -> Entry | None:
    return next((entry for entry in _entries(text, _start(text)) if entry.key == KEY), None)


def _items(text: str) -> list[Entry]:
    """The entries of the list of foci; none when there is no list."""
    member = _member(text)
    return [] if member is None else list(_entries(text, member.value))


def _completed(text: str, place: int, item: Mapping[str, Any], focus: Focus) -> str:
    """The text with the keys of a focus in the list's item at a place."""
    for key, value in focus.items():
        if item.get(key) == value:
            continue
        item_start = _items(text)[place].value
        known = next((entry for entry in _entries(text, item_start) if entry.key == key), None)
        if known is None:
            text = _insert(text, item_start, _dump(key), value)
        else:
            text = text[: known.value] + _dump(value) + text[known.end :]
    return text


def _without_items(text: str, gone: Sequence[bool]) -> str:
    """The text without those items of the list for which it is true."""
    for place in [place for place, is_gone in enumerate(gone) if is_gone][::-1]:
        text = _cut(text, _items(text), place)
    return text


def _cut(text: str, entries: Sequence[Entry], place: int) -> str:
    """The text without one entry and the comma between it and a neighbour."""
    if place > 0:
        return text[: entries[place - 1].end] + text[entries[place].end :]
    if len(entries) > 1:
        return text[: entries[0].start] + text[entries[1].start :]
    before = text[: entries[0].start].rstrip(" \t\r\n")
    return before + text[_skip(text, entries[0].end) :]


def _insert(text: str, opening: int, key: str, value: Any) -> str:
    """The text with one more entry at the end of the object or array that opens at a position."""
    entries = list(_entries(text, opening))
    unit = _unit(text)
    line = text[text.rfind("\n", 0, opening) + 1 : opening]
    base = line[: len(line) - len(line.lstrip(" \t"))]
    is_spread = _is_own_line(text, entries[-1].start) if entries else bool(unit)
    if not is_spread:
        inline = _inline(text, key, value)
        gap = "" if _is_minified(text) else " "
        if entries:
            return text[: entries[-1].end] + "," + gap + inline + text[entries[-1].end :]
        return text[: opening + 1] + inline + text[_skip(text, opening + 1) :]
    indent = _indent(text, entries[-1].start) if entries else base + unit
    eol = "\r\n" if "\r\n" in text else "\n"
    block = json.dumps(value, indent=unit or "  ", ensure_ascii=False).replace("\n", eol + indent)
    added = eol + indent + (f"{key}: " if key else "") + block
    if entries:
        return text[: entries[-1].end] + "," + added + text[entries[-1].end :]
    return text[: opening + 1] + added + eol + base + text[_skip(text, opening + 1) :]


def _inline(text: str, key: str, value: Any) -> str:
    separators = (",", ":") if _is_minified(text) else (", ", ": ")
    dumped = json.dumps(value, ensure_ascii=False, separators=separators)
    return f"{key}{separators[1]}{dumped}" if key else dumped


def _is_minified(text: str) -> bool:
    return not re.search(r"[:,{\[]\s", text)


def _is_own_line(text: str, position: int) -> bool:
    return not text[text.rfind("\n", 0, position) + 1 : position].strip() and "\n" in text[:position]


def _indent(text: str, position: int) -> str:
    return text[text.rfind("\n", 0, position) + 1 : position]


def _unit(text: str) -> str:
    """By what the document indents a level; empty when it stands on one line."""
    first = next(_entries(text, _start(text)), None)
    if first is None:
        return "  "
    return _indent(text, first.start) if _is_own_line(text, first.start) else ""


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# The file --------------------------------------------------------------------------------------------


def apply(request: Request, check_mode: bool = False) -> Outcome:
    """Bring the file to what is asked for. Raises WellKnownError, OSError, LookupError."""
    current = _read(request.path)
    record = _load(request)
    after: str | None
    try:
        if request.present:
            after, record = _present(request, current, record)
        else:
            after, record = _absent(current, record), Record()
    except WellKnownError as error:
        raise WellKnownError(f"{request.path} {error}") from None
    if not check_mode:
        _save(request, record)
        _write(request, current, after)
        if not request.present:
            _forget(request)
    return Outcome(current, after)


def _present(request: Request, current: str | None, record: Record) -> tuple[str, Record]:
    untouched = _digest(current) in (record.after, _digest(record.before)) and record.after != ""
    if current is None:
        if not request.base_url:
            raise WellKnownError(
                "does not exist. Name the file that is served, or set well_known_base_url to the address of "
                "the homeserver's client API, such as https://matrix.example.org, to have one made"
            )
        after = new_document(request.base_url, request.foci)
        return after, Record(tuple(map(identity, request.foci)), None, _digest(after), made_list=True)
    after = with_foci(current, request.foci, record.ours)
    theirs = without_foci(current, record.ours, record.made_list) if record.ours else current
    known = {identity(focus) for focus in _foci(theirs, [])}
    ours = tuple(identity(focus) for focus in request.foci if identity(focus) not in known)
    if after == current and ours == record.ours:
        return after, record
    before = record.before if untouched else theirs
    return after, Record(ours, before, _digest(after), _member(theirs) is None)


def _absent(current: str | None, record: Record) -> str | None:
    if current is None or not record.after:
        return current
    if _digest(current) == record.after:
        return record.before
    return without_foci(current, record.ours, record.made_list)


def _read(path: str) -> str | None:
    data = read_bytes(path)
    try:
        return None if data is None else data.decode("utf-8")
    except UnicodeDecodeError:
        raise WellKnownError(f"{path} is not UTF-8") from None


def _write(request: Request, current: str | None, after: str | None) -> None:
    if after is None:
        remove_file(request.path)
    elif current is None:
        atomic_write(request.path, after.encode(), request.mode, request.owner, request.group)
    elif after != current:
        atomic_write(request.path, after.encode())


def _digest(text: str | None) -> str:
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()


def _record_path(request: Request) -> str:
    name = hashlib.sha256(os.path.abspath(request.path).encode()).hexdigest()[:16]
    return os.path.join(request.state_dir, f"{name}.json")


def _load(request: Request) -> Record:
    raw = read_bytes(_record_path(request))
    if raw is None:
        return Record()
    try:
        known = json.loads(raw)
        ours = tuple((str(kind), str(url)) for kind, url in known["ours"])
        return Record(ours, known["before"], known["after"], known["made_list"])
    except (ValueError, KeyError, TypeError):
        raise WellKnownError(f"{_record_path(request)} is damaged: move it away to start afresh") from None


def _save(request: Request, record: Record) -> None:
    """Note what we are about to do, before it is done: a run that is killed then is finished by the next."""
    if not record.after:
        return
    _make_private(request.state_dir)
    content = {
        "path": request.path,
        "ours": record.ours,
        "before": record.before,
        "after": record.after,
        "made_list": record.made_list,
    }
    atomic_write(_record_path(request), json.dumps(content, indent=1).encode(), mode=0o600)


def _forget(request: Request) -> None:
    if remove_file(_record_path(request)) and not os.listdir(request.state_dir):
        os.rmdir(request.state_dir)


def _make_private(path: str) -> None:
    if not os.path.isdir(path):
        _make_private(os.path.dirname(path))
        os.mkdir(path, 0o700)
