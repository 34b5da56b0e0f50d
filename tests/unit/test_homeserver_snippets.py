"""What the owner of a homeserver is shown is what that homeserver reads, in the words of its own files."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.homeserver_kinds import KINDS
from ansible_collections.matrixrtc.backend.plugins.module_utils.registration import document
from role_rendering import Role

URL = "https://rtc.example.org/livekit/jwt"
FOCI = [{"type": "livekit", "livekit_service_url": URL}]
SETTINGS = {
    "max_event_delay_duration": "24h",
    "experimental_features": {"msc4222_enabled": True, "msc4143_enabled": True},
    "matrix_rtc": {"transports": FOCI},
    "rc_message": {"per_second": 0.5, "burst_count": 30},
    "rc_delayed_event_mgmt": {"per_second": 20, "burst_count": 100},
}
ODD = {
    "type": "livekit",
    "livekit_service_url": URL,
    "org.example/note": 'a "quoted" \\ Gruß 🎈',
    "weight": 3,
    "open": True,
    "nested": {"list": [1, "two", {"three": 3}]},
}


def shown(kind: str, **given: Any) -> str:
    """The text for an owner, through the role's own table of templates."""
    role = Role(
        "synapse_config",
        matrixrtc_homeserver_kind=kind,
        **{"synapse_config_expected_participants": 100, **given},
    )
    return role.file(f"external/{role.value('__synapse_config_external[common_homeserver_kind]')}.j2")


def test_synapse() -> None:
    flags = {**SETTINGS["experimental_features"], "msc3266_enabled": True}  # type: ignore[dict-item]
    assert yaml.safe_load(shown("synapse")) == {**SETTINGS, "experimental_features": flags}


def test_synapse_that_serves_the_well_known_document() -> None:
    text = shown("synapse", well_known_served_by="synapse")
    assert yaml.safe_load(text)["extra_well_known_client_content"] == {"org.matrix.msc4143.rtc_foci": FOCI}
    assert "public_baseurl" in text


def test_synapse_with_the_token_service_behind_it() -> None:
    other = {"type": "livekit", "livekit_service_url": "https://big.example.org/livekit/jwt", "region": "eu"}
    text = shown("synapse", matrixrtc_token_service_mode="homeserver", matrixrtc_transports=[other, *FOCI])
    told = yaml.safe_load(text)
    assert told["matrix_rtc"]["transports"] == [
        other,
        {**FOCI[0], "url": "wss://rtc.example.org/livekit/sfu"},
    ]
    assert told["app_service_config_files"] == ["/etc/matrix-synapse/matrixrtc-registration.yaml"]
    assert {"msc4502_enabled", "msc4512_enabled"} <= told["experimental_features"].keys()
    lines = [line[6:] for line in text.splitlines() if line.startswith("#     ")]
    written = document("MATRIXRTC_AS_TOKEN", "MATRIXRTC_HS_TOKEN", "example.org", URL)
    assert yaml.safe_load("\n".join(lines)) == yaml.safe_load(written), "what the module writes itself"


@pytest.mark.parametrize(
    ("given", "address", "routed"),
    [
        ({"matrixrtc_homeserver_beside": True}, "http://127.0.0.1:8080", False),
        ({"matrixrtc_homeserver_beside": True, "lk_jwt_service_port": 8090}, "http://127.0.0.1:8090", False),
        ({"matrixrtc_homeserver_beside": True, "synapse_config_run_prefix": ["docker", "exec"]}, URL, True),
        ({}, URL, True),
        ({"matrixrtc_token_service_address": "http://10.0.0.5:8080"}, "http://10.0.0.5:8080", False),
    ],
)
def test_synapse_asks_as_directly_as_it_can(given: dict[str, Any], address: str, routed: bool) -> None:
    role = Role("nginx_proxy", matrixrtc_token_service_mode="homeserver", **given)
    assert role.value("common_token_service_address") == address
    assert role.value("__nginx_proxy_homeserver_comes") is routed


def test_addresses_of_the_sfu_are_told_by_synapse_alone() -> None:
    given = [{**FOCI[0], "url": "wss://rtc.example.org/livekit/sfu"}]
    behind = {"matrixrtc_token_service_mode": "homeserver", "matrixrtc_transports": given}
    text = shown("synapse", well_known_served_by="synapse", **behind)
    assert yaml.safe_load(text)["extra_well_known_client_content"] == {"org.matrix.msc4143.rtc_foci": FOCI}
    assert Role("well_known", **behind).value("__well_known_foci") == FOCI


def test_element_server_suite() -> None:
    values = yaml.safe_load(shown("ess"))
    assert values.keys() == {"matrixRTC", "synapse", "wellKnownDelegation"}
    assert values["matrixRTC"] == {"enabled": False}
    (config,) = values["synapse"]["additional"].values()
    assert yaml.safe_load(config["config"]) == SETTINGS
    document = json.loads(values["wellKnownDelegation"]["additional"]["client"])
    assert document == {"org.matrix.msc4143.rtc_foci": FOCI}


def test_matrix_docker_ansible_deploy() -> None:
    variables = yaml.safe_load(shown("mdad"))
    extension = yaml.safe_load(variables["matrix_synapse_configuration_extension_yaml"])
    assert extension == SETTINGS
    document = variables["matrix_static_files_file_matrix_client_configuration_extension_json"]
    assert json.loads(document) == {"org.matrix.msc4143.rtc_foci": FOCI}
    assert variables["matrix_rtc_enabled"] is False


def test_continuwuity() -> None:
    assert tomllib.loads(shown("continuwuity")) == {"global": {"matrix_rtc": {"foci": FOCI}}}


def test_tuwunel() -> None:
    assert tomllib.loads(shown("tuwunel")) == {"global": {"well_known": {"rtc_transports": FOCI}}}


def test_another_homeserver() -> None:
    text = shown("other", matrixrtc_server_name="example.org:8448")
    start, end = text.index("{\n"), text.rindex("}\n\n") + 1
    assert json.loads(text[start:end]) == {"org.matrix.msc4143.rtc_foci": FOCI}
    assert "https://example.org/.well-known/matrix/client" in text
    for need in ("openid/userinfo", "MSC4140", "MSC4143", "MSC4222", "let through 20 such requests"):
        assert need in text


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_has_a_text(kind: str) -> None:
    assert URL in shown(kind)
    assert "example.org" in shown(kind).splitlines()[0]


@pytest.mark.parametrize(
    ("kind", "table", "key"),
    [
        ("continuwuity", "matrix_rtc", "foci"),
        ("tuwunel", "well_known", "rtc_transports"),
    ],
)
def test_unknown_keys_of_transports_survive_in_toml(kind: str, table: str, key: str) -> None:
    text = shown(kind, matrixrtc_transports=[*FOCI, ODD])
    assert tomllib.loads(text)["global"][table][key] == [*FOCI, ODD]


@pytest.mark.parametrize("kind", ["ess", "mdad"])
def test_the_flag_is_never_shown_without_transports(kind: str) -> None:
    """Clients believe an empty list."""
    assert "msc4143_enabled" not in shown(kind, matrixrtc_transports=[])
