"""Every known fault of a site is named by the right check, with the right cause and a remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import endpoint_account
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import livekit_room
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_probe import outside_checks
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_wiring import DELEGATE
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import (
    CERTIFICATE,
    DNS,
    REFUSED,
    TIMEOUT,
    Peer,
    Response,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import DELAYED, TRANSPORTS
from endpoint_support import (
    ACCESS_TOKEN,
    ALICE,
    CORS,
    DEVICE,
    DOMAIN,
    HOMESERVER,
    JSON,
    LIVEKIT,
    SERVER_NAME,
    SERVICE,
    SFU,
    FakeHttp,
    answer,
    broken,
    jwt,
    refusal,
    site,
)

CLIENT = f"https://{SERVER_NAME}/.well-known/matrix/client"
SERVER = f"https://{SERVER_NAME}/.well-known/matrix/server"
USERINFO = f"{HOMESERVER}:443/_matrix/federation/v1/openid/userinfo?access_token=matrixrtc-probe"
FOCI = "org.matrix.msc4143.rtc_foci"
WITH_TOKEN = ("account_access", "account_token", "transports")


@pytest.fixture(autouse=True)
def no_media(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SFU's addresses answer has tests of its own."""
    monkeypatch.setattr(endpoint_account, "media_checks", lambda _site, _access: [])


def by_id(http: FakeHttp, token: str = ACCESS_TOKEN) -> dict[str, Check]:
    checks = outside_checks(site(http, token))
    assert len({check.id for check in checks}) == len(checks)
    return {check.id: check for check in checks}


def client_document(foci: object, base_url: str = HOMESERVER) -> Response:
    return answer(200, {"m.homeserver": {"base_url": base_url}, FOCI: foci}, CORS + JSON)


def livekit(url: str) -> dict[str, str]:
    return {"type": "livekit", "livekit_service_url": url}


def adding(request: tuple[str, str], given: Response) -> FakeHttp:
    """A site that answers a request which a healthy one does not know."""
    http = FakeHttp()
    http.answers[request] = given
    return http


def all_endpoints(status: int) -> list[tuple[str, str, object]]:
    """The token service's paths, every method with the same status and no CORS header."""
    paths = ("/sfu/get", "/get_token", "/delegate_delayed_leave")
    return [
        (method, SERVICE + path, answer(status, "x"))
        for path in paths
        for method in ("GET", "OPTIONS", "POST")
    ]


def test_a_healthy_site_passes_every_check() -> None:
    assert {check.status for check in by_id(FakeHttp()).values()} == {OK}


def test_without_an_account_its_checks_are_skipped_and_say_what_they_need() -> None:
    checks = by_id(FakeHttp(), token="")
    assert {check_id for check_id, check in checks.items() if check.status == SKIP} >= set(WITH_TOKEN)
    assert all("matrixrtc_probe_users" in checks[check_id].seen for check_id in WITH_TOKEN)
    assert not [check for check in checks.values() if check.status in (FAIL, WARN)]


