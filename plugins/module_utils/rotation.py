# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Replacing the API key pair while tokens of the old one are about: which pair is used for what, and when.

The token service signs with one pair, the current one. LiveKit accepts it and, during a rotation, another:

    prepare   the other pair is the coming one. LiveKit accepts both, and its webhooks are of the coming one.
    retire    the other pair is the going one. The token service signs with what was coming, now the current.
    replace   a key has leaked: there is no other pair, and the services may not know the new one yet.
    settled   one pair, whose secret is in the host's file of secrets as if there had never been another.

The ledger holds this and is written in one go, before the services are brought to it. So whatever reads it,
at any time, finds a consistent state, and a run that was killed is finished by doing what it says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from .files import atomic_write, read_bytes

PREPARE, RETIRE, REPLACE, SETTLED = "prepare", "retire", "replace", "settled"
STAGES = (PREPARE, RETIRE, REPLACE, SETTLED)
LEDGER_MODE = 0o600


class RotationError(Exception):
    """What is asked for cannot be done now. The text holds no secret and says what to do instead."""


@dataclass(frozen=True)
class Pair:
    """An API key and its secret, which is '' where the host's own file has it."""

    key: str
    secret: str = ""

    def __repr__(self) -> str:  # a pair in a traceback must not show its secret
        return f"Pair({self.key!r})"


@dataclass(frozen=True)
class Ledger:
    """Where a rotation is.

    `since` is when the token service was known to sign with the current pair (Unix time), `back` whether it
    goes back after it was aborted, and `retired` has the names of pairs that were let go of.
    """

    stage: str
    current: Pair
    other: Pair | None = None
    since: float = 0
    back: bool = False
    retired: tuple[str, ...] = ()

    @property
    def under_way(self) -> bool:
        return self.stage != SETTLED

    @property
    def webhook_key(self) -> str:
        """What LiveKit signs webhooks with: that of `prepare` already, so that one restart is enough."""
        return self.other.key if self.stage == PREPARE and self.other else self.current.key

    def accepted(self, current: Pair) -> tuple[Pair, ...]:
        """What LiveKit accepts, the older pair first: another order of the same pairs would restart it."""
        if self.other is None:
            return (current,)
        return (self.other, current) if self.stage == RETIRE else (current, self.other)

    def remaining(self, token_life: float, now: float) -> float:
        """Seconds until no token of the going pair is valid; the whole life where the clock was set back."""
        if self.stage != RETIRE or not self.since:
            return token_life
        return min(token_life, max(0.0, self.since + token_life - now))


def begin(current: Pair, coming: Pair, retired: tuple[str, ...] = ()) -> Ledger:
    """Start to go from one pair to another."""
    if coming.key == current.key or coming.secret == current.secret:
        raise RotationError(
            f"The new pair has the name or the secret of the one in use ({current.key}). "
            "If that is where the last rotation went, move matrixrtc_livekit_next_key and "
            "matrixrtc_livekit_next_secret to matrixrtc_livekit_key and matrixrtc_livekit_secret; for "
            "another rotation give both new values."
        )
    return Ledger(PREPARE, current, coming, retired=retired)


def sign(ledger: Ledger) -> Ledger:
    """LiveKit accepts the coming pair: sign with it. Elsewhere than in `prepare` nothing changes."""
    if ledger.stage != PREPARE or ledger.other is None:
        return ledger
    return replace(ledger, stage=RETIRE, current=ledger.other, other=ledger.current, since=0)


def stamp(ledger: Ledger, now: float) -> Ledger:
    """The token service signs with the current pair from now on at the latest. The first time counts."""
    return replace(ledger, since=now) if ledger.stage == RETIRE and not ledger.since else ledger


def settle(ledger: Ledger) -> Ledger:
    """Let go of the other pair. Also how a rotation ends that never came to sign with the coming one."""
    gone = (ledger.other.key,) if ledger.other else ()
    names = tuple(name for name in dict.fromkeys(ledger.retired + gone) if name != ledger.current.key)
    return Ledger(SETTLED, Pair(ledger.current.key), retired=names)


