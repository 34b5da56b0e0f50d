# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""LiveKit's rooms over a restart: written down before it ends, made again when it is back.

A LiveKit without Redis has its rooms in memory, and none but the token service may make one (room.auto_create
is off). So after a restart a token that was fetched before it would be answered with 404, and so would the
clients of a running call that come back with theirs.

systemd runs this beside LiveKit, whoever restarts it: `leave` before it ends, `return` when it was started.
Between the two the file with the rooms is there. As long as it is, nginx lets requests for LiveKit wait: a
room that is made after the list was taken would be lost, and one who comes before the rooms would be refused.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .files import atomic_write
from .running_calls import Source, make_rooms, rooms_of

UNDER_WAY_SECONDS = 0.25  # what nginx has let through already is answered by then
START_SECONDS = 20.0
POLL_SECONDS = 0.05
MODE = 0o644  # nginx looks whether it is there; names of rooms are hashes

Rooms = dict[str, dict[str, object]]


class LostRoomsError(Exception):
    """Rooms could not be made again; the text is a sentence for the operator."""


def _written(path: Path) -> Rooms:
    """The rooms of the file; none where it is not there, or not ours."""
    try:
        return {str(room["name"]): room for room in json.loads(path.read_text(encoding="utf-8"))}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _write(path: Path, rooms: Rooms) -> None:
    atomic_write(str(path), json.dumps(list(rooms.values())).encode(), MODE, os.geteuid(), os.getegid())


def leave(source: Source, path: Path) -> int:
    """Write the rooms down, which has nginx hold back who comes now. Returns how many there are."""
    rooms = _written(path)  # of a start that came to nothing
    _write(path, rooms)
    time.sleep(UNDER_WAY_SECONDS)
    rooms |= {str(room["name"]): room for room in rooms_of(source)}
    _write(path, rooms)
    return len(rooms)


def come_back(source: Source, path: Path, alive: Callable[[], bool]) -> int:
    """Make the rooms again as soon as LiveKit answers, and let people in. Returns how many were made.

    Of a LiveKit that ends at its start the next one takes them over: systemd, and a run that puts the last
    good configuration back, wait for this.
    """
    rooms = _written(path)
    end = time.monotonic() + START_SECONDS
    while fault := make_rooms(source, list(rooms.values())) if rooms else "":
        if not alive():
            raise LostRoomsError(f"LiveKit has ended, and {len(rooms)} rooms stay written down")
        if time.monotonic() > end:
            path.unlink(missing_ok=True)
            raise LostRoomsError(f"{len(rooms)} rooms are lost: {fault}")
        time.sleep(POLL_SECONDS)
    path.unlink(missing_ok=True)
    return len(rooms)


def main_process_runs() -> bool:
    """Whether there is the process of which systemd tells what it starts beside it (systemd.exec(5))."""
    return os.path.exists(f"/proc/{os.environ.get('MAINPID', '0')}")


def main(arguments: Sequence[str]) -> int:
    """`leave` or `return`, then LiveKit's address, its key file and the file of rooms."""
    step, url, key_file, path = arguments
    try:
        if step == "leave":
            print(f"{leave(Source(url, key_file), Path(path))} rooms are written down")
        else:
            print(f"{come_back(Source(url, key_file), Path(path), main_process_runs)} rooms are there again")
    except (LostRoomsError, OSError) as error:
        print(f"Who has a token needs another: {error}", file=sys.stderr)
        return 1
    return 0
