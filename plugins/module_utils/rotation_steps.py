# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The steps of a rotation on one host: what the ledger is after each, and how it is kept."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from .credentials import SECRET_MODE, kept_secret, new_secret, require_length
from .files import atomic_write
from .rotation import (
    REPLACE,
    RETIRE,
    Ledger,
    Pair,
    RotationError,
    abort,
    begin,
    chosen,
    leaked,
    save,
    settle,
    sign,
    stamp,
)


@dataclass(frozen=True)
class Asked:
    """What is asked for, and the pairs of the inventory; secrets are '' where the host makes them."""

    request: str
    given: Pair
    coming: Pair
    token_life: float = 3600


def next_ledger(
    step: str, ledger: Ledger | None, asked: Asked, path_secret: str, now: float
) -> Ledger | None:
    """The ledger after a step; the same if the step is not the next one. Raises RotationError."""
    if step == "begin":
        return _begun(ledger, asked, path_secret, now)
    if ledger is None or step == "look":
        return ledger
    if step == "sign":
        return sign(ledger)
    if step == "stamp":
        return stamp(ledger, now)
    over = ledger.stage == RETIRE and ledger.remaining(asked.token_life, now) <= 0
    return settle(ledger) if over or ledger.stage == REPLACE else ledger


def _begun(ledger: Ledger | None, asked: Asked, path_secret: str, now: float) -> Ledger | None:
    """Start, or go on with what is under way. Asked twice, `abort` and `emergency` go on too."""
    under_way = ledger is not None and ledger.under_way
    if asked.request == "abort":
        return abort(ledger) if ledger and under_way else ledger
    replacing = asked.request == "emergency" and ledger is not None and ledger.stage == REPLACE
    if under_way and (asked.request in ("", "resume") or replacing):
        chosen(ledger, asked.given)  # refuses a third pair
        return ledger
    if asked.request == "resume":
        raise RotationError("matrixrtc_rotation is resume, but no rotation is under way. Set it to start.")
    if asked.request != "emergency" and under_way:
        raise RotationError(
            "matrixrtc_rotation is start, but a rotation is under way. Leave it out to go on with that one, "
            "or set it to abort or, after a leak, to emergency."
        )
    current = ledger.current if ledger and under_way else _in_use(ledger, asked, path_secret)
    coming = _coming(asked, now)
    if asked.request == "emergency":
        return leaked(current, coming, ledger)
    return begin(current, coming, ledger.retired if ledger else ())


def _in_use(ledger: Ledger | None, asked: Asked, path_secret: str) -> Pair:
    """The pair of a host on which no rotation is under way."""
    pair, _ = chosen(ledger, asked.given)
    kept = kept_secret(path_secret)
    if not kept:
        raise RotationError(
            f"{path_secret} does not exist: nothing is deployed here yet. Run site.yml first."
        )
    if pair.secret and pair.secret != kept:
        raise RotationError(
            "matrixrtc_livekit_secret is not the secret in use. Run site.yml first, or set it back."
        )
    return Pair(pair.key, kept)


def _coming(asked: Asked, now: float) -> Pair:
    """The pair to go to, made here unless it is given."""
    secret = asked.coming.secret
    if asked.given.secret and not secret:
        raise RotationError(
            "matrixrtc_livekit_next_secret is not set. matrixrtc_livekit_secret comes from your inventory, "
            "so the new one has to as well: set it, in the vault, to 48 random letters and digits."
        )
    if asked.given.secret and not asked.coming.key:
        raise RotationError(
            "matrixrtc_livekit_next_key is not set. Set it to a name that no pair of this site had before, "
            f"such as {asked.given.key}-2."
        )
    if secret:
        require_length(secret, "matrixrtc_livekit_next_secret")
    made = time.strftime("%Y%m%d%H%M%S", time.gmtime(now))
    name = asked.coming.key or f"{asked.given.key}-{made}"
    return Pair(name, secret or new_secret())


def store(path: str, path_secret: str, ledger: Ledger, before: Ledger | None) -> None:
    """Write the ledger. A settled one has no secret: the host's file of secrets gets it before it goes."""
    if not ledger.under_way and before and before.current.secret:
        text = f"{before.current.secret}\n".encode()
        atomic_write(path_secret, text, SECRET_MODE, os.geteuid(), os.getegid())
    save(path, ledger)