FAULTS: list[tuple[str, FakeHttp, str, str, str]] = [
    # what is broken, the site, the check that must fail, in the cause, in the fix
    (
        "LiveKit is stopped",
        broken(("GET", f"{SFU}/rtc/validate", answer(502, "<html>"))),
        "sfu_validate",
        "LiveKit is not running",
        "systemctl start livekit",
    ),
    (
        "the SFU's prefix is kept",
        broken(("GET", f"{SFU}/rtc/validate", answer(404))),
        "sfu_validate",
        "does not route this path to LiveKit, or keeps the prefix",
        "without the prefix",
    ),
    (
        "no websocket upgrade",
        broken(("GET", f"{SFU}/rtc", answer(404)), ("GET", f"{SFU}/rtc/v1", answer(404))),
        "sfu_websocket",
        "does not pass the websocket upgrade",
        "Upgrade and Connection",
    ),
    (
        "the admin API is public",
        broken(("POST", f"{SFU}/twirp/livekit.RoomService/ListRooms", answer(401))),
        "sfu_admin_closed",
        "everybody may try keys",
        "only from the RTC host",
    ),
    (
        "the token service is stopped",
        broken(("GET", f"{SERVICE}/healthz", answer(502)), *all_endpoints(502)),
        "token_health",
        "the token service is not running",
        "systemctl start lk-jwt-service",
    ),
    (
        "the token service's prefix is kept",
        broken(("GET", f"{SERVICE}/healthz", answer(404)), *all_endpoints(404)),
        "token_sfu_get",
        "does not route this path, or does not strip the prefix",
        "without the prefix",
    ),
    (
        "a web app answers for the token service",
        broken(("POST", f"{SERVICE}/get_token", answer(200, "<html>", CORS))),
        "token_get_token",
        "a web app's catch-all",
        "route the path",
    ),
    (
        "the proxy adds a CORS header",
        broken(("OPTIONS", f"{SERVICE}/sfu/get", answer(200, headers=CORS * 2))),
        "token_sfu_get",
        "carries 2 Access-Control-Allow-Origin headers",
        "remove add_header",
    ),
    (
        "the proxy hides the CORS header",
        broken(("OPTIONS", f"{SERVICE}/sfu/get", answer(200))),
        "token_sfu_get",
        "the CORS header is missing",
        "do not hide",
    ),
    (
        "OPTIONS is blocked",
        broken(("OPTIONS", f"{SERVICE}/sfu/get", answer(403, headers=CORS))),
        "token_sfu_get",
        "answers OPTIONS itself",
        "pass OPTIONS through",
    ),
    (
        "delegation seems supported by accident",
        broken(("POST", f"{SERVICE}/delegate_delayed_leave", answer(200, "<html>", CORS))),
        "token_delegate_leave",
        "takes anything but a 404 for support",
        "route the path",
    ),
    (
        "the transports are empty",
        broken(("GET+", HOMESERVER + TRANSPORTS, answer(200, {}))),
        "transports",
        "matrix_rtc.transports is empty",
        "matrix_rtc.transports",
    ),
    (
        "the transports endpoint is off",
        broken(("GET", HOMESERVER + TRANSPORTS, refusal(404, "M_UNRECOGNIZED"))),
        "transports_route",
        "msc4143_enabled is off",
        "synapse_config",
    ),
    (
        "the proxy eats the transports endpoint",
        broken(("GET", HOMESERVER + TRANSPORTS, answer(404, "<html>"))),
        "transports_route",
        "the proxy does not send",
        "/_matrix/client/",
    ),
    (
        "the transports endpoint is public",
        broken(("GET", HOMESERVER + TRANSPORTS, answer(200, {}))),
        "transports_route",
        "something other than Synapse",
        "unchanged",
    ),
    (
        "another SFU is announced",
        broken(
            ("GET+", HOMESERVER + TRANSPORTS, answer(200, {"rtc_transports": [livekit("https://o.org")]}))
        ),
        "transports",
        "another SFU",
        SERVICE,
    ),
    (
        "a transport without the service URL",
        broken(("GET+", HOMESERVER + TRANSPORTS, answer(200, {"rtc_transports": [{"type": "livekit"}]}))),
        "transports",
        "no entry is of type livekit with a livekit_service_url",
        SERVICE,
    ),
    (
        "the probe user's token expired",
        broken(("GET+", HOMESERVER + TRANSPORTS, refusal(401, "M_UNKNOWN_TOKEN"))),
        "transports",
        "not valid",
        "matrixrtc_probe_users",
    ),
    (
        "delayed events are off",
        broken(("GET", f"{HOMESERVER}/_matrix/client/versions", answer(200, {"unstable_features": {}}))),
        "delayed_events",
        "max_event_delay_duration is not set",
        "24h",
    ),
    (
        "a worker takes what it does not know",
        broken(("POST", f"{HOMESERVER}{DELAYED}/matrixrtc-probe/restart", refusal(404, "M_UNRECOGNIZED"))),
        "delayed_events_route",
        "a worker that does not know it",
        "to the main process",
    ),
    (
        "a web app answers for the homeserver's delegation",
        adding(("POST", HOMESERVER + DELEGATE), answer(200, "<html>", CORS)),
        "homeserver_delegation",
        "schedules its own an hour ahead",
        "route all of /_matrix/",
    ),
    (
        "the proxy adds a CORS header to tokens alone",
        broken(("POST", f"{SERVICE}/sfu/get", answer(200, {}, CORS * 2))),
        "account_token",
        "carries 2 Access-Control-Allow-Origin headers",
        "remove add_header",
    ),
    (
        "the homeserver announces a slash at the end",
        broken(("GET+", HOMESERVER + TRANSPORTS, answer(200, {"rtc_transports": [livekit(SERVICE + "/")]}))),
        "transports",
        "ends in a slash",
        "remove the slash",
    ),
    (
        "the homeserver is down",
        broken(("GET", f"{HOMESERVER}/_matrix/client/versions", answer(502))),
        "delayed_events",
        "the homeserver is down",
        "base_url",
    ),
    (
        "no OpenID listener",
        broken(("GET", USERINFO, refusal(404, "M_UNRECOGNIZED"))),
        "openid_userinfo",
        "neither the resource 'federation' nor 'openid'",
        "never both",
    ),
    (
        "the federation host refuses",
        broken(("GET", USERINFO, Response("", error=REFUSED, detail="connection refused"))),
        "openid_userinfo",
        "nothing listens on its port",
        "web server",
    ),
    (
        "no client well-known",
        broken(("GET", CLIENT, answer(404, "<html>"))),
        "well_known_client",
        "nobody serves",
        "from the host of the server name",
    ),
    (
        "the client well-known is a page",
        broken(("GET", CLIENT, answer(200, "<html>", CORS))),
        "well_known_client",
        "with a page or with broken JSON",
        "a location of its own",
    ),
    (
        "the client well-known lacks CORS",
        broken(("GET", CLIENT, answer(200, {"m.homeserver": {"base_url": HOMESERVER}}, JSON))),
        "well_known_client",
        "sets its headers wrongly",
        "exactly once",
    ),
    (
        "the client well-known doubles CORS",
        broken(("GET", CLIENT, answer(200, {"m.homeserver": {}}, CORS * 2))),
        "well_known_client",
        "sets its headers wrongly",
        "exactly once",
    ),
    (
        "the client well-known has no foci",
        broken(("GET", CLIENT, client_document([]))),
        "well_known_client",
        "does not announce an SFU",
        "run site.yml",
    ),
    (
        "the foci are no list",
        broken(("GET", CLIENT, client_document("x"))),
        "well_known_client",
        "does not announce an SFU",
        "run site.yml",
    ),
    (
        "a slash at the end",
        broken(("GET", CLIENT, client_document([livekit(SERVICE + "/")]))),
        "well_known_client",
        "ends in a slash",
        "remove the slash",
    ),
    (
        "the well-known names another SFU",
        broken(("GET", CLIENT, client_document([livekit("https://o.org")]))),
        "well_known_client",
        "announces another SFU",
        "run site.yml",
    ),
    (
        "the well-known names no homeserver",
        broken(("GET", CLIENT, answer(200, {FOCI: [livekit(SERVICE)]}, CORS + JSON))),
        "well_known_client",
        "does not say where the homeserver is",
        "base_url",
    ),
    (
        "the server well-known is a page",
        broken(("GET", SERVER, answer(200, "<html>"))),
        "well_known_server",
        "with a page or with broken JSON",
        "JSON parser",
    ),
    (
        "the server well-known names nobody",
        broken(("GET", SERVER, answer(200, {"x": 1}))),
        "well_known_server",
        "does not name the homeserver",
        "m.server",
    ),
    (
        "the key or secret differs",
        broken(("POST", f"{SERVICE}/sfu/get", refusal(500, "M_UNKNOWN", CORS))),
        "account_token",
        "key or secret differs from LiveKit's",
        "gives both the same pair",
    ),
    (
        "no room, for LiveKit is stopped",
        broken(
            ("POST", f"{SERVICE}/sfu/get", refusal(500, "M_UNKNOWN", CORS)),
            ("GET", f"{SFU}/rtc/validate", answer(502)),
        ),
        "account_token",
        "because the SFU does not answer",
        "systemctl start livekit",
    ),
    (
        "users cannot be verified",
        broken(("POST", f"{SERVICE}/get_token", refusal(401, "M_UNAUTHORIZED", CORS))),
        "account_token",
        "could not verify the user",
        "openid_userinfo",
    ),
    (
        "the token route is missing",
        broken(("POST", f"{SERVICE}/get_token", answer(404))),
        "account_token",
        "does not route this path",
        "nginx_proxy",
    ),
    (
        "the probe user's token is refused",
        broken(("GET+", f"{HOMESERVER}/_matrix/client/v3/account/whoami", refusal(401, "M_UNKNOWN_TOKEN"))),
        "account_access",
        "does not take the access token",
        "matrixrtc_probe_users",
    ),
]


