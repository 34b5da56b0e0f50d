"""What the input checks learn from the host: who holds a port, what is in a certificate."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import certificates, sockets
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_values import PortRange
from inputs_support import DOMAIN, process_folder, write_certificates

OURS = ("livekit.service",)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held


def claim(held: socket.socket, protocol: str = "tcp", addresses: tuple[str, ...] = ()) -> sockets.Claim:
    port = held.getsockname()[1]
    return sockets.Claim(protocol, PortRange(port, port), addresses)


def test_a_held_port_names_the_process(listening: socket.socket) -> None:
    (found,) = sockets.conflicts([claim(listening)], OURS)
    (owner,) = found.owners
    assert owner.process == os.getpid()
    assert str(owner).startswith(Path("/proc/self/comm").read_text().strip())
    assert found.listener.address == "127.0.0.1"


def test_protocols_do_not_meet(listening: socket.socket) -> None:
    assert sockets.conflicts([claim(listening, "udp")], OURS) == []


@pytest.mark.parametrize(
    ("addresses", "meet"),
    [(("127.0.0.1",), True), ((str(IPv4Address(0)),), True), (("::",), True), (("127.0.0.2", "::1"), False)],
)
def test_addresses_meet_where_a_bind_would_fail(
    listening: socket.socket, addresses: tuple[str, ...], meet: bool
) -> None:
    assert bool(sockets.conflicts([claim(listening, "tcp", addresses)], OURS)) is meet


def test_ipv6_addresses_are_read() -> None:
    with socket.socket(socket.AF_INET6) as held:
        try:
            held.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        held.listen()
        (found,) = sockets.conflicts([claim(held, "tcp", ("::1",))], OURS)
    assert found.listener.address == "::1"


def test_a_tcp_socket_that_only_connects_is_no_listener(listening: socket.socket) -> None:
    with socket.create_connection(listening.getsockname()) as client:
        assert sockets.conflicts([claim(client)], OURS) == []


def test_udp_sockets_with_a_peer_are_told_apart() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        (alone,) = sockets.conflicts([claim(held, "udp")], OURS)
        held.connect(("127.0.0.1", 9))
        (connected,) = sockets.conflicts([claim(held, "udp")], OURS)
    assert (alone.listener.connected, connected.listener.connected) == (False, True)


SEVEN = [sockets.Claim("tcp", PortRange(7881, 7881))]


@pytest.mark.parametrize(
    "cgroup",
    [
        "0::/system.slice/livekit.service\n",
        "12:pids:/docker/0a1b/system.slice/livekit.service\n1:name=systemd:/docker/0a1b/system.slice/livekit.service\n",
        "0::/system.slice/livekit.service/worker\n",
    ],
)
def test_our_own_unit_is_no_conflict(cgroup: str, tmp_path: Path) -> None:
    assert sockets.conflicts(SEVEN, OURS, process_folder(tmp_path / "proc", 7881, cgroup)) == []


def test_another_unit_is_named(tmp_path: Path) -> None:
    folder = process_folder(tmp_path / "proc", 7881, "0::/system.slice/old-livekit.service\n")
    (found,) = sockets.conflicts(SEVEN, OURS, folder)
    assert [str(owner) for owner in found.owners] == ["some-server (process 77, old-livekit.service)"]


def test_a_process_name_can_be_ours(tmp_path: Path) -> None:
    folder = process_folder(tmp_path / "proc", 7881, "0::/init.scope\n")
    assert sockets.conflicts(SEVEN, ("nginx.service", "some-server"), folder) == []


def test_sockets_without_a_process_are_held_too(tmp_path: Path) -> None:
    folder = process_folder(tmp_path / "proc", 7881, "")
    shutil.rmtree(Path(folder) / "77")
    (found,) = sockets.conflicts(SEVEN, OURS, folder)
    assert found.owners == ()


def test_where_processes_are_hidden_the_sockets_user_tells(tmp_path: Path) -> None:
    """As in a container; the stand-in's socket is root's, and our users are named like their units."""
    folder = process_folder(tmp_path / "proc", 7881, "")
    shutil.rmtree(Path(folder) / "77")
    assert sockets.conflicts(SEVEN, ("root.service",), folder) == []


def test_a_host_without_ipv6_has_fewer_tables(tmp_path: Path) -> None:
    folder = process_folder(tmp_path / "proc", 7881, "")
    for table in ("tcp6", "udp6"):
        (Path(folder) / "net" / table).unlink()
    assert len(sockets.conflicts(SEVEN, OURS, folder)) == 1


def test_another_process_is_found_by_its_descriptor() -> None:
    code = (
        "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdin
        port = int(process.stdout.readline())
        (found,) = sockets.conflicts([sockets.Claim("tcp", PortRange(port, port))], OURS)
        process.stdin.close()
    assert [owner.process for owner in found.owners] == [process.pid]


# Certificates


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("certificates")
    write_certificates(place)
    return place


def test_a_certificate_is_read(folder: Path) -> None:
    certificate = certificates.read_certificate(str(folder / "other.crt"))
    assert certificate.names == ("matrix.example.org", "www.example.org")
    assert certificates.public_key_of(str(folder / "good.key")) == certificate.public_key
    assert 364 < certificates.days_left(certificate) <= 365


def test_months_are_read_in_any_language(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert certificates.days_left(certificates.read_certificate(str(folder / "expired.crt"))) < 0


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        ((DOMAIN,), DOMAIN, True),
        (("*.example.org",), DOMAIN, True),
        (("*.example.org",), "example.org", False),
        (("*.example.org",), "a.rtc.example.org", False),
        (("*",), "localhost", False),
        (("*.org",), DOMAIN, False),
        ((), DOMAIN, False),
    ],
)
def test_a_wildcard_stands_for_one_label(names: tuple[str, ...], host: str, covered: bool) -> None:
    certificate = certificates.Certificate(names, 0, 0, "")
    assert certificates.is_for(certificate, host) is covered


def test_trust_follows_the_authority(folder: Path) -> None:
    good = str(folder / "good.crt")
    assert certificates.distrust(good, good) == ""
    assert "self" in certificates.distrust(good, "")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "does not exist"),
        ("", "is not a file"),
        ("binary", "is not PEM text"),
        ("client", "holds no PEM block"),
    ],
)
def test_unusable_files_are_described(folder: Path, name: str, says: str) -> None:
    (folder / "binary").write_bytes(b"\x80\x81\x82")
    with pytest.raises(certificates.CertificateError, match=says):
        certificates.read_certificate(str(folder / name))


def test_encrypted_keys_end_without_asking(folder: Path) -> None:
    with pytest.raises(certificates.CertificateError, match="without a password"):
        certificates.public_key_of(str(folder / "encrypted.key"))


def test_openssl_that_hangs_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = folder / "openssl"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 5\n")
    slow.chmod(0o755)
    monkeypatch.setattr(certificates, "OPENSSL_TIMEOUT", 0.1)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: str(slow))
    with pytest.raises(certificates.CertificateError, match="cannot be checked"):
        certificates.read_certificate(str(folder / "good.crt"))
