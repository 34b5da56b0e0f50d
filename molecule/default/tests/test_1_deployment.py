"""What runs on each deployed host, and what can be reached from outside."""

from __future__ import annotations

import json
import re

import pytest

testinfra_hosts = ["ansible://matrixrtc_rtc"]

OUTSIDE_TCP = {22, 80, 443, 7881}
OUTSIDE_UDP = set(range(7882, 7886))


@pytest.mark.parametrize(
    "unit", ["livekit", "lk-jwt-service", "matrixrtc-firewall", "matrix-synapse", "nginx"]
)
def test_units_run_and_start_at_boot(host, unit):
    service = host.service(unit)
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("unit", ["livekit", "lk-jwt-service"])
def test_units_are_sandboxed(host, unit):
    report = host.check_output(f"systemd-analyze security --no-pager {unit}.service")
    exposure = float(re.search(r"Overall exposure level for .*: ([\d.]+)", report).group(1))
    assert exposure <= 2.0, report


def listeners(host, protocol):
    """Return {(address, port)} of the listening sockets of `t`cp or `u`dp."""
    lines = host.check_output(f"ss -Hln{protocol}").splitlines()
    return {tuple(line.split()[3].rsplit(":", 1)) for line in lines}


def test_only_documented_listeners_on_outside_addresses(host):
    for protocol, allowed in (("t", OUTSIDE_TCP), ("u", OUTSIDE_UDP)):
        for address, port in listeners(host, protocol):
            local = address.strip("[]").split("%")[0]
            loopback = local.startswith("127.") or local == "::1"
            assert loopback or int(port) in allowed, (
                f"{address}:{port}/{protocol} listens on an outside address"
            )


def test_signalling_and_token_service_listen_on_loopback_only(host):
    addresses = {a for a, port in listeners(host, "t") if port in ("7880", "8080")}
    assert addresses == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("path", "mode", "group"),
    [
        ("/etc/matrixrtc/livekit/keys.yaml", 0o640, "livekit"),
        ("/etc/matrixrtc/lk-jwt-service/key", 0o640, "lk-jwt-service"),
        ("/etc/matrixrtc/lk-jwt-service/secret", 0o640, "lk-jwt-service"),
        ("/etc/matrixrtc/livekit_secret", 0o600, "root"),
    ],
)
def test_secrets_are_kept(host, path, mode, group):
    file = host.file(path)
    assert file.user == "root"
    assert (file.group, file.mode) == (group, mode)


def test_the_secret_is_nowhere_else(host):
    secret = host.file("/etc/matrixrtc/livekit_secret").content_string.strip()
    assert len(secret) >= 48
    # grep reads the secret from the file, so that looking for it does not show it in the process list.
    places = "/proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    seen = host.run(f"grep -lFf /etc/matrixrtc/livekit_secret {places} 2>/dev/null")
    assert seen.stdout == ""
    journal = host.run("journalctl --no-pager -o cat | grep -cFf /etc/matrixrtc/livekit_secret")
    assert journal.stdout.strip() == "0"
    readable = host.run(
        "find /etc /var /opt /usr/local -xdev -type f -perm -o+r -print0"
        " | xargs -0 grep -lFf /etc/matrixrtc/livekit_secret"
    )
    assert readable.stdout == ""


def test_rooms_are_not_created_by_whoever_holds_a_token(host):
    config = host.file("/etc/matrixrtc/livekit/livekit.yaml").content_string
    assert re.search(r"auto_create: false", config)
    assert re.search(r"urls:\n\s+- http://127.0.0.1:8080/sfu_webhook", config)


def test_sshd_and_the_operators_sites_are_still_reachable(host):
    rules = host.check_output("nft list ruleset")
    assert "policy drop" in rules
    for port in ("22", "80", "443"):
        assert re.search(rf"dport .*\b{port}\b", rules), rules


def test_synapse_kept_the_operators_values(host):
    python = "/opt/venvs/matrix-synapse/bin/python"
    files = "-c /etc/matrix-synapse/homeserver.yaml -c /etc/matrix-synapse/conf.d/"
    read = f"cd /var/lib/matrix-synapse && sudo -u matrix-synapse {python} -m synapse.config read"
    message = host.check_output(f"{read} ratelimiting.rc_message {files}")
    assert "per_second=0.5" in message
    assert "burst_count=50" in message
    transports = host.check_output(f"{read} matrix_rtc.transports {files}")
    assert "/livekit/jwt" in transports


def test_the_well_known_keeps_foreign_keys(host):
    name = host.ansible.get_variables()["matrixrtc_server_name"]
    body = host.check_output(
        f"curl -s --resolve {name}:443:127.0.0.1 https://{name}/.well-known/matrix/client"
    )
    document = json.loads(body)
    foci = document["org.matrix.msc4143.rtc_foci"]
    assert foci == [{"type": "livekit", "livekit_service_url": f"https://rtc.{name}/livekit/jwt"}]
    assert set(document) - {"m.homeserver", "org.matrix.msc4143.rtc_foci"}, document