@pytest.mark.parametrize(
    ("fault", "http", "check_id", "cause", "fix"), FAULTS, ids=[row[0] for row in FAULTS]
)
def test_a_fault_is_named_with_cause_and_fix(
    fault: str, http: FakeHttp, check_id: str, cause: str, fix: str
) -> None:
    check = by_id(http)[check_id]
    assert check.status == FAIL
    assert cause in check.cause
    assert fix in check.fix
    assert check.seen
    assert check.expected


@pytest.mark.parametrize(
    ("ahead", "status", "said"),
    [(301, FAIL, "301 s ahead of"), (-301, FAIL, "301 s behind"), (12, WARN, "12 s ahead of"), (2, OK, "")],
)
def test_clocks_that_differ_are_told_with_who_is_ahead(ahead: float, status: str, said: str) -> None:
    http = FakeHttp(clocks={DOMAIN: ahead})
    check = by_id(http)["clock"]
    assert check.status == status
    assert said in check.cause
    assert bool(check.shows) == (status == FAIL)


def test_the_probes_own_clock_counts_for_nothing() -> None:
    everybody = dict.fromkeys((DOMAIN, "matrix.example.org", SERVER_NAME), 500.0)
    assert by_id(FakeHttp(clocks=everybody))["clock"].status == OK


