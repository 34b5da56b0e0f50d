"""What a kind of homeserver cannot do is a warning; what could be set and is not is a failure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_host import USERINFO as HOST_USERINFO
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_leave import HOST_LEAVES
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_probe import (
    OWNERS,
    awaited,
    outside_checks,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_wiring import ROUTE as TOKEN_ROUTE
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_wiring import WIRED
from ansible_collections.matrixrtc.backend.plugins.module_utils.homeserver_kinds import KINDS
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import TIMEOUT, Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import TRANSPORTS
from ansible_collections.matrixrtc.backend.plugins.module_utils.report_table import render
from endpoint_support import CORS, HOMESERVER, JSON, FakeHttp, answer, broken, refusal, site

CLIENT = "https://example.org/.well-known/matrix/client"
SERVER = "https://example.org/.well-known/matrix/server"
USERINFO = "/_matrix/federation/v1/openid/userinfo?access_token=matrixrtc-probe"
VERSIONS = f"{HOMESERVER}/_matrix/client/versions"
SYNAPSES = ("synapse", "ess", "mdad")
OTHERS = ("continuwuity", "tuwunel", "other")
NO_FOCI = answer(200, {"m.homeserver": {"base_url": HOMESERVER}}, CORS + JSON)


def checks_of(http: FakeHttp, kind: str = "synapse", server_name: str = "example.org") -> dict[str, Check]:
    seen = replace(site(http), homeserver_kind=kind, server_name=server_name)
    return {check.id: check for check in outside_checks(seen)}


def expect(failing: tuple[str, ...], warning: tuple[str, ...]) -> list[tuple[str, str]]:
    assert {*failing, *warning} == KINDS.keys()
    return [(kind, FAIL) for kind in failing] + [(kind, WARN) for kind in warning]


@pytest.mark.parametrize(("kind", "expected"), expect(SYNAPSES, OTHERS))
def test_delayed_events(kind: str, expected: str) -> None:
    check = checks_of(broken(("GET", VERSIONS, answer(200, {"unstable_features": {}}))), kind)[
        "delayed_events"
    ]
    assert check.status == expected
    assert check.cause
    assert ("matrixrtc_snippets_dir" in check.fix) == (kind in ("ess", "mdad"))


@pytest.mark.parametrize(("kind", "expected"), expect((*SYNAPSES, "continuwuity", "tuwunel"), ("other",)))
@pytest.mark.parametrize("code", ["M_UNRECOGNIZED", "M_UNKNOWN"])
def test_the_endpoint_for_transports(kind: str, expected: str, code: str) -> None:
    check = checks_of(broken(("GET", HOMESERVER + TRANSPORTS, refusal(404, code))), kind)["transports_route"]
    assert check.status == expected


@pytest.mark.parametrize(("kind", "expected"), expect((*SYNAPSES, "tuwunel", "other"), ("continuwuity",)))
def test_a_well_known_document_without_foci(kind: str, expected: str) -> None:
    assert checks_of(broken(("GET", CLIENT, NO_FOCI)), kind)["well_known_client"].status == expected


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_broken_fails_for_every_kind(kind: str) -> None:
    """Only what a homeserver has not got is tolerated, not that it is down or says something wrong."""
    down, empty = answer(502), answer(200, {})
    http = broken(
        ("GET", VERSIONS, down),
        ("GET", HOMESERVER + TRANSPORTS, down),
        ("GET+", HOMESERVER + TRANSPORTS, empty),
        ("GET", HOMESERVER.replace("org", "org:443") + USERINFO, refusal(404, "M_UNRECOGNIZED")),
    )
    seen = replace(site(http, token="t"), homeserver_kind=kind)
    checks = {check.id: check for check in outside_checks(seen)}
    for check_id in ("delayed_events", "transports_route", "transports", "openid_userinfo"):
        assert checks[check_id].status == FAIL, check_id
        assert kind in SYNAPSES or "Synapse" not in checks[check_id].cause + checks[check_id].fix, check_id
    assert "do not ask further" in checks["transports"].cause


def test_a_warning_is_a_row_of_its_own_with_what_it_means() -> None:
    http = broken(("GET", VERSIONS, answer(200, {"unstable_features": {}})))
    lines = [line.text for line in render("example.org", [*checks_of(http, "tuwunel").values()], [], [], 120)]
    rows = [line for line in lines if line.startswith("  warn")]
    assert len(rows) == 2, "once in the table, once with its details"
    assert any("Tuwunel has not got delayed events" in line for line in lines)


# Parts of other owners -----------------------------------------------------------------------------


def test_what_an_owner_was_shown_is_awaited() -> None:
    unset = (("GET", VERSIONS, answer(200, {})), ("GET", CLIENT, NO_FOCI))
    checks = list(checks_of(broken(*unset)).values())
    for owners, warned in (
        ((), set()),
        (("homeserver",), {"delayed_events"}),
        (("well_known",), {"well_known_client"}),
        (("homeserver", "well_known"), {"delayed_events", "well_known_client"}),
    ):
        statuses = {check.id: check.status for check in awaited(checks, owners)}
        failing = {"delayed_events", "well_known_client"}
        assert {name for name, status in statuses.items() if status == WARN} == warned
        assert {name for name, status in statuses.items() if status == FAIL} == failing - warned


def test_awaited_checks_exist() -> None:
    known = checks_of(FakeHttp()).keys() | {HOST_LEAVES.id, HOST_USERINFO.id, TOKEN_ROUTE.id, WIRED.id}
    assert {check_id for ids in OWNERS.values() for check_id in ids} <= known


# Server names with a port --------------------------------------------------------------------------


def with_port(name: str = "example.org:8448") -> FakeHttp:
    """A homeserver that is reached at its server name's own port, without any delegation."""
    http = FakeHttp()
    http.answers[("GET", f"https://{name}{USERINFO}")] = refusal(401, "M_UNKNOWN_TOKEN")
    del http.answers[("GET", SERVER)]
    return http


