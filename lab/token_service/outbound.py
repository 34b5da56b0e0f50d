# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The one HTTP client for every outgoing call: trust, no proxy, no limits that the real service lacks."""

from __future__ import annotations

import ssl

import httpx

from . import SERVER_HEADER
from .config import Config


def tls_context(config: Config) -> ssl.SSLContext:
    """Trust SSL_CERT_FILE or the system store only; the skip variable turns off every verification."""
    context = ssl.create_default_context(cafile=config.ca_file)
    if config.skip_tls_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def http_client(config: Config) -> httpx.AsyncClient:
    """No time limit here: the callers set the measured ones, and a RoomService call has none."""
    return httpx.AsyncClient(
        verify=tls_context(config),
        timeout=httpx.Timeout(None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        headers={"User-Agent": SERVER_HEADER},
        trust_env=False,
    )
