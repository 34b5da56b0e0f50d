# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What was found and done about stuck calls, for people: a table, a diff, and several rounds as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .stuck_ending import CAME_BACK, CHANGED, ENDED, HELD, REFUSED, WOULD_END
from .stuck_verdicts import STATES, duration

WORDING = {
    WOULD_END: "would be ended",
    ENDED: "ended",
    CHANGED: "left alone",
    REFUSED: "REFUSED",
    CAME_BACK: "CAME BACK",
    HELD: "STILL THERE",
}
WORSE = (REFUSED, CAME_BACK, HELD)
Membership = Mapping[str, object]


def room_lines(room_id: str, memberships: Sequence[Membership]) -> list[str]:
    """The memberships of one room: state, age, who and why, and below it what became of it."""
    lines = [room_id]
    for one in memberships:
        devices = one.get("devices")
        names = ", ".join(map(str, devices)) if isinstance(devices, list) else ""
        who = f"{one['user_id']} ({names})" if names else f"{one['user_id']}"
        age = duration(1000 * float(str(one["age"])))
        lines.append(f"  {one['state']:<10}{age:>12}  {who}: {one['reason']}")
        word, said = WORDING.get(str(one["outcome"])), one.get("said")
        if word:
            lines.append(f"{'':26}{word}" + (f": {said}" if said else ""))
    return lines


def table(result: Mapping[str, object]) -> list[str]:
    """A module's result, a room at a time, then how many there are of each kind."""
    found = listed(result, "memberships")
    lines = []
    for room_id in dict.fromkeys(str(one["room_id"]) for one in found):
        lines += room_lines(room_id, [one for one in found if one["room_id"] == room_id])
    states = [one["state"] for one in found]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)
    lines.append(
        f"{len(states)} memberships in {result.get('rooms', 0)} rooms" + (f": {counts}" if counts else "")
    )
    sticky = result.get("sticky")
    for room_id, count in (sticky if isinstance(sticky, Mapping) else {}).items():
        lines.append(f"{room_id}: {count} sticky memberships (MSC4354) end by themselves within an hour")
    problems = result.get("problems")
    return [*lines, *(f"PROBLEM: {text}" for text in (problems if isinstance(problems, list) else []))]


def listed(result: Mapping[str, object], key: str) -> list[Membership]:
    """The mappings in a list of a result."""
    found = result.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def diff(memberships: Sequence[Membership]) -> dict[str, str]:
    """What is or would be ended, as Ansible shows differences."""
    ended = [one for one in memberships if one["outcome"] in (WOULD_END, ENDED)]
    lines = "".join(f"{one['room_id']} {one['state_key']}\n" for one in ended)
    return {
        "before": lines,
        "after": "",
        "before_header": "call memberships",
        "after_header": "call memberships",
    }


def rooms_to_clear(memberships: Sequence[Membership]) -> list[str]:
    """The rooms in which something is to be ended, or was refused and is to be said so."""
    wanted = (WOULD_END, REFUSED)
    return list(dict.fromkeys(str(one["room_id"]) for one in memberships if one["outcome"] in wanted))


def merged(first: Mapping[str, object], later: Mapping[str, object]) -> dict[str, object]:
    """A listing, with what a later round did in some of its rooms."""
    again = listed(later, "memberships")
    rooms = {one["room_id"] for one in again}
    found = [one for one in listed(first, "memberships") if one["room_id"] not in rooms]
    both = {key: _list(first, key) + _list(later, key) for key in ("problems",)}
    waited = float(str(first.get("waited", 0))) + float(str(later.get("waited", 0)))
    return {
        **first,
        **both,
        "memberships": [*found, *again],
        "changed": bool(first.get("changed")) or bool(later.get("changed")),
        "waited": round(waited, 1),
    }


def _list(result: Mapping[str, object], key: str) -> list[object]:
    value = result.get(key)
    return list(value) if isinstance(value, list) else []
