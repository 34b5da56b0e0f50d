"""The executable the lab installs in the place of the release's: one file, pure Python, honest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import pytest

from lab.token_service import BANNER
from lab.token_service.build import FILE_NAME, build

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stand-in") / FILE_NAME
    build(path)
    return path


def environment(**variables: str) -> dict[str, str]:
    """As a hardened unit has it: no HOME, nothing inherited, but this Python first on the path."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", **variables}


def test_one_small_reproducible_file_of_pure_python(executable: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(executable).namelist()
    assert executable.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert os.access(executable, os.X_OK)
    assert executable.stat().st_size < MEGABYTE
    assert not [n for n in names if n.endswith((".so", ".pyc", ".pem")) or "/tests/" in n]
    build(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == executable.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_refused_configuration(executable: Path) -> None:
    environ = environment(LIVEKIT_SECRET_FILE="/run/secret", LIVEKIT_URL="rtc.lab.test")
    done = subprocess.run([executable], env=environ, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert BANNER in done.stderr
    for name in ("LIVEKIT_SECRET_FILE", "LIVEKIT_URL", "LIVEKIT_KEY", "LIVEKIT_FULL_ACCESS_HOMESERVERS"):
        assert f"Refused configuration: {name} " in done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_it_serves_both_address_families_and_stops_at_once(executable: Path, ca_folder: Path) -> None:
    port = free_port()
    environ = environment(
        LIVEKIT_URL="ws://127.0.0.1:1",
        LIVEKIT_KEY="k",
        LIVEKIT_SECRET="a-secret-that-must-not-be-shown",
        LIVEKIT_FULL_ACCESS_HOMESERVERS="lab.test",
        LIVEKIT_JWT_BIND=f":{port}",
        SSL_CERT_FILE=str(ca_folder / "ca.crt"),
    )
    with subprocess.Popen([executable], env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            for host in ("127.0.0.1", "[::1]") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
                assert answers(f"http://{host}:{port}/healthz")
            second = subprocess.run([executable], env=environ, capture_output=True, text=True, check=False)
            begin = time.monotonic()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.stderr
        log = process.stderr.read()
        process.wait(5)
    assert time.monotonic() - begin < 2
    assert second.returncode == 1
    assert "LIVEKIT_JWT_BIND" in second.stderr
    assert log.startswith(f"INFO {BANNER}")
    assert "must-not-be-shown" not in log + second.stderr


def answers(url: str) -> bool:
    """Poll for up to 10 s until the URL answers 200."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            time.sleep(0.02)
    return False
