# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Participants of which an account can have any number, and what they recognise each other by.

A further session of an account is a device that is made up. Neither the token service nor the SFU asks the
homeserver whether a device exists, and nothing is written to the homeserver for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from .call_media import KEY_LENGTH, Seat
from .call_token import legacy_identity
from .endpoint_site import Site
from .endpoint_token import Access
from .matrix_client import Account

FIRST_TONE, TONE_STEP = 650.0, 70.0  # Hz; among the first ten no tone is a harmonic of another
SPEAKERS = 2  # send sound too: it costs a host of many participants more than pictures do, and proves no more


@dataclass(frozen=True)
class Talker:
    """Somebody with a token of the SFU. `name` is for people, `identity` who they are to the SFU."""

    name: str
    identity: str
    access: Access


def session(account: Account, number: int) -> Account:
    """One more session of an account, in a call of which the number is not taken yet."""
    return Account(account.user_id, f"PROBE{number}")


def made_up_room(site: Site, purpose: str) -> str:
    """The id of a room that no homeserver knows of. The token service asks none."""
    return f"!{purpose}-{os.urandom(6).hex()}:{site.server_name}"


def names_of(accounts: Sequence[Account]) -> list[str]:
    """What to call participants: their Matrix ID, with the device where there are several of them."""
    users = [account.user_id for account in accounts]
    return [
        account.user_id if users.count(account.user_id) == 1 else f"{account.user_id} ({account.device_id})"
        for account in accounts
    ]


def talkers_of(people: Sequence[tuple[Account, Access]]) -> list[Talker]:
    """Those with tokens of /sfu/get, which names participants by account and device."""
    names = names_of([account for account, _access in people])
    return [
        Talker(names[place], legacy_identity(account.user_id, account.device_id), access)
        for place, (account, access) in enumerate(people)
    ]


def tone_of(number: int) -> float:
    """The tone of a participant, in Hz."""
    return FIRST_TONE + number * TONE_STEP


def seats_of(talkers: Sequence[Talker], start: float = 0.0) -> list[Seat]:
    """A seat for each, with keys of its own, who can recognise all the others. `start`: as that of a seat."""
    secrets = [
        (
            os.urandom(KEY_LENGTH).hex(),
            int.from_bytes(os.urandom(2), "big"),
            tone_of(number) if number < SPEAKERS else 0.0,
        )
        for number in range(len(talkers))
    ]
    return [
        Seat(
            name=talker.name,
            url=talker.access.url,
            jwt=talker.access.jwt,
            identity=talker.identity,
            key=secrets[own][0],
            nonce=secrets[own][1],
            tone=secrets[own][2],
            others=tuple(
                (other.identity, *secrets[number]) for number, other in enumerate(talkers) if number != own
            ),
            start=start,
        )
        for own, talker in enumerate(talkers)
    ]
