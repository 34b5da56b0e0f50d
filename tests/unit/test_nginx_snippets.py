"""The snippets for proxies that are not ours: routes and limits as in nginx, in words that each knows."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from role_rendering import Role

TOKEN, SFU = "/livekit/jwt", "/livekit/sfu"
TOKEN_ROUTES = ["/sfu/get", "/get_token", "/delegate_delayed_leave"]
SFU_ROUTES = ["/rtc", "/rtc/v1", "/rtc/validate", "/rtc/v1/validate"]
TEMPLATES = ("Caddyfile.j2", "haproxy.cfg.j2", "traefik.yml.j2")
# What Traefik's reference of the file provider knows (v3.3), as far as the snippet could use it.
TRAEFIK: dict[str, Any] = {
    "http": {
        "routers": {
            "*": {
                "rule": str,
                "entryPoints": list,
                "middlewares": list,
                "service": str,
                "observability": {"accessLogs": bool, "tracing": bool, "metrics": bool},
                "tls": {"certResolver": str},
            }
        },
        "middlewares": {
            "*": {
                "headers": {
                    "stsSeconds": int,
                    "contentTypeNosniff": bool,
                    "referrerPolicy": str,
                    "customRequestHeaders": {"*": str},
                },
                "ipAllowList": {"sourceRange": list},
                "rateLimit": {"average": int, "burst": int, "period": str},
                "inFlightReq": {"amount": int, "sourceCriterion": {"ipStrategy": {"depth": int}}},
                "buffering": {"maxRequestBodyBytes": int},
                "stripPrefix": {"prefixes": list},
            }
        },
        "services": {"*": {"loadBalancer": {"servers": list, "serversTransport": str}}},
        "serversTransports": {
            "*": {"forwardingTimeouts": {"dialTimeout": str, "responseHeaderTimeout": str}}
        },
    },
    "tls": {"certificates": list},
}


def role(**given: Any) -> Role:
    return Role("nginx_proxy", **{"inventory_dir": "/inventory", **given})


def traefik(**given: Any) -> dict[str, Any]:
    return dict(yaml.safe_load(role(**given).file("traefik.yml.j2"))["http"])


def unknown_keys(value: Any, known: Any, place: str = "") -> list[str]:
    """The keys of a document that the reference does not have, or has with another type."""
    if not isinstance(known, dict):
        return [] if isinstance(value, known) else [f"{place}: {value!r}"]
    if not isinstance(value, dict):
        return [f"{place}: {value!r}"]
    found = []
    for key, inner in value.items():
        kind = known.get(key, known.get("*"))
        found += [f"{place}.{key}"] if kind is None else unknown_keys(inner, kind, f"{place}.{key}")
    return found


# Traefik: no real program in the tests, so its file is held against the reference


@pytest.mark.parametrize("certificate", ["", "/etc/ssl/rtc.crt"])
def test_traefik_knows_every_key(certificate: str) -> None:
    text = role(matrixrtc_tls_certificate=certificate, matrixrtc_tls_private_key=certificate).file(
        "traefik.yml.j2"
    )
    document = yaml.safe_load(text)
    assert unknown_keys(document, TRAEFIK) == []
    assert ("tls" in document) == bool(certificate)
    assert unknown_keys({"http": {"routers": {"x": {"rules": "y"}}}}, TRAEFIK) == [".http.routers.x.rules"]


@pytest.mark.parametrize("url", ["https://rtc.example.org/livekit/jwt", "https://rtc.example.org"])
def test_traefik_refers_to_what_it_has(url: str) -> None:
    http = traefik(matrixrtc_livekit_service_url=url)
    used: set[str] = set()
    for router in http["routers"].values():
        assert router["service"] in http["services"]
        assert set(router["middlewares"]) <= http["middlewares"].keys()
        used.update(router["middlewares"])
    assert used == http["middlewares"].keys()
    for service in http["services"].values():
        assert service["loadBalancer"]["serversTransport"] in http["serversTransports"]


def test_traefik_has_the_routes_of_nginx_and_no_others() -> None:
    routers = traefik()["routers"]
    paths = {
        name: re.findall(r"Path(?:Prefix)?\(`([^`]*)`\)", router["rule"]) for name, router in routers.items()
    }
    assert paths == {
        "matrixrtc-token": [TOKEN + path for path in TOKEN_ROUTES],
        "matrixrtc-health": [f"{TOKEN}/healthz"],
        "matrixrtc-sfu": [SFU + path for path in SFU_ROUTES],
        "matrixrtc-admin": [f"{SFU}/twirp", "/twirp"],
    }
    assert [name for name, router in routers.items() if "PathPrefix" in router["rule"]] == ["matrixrtc-admin"]
    assert all(router["rule"].startswith("Host(`rtc.example.org`) && ") for router in routers.values())
    assert "Method(`GET`) || Method(`HEAD`)" in routers["matrixrtc-health"]["rule"]
    for router in routers.values():
        assert router["rule"].count("(") == router["rule"].count(")")
        assert router["observability"] == {"accessLogs": False, "tracing": False}


def test_traefik_guards_and_limits() -> None:
    http = traefik(nginx_proxy_local_sources=["172.20.0.0/16"], nginx_proxy_sfu_timeout=90)
    middlewares = http["middlewares"]
    assert http["routers"]["matrixrtc-admin"]["middlewares"][0] == "matrixrtc-near"
    assert middlewares["matrixrtc-near"]["ipAllowList"]["sourceRange"] == [
        "127.0.0.0/8",
        "::1",
        "172.20.0.0/16",
    ]
    assert middlewares["matrixrtc-token-body"]["buffering"]["maxRequestBodyBytes"] == 65536
    assert middlewares["matrixrtc-token-clients"]["rateLimit"] == {"average": 10, "burst": 41}
    assert http["serversTransports"]["matrixrtc-sfu"]["forwardingTimeouts"]["responseHeaderTimeout"] == "90s"


# All of them


@pytest.mark.parametrize("template", TEMPLATES)
def test_values_are_those_of_the_site(template: str) -> None:
    text = role(
        nginx_proxy_body_size="1m",
        nginx_proxy_upstream_address="2001:db8::7",
        livekit_port=7999,
        lk_jwt_service_port="8999",
        nginx_proxy_sfu_timeout="111",
        nginx_proxy_token_timeout=33,
    ).file(template)
    for value in ("rtc.example.org", "1048576", "[2001:db8::7]:7999", "[2001:db8::7]:8999", "111s", "33s"):
        assert value in text, value


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("hosts", "own"), [({}, False), ({"rtc.example.org": "192.0.2.7"}, True), ({"other": "192.0.2.7"}, False)]
)
def test_own_addresses_are_near_only_to_a_proxy_that_is_not_on_loopback(
    template: str, hosts: dict[str, str], own: bool
) -> None:
    text = role(lk_jwt_service_hosts=hosts).file(template)
    assert ("192.0.2.1" in text) == own
    assert ("2001:db8::1" in text) == own


@pytest.mark.parametrize("template", TEMPLATES)
def test_services_may_live_without_a_prefix(template: str) -> None:
    text = role(
        matrixrtc_livekit_service_url="https://rtc.example.org", matrixrtc_livekit_url="wss://rtc.example.org"
    ).file(template)
    assert "/livekit" not in text
    assert len(re.findall(r"/twirp\b", text)) == (2 if template == "Caddyfile.j2" else 1)
    assert not re.search(r"strip_prefix|stripPrefix|set-path|\[\]|\[, ", text)