def test_a_homeserver_with_its_token_service_behind_it_may_ask_for_a_token() -> None:
    http = FakeHttp()
    http.answers[("POST", HOMESERVER + DELEGATE)] = refusal(401, "M_MISSING_TOKEN")
    assert by_id(http)["homeserver_delegation"].status == OK
    http.answers[("POST", HOMESERVER + DELEGATE)] = answer(502, "<html>")
    assert by_id(http)["homeserver_delegation"].status == SKIP


def token_answer(**changes: object) -> Callable[[object], Response]:
    """A token service that gives a token with something wrong in it."""
    room = livekit_room(f"!matrixrtc-probe:{SERVER_NAME}")
    values: dict[str, object] = {"identity": f"{ALICE}:{DEVICE}", "room": room, "url": LIVEKIT, **changes}
    url = values.pop("url")
    return lambda _body: answer(200, {"url": url, "jwt": jwt(**values)}, CORS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"publish": False}, "is not in the token service's full-access list"),
        ({"room": "another"}, "instead of"),
        ({"identity": "@mallory:example.org:X"}, "its identity is"),
        ({"lifetime": 60}, "valid for 60 s"),
        ({"url": "wss://o.org/sfu"}, "sends clients to another SFU"),
    ],
)
def test_a_token_is_not_taken_for_good_just_because_it_came(changes: dict[str, object], said: str) -> None:
    check = by_id(broken(("POST", f"{SERVICE}/sfu/get", token_answer(**changes))))["account_token"]
    assert check.status == FAIL
    assert said in f"{check.seen} {check.cause}"


def test_text_in_place_of_a_token_is_named() -> None:
    nonsense = answer(200, {"url": LIVEKIT, "jwt": "nonsense"}, CORS)
    check = by_id(broken(("POST", f"{SERVICE}/sfu/get", nonsense)))["account_token"]
    assert check.status == FAIL
    assert "3" in check.seen


def test_what_follows_from_a_stopped_sfu_is_skipped_and_points_to_it() -> None:
    checks = by_id(broken(("GET", f"{SFU}/rtc/validate", answer(502))))
    for check_id in ("sfu_websocket", "sfu_admin_closed", "media_tcp_port"):
        assert checks[check_id].status == SKIP
        assert "sfu_validate" in checks[check_id].seen


def test_delegation_that_is_really_missing_is_only_a_warning() -> None:
    path = f"{SERVICE}/delegate_delayed_leave"
    http = broken(*[(method, path, answer(404)) for method in ("GET", "OPTIONS", "POST")])
    check = by_id(http)["token_delegate_leave"]
    assert check.status == WARN
    assert "18 s" in check.cause


def test_an_sfu_without_the_current_path_is_a_warning() -> None:
    check = by_id(broken(("GET", f"{SFU}/rtc/v1", answer(404))))["sfu_websocket"]
    assert check.status == WARN
    assert "/rtc/v1" in check.cause


def test_without_a_server_well_known_the_default_port_is_asked() -> None:
    http = broken(("GET", SERVER, answer(404)))
    http.answers[("GET", USERINFO.replace(f"{HOMESERVER}:443", f"https://{SERVER_NAME}:8448"))] = refusal(
        401, "M_UNKNOWN_TOKEN"
    )
    checks = by_id(http)
    assert checks["well_known_server"].status == WARN
    assert checks["openid_userinfo"].status == OK


