# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The registration with which the token service stands behind Synapse as an application service.

Both sides read the same text: the token service takes its two tokens from it, Synapse learns where requests
for tokens go (MSC4512) and that the service may ask who is in a room (MSC4502). Synapse reads these keys with
their prefixes alone (synapse/config/appservice.py); of others it says nothing, and answers 404.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass

from .credentials import Outcome, provide_secret, remove
from .files import remove_file
from .managed_files import ManagedFile, provide_folder, write

ID = "matrixrtc-token-service"
SENDER = "_lk_jwt_service"
PREFIX = "rtc/livekit"  # the only one that Synapse lets a service have
SCOPE = "urn:matrix:client:io.element.msc4502:rooms:is_joined"
HEADER = "# Kept by the Ansible collection matrixrtc.backend. It holds secrets.\n"


@dataclass(frozen=True)
class Tokens:
    """What the homeserver and the service know each other by; empty ones are made in root's files."""

    path_as: str
    path_hs: str
    as_token: str = ""
    hs_token: str = ""


def document(as_token: str, hs_token: str, server_name: str, url: str) -> str:
    """The registration. JSON's values are YAML's, and `url: null` keeps events from the service."""
    users = [{"exclusive": False, "regex": f"@.*:{re.escape(server_name)}"}]
    entries = {
        "id": ID,
        "as_token": as_token,
        "hs_token": hs_token,
        "sender_localpart": SENDER,
        "url": None,
        "rate_limited": False,
        "namespaces": {"users": users},
        "io.element.msc4502.scopes": [SCOPE],
        "io.element.msc4512.proxy_prefix": PREFIX,
        "io.element.msc4512.proxy_url": url,
    }
    return HEADER + "".join(f"{name}: {json.dumps(value)}\n" for name, value in entries.items())


def provide(tokens: Tokens, server_name: str, url: str, file: ManagedFile, dry: bool = False) -> Outcome:
    """Have the registration in a file. Raises CredentialsError, OSError and LookupError as credentials do."""
    outcome = Outcome()
    for path in (tokens.path_as, tokens.path_hs, file.path):
        outcome.folders += [made for made in provide_folder(path, dry) if made not in outcome.folders]
    as_token = provide_secret(tokens.path_as, tokens.as_token, outcome, dry)
    hs_token = provide_secret(tokens.path_hs, tokens.hs_token, outcome, dry)
    if write(file, document(as_token, hs_token, server_name, url).encode(), dry):
        outcome.files.append(file.path)
    return outcome


def withdraw(tokens: Tokens, path: str, dry: bool = False) -> Outcome:
    """Remove the registration and the tokens. The folder of the registration is the homeserver's."""
    outcome = remove([tokens.path_as, tokens.path_hs], dry)
    if os.path.lexists(path):
        outcome.files.insert(0, path)
        if not dry:
            remove_file(path)
    return outcome


def is_proven(proof: str, outcome: Outcome, dry: bool = False) -> bool:
    """Whether this very registration was seen to work; the proof of another one, or of none, is removed.

    With `dry` it will have been by then.
    """
    if dry:
        return True
    if outcome.changed and proof:
        remove_file(proof)
    return os.path.lexists(proof)