def test_documents_are_looked_for_without_the_port() -> None:
    http = with_port()
    checks = checks_of(http, server_name="example.org:8448")
    assert {check.status for check in checks.values()} <= {OK, SKIP}
    assert checks["well_known_server"].status == SKIP
    assert checks["tls_server_name"].title == "TLS of example.org"
    asked = [url for _method, url in http.asked]
    assert CLIENT in asked
    assert not [url for url in asked if "/.well-known/" in url and url != CLIENT]
    assert f"https://example.org:8448{USERINFO}" in asked


def test_a_port_in_the_name_overrides_what_the_document_says() -> None:
    """Somebody serves a server well-known all the same; nobody reads it."""
    http = with_port()
    http.answers[("GET", SERVER)] = answer(200, {"m.server": "elsewhere.example.org:443"})
    assert checks_of(http, server_name="example.org:8448")["openid_userinfo"].status == OK


def test_a_silent_port_of_the_name_is_not_mended_by_a_document() -> None:
    http = with_port()
    silent = Response("", error=TIMEOUT, detail="timed out")
    http.answers[("GET", f"https://example.org:8448{USERINFO}")] = silent
    check = checks_of(http, server_name="example.org:8448")["openid_userinfo"]
    assert check.status == FAIL
    assert ".well-known" not in check.fix


def test_without_document_and_port_8448_is_asked() -> None:
    http = broken(("GET", SERVER, answer(404)))
    http.answers[("GET", f"https://example.org:8448{USERINFO}")] = refusal(401, "M_UNKNOWN_TOKEN")
    checks = checks_of(http)
    assert checks["openid_userinfo"].status == OK
    assert checks["well_known_server"].status == WARN


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("example.org", "example.org"),
        ("example.org:8448", "example.org"),
        ("192.0.2.1:8448", "192.0.2.1"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[2001:db8::1]:8448", "[2001:db8::1]"),
    ],
)
def test_the_host_of_a_server_name(name: str, host: str) -> None:
    assert replace(site(), server_name=name).server_host == host
