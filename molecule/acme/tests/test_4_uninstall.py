"""Removal takes all of ours; the package certbot stays until it is removed, and then all is as it was."""

from __future__ import annotations

from lab_playbooks import play
from steps import assert_as_before

testinfra_hosts = ["ansible://matrixrtc_rtc"]

CLEAN = "rm -rf /root/.acme.sh /root/way-out /etc/letsencrypt/{accounts,archive,live,renewal} /var/www/acme"


def test_nothing_of_ours_is_left(host):
    """The operator's certificates of the tests before go first, then all of ours, then the package."""
    play("site").ok()
    play("uninstall").ok()
    assert play("uninstall").ok().changed == 0
    for path in ("/etc/matrixrtc", "/var/lib/matrixrtc-acme", "/var/lib/matrixrtc"):
        assert not host.file(path).exists, path
    hooks = host.run("ls -A /etc/letsencrypt/renewal-hooks/deploy")
    assert hooks.stdout == ""
    host.check_output(f"bash -c '{CLEAN}'")
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get purge -q -y --autoremove certbot")
    host.check_output("rm -rf /etc/letsencrypt /var/lib/letsencrypt && systemctl daemon-reload")


def test_the_host_is_as_it_was(host):
    assert_as_before(host)
