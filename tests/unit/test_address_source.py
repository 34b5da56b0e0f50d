"""How a host learns its own address, and which answers it believes."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import address_source
from ansible_collections.matrixrtc.backend.plugins.module_utils.address_source import (
    IPV4,
    IPV6,
    NoAddressError,
    fault_of,
    of_interface,
    of_name,
    of_stun,
    own_addresses,
    source_of,
)

COOKIE = struct.pack("!I", 0x2112A442)
ANSWER = 0x0101


def attribute(name: int, value: bytes) -> bytes:
    return struct.pack("!HH", name, len(value)) + value + b"\0" * (-len(value) % 4)


def mapped(request: bytes, text: str) -> bytes:
    """An XOR-MAPPED-ADDRESS."""
    address = ipaddress.ip_address(text)
    mask = request[4:20]
    hidden = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    return attribute(0x0020, struct.pack("!BBH", 0, 1 if address.version == 4 else 2, 1) + hidden)


def message(request: bytes, attributes: bytes, kind: int = ANSWER) -> bytes:
    return struct.pack("!HH", kind, len(attributes)) + request[4:20] + attributes


@contextlib.contextmanager
def stun_server(answer: Callable[[bytes], bytes | None]) -> Iterator[str]:
    """A server that says what `answer` makes of each request."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(0.05)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                request, peer = server.recvfrom(2048)
                said = answer(request)
                if said is not None:
                    server.sendto(said, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        done.set()
        thread.join()
        server.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_source, "STUN_SECONDS", 0.2)


# STUN


@pytest.mark.parametrize(
    ("version", "text"), [(IPV4, "203.0.113.7"), (IPV6, "2001:db8:1:2:3:4:5:6"), (IPV4, "33.18.164.66")]
)
def test_the_address_that_the_server_sees(version, text, monkeypatch):
    """The server is asked over IPv4 here, whatever it is said to see."""
    monkeypatch.setitem(address_source.FAMILIES, IPV6, socket.AF_INET)
    with stun_server(lambda request: message(request, mapped(request, text))) as server:
        assert str(of_stun(server, version)) == text


def test_attributes_before_it_are_passed_over():
    with stun_server(
        lambda request: message(request, attribute(0x8022, b"four!") + mapped(request, "203.0.113.7"))
    ) as server:
        assert str(of_stun(server, IPV4)) == "203.0.113.7"


def test_the_request_is_a_binding_request_with_a_new_transaction_each_time():
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        seen.append(request)
        return message(request, mapped(request, "203.0.113.7"))

    with stun_server(answer) as server:
        of_stun(server, IPV4)
        of_stun(server, IPV4)
    assert [request[:8] for request in seen] == [b"\0\1\0\0" + COOKIE] * 2
    assert seen[0][8:] != seen[1][8:]


def test_one_lost_packet_is_no_matter():
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes | None:
        seen.append(request)
        return message(request, mapped(request, "203.0.113.7")) if len(seen) > 1 else None

    with stun_server(answer) as server:
        assert str(of_stun(server, IPV4)) == "203.0.113.7"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda request: None, "did not answer 3 STUN requests"),
        (lambda request: b"", "did not answer"),
        (lambda request: b"HTTP/1.1 400 Bad Request\r\n\r\n", "did not answer"),
        (lambda request: message(bytes(20), mapped(request, "203.0.113.7")), "did not answer"),
        (lambda request: message(request, mapped(request, "203.0.113.7"), 0x0111), "names no IPv4 address"),
        (lambda request: message(request, b""), "names no IPv4 address"),
        (lambda request: message(request, mapped(request, "2001:db8::1")), "names no IPv4 address"),
        (lambda request: message(request, attribute(0x0020, b"\0\1\0")), "names no IPv4 address"),
        (lambda request: message(request, b"\0\x20\xff\xff"), "names no IPv4 address"),
    ],
)
def test_an_answer_that_is_none_is_not_believed(answer, says):
    with stun_server(answer) as server, pytest.raises(NoAddressError, match=says):
        of_stun(server, IPV4)


def test_a_server_that_is_not_there_is_said():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NoAddressError, match="cannot be asked over IPv4"):
        of_stun(f"127.0.0.1:{port}", IPV4)


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("stun.example.org", ("stun.example.org", 3478)),
        ("stun.example.org:1234", ("stun.example.org", 1234)),
        ("[2001:db8::1]:1234", ("2001:db8::1", 1234)),
        ("2001:db8::1", ("2001:db8::1", 3478)),
        ("192.0.2.1", ("192.0.2.1", 3478)),
    ],
)
def test_servers_are_written_as_livekit_takes_them(server, place):
    assert address_source._place(server) == place


