"""Every bad input is refused with its variable's name and a remedy; good ones pass in every spelling."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import CHECKS, check_inputs
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_report import Inputs
from inputs_support import (
    DOMAIN,
    GOOD_INPUTS,
    GOOD_SECRET,
    VERSIONS,
    bad_inputs,
    busy_ports,
    filled_in,
    inputs_of,
    process_folder,
    quiet_process_folder,
    write_certificates,
)

ROWS = bad_inputs()
FEW_PORTS = {"livekit_udp_port": "", "livekit_port_range_start": 50000, "livekit_port_range_end": 50009}
OWN_CERTIFICATE = {
    "matrixrtc_tls_mode": "acme",
    "matrixrtc_acme_agree_terms": True,
    "matrixrtc_tls_certificate": "/etc/matrixrtc/acme/live/matrixrtc/fullchain.pem",
    "matrixrtc_tls_private_key": "/etc/matrixrtc/acme/live/matrixrtc/privkey.pem",
}
TWO_TOKENS = {"matrixrtc_as_token": "a" * 32, "matrixrtc_hs_token": "b" * 32}
BEHIND = {"matrixrtc_token_service_mode": "homeserver"}
WIRED = {"type": "livekit", "livekit_service_url": "https://rtc.example.org/livekit/jwt"}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("certificates")
    write_certificates(folder)
    with busy_ports() as ports:
        yield {"FOLDER": str(folder), **ports}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> str:
    return quiet_process_folder(tmp_path_factory.mktemp("proc"))


def checked(
    component: str,
    places: dict[str, str],
    process_folder: str = "/proc",
    facts: dict[str, Any] | None = None,
    allow_untested: bool = False,
    **variables: Any,
) -> Inputs:
    """A component's inputs on a good site where the operator sets these variables."""
    variables = filled_in(variables, places)
    values = filled_in(inputs_of(component, variables, facts), places)
    secret = str(variables.get("matrixrtc_livekit_secret", ""))
    return check_inputs(component, values, secret, VERSIONS.get(component), allow_untested, process_folder)


def messages(found: Inputs) -> list[str]:
    return [problem.message for problem in found.problems]


