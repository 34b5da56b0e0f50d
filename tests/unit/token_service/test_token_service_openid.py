"""Who vouches for whom: server-name resolution over verified TLS, and the user's own server."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab.token_service.config import Config
from tests.unit.token_service.conftest import Starter
from tests.unit.token_service.fakes import USERINFO, Homeserver, Network, RunningService


def ask(service: RunningService, server_name: str = "site.test", **changes: Any) -> int:
    """Ask for a token as alice; gives the status."""
    openid = {"access_token": "alice-token", "matrix_server_name": server_name}
    member = {"id": "m1", "claimed_user_id": f"@alice:{server_name}", "claimed_device_id": "DEV"}
    body = {"room_id": "!r", "slot_id": "m.call#ROOM", "openid_token": openid, "member": member, **changes}
    answer = service.http.post("/get_token", json=body)
    if answer.status_code == 401:
        assert answer.json()["errcode"] == "M_UNAUTHORIZED"
        assert answer.headers["access-control-allow-origin"] == "*"
    return answer.status_code


def test_delegation_with_a_port(service: RunningService, homeserver: Homeserver) -> None:
    assert ask(service) == 200
    (seen,) = homeserver.api.asked(USERINFO)
    assert (seen.method, seen.query, seen.headers["Host"]) == (
        "GET",
        {"access_token": "alice-token"},
        "matrix.site.test",
    )


def test_delegation_without_a_port_means_8448(
    service: RunningService, homeserver: Homeserver, network: Network
) -> None:
    homeserver.apex.on("/.well-known/matrix/server", {"m.server": "matrix.site.test"})
    assert ask(service) == 401
    network.routes["matrix.site.test", 8448] = homeserver.api.port
    assert ask(service) == 200


def test_a_redirected_well_known_is_followed(service: RunningService, homeserver: Homeserver) -> None:
    homeserver.apex.answers["/elsewhere"] = homeserver.apex.answers["/.well-known/matrix/server"]
    homeserver.apex.on("/.well-known/matrix/server", status=301, headers={"Location": "/elsewhere"})
    assert ask(service) == 200


UNUSABLE: list[dict[str, Any]] = [
    {"status": 404},
    {"document": "<html>"},
    {"document": []},
    {"document": {"m.server": 8448}},
    {"document": {"m.server": "not a name"}},
]


def test_without_well_known_port_8448_of_the_name(
    service: RunningService, homeserver: Homeserver, network: Network
) -> None:
    homeserver.apex.answers[USERINFO] = homeserver.api.answers[USERINFO]
    network.routes["site.test", 8448] = homeserver.apex.port
    for unusable in UNUSABLE:
        homeserver.apex.on("/.well-known/matrix/server", **unusable)
        assert ask(service) == 200, unusable
    assert homeserver.api.seen == []


def test_a_port_in_the_name_skips_the_well_known(
    service: RunningService, homeserver: Homeserver, network: Network
) -> None:
    homeserver.users["alice-token"] = "@alice:site.test:8000"
    homeserver.apex.answers[USERINFO] = homeserver.api.answers[USERINFO]
    network.routes["site.test", 8000] = homeserver.apex.port
    network.wanted.clear()
    assert ask(service, "site.test:8000") == 200
    assert network.wanted == [("site.test", 8000)]
    assert homeserver.apex.asked("/.well-known/matrix/server") == []


def test_no_srv_lookups(service: RunningService, homeserver: Homeserver, network: Network) -> None:
    """A server that is only announced by _matrix-fed._tcp is not found from 0.7 on."""
    homeserver.apex.on("/.well-known/matrix/server", status=404)
    network.wanted.clear()
    assert ask(service) == 401
    assert network.wanted == [("site.test", 443), ("site.test", 8448)]


def test_the_well_known_is_asked_each_time(service: RunningService, homeserver: Homeserver) -> None:
    assert [ask(service), ask(service)] == [200, 200]
    assert len(homeserver.apex.asked("/.well-known/matrix/server")) == 2


def test_a_certificate_for_another_name(
    service: RunningService, homeserver: Homeserver, network: Network
) -> None:
    network.routes["matrix.site.test", 443] = homeserver.apex.port
    homeserver.apex.answers[USERINFO] = homeserver.api.answers[USERINFO]
    assert ask(service) == 401
    assert homeserver.apex.asked(USERINFO) == []


def test_the_system_store_does_not_know_our_authority(start: Starter, homeserver: Homeserver) -> None:
    service = start({"SSL_CERT_FILE": ""})
    assert ask(service) == 401
    assert homeserver.apex.seen == homeserver.api.seen == []


def test_the_skip_variable_turns_verification_off(start: Starter, homeserver: Homeserver) -> None:
    word = "YES_I_KNOW_WHAT_I_AM_DOING"
    service = start({"SSL_CERT_FILE": "", "LIVEKIT_INSECURE_SKIP_VERIFY_TLS": word})
    assert ask(service) == 200


def test_unreachable_and_impossible_names(service: RunningService, homeserver: Homeserver) -> None:
    impossible = [
        "site.test:0",
        "site.test:99999",
        "site test",
        "site.test/x",
        "a@site.test",
        "ä.test",
        "[::",
    ]
    for name in ["nowhere.test", f"{'a' * 64}.test", *impossible]:
        assert ask(service, name) == 401, name
    assert homeserver.apex.seen == []


BAD_USERINFO: list[dict[str, Any]] = [
    {"status": 401},
    {"status": 302, "headers": {"Location": f"{USERINFO}/"}, "document": {"sub": "@alice:site.test"}},
    {"status": 500, "document": {"sub": "@alice:site.test"}},
    {"document": "not JSON"},
    {"document": []},
    {"document": {}},
    {"document": {"sub": 1}},
]


def test_bad_answers_of_userinfo(service: RunningService, homeserver: Homeserver) -> None:
    homeserver.api.on(f"{USERINFO}/", {"sub": "@alice:site.test"})
    for answer in BAD_USERINFO:
        homeserver.api.on(USERINFO, **answer)
        assert ask(service) == 401, answer


def test_a_server_speaks_only_for_its_own_users(service: RunningService, homeserver: Homeserver) -> None:
    openid = {"access_token": "alice-token", "matrix_server_name": "site.test"}
    others = ["@alice:other.test", "@alice:site.test:8448", "alice:site.test", "@:site.test", "@alice"]
    for sub in others:
        homeserver.api.on(USERINFO, {"sub": sub})
        member = {"id": "m1", "claimed_user_id": sub, "claimed_device_id": "DEV"}
        assert ask(service, member=member) == 401, sub
        legacy = service.http.post("/sfu/get", json={"room": "!r", "openid_token": openid})
        assert legacy.status_code == 401, sub


def test_the_claimed_user_must_be_the_verified_one(service: RunningService, homeserver: Homeserver) -> None:
    member = {"id": "m1", "claimed_user_id": "@bob:site.test", "claimed_device_id": "DEV"}
    assert ask(service, member=member) == 401
    body = {"delay_id": "d", "delay_timeout": 1000, "room_id": "!r", "slot_id": "s", "member": member}
    openid = {"access_token": "alice-token", "matrix_server_name": "site.test"}
    answer = service.http.post("/delegate_delayed_leave", json={**body, "openid_token": openid})
    assert answer.status_code == 401


@pytest.mark.parametrize("silent", ["well-known", "userinfo"])
def test_one_budget_for_everything(
    start: Starter, homeserver: Homeserver, network: Network, silent: str
) -> None:
    """30 s in the real service; a silent well-known is never given up for port 8448."""
    service = start(openid_budget=0.3)
    if silent == "well-known":
        homeserver.apex.on("/.well-known/matrix/server", {"m.server": "matrix.site.test:443"}, silence=5)
    else:
        homeserver.api.on(USERINFO, {"sub": "@alice:site.test"}, silence=5)
    network.routes["site.test", 8448] = homeserver.api.port
    begin = time.monotonic()
    assert ask(service) == 401
    assert 0.25 < time.monotonic() - begin < 1.5
    assert ("site.test", 8448) not in network.wanted


def test_the_real_budget_is_30_seconds() -> None:
    assert Config("ws://x", "k", "s", frozenset()).openid_budget == 30
