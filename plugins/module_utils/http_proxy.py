# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy on the way out, given as a URL that may hold a password: it goes into environments only.

Ansible's own keyword `environment` would put it into the arguments of a shell, where every user can read it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

NEVER = ("localhost", "127.0.0.1", "::1")


def proxy_environment(address: str, around: Sequence[str] = ()) -> dict[str, str]:
    """The variables that programs look for, in both spellings; {} without a proxy.

    `around`: hosts to reach without it, besides this host itself and what the environment names already.
    """
    if not address:
        return {}
    there = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [*NEVER, *around, *filter(None, (name.strip() for name in there.split(",")))]
    values = {"http_proxy": address, "https_proxy": address, "no_proxy": ",".join(dict.fromkeys(names))}
    return {**values, **{name.upper(): value for name, value in values.items()}}


@contextmanager
def through(address: str) -> Iterator[None]:
    """Have this process ask through the proxy for a while; '' leaves the environment as it is."""
    before = dict(os.environ)
    os.environ.update(proxy_environment(address))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def way(address: str) -> str:
    """' through the proxy HOST:PORT' for a message, '' without a proxy."""
    return f" through the proxy {urlsplit(address).netloc.rpartition('@')[2]}" if address else ""


def without_password(text: str, address: str) -> str:
    """The text without the user and password of the proxy, together or the password alone, encoded or not."""
    credentials = urlsplit(address).netloc.rpartition("@")[0]
    secrets = (credentials, credentials.partition(":")[2])
    for secret in filter(None, (*secrets, *map(unquote, secrets))):
        text = text.replace(secret, "***")
    return text
