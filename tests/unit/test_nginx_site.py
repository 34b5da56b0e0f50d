"""The staged change of an nginx: what is left alone, what is taken back, and how a killed run ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_checks import Probe
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import NginxSiteError
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import Answer
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_site import (
    WITHOUT_NGINX,
    Wish,
    apply,
)
from nginx_support import CONTENT, NAME, FakeNginx, KilledError

OTHER_CONTENT = CONTENT.replace("location / {", "location = /new { return 204; }\n    location / {")


@pytest.fixture
def nginx(tmp_path: Path) -> FakeNginx:
    return FakeNginx(tmp_path / "nginx", own={"/health": Answer(200)})


def state(nginx: FakeNginx) -> dict[str, str]:
    """Every file and link below the configuration and the state folder."""
    places = [path for path in nginx.folder.parent.rglob("*") if path.is_file() or path.is_symlink()]
    return {
        str(path): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in places
        if path.name != "error.log"
    }


# The way it should go


def test_site_is_written_linked_loaded_and_probed(nginx: FakeNginx) -> None:
    outcome = apply(nginx.wish(), nginx.host())
    assert outcome.changed
    assert nginx.reloads == 1
    assert nginx.link.readlink() == nginx.site
    assert nginx.site.stat().st_mode & 0o777 == 0o644
    assert outcome.file == str(nginx.site)
    assert outcome.probes == [{"probe": "GET /health", "status": 200}]
    assert outcome.foreign == 1
    assert f'return 200 "{outcome.revision}"' in nginx.loaded[str(nginx.link)]
    assert outcome.diff[0]["before"] == ""
    assert outcome.diff[0]["after"] == nginx.site.read_text()


def test_nothing_but_reload_is_asked_of_systemd(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    verbs = {command[1] for command in nginx.commands if command[0] == "systemctl"}
    assert verbs == {"is-active", "reload"}


def test_unchanged_site_is_neither_reloaded_nor_probed(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    nginx.requests.clear()
    outcome = apply(nginx.wish(), nginx.host())
    assert not outcome.changed
    assert nginx.reloads == 1
    assert len(nginx.requests) == 1  # for the revision that nginx serves


def test_site_that_nginx_does_not_serve_is_loaded(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    del nginx.loaded[str(nginx.link)]
    assert apply(nginx.wish(), nginx.host()).changed
    assert nginx.reloads == 2


def test_missing_link_is_made_again(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    nginx.link.unlink()
    assert apply(nginx.wish(), nginx.host()).changed
    assert nginx.link.readlink() == nginx.site


def test_folder_without_links_where_nginx_reads_that_one(tmp_path: Path) -> None:
    nginx = FakeNginx(tmp_path / "nginx", sites="conf.d/*.conf", own={"/health": Answer(200)})
    apply(nginx.wish(), nginx.host())
    assert nginx.site.parent.name == "conf.d"
    assert not nginx.link.is_symlink()
    assert not apply(nginx.wish(), nginx.host()).changed


@pytest.mark.parametrize("when", ["first", "unchanged", "changed"])
def test_check_mode_tells_and_touches_nothing(nginx: FakeNginx, when: str) -> None:
    if when != "first":
        apply(nginx.wish(), nginx.host())
    before, reloads = state(nginx), nginx.reloads
    content = OTHER_CONTENT if when == "changed" else CONTENT
    outcome = apply(nginx.wish(content=content, check_mode=True), nginx.host())
    assert outcome.changed == (when != "unchanged")
    assert bool(outcome.diff) == outcome.changed
    assert (state(nginx), nginx.reloads) == (before, reloads)


def test_removal_brings_every_file_back(nginx: FakeNginx) -> None:
    before = state(nginx)
    apply(nginx.wish(), nginx.host())
    gone = nginx.wish(content=None, server_name="")
    assert apply(gone, nginx.host()).changed
    assert state(nginx) == before
    assert nginx.loaded == nginx.on_disk()
    assert not Path(nginx.wish().state_folder).exists()
    assert not apply(gone, nginx.host()).changed


def test_removal_without_nginx_removes_the_files(nginx: FakeNginx, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(nginx.wish(), nginx.host())
    nginx.is_installed = False
    module = "ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_site"
    gone = replace(WITHOUT_NGINX, main_file=str(nginx.main))
    monkeypatch.setattr(f"{module}.WITHOUT_NGINX", gone)
    assert apply(nginx.wish(content=None), nginx.host()).changed
    assert not nginx.site.exists()
    assert not nginx.link.is_symlink()
    assert not apply(nginx.wish(content=None), nginx.host()).changed


# An nginx that is not ours to repair


@pytest.mark.parametrize("content", [CONTENT, None])
def test_broken_nginx_is_named_and_left_alone(nginx: FakeNginx, content: str | None) -> None:
    apply(nginx.wish(), nginx.host())
    nginx.enabled("broken.conf").write_text("server {\n  bogus on;\n}\n")
    before, reloads = state(nginx), nginx.reloads
    wanted = OTHER_CONTENT if content else None
    with pytest.raises(NginxSiteError, match=r"already broken.*broken\.conf:2.*Nothing was changed"):
        apply(nginx.wish(content=wanted), nginx.host())
    assert (state(nginx), nginx.reloads) == (before, reloads)


def test_broken_nginx_without_our_site_gets_none(nginx: FakeNginx) -> None:
    nginx.enabled("broken.conf").write_text("bogus;\n")
    before = state(nginx)
    with pytest.raises(NginxSiteError, match=r"broken\.conf:1.*Nothing was changed"):
        apply(nginx.wish(), nginx.host())
    assert state(nginx) == before
    assert apply(nginx.wish(content=None), nginx.host()).warnings


def test_broken_nginx_is_a_warning_where_nothing_has_to_change(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    nginx.enabled("broken.conf").write_text("bogus;\n")
    outcome = apply(nginx.wish(), nginx.host())
    assert not outcome.changed
    assert "broken.conf:1" in outcome.warnings[0]


@pytest.mark.parametrize("damage", ["bogus on;\n", "server {", '"'])
def test_own_broken_file_is_repaired(nginx: FakeNginx, damage: str) -> None:
    apply(nginx.wish(), nginx.host())
    wanted = nginx.site.read_text()
    nginx.site.write_text(damage + "\nbogus;\n")
    assert apply(nginx.wish(), nginx.host()).changed
    assert nginx.site.read_text() == wanted


@pytest.mark.parametrize("check_mode", [True, False])
def test_name_of_another_site_is_refused(nginx: FakeNginx, check_mode: bool) -> None:
    before = state(nginx)
    content = CONTENT.replace(NAME, "www.example.org")
    wish = nginx.wish(content=content, server_name="www.example.org", check_mode=check_mode)
    with pytest.raises(
        NginxSiteError, match=r"operator\.conf:1 already serves www\.example\.org on port 443"
    ):
        apply(wish, nginx.host())
    assert state(nginx) == before


def test_same_name_on_another_port_is_no_clash(nginx: FakeNginx) -> None:
    nginx.enabled("acme.conf").write_text(f"server {{ listen 80; server_name {NAME}; }}\n")
    assert apply(nginx.wish(), nginx.host()).changed


def test_missing_certificate_is_named_before_anything_is_written(nginx: FakeNginx) -> None:
    content = CONTENT.replace("location /", "ssl_certificate /no/such.crt;\n    location /", 1)
    before = state(nginx)
    with pytest.raises(NginxSiteError, match=r"ssl_certificate /no/such\.crt"):
        apply(nginx.wish(content=content), nginx.host())
    assert state(nginx) == before
    assert apply(nginx.wish(content=content, check_mode=True), nginx.host()).changed


def test_absent_nginx_and_stopped_nginx_are_told(nginx: FakeNginx) -> None:
    nginx.is_active = False
    with pytest.raises(NginxSiteError, match="systemctl start nginx"):
        apply(nginx.wish(), nginx.host())
    nginx.is_installed = False
    with pytest.raises(NginxSiteError, match="not installed"):
        apply(nginx.wish(), nginx.host())
    assert not nginx.site.exists()


# Taking back


def assert_taken_back(nginx: FakeNginx, before: dict[str, str], match: str, **changes: object) -> None:
    with pytest.raises(NginxSiteError, match=match):
        apply(nginx.wish(**changes), nginx.host())
    assert state(nginx) == before
    assert nginx.loaded == nginx.on_disk()


@pytest.mark.parametrize("is_first", [True, False])
def test_wrong_answer_of_our_site_takes_it_back(nginx: FakeNginx, is_first: bool) -> None:
    if not is_first:
        apply(nginx.wish(), nginx.host())
    before = state(nginx)
    nginx.own["/health"] = Answer(404)
    match = r"GET /health gives 404 instead of 200.*back in place"
    assert_taken_back(nginx, before, match, content=OTHER_CONTENT)


def test_content_that_nginx_refuses_is_never_loaded(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    before, reloads = state(nginx), nginx.reloads
    match = r"refuses.*bogus.*zz-matrixrtc\.conf:1.*not reloaded"
    assert_taken_back(nginx, before, match, content="bogus on;\n" + CONTENT)
    assert nginx.reloads == reloads


@pytest.mark.parametrize(("before", "after"), [(200, 404), (200, 502), (200, 0), (403, 404), (404, 502)])
def test_other_site_that_becomes_worse_takes_it_back(nginx: FakeNginx, before: int, after: int) -> None:
    nginx.foreign["example.org"] = before
    nginx.worse_with_ours["example.org"] = after
    files = state(nginx)
    assert_taken_back(nginx, files, rf"example\.org:443 answered {before} before and .* now.*back in place")


@pytest.mark.parametrize(("before", "after"), [(502, 200), (502, 503), (200, 301), (404, 200), (0, 502)])
def test_other_site_that_is_no_worse_is_no_fault(nginx: FakeNginx, before: int, after: int) -> None:
    nginx.foreign["example.org"] = before
    nginx.worse_with_ours["example.org"] = after
    assert apply(nginx.wish(), nginx.host()).changed


def test_reload_that_nginx_does_not_carry_out_is_told_in_its_words(nginx: FakeNginx) -> None:
    before = state(nginx)
    nginx.refusal = "bind() to 0.0.0.0:443 failed (98: Address already in use)"
    assert_taken_back(
        nginx, before, r"did not take.*\[emerg\] bind\(\) to 0\.0\.0\.0:443 failed.*back in place"
    )


def test_headers_are_counted(nginx: FakeNginx) -> None:
    probe = Probe("/cors", (200,), header_counts={"Access-Control-Allow-Origin": 1})
    before = state(nginx)
    cors = ("access-control-allow-origin", "*")
    nginx.own["/cors"] = Answer(200, (cors, cors))
    assert_taken_back(nginx, before, "has 2 times the header Access-Control-Allow-Origin", probes=(probe,))
    nginx.own["/cors"] = Answer(200, (cors,))
    assert apply(nginx.wish(probes=(probe,)), nginx.host()).changed


def test_outside_is_asked_from_another_address(nginx: FakeNginx) -> None:
    nginx.own["/twirp"] = Answer(403)
    apply(nginx.wish(probes=(Probe("/twirp", (403,), source="outside"),)), nginx.host())
    assert [one.source for one in nginx.requests if one.path == "/twirp"] == ["198.51.100.4"]


def test_nobody_behind_the_site_is_a_warning_that_names_who(nginx: FakeNginx) -> None:
    nginx.own["/health"] = Answer(502)
    outcome = apply(nginx.wish(), nginx.host())
    assert outcome.changed
    assert any("the token service (the proxy says 502)" in warning for warning in outcome.warnings)
    assert nginx.site.exists()


# A run that was killed


def calls_of_a_run(folder: Path, content: str | None) -> int:
    nginx = FakeNginx(folder / "count" / "nginx", own={"/health": Answer(200)})
    apply(nginx.wish(content=CONTENT), nginx.host())
    already = nginx.calls
    apply(nginx.wish(content=content), nginx.host())
    return nginx.calls - already


@pytest.mark.parametrize("content", [OTHER_CONTENT, None], ids=["change", "removal"])
def test_killed_anywhere_is_finished_by_the_next_run(tmp_path: Path, content: str | None) -> None:
    for number in range(1, calls_of_a_run(tmp_path, content) + 1):
        nginx = FakeNginx(tmp_path / str(number) / "nginx", own={"/health": Answer(200)})
        apply(nginx.wish(), nginx.host())
        nginx.kill_at = nginx.calls + number
        with pytest.raises(KilledError):
            apply(nginx.wish(content=content), nginx.host())
        apply(nginx.wish(content=content), nginx.host())
        assert nginx.site.exists() == (content is not None), f"killed at call {number}"
        assert nginx.loaded == nginx.on_disk(), f"killed at call {number}"
        assert not Path(nginx.wish().state_folder).exists(), f"killed at call {number}"
        third = apply(nginx.wish(content=content), nginx.host())
        assert not third.changed, f"killed at call {number}"


def test_killed_between_file_and_link_is_finished(nginx: FakeNginx, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("os.symlink", killed)
        with pytest.raises(KilledError):
            apply(nginx.wish(), nginx.host())
    assert nginx.site.exists()
    assert not nginx.link.is_symlink()
    assert apply(nginx.wish(), nginx.host()).changed
    assert nginx.link.readlink() == nginx.site
    assert not apply(nginx.wish(), nginx.host()).changed


def test_half_written_change_is_taken_back_even_if_the_next_run_wants_nothing_new(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    nginx.kill_at = nginx.calls + 6
    with pytest.raises(KilledError):
        apply(nginx.wish(content="bogus;\n" + OTHER_CONTENT), nginx.host())
    folder = Path(nginx.wish().state_folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert json.loads((folder / "zz-matrixrtc.json").read_text())["linked"] is True
    assert apply(nginx.wish(check_mode=True), nginx.host()).changed
    assert apply(nginx.wish(), nginx.host()).changed
    assert nginx.loaded == nginx.on_disk()


def test_failure_after_a_killed_run_brings_back_what_was_good(nginx: FakeNginx) -> None:
    apply(nginx.wish(), nginx.host())
    good = state(nginx)
    nginx.kill_at = nginx.calls + 6
    with pytest.raises(KilledError):
        apply(nginx.wish(content=OTHER_CONTENT.replace("/new", "/half")), nginx.host())
    assert "/half" in nginx.site.read_text()
    nginx.own["/health"] = Answer(404)
    assert_taken_back(nginx, good, "back in place", content=OTHER_CONTENT)


# What the operator is told


def test_first_site_on_a_socket_is_told(nginx: FakeNginx) -> None:
    nginx.enabled("operator.conf").unlink()
    nginx.load()
    warnings = apply(nginx.wish(), nginx.host()).warnings
    assert any("also answers for unknown names" in warning for warning in warnings)


def test_other_tls_protocols_of_the_socket_are_told(nginx: FakeNginx) -> None:
    old = "server_name example.org; ssl_protocols TLSv1.1 TLSv1.2;"
    operator = nginx.enabled("operator.conf")
    operator.write_text(operator.read_text().replace("server_name example.org www.example.org;", old))
    nginx.load()
    warnings = apply(nginx.wish(), nginx.host()).warnings
    assert any("TLSv1.1 TLSv1.2 instead of our TLSv1.2 TLSv1.3" in warning for warning in warnings)


def test_site_on_a_single_address_is_told(nginx: FakeNginx) -> None:
    nginx.enabled("single.conf").write_text(
        "server { listen 192.0.2.7:443 ssl; server_name one.example.org; }\n"
    )
    nginx.load()
    warnings = apply(nginx.wish(), nginx.host()).warnings
    assert any("single.conf:1 listens on 192.0.2.7:443 itself" in warning for warning in warnings)


def test_site_that_takes_loopback_is_refused(nginx: FakeNginx) -> None:
    nginx.enabled("single.conf").write_text(
        "server { listen 127.0.0.1:443 ssl; server_name one.example.org; }\n"
    )
    with pytest.raises(NginxSiteError, match=r"single\.conf:1 listens on 127\.0\.0\.1:443 itself"):
        apply(nginx.wish(), nginx.host())


def test_too_few_connections_are_told(nginx: FakeNginx) -> None:
    assert not [w for w in apply(nginx.wish(connections=200), nginx.host()).warnings if "connections" in w]
    outcome = apply(nginx.wish(content=OTHER_CONTENT, connections=201), nginx.host())
    assert any("worker_connections 100, 2 workers" in warning for warning in outcome.warnings)


def test_two_families_on_one_socket_leave_out_ipv4(nginx: FakeNginx) -> None:
    nginx.enabled("operator.conf").write_text(
        "server { listen [::]:443 ssl ipv6only=off; server_name a.example.org; }\n"
    )
    nginx.load()
    apply(nginx.wish(), nginx.host())
    assert "listen 443 ssl" not in nginx.site.read_text()
    assert "listen [::]:443 ssl" in nginx.site.read_text()


def test_failed_reload_command_is_told(nginx: FakeNginx) -> None:
    run = nginx.run

    def refusing(argv: list[str]) -> Completed:
        return Completed(1, errors="Job failed") if argv[:2] == ["systemctl", "reload"] else run(argv)

    host = nginx.host()
    broken = type(host)(**{**vars(host), "run": refusing})
    with pytest.raises(NginxSiteError, match="could not be reloaded: Job failed"):
        apply(nginx.wish(), broken)


def test_wish_has_no_site_by_default(tmp_path: Path) -> None:
    assert Wish(name="x", state_folder=str(tmp_path)).content is None
