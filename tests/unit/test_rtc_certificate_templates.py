"""What the certificate's role puts on a host: a site for challenges, the hook, units, certbot's settings."""

from __future__ import annotations

import configparser
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import named, parse, servers
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import render
from role_rendering import Role

ACME = {"matrixrtc_tls_mode": "acme", "matrixrtc_acme_email": "admin@example.org"}
LINEAGE = "/etc/matrixrtc/acme/live/matrixrtc"


def role(**given: Any) -> Role:
    return Role("rtc_certificate", **{**ACME, **given})


@pytest.mark.parametrize(
    ("mode", "file"),
    [
        ("files", ""),
        ("certbot", "/etc/letsencrypt/live/rtc.example.org/fullchain.pem"),
        ("acme_sh", "/root/.acme.sh/rtc.example.org_ecc/fullchain.cer"),
        ("acme", f"{LINEAGE}/fullchain.pem"),
        ("unknown", ""),
    ],
)
def test_the_certificate_is_where_its_client_keeps_it(mode: str, file: str) -> None:
    assert role(matrixrtc_tls_mode=mode).value("rtc_certificate_file") == file
    given = role(matrixrtc_tls_mode=mode, matrixrtc_tls_certificate="/srv/chain.pem")
    assert given.value("rtc_certificate_file") == "/srv/chain.pem"


def test_nginx_gets_the_same_files() -> None:
    nginx = Role("nginx_proxy", **ACME)
    assert nginx.value("nginx_proxy_certificate") == f"{LINEAGE}/fullchain.pem"
    assert nginx.value("nginx_proxy_private_key") == f"{LINEAGE}/privkey.pem"


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, [80, 443, 7881]),
        ({"matrixrtc_acme_webroot": "/var/www/acme"}, [443, 7881]),
        ({"matrixrtc_tls_mode": "files"}, [443, 7881]),
    ],
)
def test_the_firewall_opens_port_80_for_our_own_challenges_only(
    given: dict[str, str], ports: list[int]
) -> None:
    assert Role("firewall", **{**ACME, **given}).value("firewall_tcp_ports") == ports


# The site of the challenges


def site(**given: Any) -> Any:
    text = role(**given).file("challenge.conf.j2")
    (server,) = named(parse(render(text, frozenset({"ipv4", "ipv6"})), "site"), "server")
    return server


def test_port_80_shows_challenges_and_nothing_else() -> None:
    server = site()
    locations = {line.arguments: line.block or () for line in named(server.block, "location")}
    challenges = locations.pop(("^~", "/.well-known/acme-challenge/"))
    assert named(challenges, "root")[0].arguments == ("/var/lib/matrixrtc-acme/webroot",)
    revision = locations.pop(("=", "/.well-known/acme-challenge/matrixrtc-revision"))
    assert named(revision, "return")[0].arguments == ("200", "@revision@")
    ((rest, block),) = locations.items()
    assert rest == ("/",)
    assert named(block, "return")[0].arguments == ("404",)


def test_it_is_nobodys_default() -> None:
    (found,) = servers(
        parse("http {" + render(role().file("challenge.conf.j2"), frozenset({"ipv6"})) + "}", "f")
    )
    assert found.names == ("rtc.example.org",)
    assert [(listen.socket, listen.is_default) for listen in found.listens] == [(("[::]", 80), False)]


def test_it_listens_where_nginx_does() -> None:
    listens = named(site(nginx_proxy_listen_addresses=["192.0.2.1", "2001:db8::1"]).block, "listen")
    assert [line.arguments for line in listens] == [("192.0.2.1:80",), ("[2001:db8::1]:80",)]


# certbot


def settings(**given: Any) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read_string("[certbot]\n" + role(**given).file("cli.ini.j2"))
    return dict(parser["certbot"])


def test_certbot_keeps_to_folders_of_its_own() -> None:
    found = settings()
    assert found["config-dir"] == "/etc/matrixrtc/acme"
    assert {found["work-dir"], found["logs-dir"]} == {
        f"/var/lib/matrixrtc-acme/{x}" for x in ("work", "logs")
    }
    assert found["server"] == "https://acme-v02.api.letsencrypt.org/directory"
    assert found["webroot-path"] == "/var/lib/matrixrtc-acme/webroot"
    assert found["email"] == "admin@example.org"


