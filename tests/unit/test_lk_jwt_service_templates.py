"""The token service's environment, hosts file and unit, as rendered from the role's variables."""

from __future__ import annotations

import re
from typing import Any

import pytest
from role_rendering import SECRET, Role, environment_of, probed

HOSTS = """\
127.0.0.1 localhost
# rtc.example.org is commented out here
203.0.113.7\trtc.example.org   mail.example.org # the public address
203.0.113.7 rtc.example.org
10.0.0.5 matrix.example.org

::1 localhost ip6-localhost
"""


def environment(**given: Any) -> dict[str, str]:
    """The environment as systemd reads it from the file (`src/basic/env-file.c`, in double quotes)."""
    found = {}
    for line in environment_of(Role("lk_jwt_service", **given)).splitlines():
        parsed = re.fullmatch(r'([A-Za-z_][A-Za-z0-9_]*)="(.*)"', line)
        if parsed:
            found[parsed.group(1)] = re.sub(r'\\(["\\`$])', r"\1", parsed.group(2))
        else:
            assert line.startswith("#"), line
    return found


def test_default_environment() -> None:
    assert environment() == {
        "LIVEKIT_URL": "wss://rtc.example.org/livekit/sfu",
        "LIVEKIT_KEY_FROM_FILE": "/etc/matrixrtc/lk-jwt-service/key",
        "LIVEKIT_SECRET_FROM_FILE": "/etc/matrixrtc/lk-jwt-service/secret",
        "LIVEKIT_JWT_BIND": "127.0.0.1:8080",
        "LIVEKIT_FULL_ACCESS_HOMESERVERS": "example.org",
        "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS": "60",
        "LIVEKIT_LOG_LEVEL": "warn",
    }


def test_no_file_holds_the_secret() -> None:
    role = Role("lk_jwt_service")
    unit = role.file("service.j2", role="common", common_unit=role.value("__lk_jwt_service_unit"))
    assert SECRET not in environment_of(role) + role.file("hosts.j2") + unit


def test_access_list_is_what_the_site_says() -> None:
    servers = environment(matrixrtc_full_access_homeservers=["example.org", "example.com:8448"])
    assert servers["LIVEKIT_FULL_ACCESS_HOMESERVERS"] == "example.org,example.com:8448"


def test_overrides_have_no_comma_at_the_end() -> None:
    """Which is fatal to the service; so is an empty value to some versions."""
    urls = {"example.org": "https://matrix.example.org", "a.test": "http://127.0.0.1:8008"}
    found = environment(lk_jwt_service_homeserver_urls=urls)["LIVEKIT_CS_API_URL_OVERRIDES"]
    assert found == "a.test=http://127.0.0.1:8008,example.org=https://matrix.example.org"


def test_private_authority_is_trusted_beside_the_system() -> None:
    found = environment(matrixrtc_ca_file="/etc/ssl/private-ca.pem")
    assert (found["SSL_CERT_FILE"], found["SSL_CERT_DIR"]) == ("/etc/ssl/private-ca.pem", "/etc/ssl/certs")


ODD_VALUES = ('a"b', "a\\b", "a\\\\b", 'a\\"b', "a$b`c", "#no comment", " spaces ", "it's", "ü", "a=b", "%h")


@pytest.mark.parametrize("value", ODD_VALUES)
def test_odd_values_arrive_as_they_are(value: str) -> None:
    extra = {"LIVEKIT_REDIS_PASSWORD": value}
    assert environment(lk_jwt_service_extra_environment=extra)["LIVEKIT_REDIS_PASSWORD"] == value


def test_extra_variables_win_and_numbers_become_text() -> None:
    extra = {"LIVEKIT_LOG_LEVEL": "debug", "LIVEKIT_MEMBERSHIP_CHECK_INTERVAL_SECONDS": 30}
    found = environment(lk_jwt_service_extra_environment=extra)
    assert found["LIVEKIT_LOG_LEVEL"] == "debug"
    assert found["LIVEKIT_MEMBERSHIP_CHECK_INTERVAL_SECONDS"] == "30"


@pytest.mark.parametrize(
    ("bind", "listens", "health"),
    [
        ("127.0.0.1", "127.0.0.1:8080", "http://127.0.0.1:8080/healthz"),
        ("0.0.0.0", "0.0.0.0:8080", "http://127.0.0.1:8080/healthz"),  # noqa: S104
        ("::", "[::]:8080", "http://127.0.0.1:8080/healthz"),
        ("::1", "[::1]:8080", "http://[::1]:8080/healthz"),
    ],
)
def test_where_it_listens_and_is_asked(bind: str, listens: str, health: str) -> None:
    role = Role("lk_jwt_service", lk_jwt_service_bind_address=bind)
    assert role.value("__lk_jwt_service_bind") == listens
    assert role.value("__lk_jwt_service_health_url") == health


# hosts ---------------------------------------------------------------------------------------------


def hosts(**given: Any) -> list[tuple[str, ...]]:
    text = Role("lk_jwt_service", common_host_probe=probed(HOSTS), **given).file("hosts.j2")
    return [tuple(line.split()) for line in text.splitlines() if not line.startswith("#")]


def test_sfu_is_loopback_and_the_rest_is_the_hosts() -> None:
    assert hosts() == [
        ("127.0.0.1", "rtc.example.org"),
        ("127.0.0.1", "localhost"),
        ("203.0.113.7", "mail.example.org"),
        ("10.0.0.5", "matrix.example.org"),
        ("::1", "localhost", "ip6-localhost"),
    ]


def test_names_of_the_operator_win_over_the_hosts() -> None:
    found = hosts(lk_jwt_service_hosts={"matrix.example.org": "127.0.0.1"})
    assert [line for line in found if "matrix.example.org" in line] == [("127.0.0.1", "matrix.example.org")]


def test_the_sfus_name_is_that_of_its_url() -> None:
    found = hosts(lk_jwt_service_livekit_url="wss://sfu.example.net:8443/livekit/sfu")
    assert found[0] == ("127.0.0.1", "sfu.example.net")
    assert ("203.0.113.7", "rtc.example.org", "mail.example.org") in found


# unit ----------------------------------------------------------------------------------------------


def test_unit_has_what_this_service_needs() -> None:
    unit = Role("lk_jwt_service").unit()
    assert unit["BindReadOnlyPaths"] == ["/etc/matrixrtc/lk-jwt-service/hosts:/etc/hosts"]
    assert unit["EnvironmentFile"] == ["/etc/matrixrtc/lk-jwt-service/environment"]
    assert "Environment" not in unit, "systemctl show would print it to everybody"
    assert unit["ProcSubset"] == ["pid"]
    assert (unit["MemoryMax"], unit["TasksMax"], unit["IPAddressDeny"]) == (["256M"], ["512"], ["link-local"])
    assert unit["After"] == ["network-online.target livekit.service"]
    assert not {"Requires", "BindsTo", "PartOf"} & unit.keys(), "it has to answer without LiveKit"


def test_limits_can_be_taken_away() -> None:
    unit = Role("lk_jwt_service", lk_jwt_service_memory_max="", lk_jwt_service_denied_networks=[]).unit()
    assert not {"MemoryMax", "IPAddressDeny"} & unit.keys()


def test_log_can_have_a_journal_of_its_own() -> None:
    assert "LogNamespace" not in Role("lk_jwt_service").unit()
    unit = Role("lk_jwt_service", lk_jwt_service_log_namespace="lk-jwt-service").unit()
    assert unit["LogNamespace"] == ["lk-jwt-service"]
