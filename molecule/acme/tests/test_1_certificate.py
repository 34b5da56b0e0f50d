"""The certificate comes from the authority, through the proxy alone, and port 80 shows challenges only."""

from __future__ import annotations

import re

import pytest
from lab_playbooks import play
from testinfra import get_host
from views import served, status

testinfra_hosts = ["ansible://matrixrtc_rtc"]

CHALLENGES = "/.well-known/acme-challenge"


@pytest.fixture
def name(host):
    return host.ansible.get_variables()["matrixrtc_server_name"]


def test_nginx_serves_it(name):
    assert "Pebble" in served(f"rtc.{name}", "issuer")


def test_calls_work_with_it():
    play("verify").ok()


def test_only_the_challenges_are_on_port_80(host, name):
    assert status(f"http://rtc.{name}/") == "404"
    assert status(f"http://rtc.{name}/livekit/jwt/healthz") == "404"
    assert status(f"http://rtc.{name}{CHALLENGES}/none") == "404"
    webroot = f"/var/lib/matrixrtc-acme/webroot{CHALLENGES}"
    host.check_output(f"mkdir -p {webroot} && echo there > {webroot}/one")
    assert status(f"http://rtc.{name}{CHALLENGES}/one") == "200"
    host.check_output("rm -r /var/lib/matrixrtc-acme/webroot/.well-known")


def test_the_operators_sites_answer_as_before(name):
    assert [status(f"http://{site}/") for site in (name, f"matrix.{name}")] == ["301", "301"]
    assert status(f"https://{name}/") == "200"


def test_everything_went_through_the_proxy(host):
    mirror = get_host("docker://matrixrtc-acme-mirror")
    log = mirror.file("/opt/acme/proxy.log").content_string
    assert re.search(r"^GET http://mirror\.test/\S+\.tar\.gz 200$", log, re.MULTILINE)
    assert "CONNECT mirror.test:14000 200" in log
    assert " counter packets 0 " in host.check_output("nft list table inet lab_egress")


def test_the_proxys_password_is_in_one_file_of_roots(host):
    """Looked for by half of it, so that the search itself does not hold it."""
    word = "'[s]s-word'"
    found = host.run(
        f"grep -rlE {word} /etc /opt/matrixrtc /var/lib/matrixrtc /var/lib/matrixrtc-acme /var/log"
    )
    assert found.stdout.split() == ["/etc/matrixrtc/acme/environment"]
    assert host.file("/etc/matrixrtc/acme/environment").mode == 0o600
    for where in (
        "journalctl --no-pager",
        "ps auxww",
        "systemctl show matrixrtc-certificate-renewal.service",
    ):
        assert host.run(f"{where} | grep -E {word}").stdout == "", where


def test_a_repeated_run_with_everything_shown_hides_it():
    run = play("site", "--diff", "-vvv", "--tags", "validate,livekit,rtc_certificate").ok()
    assert "ss-word" not in run.output
    assert run.changed == 0


def test_a_name_that_a_foreign_site_has_on_port_80_is_left_to_it(host, name):
    foreign = "/etc/nginx/sites-enabled/old.conf"
    host.check_output(
        "rm /etc/nginx/sites-*/zz-matrixrtc-acme.conf && "
        f"echo 'server {{ listen 80; server_name rtc.{name}; return 302 https://old.test; }}' > {foreign} && "
        "systemctl reload nginx"
    )
    run = play("site", "--tags", "validate,rtc_certificate")
    assert run.status != 0
    assert f"{foreign}:1 already serves rtc.{name} on port 80" in " ".join(run.output.split())
    assert "matrixrtc_acme_webroot" in run.output
    assert status(f"http://rtc.{name}/") == "302"
    host.check_output(f"rm {foreign} && systemctl reload nginx")
    play("site", "--tags", "validate,rtc_certificate").ok()
