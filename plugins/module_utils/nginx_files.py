# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A file of ours in an nginx's configuration, and the record with which a killed run is taken back."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass

from .files import atomic_write, read_text, remove_file
from .nginx_host import Place


@dataclass(frozen=True)
class Files:
    """The site on disk: its content (None = no file) and whether the link that enables it is there."""

    place: Place
    content: str | None
    is_linked: bool


def _is_linked(place: Place) -> bool:
    return os.path.islink(place.link) and os.readlink(place.link) == place.file


def on_disk(place: Place) -> Files:
    return Files(place, read_text(place.file), _is_linked(place))


def wanted(place: Place, content: str | None) -> Files:
    return Files(place, content, bool(place.link) and content is not None)


def put(files: Files) -> None:
    """Make the files as described; the link goes before its file and comes after it."""
    place = files.place
    if place.link and not files.is_linked:
        remove_file(place.link)
    if files.content is None:
        remove_file(place.file)
        return
    atomic_write(place.file, files.content.encode("utf-8"), 0o644)
    if files.is_linked and not _is_linked(place):
        temporary = os.path.join(os.path.dirname(place.link), f".{os.path.basename(place.link)}.new")
        remove_file(temporary)
        os.symlink(place.file, temporary)
        os.rename(temporary, place.link)


def _record(state_folder: str, name: str) -> str:
    return os.path.join(state_folder, f"{name}.json")


def begin(state_folder: str, name: str, files: Files) -> None:
    for folder in (os.path.dirname(state_folder), state_folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    record = {
        "file": files.place.file,
        "link": files.place.link,
        "content": files.content,
        "linked": files.is_linked,
    }
    atomic_write(_record(state_folder, name), json.dumps(record).encode("utf-8"), 0o600)


def end(state_folder: str, name: str) -> None:
    """Nothing is half done any more; an empty state folder goes."""
    remove_file(_record(state_folder, name))
    with contextlib.suppress(OSError):
        os.rmdir(state_folder)


def interrupted(state_folder: str, name: str) -> Files | None:
    """What a killed run had found on disk; None when none was killed."""
    text = read_text(_record(state_folder, name))
    if text is None:
        return None
    record = json.loads(text)
    return Files(Place(record["file"], record["link"]), record["content"], record["linked"])
