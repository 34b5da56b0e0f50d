"""Whether a Redis would do for LiveKit, asked of servers that say all kinds of things."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.redis_client import (
    Login,
    RedisError,
    RedisRefusedError,
    await_usable,
    usable,
)
from server_support import serving

OK, PONG = b"+OK\r\n", b"+PONG\r\n"
MASTER = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
REPLICA = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:0\r\n"
PLAIN = Login()


def answering(answers: Mapping[str, bytes]) -> AbstractContextManager[str]:
    """A server that answers each command by its first word; '' stands for all others. Yields its address."""

    def talk(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while count := stream.readline():
                words = []
                for _word in range(int(count[1:])):
                    size = int(stream.readline()[1:])
                    words.append(stream.read(size + 2)[:-2].decode())
                answer = answers.get(words[0], answers.get("", b""))
                if not answer:
                    break
                connection.sendall(answer)

    return serving(talk)


def test_a_master_that_takes_the_password():
    with answering({"AUTH": OK, "PING": PONG, "ROLE": MASTER}) as address:
        assert usable({"address": address}, Login(password="secret"), PLAIN) == f"{address} is the master"


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"AUTH": b"-WRONGPASS invalid username-password pair\r\n"}, "does not take the password"),
        ({"AUTH": b"-ERR invalid password\r\n"}, "does not take the password"),
        ({"AUTH": b"-ERR AUTH <password> called without any password configured\r\n"}, "has no password"),
        (
            {"AUTH": OK, "PING": b"-LOADING Redis is loading\r\n"},
            "answers 'LOADING Redis is loading' to PING",
        ),
        ({"AUTH": OK, "PING": PONG, "ROLE": REPLICA}, "is a slave, which takes no writes"),
    ],
)
def test_a_redis_that_refuses_is_asked_once(answers, says):
    begun = time.monotonic()
    with answering(answers) as address, pytest.raises(RedisRefusedError, match=says):
        await_usable({"address": address}, Login(password="hidden"), PLAIN, 30)
    assert time.monotonic() - begun < 5


def test_a_redis_that_wants_a_password():
    refused = pytest.raises(RedisRefusedError, match="wants a password")
    with answering({"": b"-NOAUTH Authentication required.\r\n"}) as address, refused:
        usable({"address": address}, PLAIN, PLAIN)


@pytest.mark.parametrize("answers", [{"": b""}, {"": b"HTTP/1.1 400 Bad Request\r\n\r\n"}])
def test_what_answers_is_no_redis(answers):
    with answering(answers) as address, pytest.raises(RedisError, match="gives no answer to PING"):
        usable({"address": address}, PLAIN, PLAIN)


def test_nobody_answers_within_the_time():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    begun = time.monotonic()
    with pytest.raises(RedisError, match=r"does not answer: .* \(asked for 1 s\)"):
        await_usable({"address": address}, PLAIN, PLAIN, 1)
    assert 0.4 < time.monotonic() - begun < 4


def test_the_master_of_the_first_sentinel_that_knows_it():
    with answering({"PING": PONG, "ROLE": MASTER}) as master:
        host, _colon, port = master.rpartition(":")
        told = f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n".encode()
        with (
            answering({"PING": PONG, "SENTINEL": b"*-1\r\n"}) as unknowing,
            answering({"PING": PONG, "SENTINEL": told}) as knowing,
        ):
            redis = {"sentinel": {"master": "calls", "addresses": [unknowing, knowing]}}
            assert usable(redis, PLAIN, PLAIN) == f"{master} is the master"
            with pytest.raises(RedisError, match="knows no master 'calls'"):
                usable({"sentinel": {"master": "calls", "addresses": [unknowing]}}, PLAIN, PLAIN)


def test_a_cluster_that_is_complete_or_not():
    good, bad = b"$16\r\ncluster_state:ok\r\n", b"$18\r\ncluster_state:fail\r\n"
    with answering({"PING": PONG, "CLUSTER": good}) as address:
        assert "is complete" in usable({"cluster": [address]}, PLAIN, PLAIN)
    refused = pytest.raises(RedisError, match="is not complete")
    with answering({"PING": PONG, "CLUSTER": bad}) as address, refused:
        usable({"cluster": [address]}, PLAIN, PLAIN)
