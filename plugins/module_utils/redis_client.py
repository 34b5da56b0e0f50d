# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Ask a Redis, Sentinel or Redis Cluster whether it would do for LiveKit, in the words of its own protocol.

LiveKit pings Redis when it starts and ends with status 0 when that fails (livekit/protocol `redis/redis.go`),
so the cause has to be found before. Hosts have no Redis library, hence the few words of RESP2 that it takes
(https://redis.io/docs/latest/develop/reference/protocol-spec/).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

CONNECT_SECONDS = 3.0
PAUSE = 0.5
LONGEST_REPLY = 65536  # bytes of one string; none of the answers that are asked for is longer


class RedisError(Exception):
    """Redis cannot be used; the text says why and never has a password in it."""


class RedisRefusedError(RedisError):
    """Redis answered, and will not do: waiting would not help."""


@dataclass(frozen=True)
class Login:
    """Who asks, and how: an empty password sends none; `tls` None is plain text."""

    username: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str = ""


def place(address: str) -> tuple[str, int]:
    """Host and port of 'host:port' or '[::1]:port'."""
    host, _colon, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Connection:
    """One connection that has logged in. Raises RedisError from anything that goes wrong."""

    def __init__(self, address: str, login: Login) -> None:
        self.address = address
        try:
            self._socket = self._connect(login)
        except ssl.SSLCertVerificationError as error:
            raise RedisRefusedError(
                f"Redis at {address} shows a certificate that is not trusted: {error.verify_message}"
            ) from error
        except ssl.SSLError as error:
            raise RedisRefusedError(
                f"Redis at {address} does not speak TLS ({error.reason or error})"
            ) from error
        except OSError as error:
            raise RedisError(f"Redis at {address} does not answer: {error}") from error
        self._file: BinaryIO = self._socket.makefile("rb")
        try:
            self._log_in(login)
        except RedisError:
            self.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_what: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._file.close()
        self._socket.close()

    def _connect(self, login: Login) -> socket.socket:
        plain = socket.create_connection(place(self.address), CONNECT_SECONDS)
        if login.tls is None:
            return plain
        try:
            return login.tls.wrap_socket(plain, server_hostname=login.server_name or place(self.address)[0])
        except OSError:
            plain.close()
            raise

    def _log_in(self, login: Login) -> None:
        if login.password:
            self.ask("AUTH", *([login.username] if login.username else []), login.password)
        self.ask("PING")

    def ask(self, *words: str) -> Any:
        """The answer to a command: text, a number, None, or a list of those. Raises RedisRefusedError."""
        encoded = [word.encode() for word in words]
        sent = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in encoded)
        try:
            self._socket.sendall(sent)
            return self._reply(words[0])
        except (OSError, ValueError) as error:
            raise RedisError(f"Redis at {self.address} gives no answer to {words[0]}: {error}") from error

    def _reply(self, asked: str) -> Any:
        line = self._file.readline(LONGEST_REPLY)
        if not line.endswith(b"\r\n"):
            raise ValueError("it closed the connection (does it want TLS?)")
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"-":
            raise RedisRefusedError(self._refusal(asked, rest))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if int(rest) < 0 else self._text(int(rest))
        if kind == b"*":
            return [self._reply(asked) for _number in range(int(rest))]
        if kind == b"+":
            return rest
        raise ValueError("what answers is no Redis")

    def _text(self, size: int) -> str:
        if size > LONGEST_REPLY:
            raise ValueError(f"an answer of {size} bytes")
        return self._file.read(size + 2)[:-2].decode("utf-8", "replace")

    def _refusal(self, asked: str, said: str) -> str:
        """What the words of Redis mean."""
        if said.startswith("WRONGPASS") or (asked == "AUTH" and "invalid password" in said.lower()):
            return f"Redis at {self.address} does not take the password"
        if said.startswith("NOAUTH"):
            return f"Redis at {self.address} wants a password and was given none"
        if asked == "AUTH" and "without any password" in said:
            return f"Redis at {self.address} has no password, and anybody who reaches it could use it"
        return f"Redis at {self.address} answers '{said}' to {asked}"


def main_role(address: str, login: Login) -> str:
    """Ask a Redis that LiveKit is to write to. Raises RedisRefusedError for a replica, which only reads."""
    with Connection(address, login) as connection:
        role = connection.ask("ROLE")[0]
        if role != "master":
            raise RedisRefusedError(f"Redis at {address} is a {role}, which takes no writes")
        return f"{address} is the {role}"


def master_of(addresses: Sequence[str], name: str, login: Login) -> str:
    """The address of the master, from the first Sentinel that answers. Raises RedisError."""
    faults = []
    for address in addresses:
        try:
            with Connection(address, login) as connection:
                found = connection.ask("SENTINEL", "get-master-addr-by-name", name)
        except RedisError as error:
            faults.append(str(error).replace("Redis at", "Sentinel at"))
            continue
        if found:
            host, port = found
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        faults.append(f"Sentinel at {address} knows no master '{name}'")
    raise RedisError("; ".join(faults))


def cluster_state(addresses: Sequence[str], login: Login) -> str:
    """What the first member that answers says of the Redis Cluster. Raises RedisError."""
    faults = []
    for address in addresses:
        try:
            with Connection(address, login) as connection:
                about = str(connection.ask("CLUSTER", "INFO"))
        except RedisError as error:
            faults.append(str(error))
            continue
        if "cluster_state:ok" in about:
            return f"the cluster of {address} is complete"
        faults.append(f"the Redis Cluster of {address} is not complete (cluster_state is not ok)")
    raise RedisError("; ".join(faults))


def usable(redis: Mapping[str, Any], login: Login, sentinel: Login) -> str:
    """Ask once whether `redis` ({address}, {sentinel: {master, addresses}} or {cluster}) would do."""
    if redis.get("sentinel"):
        wanted = redis["sentinel"]
        return main_role(master_of(wanted["addresses"], wanted["master"], sentinel), login)
    if redis.get("cluster"):
        return cluster_state(redis["cluster"], login)
    return main_role(redis["address"], login)


def await_usable(redis: Mapping[str, Any], login: Login, sentinel: Login, seconds: float) -> str:
    """Ask until it would do, for so many seconds at most. Raises RedisError with the last cause."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return usable(redis, login, sentinel)
        except RedisRefusedError:
            raise
        except RedisError as error:
            if time.monotonic() + PAUSE >= deadline:
                raise RedisError(f"{error} (asked for {seconds:g} s)") from error
        time.sleep(PAUSE)