def abort(ledger: Ledger) -> Ledger:
    """Go back to the pair of before; one that goes back already goes on.

    Once the coming pair has signed, the way back is a rotation of its own: its tokens have to run out.
    """
    if ledger.stage == PREPARE and not ledger.back:
        return settle(ledger)
    if ledger.stage == RETIRE and not ledger.back:
        return replace(ledger, stage=PREPARE, since=0, back=True)
    if ledger.stage == REPLACE:
        raise RotationError("A pair that leaked does not come back. Leave matrixrtc_rotation out to go on.")
    return ledger


def leaked(current: Pair, coming: Pair, ledger: Ledger | None) -> Ledger:
    """Replace the pair at once; nothing that was signed before is accepted any more."""
    begin(current, coming)  # the same refusals
    before = ledger or Ledger(SETTLED, current)
    known = [pair.key for pair in (current, before.current, before.other) if pair]
    return Ledger(REPLACE, coming, retired=tuple(dict.fromkeys((*before.retired, *known))))


def restarts(before: Ledger | None, after: Ledger | None, over: bool) -> tuple[str, ...]:
    """What a run restarts, in this order, that comes from one ledger to another. `over`: old tokens are."""
    if after is None or (after.stage == SETTLED and not (before and before.under_way)):
        return ()
    if after.stage in (PREPARE, REPLACE):
        return ("livekit", "lk-jwt-service")
    last = ("livekit",) if over or after.stage == SETTLED else ()
    return last if after.since or after.stage == SETTLED else ("lk-jwt-service", *last)


def chosen(ledger: Ledger | None, given: Pair) -> tuple[Pair, str]:
    """The pair to use where the inventory gives `given` (secret '' if none), and what to say about it.

    Raises RotationError for a third pair in the middle of a rotation.
    """
    if ledger is None:
        return given, ""
    if not ledger.under_way:
        if given.key == ledger.current.key or given.key not in ledger.retired:
            return given, ""
        stale = (
            f"matrixrtc_livekit_key is {given.key}, which was rotated out. {ledger.current.key} stays "
            "in use: set matrixrtc_livekit_key to it and matrixrtc_livekit_secret to its secret."
        )
        return ledger.current, stale if given.secret else ""
    known = [pair for pair in (ledger.current, ledger.other) if pair]
    # after a leak the inventory may hold the pair that was replaced until somebody changes it
    if given.secret and given not in known and not (ledger.stage == REPLACE and given.key in ledger.retired):
        raise RotationError(
            "matrixrtc_livekit_key and matrixrtc_livekit_secret are neither of the pairs of the rotation "
            f"that is under way ({' and '.join(pair.key for pair in known)}). Set them back, and finish the "
            "rotation with rotate_secrets.yml before another pair is set."
        )
    return ledger.current, ""


def _pair(data: Mapping[str, str] | None) -> Pair | None:
    return Pair(data["key"], data["secret"]) if data else None


def read(path: str) -> Ledger | None:
    """The ledger of a host, None where no key was ever rotated. Raises RotationError and OSError."""
    raw = read_bytes(path)
    if raw is None:
        return None
    try:
        data = json.loads(raw)
        current = _pair(data["current"])
        if data["stage"] not in STAGES or current is None:
            raise ValueError(data["stage"])
        other, retired = _pair(data["other"]), tuple(data["retired"])
        return Ledger(data["stage"], current, other, float(data["since"]), bool(data["back"]), retired)
    except (ValueError, KeyError, TypeError) as error:
        raise RotationError(
            f"{path} is not what a rotation of keys writes. Restore it from a backup, or remove it and run "
            "site.yml, which goes on with the secret in use."
        ) from error


def save(path: str, ledger: Ledger) -> bool:
    """Write the ledger, root's alone and in one go; True when it changed."""
    text = json.dumps(asdict(ledger), indent=2) + "\n"
    return atomic_write(path, text.encode(), LEDGER_MODE, os.geteuid(), os.getegid())
