"""A token service behind its homeserver: what is announced, and every fault of the wiring by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import endpoint_account
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_probe import outside_checks
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_wiring import GET_TOKEN
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import TIMEOUT, Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import TRANSPORTS
from endpoint_support import ACCESS_TOKEN, HOMESERVER, LIVEKIT, SERVICE, FakeHttp, answer, refusal, site

ROUTE, WAY = "homeserver_route", "homeserver_tokens"
ANNOUNCED = ("GET+", HOMESERVER + TRANSPORTS)
NOBODY, USER = (("POST", HOMESERVER + GET_TOKEN), ("POST+", HOMESERVER + GET_TOKEN))


@pytest.fixture(autouse=True)
def no_media(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SFU's addresses answer has tests of its own."""
    monkeypatch.setattr(endpoint_account, "media_checks", lambda *_arguments: [])


def transports(url: str = LIVEKIT) -> Response:
    entry = {"type": "livekit", "livekit_service_url": SERVICE, **({"url": url} if url else {})}
    return answer(200, {"rtc_transports": [entry]})


def wired(**changes: Response) -> FakeHttp:
    """A site that is well, but for what a test changes: who asks, or what is announced."""
    http = FakeHttp()
    http.answers[ANNOUNCED] = changes.get("announced", transports())
    http.answers[NOBODY] = changes.get("nobody", refusal(401, "M_MISSING_TOKEN"))
    http.answers[USER] = changes.get("user", refusal(403, "M_FORBIDDEN"))
    return http


def checks_of(http: FakeHttp, behind: bool = True, token: str = ACCESS_TOKEN) -> dict[str, Check]:
    seen = replace(site(http, token), behind_homeserver=behind)
    return {check.id: check for check in outside_checks(seen)}


def test_a_wired_site_is_well() -> None:
    checks = checks_of(wired())
    assert {check.status for check in checks.values()} == {OK}
    assert checks["transports"].seen == f"names {SERVICE}, and {LIVEKIT}"


def test_without_an_account_the_route_alone_is_seen() -> None:
    checks = checks_of(wired(), token="")
    assert (checks[ROUTE].status, checks[WAY].status) == (OK, SKIP)


def test_a_standalone_service_has_no_such_checks() -> None:
    checks = checks_of(FakeHttp(), behind=False)
    assert not {ROUTE, WAY} & checks.keys()


@pytest.mark.parametrize(
    ("behind", "url", "cause"),
    [
        (False, LIVEKIT, "clients ask it for tokens, but the token service does not stand behind it"),
        (True, "", "is None instead of"),
        (True, LIVEKIT + "/", "instead of"),
    ],
)
def test_what_is_announced_has_to_be_what_is_wired(behind: bool, url: str, cause: str) -> None:
    check = checks_of(wired(announced=transports(url)), behind)["transports"]
    assert check.status == FAIL
    assert cause in check.cause
    assert "site.yml --tags synapse_config" in check.fix


UNRECOGNIZED = refusal(404, "M_UNRECOGNIZED")


@pytest.mark.parametrize(
    ("given", "check_id", "cause"),
    [
        ({"nobody": UNRECOGNIZED, "user": UNRECOGNIZED}, ROUTE, "msc4512_enabled is off"),
        ({"nobody": answer(404, "nothing")}, ROUTE, "the proxy in front of Synapse"),
        ({"nobody": Response("", error=TIMEOUT)}, ROUTE, "packets to"),
        ({"user": refusal(401, "M_UNKNOWN_TOKEN")}, WAY, "does not know Synapse: its hs_token"),
        ({"user": refusal(400, "M_INVALID_PARAM")}, WAY, "not LIVEKIT_URL, character by character"),
        ({"user": refusal(400, "M_BAD_JSON")}, WAY, "client API of its own homeserver"),
        ({"user": refusal(500, "M_UNKNOWN")}, WAY, "Synapse does not reach the token service: it is down"),
        ({"user": refusal(502, "M_UNKNOWN")}, WAY, "its as_token is another"),
        ({"user": refusal(504, "M_UNKNOWN")}, WAY, "longer than the proxy"),
        ({"user": answer(200, {"jwt": "x"})}, WAY, "rooms that the user is not in"),
        ({"user": refusal(418, "M_TEAPOT")}, WAY, "refuses what it should not"),
    ],
)
def test_each_fault_of_the_wiring_is_named(given: dict[str, Response], check_id: str, cause: str) -> None:
    check = checks_of(wired(**given))[check_id]
    assert check.status == FAIL
    assert cause in check.cause
    assert check.fix