def test_without_a_server_well_known_and_a_silent_port_the_document_is_the_fix() -> None:
    http = broken(("GET", SERVER, answer(404)))
    url = USERINFO.replace(f"{HOMESERVER}:443", f"https://{SERVER_NAME}:8448")
    http.answers[("GET", url)] = Response("", error=TIMEOUT, detail="timed out")
    check = by_id(http)["openid_userinfo"]
    assert check.status == FAIL
    assert ".well-known/matrix/server" in check.fix


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DNS, "has no address"),
        (REFUSED, "nothing listens"),
        (TIMEOUT, "are dropped"),
        (CERTIFICATE, "does not pass"),
    ],
)
def test_a_host_that_cannot_be_reached_is_named_with_the_reason(error: str, said: str) -> None:
    http = FakeHttp(peers={DOMAIN: Peer(error=error, detail="because")})
    check = by_id(http)["tls_rtc"]
    assert check.status == FAIL
    assert said in check.cause
    assert DOMAIN in check.cause


def test_a_certificate_that_ends_soon_is_a_warning() -> None:
    check = by_id(FakeHttp(peers={DOMAIN: Peer("203.0.113.5", days_left=3)}))["tls_rtc"]
    assert check.status == WARN
    assert "3 more days" in check.seen


def test_a_doubled_header_is_told_from_a_missing_one() -> None:
    document = {"m.homeserver": {"base_url": HOMESERVER}, FOCI: [livekit(SERVICE)]}
    for headers, said in ((CORS * 2, "comes 2 times"), ((), "is missing")):
        assert (
            said in by_id(broken(("GET", CLIENT, answer(200, document, headers))))["well_known_client"].seen
        )


def test_a_redirect_without_cors_is_found() -> None:
    http = broken(("GET", CLIENT, Response("", 302, (("Location", "https://www.example.org/wk"),))))
    http.answers[("GET", "https://www.example.org/wk")] = client_document([livekit(SERVICE)])
    check = by_id(http)["well_known_client"]
    assert check.status == FAIL
    assert "on redirects" in check.fix


def test_a_document_of_the_wrong_type_is_a_warning() -> None:
    document = {"m.homeserver": {"base_url": HOMESERVER}, FOCI: [livekit(SERVICE)]}
    check = by_id(broken(("GET", CLIENT, answer(200, document, CORS))))["well_known_client"]
    assert check.status == WARN
    assert "default_type" in check.fix


def test_an_open_internal_port_is_a_failure() -> None:
    http = FakeHttp(open_ports={7880: Peer("203.0.113.5"), 7881: Peer("203.0.113.5")})
    check = by_id(http)["ports_closed"]
    assert check.status == FAIL
    assert "7880" in check.seen


@dataclass
class LosesFirstAttempt(FakeHttp):
    """The first connection to each port is lost on the way."""

    lost: set[int] = field(default_factory=set)

    def opens(self, host: str, port: int) -> Peer:
        if port in self.lost:
            return super().opens(host, port)
        self.lost.add(port)
        return Peer(error=TIMEOUT, detail="timed out")


def test_a_lost_packet_does_not_make_an_open_port_look_closed() -> None:
    http = LosesFirstAttempt(open_ports={7880: Peer("203.0.113.5"), 7881: Peer("203.0.113.5")})
    check = by_id(http)["ports_closed"]
    assert check.status == FAIL
    assert check.seen == "TCP 7880 open"


def test_on_the_rtc_host_itself_open_ports_prove_nothing() -> None:
    http = FakeHttp(open_ports={7880: Peer("127.0.0.1", local=True), 7881: Peer("127.0.0.1", local=True)})
    url = f"{SFU}/twirp/livekit.RoomService/ListRooms"
    http.answers[("POST", url)] = Response("", 401, local=True)
    checks = by_id(http)
    assert checks["ports_closed"].status == SKIP
    assert checks["sfu_admin_closed"].status == SKIP


def test_a_closed_media_port_is_named_with_its_number() -> None:
    check = by_id(FakeHttp(open_ports={}))["media_tcp_port"]
    assert check.status == FAIL
    assert "TCP 7881" in check.fix


def test_without_a_homeserver_address_its_checks_are_skipped() -> None:
    checks = by_id(broken(("GET", CLIENT, Response("", error=DNS, detail="unknown"))), token="")
    assert checks["delayed_events"].status == SKIP
    assert checks["transports_route"].status == SKIP
    assert checks["well_known_client"].status == FAIL
