"""What the rendered site says: its routes, who may use them, what is limited, and what reaches the logs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import (
    Directive,
    Server,
    named,
    parse,
    servers,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import MARKED_LINE, render
from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROLE = Path(__file__).parents[2] / "roles" / "nginx_proxy"
ALL_FEATURES = frozenset({"http2", "mlkem", "tickets", "ipv4", "ipv6"})
OLD_FEATURES = frozenset({"ipv4", "ipv6"})  # nginx 1.22 with OpenSSL 3.0
TOKEN, SFU = "/livekit/jwt", "/livekit/sfu"
TOKEN_ROUTES = [f"{TOKEN}/sfu/get", f"{TOKEN}/get_token", f"{TOKEN}/delegate_delayed_leave"]
SFU_ROUTES = [f"{SFU}/rtc", f"{SFU}/rtc/v1", f"{SFU}/rtc/validate", f"{SFU}/rtc/v1/validate"]
ADMINISTRATION = [f"{SFU}/twirp", "/twirp"]
REVISION = "/.matrixrtc-revision"
ROOMS = "/run/rooms.json"
SET_ONCE = (
    "access_log",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_header_timeout",
    "error_log",
    "keepalive_timeout",
    "proxy_buffer_size",
    "proxy_buffers",
    "proxy_hide_header",
    "send_timeout",
)
SITE: dict[str, Any] = {
    "ansible_managed": "Ansible managed",
    "nginx_proxy_domain": "rtc.example.org",
    "nginx_proxy_certificate": "/etc/ssl/rtc.crt",
    "nginx_proxy_private_key": "/etc/ssl/rtc.key",
    "nginx_proxy_token_service_port": 8080,
    "nginx_proxy_sfu_port": 7880,
    "nginx_proxy_listen_addresses": [],
    "nginx_proxy_turn_tls": "",
    "nginx_proxy_sfu_nodes": [],
    "nginx_proxy_sfu_sources": [],
    "__nginx_proxy_token_path": TOKEN,
    "__nginx_proxy_sfu_path": SFU,
    "__nginx_proxy_homeserver_comes": False,
    "common_rooms_file": ROOMS,
}


def shared_tls() -> str:
    """The part of the site that is the same for all of ours."""
    shared = yaml.safe_load((ROLE.parent / "common" / "vars" / "main.yml").read_text(encoding="utf-8"))
    return Environment(undefined=StrictUndefined).from_string(shared["common_nginx_tls"]).render(shared)


def rendered(present: frozenset[str] = ALL_FEATURES, **changes: Any) -> str:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    internal = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    environment = Environment(
        loader=FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    given = {**defaults, **internal, **SITE, "common_nginx_tls": shared_tls(), **changes}
    text = environment.get_template("site.conf.j2").render(given)
    return render(text, present)


def parsed(present: frozenset[str] = ALL_FEATURES, **changes: Any) -> tuple[Directive, ...]:
    return parse(rendered(present, **changes), "site")


def server_block(tree: tuple[Directive, ...]) -> tuple[Directive, ...]:
    (server,) = named(tree, "server")
    return server.block or ()


def locations(tree: tuple[Directive, ...]) -> dict[str, tuple[Directive, ...]]:
    """The blocks by what they match, such as `= /path`."""
    return {" ".join(one.arguments): one.block or () for one in named(server_block(tree), "location")}


def values(block: tuple[Directive, ...], name: str) -> list[str]:
    return [" ".join(one.arguments) for one in named(block, name)]


def goal_of(block: tuple[Directive, ...]) -> str:
    """Where requests of a location go that may have to wait."""
    chosen = dict(one.arguments for one in named(block, "set"))
    assert values(block, "proxy_pass") == ["$matrixrtc_goal$matrixrtc_path$is_args$args"]
    return chosen["$matrixrtc_service"] + chosen["$matrixrtc_path"]


def tries_again(place: str) -> bool:
    """Whether a location is one of those that wait for a service."""
    return bool(re.match(r"@matrixrtc_(pause|again)_\d$", place))


def as_server(tree: tuple[Directive, ...]) -> Server:
    (server,) = servers([Directive("http", (), tree, "", 0)])
    return server


def map_of(tree: tuple[Directive, ...], variable: str) -> list[tuple[str, str]]:
    """The entries of a map or geo, without its default."""
    (block,) = [
        one.block or () for one in tree if one.name in ("map", "geo") and one.arguments[-1] == variable
    ]
    return [(one.name, one.arguments[0]) for one in block if one.name != "default"]


def pattern_of(entry: str) -> re.Pattern[str]:
    flags = re.IGNORECASE if entry.startswith("~*") else 0
    return re.compile(entry.lstrip("~").removeprefix("*").replace("(?<", "(?P<"), flags)


# Routes


def test_routes_are_exactly_those_of_the_table() -> None:
    exact = [f"= {path}" for path in (*TOKEN_ROUTES, f"{TOKEN}/healthz", *SFU_ROUTES, REVISION)]
    guarded = [f"^~ {path}" for path in ADMINISTRATION]
    public = {place for place in locations(parsed()) if not place.startswith("@")}
    assert public == {*exact, *guarded, "/"}


def test_everything_else_is_not_found() -> None:
    block = locations(parsed())["/"]
    assert [(one.name, *one.arguments) for one in block] == [("return", "404")]


@pytest.mark.parametrize("path", [*TOKEN_ROUTES, f"{TOKEN}/healthz"])
def test_token_routes_reach_the_token_service_without_their_prefix(path: str) -> None:
    target = "http://127.0.0.1:8080" + path.removeprefix(TOKEN)
    assert values(locations(parsed())[f"= {path}"], "proxy_pass") == [target]


@pytest.mark.parametrize("path", SFU_ROUTES)
def test_signalling_routes_reach_the_sfu_without_their_prefix(path: str) -> None:
    target = "http://127.0.0.1:7880" + path.removeprefix(SFU)
    assert goal_of(locations(parsed())[f"= {path}"]) == target


@pytest.mark.parametrize("path", ADMINISTRATION)
def test_administration_is_refused_before_it_is_passed_on(path: str) -> None:
    first, *rest = locations(parsed())[f"^~ {path}"]
    assert (first.name, first.arguments) == ("if", ("($matrixrtc_is_local", "=", "0)"))
    assert [(one.name, *one.arguments) for one in first.block or ()] == [("return", "403")]
    assert goal_of(tuple(rest)) == "http://127.0.0.1:7880$matrixrtc_admin_path"
    ((entry, value),) = map_of(parsed(), "$matrixrtc_admin_path")
    match = pattern_of(entry).search(f"{path}/livekit.RoomService/ListRooms")
    assert match
    assert (value, match["matrixrtc_admin"]) == ("$matrixrtc_admin", "/twirp/livekit.RoomService/ListRooms")
    assert not pattern_of(entry).search(f"{path}/a b"), "what is decoded goes into a request line"


def test_methods_are_left_to_the_token_service_except_for_its_health() -> None:
    for path in TOKEN_ROUTES:
        assert not named(locations(parsed())[f"= {path}"], "if")
        assert not named(locations(parsed())[f"= {path}"], "limit_except")
    (only,) = named(locations(parsed())[f"= {TOKEN}/healthz"], "if")
    assert only.arguments == ("($request_method", "!~", "^(GET|HEAD)$)")
    assert [(one.name, *one.arguments) for one in only.block or ()] == [("return", "405")]


def test_revision_is_for_the_host_itself() -> None:
    first, *_rest = locations(parsed())[f"= {REVISION}"]
    assert (first.name, first.arguments) == ("if", ("($matrixrtc_is_local", "=", "0)"))
    assert "@revision@" in rendered()


def test_both_services_may_live_without_a_prefix() -> None:
    places = locations(parsed(__nginx_proxy_token_path="", __nginx_proxy_sfu_path=""))
    assert {"= /get_token", "= /rtc/v1", "^~ /twirp", "= /healthz"} <= places.keys()
    text = rendered(__nginx_proxy_token_path="", __nginx_proxy_sfu_path="")
    assert text.count("location ^~ /twirp {") == 1


@pytest.mark.parametrize(
    ("near", "source", "target", "is_local"),
    [
        ("1", "127.0.0.1", "127.0.0.1", True),
        ("0", "192.0.2.1", "192.0.2.1", True),
        ("0", "2001:db8::1", "2001:db8::1", True),
        ("0", "192.0.2.1", "192.0.2.10", False),
        ("0", "192.0.2.10", "192.0.2.1", False),
        ("0", "198.51.100.4", "127.0.0.1", False),
    ],
)
def test_local_is_who_asks_from_the_address_that_is_asked(
    near: str, source: str, target: str, is_local: bool
) -> None:
    patterns = [pattern_of(entry) for entry, value in map_of(parsed(), "$matrixrtc_is_local") if value == "1"]
    assert any(pattern.search(f"{near} {source} {target}") for pattern in patterns) is is_local


def test_loopback_and_named_networks_are_near() -> None:
    tree = parsed(nginx_proxy_local_sources=["172.20.0.0/16"])
    assert map_of(tree, "$matrixrtc_is_near") == [("127.0.0.0/8", "1"), ("::1", "1"), ("172.20.0.0/16", "1")]


# CORS and headers


def test_only_answers_of_nginx_itself_have_a_cors_header() -> None:
    tree = parsed()
    cors = [one for one in named(server_block(tree), "add_header") if "Access-Control" in one.arguments[0]]
    assert not cors
    for place, block in locations(tree).items():
        found = [
            one.arguments
            for one in named(block, "add_header")
            if one.arguments[0].startswith("Access-Control")
        ]
        own = place.startswith("@") and not tries_again(place)
        assert found == ([("Access-Control-Allow-Origin", "*", "always")] if own else []), place


@pytest.mark.parametrize("status", ["413", "429", "502", "503", "504"])
def test_answers_of_nginx_itself_are_json_with_their_status(status: str) -> None:
    tree = parsed()
    (name,) = [
        one.split()[-1] for one in values(server_block(tree), "error_page") if one.split()[0] == status
    ]
    block = locations(tree)[name]
    assert values(block, "default_type") == ["application/json"]
    (answer,) = [one.arguments for one in named(block, "return")]
    assert answer[0] == status
    assert set(yaml.safe_load(answer[1])) == {"errcode", "error"}
    assert bool([one for one in values(block, "add_header") if one.startswith("Retry-After")]) == (
        status == "429"
    )


def test_answers_of_services_stay_as_they_are() -> None:
    assert values(server_block(parsed()), "proxy_intercept_errors") == ["off"]
    assert not [
        place for place, block in locations(parsed()).items() if named(block, "proxy_intercept_errors")
    ]


def test_every_level_that_adds_a_header_adds_all() -> None:
    tree = parsed()
    security = set(values(server_block(tree), "add_header"))
    assert security == {
        "Strict-Transport-Security max-age=63072000 always",
        "X-Content-Type-Options nosniff always",
        "Referrer-Policy no-referrer always",
    }
    for place, block in locations(tree).items():
        added = set(values(block, "add_header"))
        assert not added or security <= added, place
    assert "Strict-Transport" not in rendered(nginx_proxy_hsts_seconds=0)
    assert "includeSubDomains" not in rendered()


def request_headers(block: tuple[Directive, ...]) -> dict[str, str]:
    return {one.arguments[0]: one.arguments[1] for one in named(block, "proxy_set_header")}


def test_addresses_are_set_and_not_taken_from_the_client() -> None:
    tree = parsed()
    for block in (server_block(tree), *(locations(tree)[f"= {path}"] for path in SFU_ROUTES)):
        headers = request_headers(block)
        assert headers["X-Forwarded-For"] == headers["X-Real-IP"] == "$remote_addr"
        assert headers["X-Forwarded-Proto"] == "$scheme"
        assert headers["Host"] == "$host"
        assert headers["CF-Connecting-IP"] == headers["Forwarded"] == ""


def test_only_signalling_is_upgraded() -> None:
    tree = parsed()
    assert request_headers(server_block(tree))["Upgrade"] == ""
    assert request_headers(server_block(tree))["Connection"] == ""
    for place, block in locations(tree).items():
        headers = request_headers(block)
        is_signalling = place.removeprefix("= ") in SFU_ROUTES or place.startswith("@matrixrtc_again_")
        assert bool(headers) == is_signalling, place
        if is_signalling:
            assert (headers["Upgrade"], headers["Connection"]) == (
                "$matrixrtc_upgrade",
                "$matrixrtc_connection",
            )
            assert headers.keys() == request_headers(server_block(tree)).keys()
    assert map_of(tree, "$matrixrtc_upgrade") == [("~^/rtc", "$http_upgrade")]
    assert map_of(tree, "$matrixrtc_connection") == [("", "")]


# A service that is restarted


def test_a_service_that_is_away_is_asked_again_and_again_within_five_seconds() -> None:
    tree = parsed()
    places = locations(tree)
    seen, waited, place = [], 0.0, f"= {TOKEN_ROUTES[0]}"
    while place != "@matrixrtc_bad_gateway":
        seen.append(place)
        waited += sum(float(one.removesuffix("ms")) for one in values(places[place], "resolver_timeout"))
        (place,) = [one.split()[-1] for one in values(places[place], "error_page") if one.startswith("502 ")]
    assert len(seen) == 9  # with the answer itself these are the 10 redirections that nginx allows
    assert waited == 4000  # checks take a service that says nothing for 5 s for one that hangs
    assert values(server_block(tree), "recursive_error_pages") == ["on"]
    for route in (*TOKEN_ROUTES, *SFU_ROUTES):
        assert "502 = @matrixrtc_pause_1" in values(places[f"= {route}"], "error_page")
    assert not named(places[f"= {TOKEN}/healthz"], "error_page"), "its health is what it is"


def test_nobody_comes_to_the_sfu_before_its_rooms_but_not_for_ever() -> None:
    places = locations(parsed())
    for route in SFU_ROUTES:
        block = places[f"= {route}"]
        assert f"$matrixrtc_away {ROOMS}" in values(block, "set")
        (held,) = named(block, "if")
        assert held.arguments == ("(-f", "$matrixrtc_away)")
        assert values(held.block or (), "set") == ["$matrixrtc_goal http://127.0.0.1:9"]
    for route in TOKEN_ROUTES:
        assert "$matrixrtc_away " in values(places[f"= {route}"], "set")
    held = [place for place, block in places.items() if place.startswith("@") and named(block, "if")]
    assert held == [f"@matrixrtc_again_{number}" for number in (1, 2, 3)]


def test_an_error_of_nginx_itself_is_the_same_at_every_level() -> None:
    tree = parsed()
    own = {one for one in values(server_block(tree), "error_page") if not one.startswith("502")}
    assert len(own) == 4
    for place, block in locations(tree).items():
        pages = values(block, "error_page")
        assert not pages or "_pause_" in place or own <= set(pages), place


# Limits


def test_values_of_the_http_block_do_not_reach_the_site() -> None:
    server = server_block(parsed())
    expected = {
        "client_max_body_size": "64k",
        "client_header_buffer_size": "8k",
        "large_client_header_buffers": "4 32k",
        "limit_req_status": "429",
        "limit_conn_status": "429",
        "proxy_http_version": "1.1",
        "server_tokens": "off",
        "proxy_cache": "off",
    }
    assert {name: values(server, name) for name in expected} == {
        name: [value] for name, value in expected.items()
    }
    for name in SET_ONCE:
        assert len(named(server, name)) == 1, name


@pytest.mark.parametrize("path", [*TOKEN_ROUTES, f"{TOKEN}/healthz"])
def test_token_routes_are_limited_by_client_and_by_site(path: str) -> None:
    block = locations(parsed())[f"= {path}"]
    assert values(block, "limit_req") == [
        "zone=matrixrtc_token_client burst=40 nodelay",
        "zone=matrixrtc_token_site burst=200 nodelay",
    ]
    assert values(block, "limit_conn") == [
        "matrixrtc_token_client_connections 20",
        "matrixrtc_token_site_connections 200",
    ]


def test_a_homeserver_elsewhere_comes_for_everybody_and_is_not_counted() -> None:
    block = locations(parsed(__nginx_proxy_homeserver_comes=True))
    routes = [path for path in block if "/_matrix/" in path]
    assert len(routes) == 3
    for path in routes:
        inside = path.partition(TOKEN)[2]
        assert values(block[path], "proxy_pass") == [f"http://127.0.0.1:8080{inside}"]
        assert values(block[path], "limit_req") == []
    assert not [path for path in locations(parsed()) if "/_matrix/" in path], "nobody comes from elsewhere"


@pytest.mark.parametrize("path", SFU_ROUTES)
def test_signalling_is_limited_and_waits_for_pings(path: str) -> None:
    block = locations(parsed())[f"= {path}"]
    assert values(block, "limit_req") == ["zone=matrixrtc_sfu_client burst=60 nodelay"]
    assert values(block, "limit_conn") == ["matrixrtc_sfu_client_connections 100"]
    assert values(block, "proxy_read_timeout") == values(block, "proxy_send_timeout") == ["120s"]
    assert values(block, "proxy_buffering") == ["off"]
    assert values(block, "client_max_body_size") == ["1"]


def test_rates_are_those_of_the_variables() -> None:
    text = rendered(nginx_proxy_token_rate="7", nginx_proxy_sfu_rate=8, nginx_proxy_token_site_rate=9)
    assert re.findall(r"zone=(\w+):\d+m rate=(\d+)r/s;", text) == [
        ("matrixrtc_token_client", "7"),
        ("matrixrtc_token_site", "9"),
        ("matrixrtc_sfu_client", "8"),
    ]


@pytest.mark.parametrize("variable", ["$matrixrtc_token_client", "$matrixrtc_token_site"])
def test_preflight_requests_and_named_networks_have_no_limit(variable: str) -> None:
    tree = parsed(nginx_proxy_unlimited_clients=["192.0.2.0/24", "2001:db8::/32"])
    assert map_of(tree, "$matrixrtc_is_unlimited") == [("192.0.2.0/24", "1"), ("2001:db8::/32", "1")]
    free = [pattern_of(entry) for entry, value in map_of(tree, variable) if value == ""]
    for subject, is_free in (("0 POST", False), ("0 OPTIONS", True), ("1 POST", True), ("0 XOPTIONS", False)):
        assert any(pattern.search(subject) for pattern in free) is is_free
    assert map_of(tree, "$matrixrtc_sfu_client") == [("1", "")]


def client(address: bytes) -> bytes:
    for entry, value in map_of(parsed(), "$matrixrtc_client"):
        pattern = re.compile(entry[1:].replace("(?<", "(?P<").encode("ascii"))
        match = pattern.search(address)
        if match:
            return bytes(match[value.lstrip("$")])
    return address


def test_client_is_an_ipv4_address_or_an_ipv6_network() -> None:
    network = b"\x20\x01\x0d\xb8\x00\x0a\x00\x0a"  # with newlines, which a dot does not match by itself
    assert client(network + b"\x00" * 8) == client(network + b"\x0a" * 8) == network
    assert client(b"\x20\x01\x0d\xb8\x00\x0a\x00\x0b" + b"\x00" * 8) != network
    assert client(b"\xc0\x00\x02\x0a") == b"\xc0\x00\x02\x0a"
    assert client(b"\x00" * 10 + b"\xff\xff\xc0\x00\x02\x0a") == b"\xc0\x00\x02\x0a"


# Logs


@pytest.mark.parametrize(
    ("uri", "logged"),
    [
        ("/livekit/sfu/rtc?access_token=eyJ", "/livekit/sfu/rtc"),
        ("/livekit/sfu/rtc%3Faccess_token=eyJ", "/livekit/sfu/rtc"),
        ("/livekit/sfu/rtc%3faccess_token=eyJ?x", "/livekit/sfu/rtc"),
        ("/?a?b", "/"),
    ],
)
def test_log_has_what_is_before_the_question_mark(uri: str, logged: str) -> None:
    ((entry, value),) = map_of(parsed(), "$matrixrtc_logged_uri")
    match = pattern_of(entry).search(uri)
    assert match
    assert value.replace("$matrixrtc_logged_path", match["matrixrtc_logged_path"]) == f"{logged}?redacted"


def test_log_has_nothing_else_that_may_hold_a_token() -> None:
    (log_format,) = named(parsed(), "log_format")
    fields = set(re.findall(r"\$\{?(\w+)", " ".join(log_format.arguments[1:])))
    assert not fields & {
        "request",
        "request_uri",
        "args",
        "query_string",
        "http_referer",
        "http_authorization",
    }
    assert not {name for name in fields if name.startswith("arg_")}
    assert values(server_block(parsed()), "access_log") == ["/var/log/nginx/matrixrtc_access.log matrixrtc"]


def test_error_log_is_silent_where_tokens_are_in_the_request_line() -> None:
    tree = parsed()
    assert values(server_block(tree), "error_log") == ["/var/log/nginx/error.log crit"]
    speaking = {place for place, block in locations(tree).items() if named(block, "error_log")}
    assert speaking == {f"= {path}" for path in TOKEN_ROUTES}


# TLS and the neighbours


def test_old_nginx_gets_nothing_it_does_not_know() -> None:
    block = server_block(parsed(OLD_FEATURES))
    assert not named(block, "http2")
    assert values(block, "ssl_ecdh_curve") == ["X25519:prime256v1:secp384r1"]
    assert values(block, "ssl_session_tickets") == ["off"]
    assert not [one for one in named(block, "listen") if "http2" in one.arguments]


def test_new_nginx_gets_all_of_it() -> None:
    block = server_block(parsed())
    assert values(block, "http2") == ["on"]
    assert values(block, "ssl_ecdh_curve") == ["X25519MLKEM768:X25519:prime256v1:secp384r1"]
    assert not named(block, "ssl_session_tickets")


def test_tls_is_mozillas_intermediate_profile() -> None:
    block = server_block(parsed())
    assert values(block, "ssl_protocols") == ["TLSv1.2 TLSv1.3"]
    (ciphers,) = values(block, "ssl_ciphers")
    assert len(ciphers.split(":")) == 6
    assert all(re.match(r"ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM|CHACHA20)", one) for one in ciphers.split(":"))
    assert values(block, "ssl_prefer_server_ciphers") == ["off"]
    assert not named(block, "ssl_stapling")


def test_site_is_never_the_default_one() -> None:
    assert not any(listen.is_default for listen in as_server(parsed()).listens)
    assert yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())["nginx_proxy_site"].startswith("zz")


@pytest.mark.parametrize(
    ("present", "addresses", "sockets"),
    [
        (ALL_FEATURES, [], {("*", 443), ("[::]", 443)}),
        (ALL_FEATURES - {"ipv6"}, [], {("*", 443)}),
        (ALL_FEATURES - {"ipv4"}, [], {("[::]", 443)}),
        (ALL_FEATURES, ["192.0.2.1", "2001:db8::1", "[2001:db8::2]"],
         {("192.0.2.1", 443), ("[2001:db8::1]", 443), ("[2001:db8::2]", 443)}),
    ],
)  # fmt: skip
def test_sockets(present: frozenset[str], addresses: list[str], sockets: set[tuple[str, int]]) -> None:
    server = as_server(parsed(present, nginx_proxy_listen_addresses=addresses))
    assert {listen.socket for listen in server.listens} == sockets
    assert all("ssl" in listen.options for listen in server.listens)


def test_every_name_that_nginx_shares_has_our_prefix() -> None:
    tree = parsed()
    shared = [one.arguments[-1].lstrip("$") for one in tree if one.name in ("map", "geo")]
    zones = [one for one in tree if one.name in ("limit_req_zone", "limit_conn_zone")]
    arguments = [argument for zone in zones for argument in zone.arguments]
    shared += [one.removeprefix("zone=") for one in arguments if one.startswith("zone=")]
    shared += [one.arguments[0] for one in tree if one.name == "log_format"]
    shared += [one.removeprefix("shared:") for one in values(server_block(tree), "ssl_session_cache")]
    shared += re.findall(r"\(\?<(\w+)>", rendered())
    assert len(shared) > 15
    assert not [name for name in shared if not name.startswith("matrixrtc")]
    assert {one.name for one in tree} == {
        "map",
        "geo",
        "limit_req_zone",
        "limit_conn_zone",
        "log_format",
        "server",
    }


def test_services_are_named_by_address() -> None:
    assert "localhost" not in rendered()
    assert not named(parsed(), "upstream")


def test_no_mark_is_left_and_none_is_unknown() -> None:
    text = (ROLE / "templates" / "site.conf.j2").read_text(encoding="utf-8") + shared_tls()
    marks = {match["feature"] for match in map(MARKED_LINE.match, text.splitlines()) if match}
    assert marks == ALL_FEATURES
    assert rendered().count("@revision@") == 1
    assert not re.search(r"^\s*@!?[a-z0-9]+@", rendered(), re.MULTILINE)


NODES = {"nginx_proxy_sfu_nodes": ["10.0.0.2:7880", "10.0.0.3:7880"], "nginx_proxy_sfu_sources": ["10.0.0.2"]}


def test_one_node_has_no_upstream() -> None:
    assert not named(parsed(), "upstream")
    assert f"= {TOKEN}/sfu_webhook" not in locations(parsed())


def test_signalling_goes_to_every_node_and_past_one_that_is_gone() -> None:
    tree = parsed(**NODES)
    (upstream,) = named(tree, "upstream")
    servers_of = [line.split()[0] for line in values(upstream.block or (), "server")]
    assert servers_of == ["127.0.0.1:7880", "10.0.0.2:7880", "10.0.0.3:7880"]
    for route in SFU_ROUTES:
        block = locations(tree)[f"= {route}"]
        assert goal_of(block) == f"http://matrixrtc_sfu_nodes{route.removeprefix(SFU)}"
        assert values(block, "proxy_next_upstream") == ["error timeout"]
    for route in TOKEN_ROUTES:
        assert values(locations(tree)[f"= {route}"], "proxy_pass")[0].startswith("http://127.0.0.1:8080")


def test_reports_are_taken_from_nodes_alone() -> None:
    tree = parsed(**NODES)
    assert map_of(tree, "$matrixrtc_is_node") == [("10.0.0.2", "1")]
    block = locations(tree)[f"= {TOKEN}/sfu_webhook"]
    (condition,) = named(block, "if")
    assert "$matrixrtc_is_node" in " ".join(condition.arguments)
    assert values(condition.block or (), "return") == ["404"]
