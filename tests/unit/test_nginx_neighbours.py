"""Sockets, names and logs that our site shares with others, and a site that another proxy serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_checks import Probe, advice
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import (
    Directive,
    Server,
    parse,
    servers,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import NginxSiteError
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import Answer, Request
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_site import apply, look
from nginx_support import CONTENT, NAME, FakeNginx

OUTSIDE = Probe("/twirp", (403,), source="outside")
ANY = "0.0.0.0"  # noqa: S104
BOTH = "listen 443 ssl; listen [::]:443 ssl;"


@pytest.fixture
def nginx(tmp_path: Path) -> FakeNginx:
    return FakeNginx(tmp_path / "nginx", own={"/health": Answer(200)})


def servers_in(*listens: str) -> list[Server]:
    """One server for each text of `listen` directives."""
    text = "".join(f"server {{ {listen} server_name s{place}.org; }}" for place, listen in enumerate(listens))
    return servers([Directive("http", (), parse(text, "x"), "", 0)])


def operator(nginx: FakeNginx, text: str, name: str = "operator.conf") -> None:
    nginx.enabled(name).write_text(text)
    nginx.load()


# Sockets


@pytest.mark.parametrize(
    ("ours", "theirs", "addresses"),
    [
        (BOTH, ["listen 192.0.2.7:443 ssl;"], ["127.0.0.1", "192.0.2.7", "::"]),
        (BOTH, ["listen 443;", "listen 192.0.2.7:443;"], [ANY, "192.0.2.7", "::"]),
        (BOTH, ["listen 443;", "listen 127.0.0.1:443;"], [ANY, "127.0.0.1", "::"]),
        (BOTH, ["listen [2001:db8::7]:443;"], [ANY, "2001:db8::7"]),
        ("listen 443;", ["listen 192.0.2.7:443;", "listen rtc.internal:443;"], ["127.0.0.1", "192.0.2.7"]),
    ],
)
def test_advice_keeps_every_site_and_loopback(ours: str, theirs: list[str], addresses: list[str]) -> None:
    said = advice(servers_in(ours), servers_in(*theirs), 443)
    assert said == f"Set nginx_proxy_listen_addresses to {addresses}."


def test_socket_that_cannot_be_opened_beside_another_is_refused_with_the_way_out(nginx: FakeNginx) -> None:
    operator(nginx, "server { listen 192.0.2.7:443 ssl; server_name example.org; }\n")
    with pytest.raises(
        NginxSiteError, match=r"operator\.conf:1 .*192\.0\.2\.7:443 alone.*Nothing was changed"
    ):
        apply(nginx.wish(), nginx.host())
    content = CONTENT.replace("@ipv4@ listen 443 ssl;", "listen 192.0.2.7:443 ssl; listen 127.0.0.1:443 ssl;")
    assert apply(nginx.wish(content=content), nginx.host()).changed


def test_socket_that_is_open_already_is_no_matter(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    operator(nginx, "server { listen 192.0.2.7:443 ssl; server_name example.org; }\n")
    assert apply(nginx.wish(content=CONTENT.replace("404", "410")), nginx.host()).changed


def test_site_on_loopback_is_no_matter_where_ours_listens_there_too(nginx: FakeNginx) -> None:
    operator(nginx, "server { listen 443 ssl; listen 127.0.0.1:443 ssl; server_name example.org; }\n")
    with pytest.raises(
        NginxSiteError, match=r"Set nginx_proxy_listen_addresses to \['0\.0\.0\.0', '127\.0\.0\.1'"
    ):
        apply(nginx.wish(), nginx.host())
    content = CONTENT.replace("@ipv4@ listen 443 ssl;", "listen 0.0.0.0:443 ssl; listen 127.0.0.1:443 ssl;")
    assert apply(nginx.wish(content=content), nginx.host()).changed


@pytest.mark.parametrize(("listen", "is_refused"), [("443", True), ("443 udp", False), ("8443", False)])
def test_stream_on_our_port_is_refused(nginx: FakeNginx, listen: str, is_refused: bool) -> None:
    nginx.main.write_text(nginx.main.read_text() + f"stream {{ server {{ listen {listen}; }} }}\n")
    nginx.load()
    if not is_refused:
        assert apply(nginx.wish(), nginx.host()).changed
        return
    with pytest.raises(
        NginxSiteError, match=r"nginx\.conf:\d+ passes connections to port 443 on.*Nothing was"
    ):
        apply(nginx.wish(), nginx.host())


def test_place_of_the_site_for_unknown_names_is_not_taken(nginx: FakeNginx) -> None:
    nginx.enabled("operator.conf").unlink()
    operator(nginx, "server { listen 443 ssl; server_name _; }\n", "zzz.conf")
    with pytest.raises(NginxSiteError, match=r"zzz\.conf:1 answers for unknown names.*not reloaded"):
        apply(nginx.wish(), nginx.host())
    assert not nginx.site.exists()
    operator(nginx, "server { listen 443 ssl default_server; server_name _; }\n", "zzz.conf")
    assert apply(nginx.wish(), nginx.host()).changed


def test_a_site_of_ours_that_is_first_already_may_change(nginx: FakeNginx) -> None:
    nginx.enabled("operator.conf").unlink()
    nginx.load()
    assert apply(nginx.wish(), nginx.host()).changed
    operator(nginx, "server { listen 443 ssl; server_name call.example.org; }\n", "zzz.conf")
    other = CONTENT.replace("location / {", "location /other {")
    assert apply(nginx.wish(content=other), nginx.host()).changed


def test_proxy_protocol_of_the_socket_is_told(nginx: FakeNginx) -> None:
    operator(nginx, "server { listen 443 ssl proxy_protocol; server_name example.org; }\n")
    warnings = apply(nginx.wish(), nginx.host()).warnings
    assert any("operator.conf:1 has the PROXY protocol on *:443" in warning for warning in warnings)


# Names


def test_sites_without_a_plain_name_are_compared_too(nginx: FakeNginx) -> None:
    wildcards = "server { listen 443 ssl; server_name *.example.net .example.com; }\n"
    operator(nginx, "server { listen 443 ssl; server_name _; }\n" + wildcards)
    apply(nginx.wish(), nginx.host())
    asked = {request.name for request in nginx.requests}
    assert {"matrixrtc-unknown.invalid", "matrixrtc-unknown.example.net"} <= asked
    assert not {name for name in asked if set(name) & set("*~_")}


# Logs


def wish_with_logs(nginx: FakeNginx, content: str | None) -> dict[str, object]:
    logs = (str(nginx.folder / "our.log"), str(nginx.folder / "error.log"))
    return {"content": content, "logs": logs}


def test_logs_go_with_the_site_and_those_of_others_stay(nginx: FakeNginx) -> None:
    apply(nginx.wish(**wish_with_logs(nginx, CONTENT)), nginx.host())
    ours = [nginx.folder / f"our.log{end}" for end in ("", ".1", ".2.gz", "-20261120.gz")]
    theirs = [nginx.folder / name for name in ("error.log", "our.log.mine.txt", "our.logs", "your.log")]
    for path in [*ours, *theirs]:
        path.write_text("x")
    gone = nginx.wish(**wish_with_logs(nginx, None))
    assert apply(gone, nginx.host()).changed
    assert [path for path in [*ours, *theirs] if path.exists()] == theirs
    assert not apply(gone, nginx.host()).changed


def test_log_that_another_site_writes_stays(nginx: FakeNginx) -> None:
    log = nginx.folder / "our.log"
    operator(nginx, f"server {{ listen 443 ssl; server_name example.org; access_log {log} combined; }}\n")
    apply(nginx.wish(**wish_with_logs(nginx, CONTENT)), nginx.host())
    log.write_text("x")
    apply(nginx.wish(**wish_with_logs(nginx, None)), nginx.host())
    assert log.exists()


def test_log_that_a_test_of_the_configuration_made_is_taken_back(nginx: FakeNginx) -> None:
    run = nginx.test

    def testing() -> object:
        (nginx.folder / "our.log").touch()
        return run()

    nginx.test = testing  # type: ignore[method-assign, assignment]
    nginx.own["/health"] = Answer(404)
    (nginx.folder / "our.log").unlink(missing_ok=True)
    host = nginx.host()
    with pytest.raises(NginxSiteError, match="back in place"):
        apply(nginx.wish(**wish_with_logs(nginx, CONTENT)), host)


# Folders


def test_removal_needs_no_folder_for_sites(nginx: FakeNginx) -> None:
    nginx.main.write_text(nginx.main.read_text().replace("include", "# include"))
    nginx.load()
    with pytest.raises(NginxSiteError, match="includes no folder"):
        apply(nginx.wish(), nginx.host())
    assert not apply(nginx.wish(content=None), nginx.host()).changed
    nginx.site.write_text(CONTENT)
    assert apply(nginx.wish(content=None, check_mode=True), nginx.host()).changed
    assert nginx.site.exists()
    assert apply(nginx.wish(content=None), nginx.host()).changed
    assert not nginx.site.exists()


def test_removal_clears_a_folder_that_nginx_no_longer_reads(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    nginx.main.write_text(nginx.main.read_text().replace("sites-enabled/*", "conf.d/*.conf"))
    nginx.load()
    assert apply(nginx.wish(content=None), nginx.host()).changed
    assert not nginx.site.exists()
    assert not nginx.link.is_symlink()
    assert not apply(nginx.wish(content=None), nginx.host()).changed


# A proxy that is not ours


@pytest.mark.parametrize(
    ("address", "sources"),
    [("127.0.0.1", ["", "198.51.100.4"]), ("192.0.2.7", [ANY]), ("2001:db8::7", ["::"])],
)
def test_other_proxy_is_asked_where_the_token_service_asks_it(
    nginx: FakeNginx, address: str, sources: list[str]
) -> None:
    asked: list[Request] = []

    def ask(request: Request) -> Answer:
        asked.append(request)
        return Answer({"/health": 200, "/twirp": 403}[request.path])

    host = nginx.host()
    outcome = look(
        nginx.wish(probes=(Probe("/health", (200,)), OUTSIDE)),
        address,
        type(host)(**{**vars(host), "ask": ask}),
    )
    assert not outcome.changed
    assert [request.source for request in asked] == sources
    assert {(one.listen.target, one.listen.port, one.name) for one in asked} == {(address, 443, NAME)}
    assert nginx.commands == []


@pytest.mark.parametrize(("status", "says"), [(404, "gives 404 instead of 200"), (0, "no answer")])
def test_other_proxy_without_our_routes_is_told(nginx: FakeNginx, status: int, says: str) -> None:
    host = nginx.host()
    silent = type(host)(**{**vars(host), "ask": lambda _request: Answer(status, error="refused")})
    with pytest.raises(NginxSiteError, match=says):
        look(nginx.wish(), "127.0.0.1", silent)


def test_nobody_behind_another_proxy_is_a_warning(nginx: FakeNginx) -> None:
    host = nginx.host()
    down = type(host)(**{**vars(host), "ask": lambda _request: Answer(503)})
    assert "the token service (the proxy says 503)" in look(nginx.wish(), "127.0.0.1", down).warnings[0]
