"""A site that nobody described is found by what it announces, and judged by nothing that nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import Advertisement, Candidate
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_announced import Announced, find
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_media import as_advertised
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_probe import outside_checks
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import TIMEOUT, Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import check_inputs
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import TRANSPORTS
from endpoint_support import (
    ACCESS_TOKEN,
    CORS,
    HOMESERVER,
    JSON,
    LIVEKIT,
    SERVER_NAME,
    SERVICE,
    SFU,
    FakeHttp,
    answer,
    broken,
    refusal,
)

CLIENT = f"https://{SERVER_NAME}/.well-known/matrix/client"
FOCI = "org.matrix.msc4143.rtc_foci"
NO_FOCI = answer(200, {"m.homeserver": {"base_url": HOMESERVER}}, CORS + JSON)
VALIDATE = ("GET", f"{SFU}/rtc/validate")
FOREIGN = {
    "server_name": SERVER_NAME,
    "foreign_given": True,
    "foreign_user": "@carol:beta.example.net",
    "foreign_token": True,
}


def undescribed(http: FakeHttp, token: str = "", domain: str = "") -> Site:
    """The site, of which nobody knows more than its server name."""
    return Site(SERVER_NAME, domain, "", "", http, token, udp_ports="")


def focus(url: str) -> dict[str, str]:
    return {"type": "livekit", "livekit_service_url": url}


def document(*urls: str) -> Response:
    foci = [focus(url) for url in urls]
    return answer(200, {"m.homeserver": {"base_url": HOMESERVER}, FOCI: foci}, CORS + JSON)


def looked_at(http: FakeHttp, token: str = "") -> dict[str, Check]:
    """The checks of the site as its own announcement describes it."""
    announced = find(undescribed(http, token))
    site = replace(
        undescribed(http, token),
        domain=announced.domain,
        service_url=announced.service_url,
        livekit_url=announced.livekit_url,
        behind_homeserver=announced.behind_homeserver,
    )
    return {check.id: check for check in outside_checks(site)}


def test_the_client_well_known_tells_strangers() -> None:
    found = find(undescribed(FakeHttp()))
    assert found == Announced(SERVICE, LIVEKIT)
    assert found.as_options() == {
        "domain": "rtc.example.org",
        "livekit_service_url": SERVICE,
        "livekit_url": LIVEKIT,
        "token_service_mode": "standalone",
    }


def test_the_homeserver_tells_its_users_and_comes_first() -> None:
    http = broken(("GET", CLIENT, document("https://old.example.org/livekit/jwt")))
    assert find(undescribed(http)).domain == "old.example.org"
    assert find(undescribed(http, ACCESS_TOKEN)) == Announced(SERVICE, LIVEKIT)


def test_the_token_service_tells_where_the_sfu_is() -> None:
    http = broken((*VALIDATE, answer(404)))
    assert find(undescribed(http)).livekit_url == ""
    assert find(undescribed(http, ACCESS_TOKEN)).livekit_url == LIVEKIT


def test_an_sfu_at_the_root_of_its_host_is_found() -> None:
    root = "https://rtc.example.org"
    http = broken(("GET", CLIENT, document(root)), (*VALIDATE, answer(404)))
    http.answers[("GET", f"{root}/rtc/validate")] = answer(401)
    assert find(undescribed(http)) == Announced(root, "wss://rtc.example.org")


def test_a_stopped_sfu_is_found_all_the_same() -> None:
    assert find(undescribed(broken((*VALIDATE, answer(502))))).livekit_url == LIVEKIT


def test_a_homeserver_that_gives_tokens_names_the_sfu_itself() -> None:
    entry = {**focus(SERVICE), "url": "wss://rtc.example.org/elsewhere"}
    http = broken(("GET+", HOMESERVER + TRANSPORTS, answer(200, {"rtc_transports": [entry]})))
    found = find(undescribed(http, ACCESS_TOKEN))
    assert found == Announced(SERVICE, "wss://rtc.example.org/elsewhere", behind_homeserver=True)
    assert found.as_options()["token_service_mode"] == "homeserver"


def test_a_refused_access_token_leaves_what_strangers_are_told() -> None:
    refused = refusal(401, "M_UNKNOWN_TOKEN")
    http = broken(
        ("GET+", HOMESERVER + TRANSPORTS, refused),
        ("GET+", f"{HOMESERVER}/_matrix/client/v3/account/whoami", refused),
    )
    assert find(undescribed(http, ACCESS_TOKEN)) == Announced(SERVICE, LIVEKIT)


def test_a_named_host_is_taken_whatever_is_announced() -> None:
    new = find(undescribed(FakeHttp(), domain="new.example.org"))
    assert new == Announced("https://new.example.org/livekit/jwt")
    assert find(undescribed(FakeHttp(), domain="rtc.example.org")) == Announced(SERVICE, LIVEKIT)


def test_an_announced_slash_is_a_fault_of_the_announcement() -> None:
    checks = looked_at(broken(("GET", CLIENT, document(f"{SERVICE}/"))))
    assert {check.id for check in checks.values() if check.status == FAIL} == {"well_known_client"}
    assert "ends in a slash" in checks["well_known_client"].cause


@pytest.mark.parametrize("token", ["", ACCESS_TOKEN])
def test_a_healthy_site_has_no_fault_and_ports_are_not_guessed(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    module = "ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_account"
    monkeypatch.setattr(f"{module}.media_checks", lambda _site, _access: [])
    checks = looked_at(FakeHttp(open_ports={}), token)
    assert {check.status for check in checks.values()} == {OK, SKIP}
    for check_id in ("ports_closed", "media_tcp_port"):
        assert "matrixrtc_probe_users" in checks[check_id].seen


def test_an_sfu_that_nobody_names_is_not_looked_for_at_a_wrong_place() -> None:
    checks = looked_at(broken((*VALIDATE, answer(404))))
    assert checks["sfu_validate"].status == SKIP
    assert "matrixrtc_livekit_url" in checks["sfu_validate"].seen
    assert not [check for check in checks.values() if check.status == FAIL]


@pytest.mark.parametrize(
    ("token", "route", "status", "said"),
    [
        ("", refusal(401, "M_MISSING_TOKEN"), WARN, "tells its users only"),
        ("", refusal(404, "M_UNRECOGNIZED"), FAIL, "calls were never set up here"),
        (ACCESS_TOKEN, refusal(401, "M_MISSING_TOKEN"), FAIL, "calls were never set up here"),
    ],
)
def test_a_site_that_announces_nothing_is_told_so(
    token: str, route: Response, status: str, said: str
) -> None:
    http = broken(
        ("GET", CLIENT, NO_FOCI),
        ("GET", HOMESERVER + TRANSPORTS, route),
        ("GET+", HOMESERVER + TRANSPORTS, answer(200, {})),
    )
    assert find(undescribed(http, token)) == Announced()
    checks = looked_at(http, token)
    assert checks["announcement"].status == status
    assert said in checks["announcement"].cause
    assert "matrixrtc_domain" in checks["announcement"].fix
    assert "token_health" not in checks
    assert "https://rtc.example.org/livekit/jwt" in checks["well_known_client"].fix, "an example"


def test_a_server_that_does_not_answer_is_not_said_to_announce_nothing() -> None:
    silent = Response("", error=TIMEOUT, detail="timed out")
    checks = looked_at(broken(("GET", CLIENT, silent)))
    assert checks["announcement"].status == SKIP
    assert checks["well_known_client"].status == FAIL


def test_the_ports_of_an_undescribed_site_are_those_that_its_sfu_advertises() -> None:
    heard = Advertisement(
        candidates=[
            Candidate("203.0.113.5", 50123, "udp", "host"),
            Candidate("2001:db8::5", 50007, "udp", "host"),
            Candidate("203.0.113.5", 7881, "tcp", "host"),
        ]
    )
    site = undescribed(FakeHttp())
    known = as_advertised(site, heard)
    assert (known.udp_ports, known.tcp_port) == ("50007-50123", 7881)
    described = replace(site, udp_ports="7882")
    assert as_advertised(described, heard) is described
    nothing = as_advertised(site, Advertisement())
    assert (nothing.udp_ports, nothing.tcp_port) == ("", 0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"server_name": ""}, "matrixrtc_server_name is not set. Set it to the part after the colon"),
        ({"server_name": "https://example.org"}, "matrixrtc_server_name"),
        ({"server_name": "example.org", "users": 11, "tokens": 11}, "matrixrtc_probe_users has 11 entries"),
        (
            {"server_name": "example.org", "participants": 1},
            "matrixrtc_probe_participants: 1 participants are not 2",
        ),
        ({"server_name": "example.org", "participants": "many"}, "matrixrtc_probe_participants"),
        (
            {**FOREIGN, "foreign_user": "@carol:example.org"},
            "matrixrtc_probe_foreign_user: '@carol:example.org' is an account of this very server",
        ),
        ({**FOREIGN, "foreign_user": ""}, "matrixrtc_probe_foreign_user"),
        ({**FOREIGN, "foreign_token": False}, "matrixrtc_probe_foreign_user has no access_token"),
        ({"server_name": "example.org", "users": 2, "tokens": 1}, "1 of them with an access_token"),
        ({"server_name": "example.org", "domain": "rtc"}, "matrixrtc_domain"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(values: dict[str, object], said: str) -> None:
    (problem,) = check_inputs("matrixrtc_verify", values).problems
    assert said in problem.message


@pytest.mark.parametrize("users", [0, 1, 2, 10])
def test_every_depth_is_allowed(users: int) -> None:
    values = {**FOREIGN, "users": users, "tokens": users, "participants": 10}
    assert check_inputs("matrixrtc_verify", values).problems == []