def test_the_table_is_large_enough_and_says_each_thing_once() -> None:
    assert len(ROWS) >= 100
    assert len({row["bad"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["bad"].replace(" ", "-"))
def test_bad_input_is_refused_with_one_message(
    row: dict[str, Any], places: dict[str, str], quiet: str
) -> None:
    """One, on a host of all roles: a wrong site name is not reported again as a wrong URL or access list."""
    processes = "/proc" if "BUSY" in str(row["set"]) else quiet
    found = {
        (problem.variable, problem.message)
        for component in CHECKS
        for problem in checked(component, places, processes, row["facts"], **row["set"]).problems
    }
    assert len(found) == 1, found
    ((variable, message),) = found
    assert variable == row["names"]
    assert message.startswith(variable)
    assert row["says"] in message
    assert re.search(r"[:.] .*\b(set|Set|Remove|Use|Renew|Leave)\b", message), "it does not say what to do"


@pytest.mark.parametrize("component", CHECKS)
def test_good_inputs_pass_without_a_word(component: str, places: dict[str, str], quiet: str) -> None:
    found = checked(component, places, quiet, matrixrtc_livekit_secret=GOOD_SECRET)
    assert messages(found) == []
    assert found.warnings == []


@pytest.mark.parametrize("component", CHECKS)
def test_absent_inputs_are_not_checked(component: str, quiet: str) -> None:
    found = check_inputs(component, {}, process_folder=quiet)
    assert messages(found) == []
    assert found.warnings == []


@pytest.mark.parametrize("component", CHECKS)
def test_every_input_may_be_nonsense_of_any_type(component: str, quiet: str) -> None:
    """Whatever comes, the answer is a list of problems and never a traceback."""
    for nonsense in (
        None,
        "",
        " ",
        "x",
        "{}",
        "\x00",
        "/\x00",
        "/",
        -1,
        0,
        1.5,
        True,
        [],
        [None],
        [[]],
        {},
        {"a": None},
        [{"type": 1}],
    ):
        values = dict.fromkeys(inputs_of(component, {}), nonsense)
        check_inputs(component, values, "x", {}, process_folder=quiet)


def test_all_problems_are_reported_together(places: dict[str, str], quiet: str) -> None:
    found = checked(
        "livekit",
        places,
        quiet,
        matrixrtc_server_name="https://example.org",
        matrixrtc_domain="203.0.113.7",
        matrixrtc_livekit_key="devkey",
        matrixrtc_livekit_secret="short",
        livekit_version="1.10.0",
        livekit_port="x",
        livekit_tcp_port=0.5,
        livekit_udp_port="2-1",
        livekit_extra_config={"development": True, "keys": {}},
    )
    assert [problem.variable for problem in found.problems] == [
        "matrixrtc_server_name",
        "matrixrtc_domain",
        "livekit_version",
        "livekit_port",
        "livekit_tcp_port",
        "livekit_udp_port",
        "matrixrtc_livekit_key",
        "matrixrtc_livekit_secret",
        "livekit_extra_config",
        "livekit_extra_config",
    ]


def test_numbers_and_booleans_may_be_text(places: dict[str, str], quiet: str) -> None:
    found = checked(
        "livekit",
        places,
        quiet,
        livekit_port="21440",
        livekit_tcp_port="21441",
        livekit_udp_port="",
        livekit_port_range_start="50000",
        livekit_port_range_end="60000",
        livekit_extra_config={"room": {"auto_create": "no"}},
    )
    assert messages(found) == []
    assert messages(checked("firewall", places, quiet, firewall_tcp_ports=["21441"])) == []
    for word, accepted in (
        ("yes", True),
        ("true", True),
        ("1", True),
        ("no", False),
        ("0", False),
        ("off", False),
    ):
        found = checked(
            "lk_jwt_service",
            places,
            quiet,
            matrixrtc_full_access_homeservers=["*"],
            matrixrtc_allow_any_homeserver=word,
        )
        assert (messages(found) == []) is accepted, word
    refused = checked("lk_jwt_service", places, quiet, matrixrtc_allow_any_homeserver="perhaps")
    assert [problem.variable for problem in refused.problems] == ["matrixrtc_allow_any_homeserver"]
    opened = checked("livekit", places, quiet, livekit_extra_config={"room": {"auto_create": "yes"}})
    assert "room.auto_create" in messages(opened)[0]


@pytest.mark.parametrize(
    ("component", "port", "unit", "holder"),
    [
        ("livekit", 21441, "livekit.service", ""),
        ("livekit", 21441, "lk-jwt-service.service", "some-server (process 77, lk-jwt-service.service)"),
        ("lk_jwt_service", 21480, "lk-jwt-service.service", ""),
        ("lk_jwt_service", 21480, "init.scope", "some-server (process 77, init.scope)"),
        ("rtc_certificate", 80, "nginx.service", ""),
        ("rtc_certificate", 80, "apache2.service", "some-server (process 77, apache2.service)"),
        ("nginx_proxy", 443, "nginx.service", ""),
        ("nginx_proxy", 443, "caddy.service", "some-server (process 77, caddy.service)"),
    ],
)
def test_ports_of_our_own_service_are_free(
    component: str, port: int, unit: str, holder: str, places: dict[str, str], tmp_path: Path
) -> None:
    processes = process_folder(tmp_path / "proc", port, f"0::/system.slice/{unit}\n")
    variables = OWN_CERTIFICATE if component == "rtc_certificate" else {}
    found = messages(checked(component, places, processes, **variables))
    assert (f"{port}/tcp" in str(found) and f"is held by {holder}" in str(found)) if holder else found == []


def test_other_proxy_on_443_is_named_with_the_way_out(places: dict[str, str], tmp_path: Path) -> None:
    processes = process_folder(tmp_path / "proc", 443, "0::/system.slice/caddy.service\n")
    (message,) = messages(checked("nginx_proxy", places, processes))
    assert "is held by some-server (process 77, caddy.service). Set nginx_proxy_mode to external" in message


def test_other_proxy_that_cannot_be_looked_into_is_known_by_its_user(
    places: dict[str, str], tmp_path: Path
) -> None:
    processes = process_folder(tmp_path / "proc", 443, "")
    shutil.rmtree(tmp_path / "proc" / "77")
    assert "a process of the user root" in messages(checked("nginx_proxy", places, processes))[0]


def test_external_proxy_needs_no_certificate(places: dict[str, str], tmp_path: Path) -> None:
    processes = process_folder(tmp_path / "proc", 443, "0::/system.slice/caddy.service\n")
    none = {"matrixrtc_tls_certificate": "", "matrixrtc_tls_private_key": "", "matrixrtc_turn_tls": ""}
    found = checked("nginx_proxy", places, processes, nginx_proxy_mode="external", **none)
    assert (messages(found), found.warnings) == ([], [])
    assert len(messages(checked("nginx_proxy", places, processes, **none))) == 3


@pytest.mark.parametrize(
    ("port", "address", "says"),
    [
        (8443, "127.0.0.1", "nobody listens on port 443 of 127.0.0.1"),
        (443, "127.0.0.9", "Set it to {'rtc.example.org': '127.0.0.1'}"),
        (443, "127.0.0.1", ""),
        (8443, "192.0.2.7", ""),
    ],
)
def test_external_proxy_that_the_token_service_cannot_find_is_told(
    port: int, address: str, says: str, places: dict[str, str], tmp_path: Path
) -> None:
    processes = process_folder(tmp_path / "proc", port, "")
    given = {"nginx_proxy_mode": "external", "matrixrtc_turn_tls": ""}
    values = {**inputs_of("nginx_proxy", given), "proxy_address": address}
    found = check_inputs("nginx_proxy", filled_in(values, places), process_folder=processes)
    assert messages(found) == []
    assert says in str(found.warnings) if says else found.warnings == []


def test_external_proxy_beside_nginx_is_told(places: dict[str, str], tmp_path: Path) -> None:
    processes = process_folder(tmp_path / "proc", 443, "0::/system.slice/nginx.service\n")
    (tmp_path / "proc" / "77" / "comm").write_text("nginx\n")
    found = checked("nginx_proxy", places, processes, nginx_proxy_mode="external")
    assert "this role can add the site itself" in found.warnings[0]


def test_busy_ports_in_a_range_are_only_warned_of(places: dict[str, str]) -> None:
    """LiveKit passes over them."""
    first = int(places["BUSY_UDP"]) - 200
    span = {"livekit_udp_port": "", "livekit_port_range_start": first, "livekit_port_range_end": first + 200}
    found = checked("livekit", places, **span)
    assert messages(found) == []
    assert "of the UDP ports" in str(found.warnings)


def test_tcp_and_udp_may_share_a_number(places: dict[str, str], quiet: str) -> None:
    assert messages(checked("livekit", places, quiet, livekit_udp_port="21440-21442")) == []


@pytest.mark.parametrize(
    "name",
    [
        "example.org",
        "example.org:8448",
        "localhost",
        "1.2.3.4",
        "1.2.3.4:8448",
        "[2001:db8::1]",
        "[2001:db8::1]:8448",
        "xn--bcher-kva.example",
        "a-b.example.org",
    ],
)
def test_server_names_of_the_specification_pass(name: str, places: dict[str, str], quiet: str) -> None:
    assert messages(checked("lk_jwt_service", places, quiet, matrixrtc_server_name=name)) == []


@pytest.mark.parametrize(
    "name", ["2001:db8::1", "[2001:db8::1", "example..org", "-a.org", "a" * 64 + ".org", "1.2.3.4.5", ":8448"]
)
def test_other_server_names_do_not(name: str, places: dict[str, str], quiet: str) -> None:
    found = checked("lk_jwt_service", places, quiet, matrixrtc_server_name=name)
    assert [problem.variable for problem in found.problems] == ["matrixrtc_server_name"]


def test_url_on_another_host_is_only_warned_of(places: dict[str, str], quiet: str) -> None:
    found = checked("lk_jwt_service", places, quiet, matrixrtc_livekit_url="wss://sfu.example.org")
    assert messages(found) == []
    assert found.warnings == [
        "matrixrtc_livekit_url: its host 'sfu.example.org' is not matrixrtc_domain ('rtc.example.org'), "
        "so somebody else has to serve it."
    ]


def test_password_in_a_url_is_not_shown(places: dict[str, str], quiet: str) -> None:
    found = checked("livekit", places, quiet, matrixrtc_livekit_url=f"wss://me:hunter2@{DOMAIN}/sfu")
    assert "has a user or password" in messages(found)[0]
    assert "hunter2" not in str(messages(found))


@pytest.mark.parametrize(
    "secret",
    ["Zq8vT1xWc4Rk", "secret", "k8Wq2Zt5Yx1Rv7Lm4Pn9:c3Hd6Gf0Js", "abcabcabcabcabcabcabcabcabcabcabcabc"],
)
def test_no_message_shows_the_secret(secret: str, places: dict[str, str], quiet: str) -> None:
    (message,) = messages(checked("livekit", places, quiet, matrixrtc_livekit_secret=secret))
    assert secret not in message.replace("matrixrtc_livekit_secret", "")


def test_secret_equal_to_the_key_is_refused(places: dict[str, str], quiet: str) -> None:
    found = checked(
        "livekit", places, quiet, matrixrtc_livekit_key=GOOD_SECRET, matrixrtc_livekit_secret=GOOD_SECRET
    )
    assert [problem.variable for problem in found.problems] == ["matrixrtc_livekit_secret"]


def test_untested_versions_run_with_a_warning(places: dict[str, str], quiet: str) -> None:
    found = checked("livekit", places, quiet, livekit_version="1.13.8")
    assert messages(found) == []
    assert "1.13.8" in found.warnings[0]


def test_unknown_versions_may_be_tried(places: dict[str, str], quiet: str) -> None:
    refused = checked("livekit", places, quiet, livekit_version="1.99.0")
    assert "matrixrtc_allow_untested_versions" in messages(refused)[0]
    tried = checked("livekit", places, quiet, livekit_version="1.99.0", allow_untested=True)
    assert messages(tried) == []
    assert "1.99.0" in tried.warnings[0]


def test_bad_versions_run_only_if_they_are_named(
    places: dict[str, str], quiet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = checked("livekit", places, quiet, livekit_version="1.10.0", allow_untested=True)
    assert messages(found) == [
        "livekit_version: '1.10.0' is known to be bad: it hands out malformed TURN addresses. "
        "Set it to 1.13.5. To run it all the same, set matrixrtc_allow_bad_versions to ['1.10.0']."
    ]
    monkeypatch.setitem(VERSIONS, "livekit", {**VERSIONS["livekit"], "allowed": ["1.10.0"]})
    named = checked("livekit", places, quiet, livekit_version="1.10.0")
    assert "livekit_version" not in " ".join(messages(named))
    assert "matrixrtc_allow_bad_versions names it" in named.warnings[0]
    assert messages(checked("livekit", places, quiet, livekit_version="1.9.9"))


def test_other_releases_of_known_distributions_may_be_tried(places: dict[str, str], quiet: str) -> None:
    facts = {"distribution": "Ubuntu", "distribution_version": "24.04"}
    assert "not supported" in messages(checked("livekit", places, quiet, facts))[0]
    tried = checked("livekit", places, quiet, facts, allow_untested=True)
    assert messages(tried) == []
    assert "Ubuntu 24" in tried.warnings[0]
    fedora = checked("livekit", places, quiet, {"distribution": "Fedora"}, allow_untested=True)
    assert "not supported" in messages(fedora)[0]


def test_unknown_livekit_keys_may_be_tried_with_untested_releases(places: dict[str, str], quiet: str) -> None:
    extra = {"brand_new": {"enabled": True}}
    assert "Remove it." in messages(checked("livekit", places, quiet, livekit_extra_config=extra))[0]
    tried = checked("livekit", places, quiet, livekit_extra_config=extra, allow_untested=True)
    assert messages(tried) == []
    assert "brand_new" in tried.warnings[0]


@pytest.mark.parametrize(
    ("component", "variables", "says"),
    [
        ("livekit", {"matrixrtc_media_address": "10.1.2.3"}, "is a private address"),
        ("livekit", {"livekit_bind_addresses": ["::"]}, "open to every network"),
        ("livekit", {"livekit_tcp_port": 0}, "no media goes over TCP"),
        ("livekit", FEW_PORTS, "for 5 participants"),
        ("lk_jwt_service", {"matrixrtc_full_access_homeservers": ["example.com"]}, "your own homeserver"),
        ("lk_jwt_service", {"matrixrtc_allow_any_homeserver": True}, "has no effect"),
        ("lk_jwt_service", TWO_TOKENS, "has no effect unless matrixrtc_token_service_mode is homeserver"),
        ("nginx_proxy", {"matrixrtc_tls_certificate": "FOLDER/soon.crt"}, "in 9 days"),
        ("nginx_proxy", {"matrixrtc_ca_file": ""}, "is not trusted by this host"),
        ("synapse_config", {"matrixrtc_transports": []}, "told of no SFU"),
    ],
)  # fmt: skip
def test_what_is_probably_not_meant_is_warned_of(
    component: str, variables: dict[str, Any], says: str, places: dict[str, str], quiet: str
) -> None:
    found = checked(component, places, quiet, **variables)
    assert messages(found) == []
    assert says in str(found.warnings)


def test_wildcard_certificate_covers_one_label(places: dict[str, str], quiet: str) -> None:
    wildcard = "FOLDER/wildcard.crt"
    assert messages(checked("nginx_proxy", places, quiet, matrixrtc_tls_certificate=wildcard)) == []
    deeper = checked(
        "nginx_proxy", places, quiet, matrixrtc_tls_certificate=wildcard, matrixrtc_domain="a.rtc.example.org"
    )
    assert "is not for a.rtc.example.org but for *.example.org" in messages(deeper)[0]


def test_host_without_openssl_gets_a_message(
    places: dict[str, str], quiet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_options: None)
    found = messages(checked("nginx_proxy", places, quiet))
    assert len(found) == 4  # both certificates and both keys
    assert all("no openssl program" in message for message in found)


def test_checks_are_quick(places: dict[str, str]) -> None:
    """All components together, against the real /proc; processor time, so that load is no matter."""
    started = time.process_time()
    for component in GOOD_INPUTS:
        checked(component, places)
    assert time.process_time() - started < 0.3


@pytest.mark.parametrize("component", ["lk_jwt_service", "synapse_config", "well_known"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        TWO_TOKENS,
        {**TWO_TOKENS, "matrixrtc_homeserver_beside": False},
        {"matrixrtc_transports": [{**WIRED, "url": "wss://rtc.example.org/livekit/sfu"}]},
    ],
)
def test_token_service_may_stand_behind_the_homeserver(
    component: str, more: dict[str, Any], places: dict[str, str], quiet: str
) -> None:
    assert messages(checked(component, places, quiet, **BEHIND, **more)) == []


def test_owner_of_another_kind_of_homeserver_is_told_nothing(places: dict[str, str], quiet: str) -> None:
    inputs = inputs_of("synapse_config", {**BEHIND, **TWO_TOKENS, "matrixrtc_homeserver_kind": "ess"})
    ours = ("files", "python", "registration_file")
    shown_only = {key: value for key, value in filled_in(inputs, places).items() if key not in ours}
    (message,) = messages(check_inputs("synapse_config", shown_only, process_folder=quiet))
    assert "only Synapse's own files are known" in message
    assert message.startswith("matrixrtc_token_service_mode")


def test_registration_has_to_be_where_the_container_sees_it(places: dict[str, str], quiet: str) -> None:
    above = str(Path(places["FOLDER"]).parent)
    container = {"run_prefix": ["env"], "container_paths": {above: "/data"}}
    inputs = {**inputs_of("synapse_config", BEHIND), **container}
    found = messages(check_inputs("synapse_config", filled_in(inputs, places), process_folder=quiet))
    assert [message.partition(":")[0] for message in found] == [
        "synapse_config_registration_file is out of the container's sight"
    ]
    beside = {**inputs, "registration_file": "FOLDER.yaml"}
    assert not messages(check_inputs("synapse_config", filled_in(beside, places), process_folder=quiet))


def test_tokens_are_never_quoted(places: dict[str, str], quiet: str) -> None:
    words = {"matrixrtc_as_token": "two words of a secret", "matrixrtc_hs_token": "another secret"}
    found = messages(checked("lk_jwt_service", places, quiet, **BEHIND, **words))
    assert len(found) == 2
    assert not any(secret in " ".join(found) for secret in words.values())
