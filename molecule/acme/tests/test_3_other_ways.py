"""Challenges in a folder of the operator's, and certificates of clients that are there already."""

from __future__ import annotations

import pytest
from lab_playbooks import play
from test_2_renewal import await_other
from views import served, status

testinfra_hosts = ["ansible://matrixrtc_rtc"]

TAGS = ("--tags", "validate,rtc_certificate,nginx_proxy")
WEBROOT = "/var/www/acme"
ENVIRONMENT = "set -a; . /etc/matrixrtc/acme/environment; set +a"
CERTBOT = f"certbot --non-interactive --server https://mirror.test:14000/dir --webroot-path {WEBROOT}"
HASHES = "find /etc/letsencrypt /root/.acme.sh -type f -exec sha256sum {} + | sort -k 2"


@pytest.fixture
def name(host):
    return f"rtc.{host.ansible.get_variables()['matrixrtc_server_name']}"


def test_a_folder_of_the_operators_site(host, name):
    """operator.conf shows it for every name that no other site has."""
    before = served(name)
    host.check_output(f"mkdir {WEBROOT}")
    play("site", *TAGS, "-e", f"matrixrtc_acme_webroot={WEBROOT}").ok()
    assert await_other(name, before) != before
    assert not host.file("/etc/nginx/sites-enabled/zz-matrixrtc-acme.conf").exists
    assert status(f"http://{name}/") == "301", "the operator's default site answers again"
    assert host.check_output(f"ls -A {WEBROOT}") == ""


def test_a_certbot_that_is_there(host, name):
    host.check_output(
        f"{ENVIRONMENT}; cp /etc/matrixrtc/acme/environment /root/way-out && {CERTBOT} certonly --webroot "
        f"--register-unsafely-without-email --agree-tos --domain {name}"
    )
    before = host.check_output(f"{HASHES} 2>/dev/null")
    play("site", *TAGS, "-e", "matrixrtc_tls_mode=certbot").ok()
    play("uninstall", "--tags", "rtc_certificate", "-e", "matrixrtc_tls_mode=certbot").ok()
    assert not host.file("/etc/matrixrtc/acme").exists, "what the old way had added is gone"
    assert host.check_output(f"{HASHES} 2>/dev/null") == before
    play("site", *TAGS, "-e", "matrixrtc_tls_mode=certbot").ok()
    serial = served(name)
    host.check_output(
        f"{ENVIRONMENT.replace('/etc/matrixrtc/acme/environment', '/root/way-out')}; "
        f"{CERTBOT} renew --force-renewal"
    )
    assert await_other(name, serial) != serial
    assert play("site", *TAGS, "-e", "matrixrtc_tls_mode=certbot").ok().changed == 0


def test_a_certificate_that_acme_sh_replaces(host, name):
    """As acme.sh does it: the key first, then the chain, in place."""
    live, kept = f"/etc/letsencrypt/live/{name}", f"/root/.acme.sh/{name}_ecc"
    host.check_output(
        f"mkdir -p {kept} && cp -L {live}/privkey.pem {kept}/{name}.key && "
        f"cp -L {live}/fullchain.pem {kept}/fullchain.cer"
    )
    play("site", *TAGS, "-e", "matrixrtc_tls_mode=acme_sh").ok()
    serial = served(name)
    host.check_output(
        f"cat /etc/letsencrypt/archive/{name}/privkey1.pem > {kept}/{name}.key && sleep 1 && "
        f"cat /etc/letsencrypt/archive/{name}/fullchain1.pem > {kept}/fullchain.cer"
    )
    assert await_other(name, serial) != serial
    assert play("site", *TAGS, "-e", "matrixrtc_tls_mode=acme_sh").ok().changed == 0