def test_an_address_and_a_folder_are_the_operators_choice() -> None:
    found = settings(matrixrtc_acme_email="", matrixrtc_acme_webroot="/var/www/acme")
    assert "email" not in found
    assert found["register-unsafely-without-email"] == "true"
    assert found["webroot-path"] == "/var/www/acme"


def test_the_proxy_is_in_no_file_that_others_read() -> None:
    given = {"matrixrtc_http_proxy": "http://user:hidden-word@proxy.example.org:3128"}
    for template in (Path(__file__).parents[2] / "roles" / "rtc_certificate" / "templates").iterdir():
        assert "hidden-word" not in role(**given).file(template.name), template.name


# Renewals


def hooked(folder: Path, mode: str, lineage: str, nginx: int = 0, **given: str) -> tuple[int, list[str]]:
    """Run the hook with an nginx and a systemctl that only note how they are called."""
    notes = folder / "notes"
    for name, status in (("nginx", nginx), ("systemctl", 0)):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {notes}\nexit {status}\n')
        program.chmod(0o755)
    hook = folder / "hook"
    text = role(matrixrtc_tls_mode=mode, **given).file("hook.sh.j2")
    hook.write_text(text.replace("PATH=", f"PATH={folder}:", 1))
    environment = {"PATH": os.environ["PATH"], "RENEWED_LINEAGE": lineage}
    done = subprocess.run(["/bin/sh", str(hook)], env=environment, check=False)
    return done.returncode, notes.read_text().splitlines() if notes.exists() else []


@pytest.mark.parametrize(
    ("mode", "lineage"), [("acme", LINEAGE), ("certbot", "/etc/letsencrypt/live/rtc.example.org")]
)
def test_a_renewal_reloads_nginx(tmp_path: Path, mode: str, lineage: str) -> None:
    assert hooked(tmp_path, mode, lineage) == (0, ["nginx -t -q", "systemctl reload nginx"])


def test_a_renewal_for_the_relay_reloads_nginx_where_there_is_one(tmp_path: Path) -> None:
    relay = {"matrixrtc_turn_tls": "address", "matrixrtc_turn_domain": "turn.example.org"}
    for given, done in (({}, []), (relay, ["nginx -t -q", "systemctl reload nginx"])):
        lineage = "/etc/letsencrypt/live/turn.example.org"
        assert hooked(tmp_path, "certbot", lineage, **given) == (0, done)
    watched = role(matrixrtc_tls_mode="acme_sh", **relay).file("reload.path.j2")
    assert "PathChanged=/root/.acme.sh/turn.example.org_ecc/fullchain.cer\n" in watched


def test_other_renewals_do_not(tmp_path: Path) -> None:
    assert hooked(tmp_path, "certbot", "/etc/letsencrypt/live/www.example.org") == (0, [])


def test_a_broken_nginx_is_not_reloaded(tmp_path: Path) -> None:
    assert hooked(tmp_path, "acme", LINEAGE, nginx=1) == (1, ["nginx -t -q"])


def test_the_hook_is_beside_the_certificate() -> None:
    hook = "renewal-hooks/deploy/matrixrtc-nginx"
    assert role().value("__rtc_certificate_hook") == f"/etc/matrixrtc/acme/{hook}"
    certbot = role(matrixrtc_tls_mode="certbot")
    assert certbot.value("__rtc_certificate_hook") == f"/etc/letsencrypt/{hook}"


def test_units_name_the_certificate_and_the_environment() -> None:
    watched = role(matrixrtc_tls_mode="acme_sh").file("reload.path.j2")
    assert "PathChanged=/root/.acme.sh/rtc.example.org_ecc/fullchain.cer\n" in watched
    renewal = role().file("renewal.service.j2")
    assert "EnvironmentFile=-/etc/matrixrtc/acme/environment\n" in renewal
    assert "/usr/bin/certbot renew --config /etc/matrixrtc/acme/cli.ini" in renewal