# A name


def resolver(monkeypatch: pytest.MonkeyPatch, said: str) -> list[list[str]]:
    asked: list[list[str]] = []

    def run(words: list[str], **_options: Any) -> Any:
        asked.append(words)
        return SimpleNamespace(stdout=said, returncode=0 if said else 2)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_the_address_of_a_name(monkeypatch):
    asked = resolver(
        monkeypatch, "203.0.113.7     STREAM home.example.net\n203.0.113.7     DGRAM\n203.0.113.7 RAW\n"
    )
    assert str(of_name("home.example.net", IPV4)) == "203.0.113.7"
    assert asked == [["getent", "ahostsv4", "home.example.net"]]


def test_a_name_without_an_address_is_said(monkeypatch):
    resolver(monkeypatch, "")
    with pytest.raises(NoAddressError, match=r"home\.example\.net resolves to no IPv4 address"):
        of_name("home.example.net", IPV4)


def test_an_ipv4_address_is_none_of_the_other_family(monkeypatch):
    resolver(monkeypatch, "::ffff:203.0.113.7 STREAM home.example.net\n")
    with pytest.raises(NoAddressError, match="no IPv6 address"):
        of_name("home.example.net", IPV6)


def test_nobody_guesses_which_of_several_it_is(monkeypatch):
    resolver(monkeypatch, "203.0.113.8 STREAM x\n203.0.113.7 STREAM\n")
    with pytest.raises(NoAddressError, match=r"203\.0\.113\.7 and 203\.0\.113\.8"):
        of_name("home.example.net", IPV4)


def test_a_resolver_that_hangs_is_given_up(monkeypatch):
    def run(words: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(words, options["timeout"])

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(NoAddressError, match="did not answer within 10 s"):
        of_name("home.example.net", IPV4)


# The host


def test_the_interface_is_one_of_the_hosts_own():
    try:
        address = of_interface(IPV4)
    except NoAddressError:
        pytest.skip("there is no default route here")
    assert str(address) in own_addresses() or address.is_loopback


def test_a_host_without_a_route_has_no_address(monkeypatch):
    monkeypatch.setitem(address_source.ELSEWHERE, IPV4, "255.255.255.255")  # the kernel refuses a broadcast
    with pytest.raises(NoAddressError, match="no default route for IPv4"):
        of_interface(IPV4)


def test_settings_name_the_source(monkeypatch):
    resolver(monkeypatch, "203.0.113.7 STREAM x\n")
    name = source_of({"source": "name", "name": "home.example.net", "stun": ""})
    assert str(name(IPV4)) == "203.0.113.7"
    with stun_server(lambda request: message(request, mapped(request, "203.0.113.9"))) as server:
        assert str(source_of({"source": "stun", "name": "", "stun": server})(IPV4)) == "203.0.113.9"
    assert source_of({"source": "interface"}) is of_interface


# What may take the place of what


@pytest.mark.parametrize(
    ("new", "present", "says"),
    [
        ("8.8.4.4", "8.8.8.8", ""),
        ("8.8.4.4", "10.0.0.5", ""),
        ("10.0.0.6", "10.0.0.5", ""),
        ("2001:4860::2", "2001:4860::1", ""),
        ("10.0.0.5", "8.8.8.8", "10.0.0.5 is not public"),
        ("100.64.0.9", "8.8.8.8", "is not public"),  # behind the provider's NAT
        ("203.0.113.7", "8.8.8.8", "is not public"),
        ("fd00::5", "2001:4860::1", "is not public"),
        ("127.0.1.1", "10.0.0.5", "not an address that clients can reach"),
        (str(ipaddress.IPv4Address(0)), "10.0.0.5", "not an address that clients can reach"),
        ("169.254.3.4", "10.0.0.5", "not an address that clients can reach"),
        ("fe80::1", "fd00::5", "not an address that clients can reach"),
        ("224.0.0.1", "8.8.8.8", "not an address that clients can reach"),
    ],
)
def test_what_may_take_the_place_of_an_address(new, present, says):
    fault = fault_of(ipaddress.ip_address(new), ipaddress.ip_address(present))
    assert (says in fault) if says else fault == ""
