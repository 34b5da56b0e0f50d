"""LiveKit's configuration, kernel settings and unit, as rendered from the role's variables."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_rendering import SECRET, SITE, Role, environment_of, probed

from lab.artifacts import LIVEKIT, parse_wishes
from lab.livekit import unpack
from lab.progress import Progress
from lab.store import Store

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def config(**given: Any) -> dict[str, Any]:
    return dict(yaml.safe_load(Role("livekit", **given).file("livekit.yaml.j2")))


def test_default_configuration() -> None:
    assert config() == {
        "port": 7880,
        "bind_addresses": ["127.0.0.1"],
        "key_file": "/etc/matrixrtc/livekit/keys.yaml",
        "logging": {"level": "info"},
        "rtc": {
            "use_external_ip": False,
            "node_ip": "192.0.2.1",
            "tcp_port": 7881,
            "udp_port": "7882-7885",
            "stun_servers": ["rtc.example.org:3478"],
            "ips": {"includes": ["192.0.2.1/32"]},
        },
        "room": {"auto_create": False},
        "webhook": {"api_key": "matrixrtc", "urls": ["http://127.0.0.1:8080/sfu_webhook"]},
    }


def test_no_file_holds_the_secret() -> None:
    role = Role("livekit")
    assert role.value("common_livekit_secret") == SECRET
    unit = role.file("service.j2", role="common", common_unit=role.value("__livekit_unit"))
    assert SECRET not in role.file("livekit.yaml.j2") + unit


CLUSTER = {"matrixrtc_redis_password": "the-password-of-redis"}


def unit_lines(**given: Any) -> list[str]:
    role = Role("livekit", **given)
    return list(role.file("service.j2", role="common", common_unit=role.value("__livekit_unit")).splitlines())


def test_rooms_are_kept_over_a_restart_unless_redis_has_them() -> None:
    program = "-/usr/bin/python3 /opt/matrixrtc/kept_rooms"
    what = "http://127.0.0.1:7880 /etc/matrixrtc/livekit/keys.yaml /run/matrixrtc-livekit/rooms.json"
    lines = unit_lines()
    assert f"ExecStartPost={program} return {what}" in lines
    assert f"ExecStop={program} leave {what}" in lines
    assert {"KillSignal=SIGKILL", "SuccessExitStatus=SIGKILL"} <= set(lines)
    assert {"RuntimeDirectory=matrixrtc-livekit", "RuntimeDirectoryPreserve=restart"} <= set(lines)
    clustered = unit_lines(livekit_cluster_redis={"address": "10.0.0.1:6379"}, **CLUSTER)
    alone = ("ExecStop", "ExecStartPost", "RuntimeDirectory", "KillSignal", "SuccessExitStatus")
    assert not [line for line in clustered if line.startswith(alone)]


def test_the_program_that_keeps_rooms_has_all_that_it_imports() -> None:
    parts = Role("livekit").value("__livekit_rooms_parts")
    folder = Path(__file__).parents[2] / "plugins" / "module_utils"
    texts = [(folder / f"{part}.py").read_text(encoding="utf-8") for part in parts]
    needed = {name for text in texts for name in re.findall(r"^from \.(\w+) import", text, re.MULTILINE)}
    assert needed | {"kept_rooms"} == set(parts)


def test_one_node_has_nothing_of_a_cluster() -> None:
    assert not {"redis", "signal_relay", "node_selector", "region"} & config().keys()


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        ({"address": "10.0.0.9:6379"}, {"address": "10.0.0.9:6379"}),
        (
            {"address": "10.0.0.9:6379", "username": "calls", "db": "3"},
            {"address": "10.0.0.9:6379", "username": "calls", "db": 3},
        ),
        (
            {"sentinel": {"master": "calls", "addresses": ["10.0.0.7:26379"]}},
            {"sentinel_master_name": "calls", "sentinel_addresses": ["10.0.0.7:26379"]},
        ),
        ({"cluster": ["10.0.0.7:6379"]}, {"cluster_addresses": ["10.0.0.7:6379"]}),
        (
            {"address": "redis:1", "tls": True, "ca_file": "/ca.pem", "server_name": "matrixrtc-redis"},
            {
                "address": "redis:1",
                "tls": {"enabled": True, "server_name": "matrixrtc-redis", "ca_cert_file": "/ca.pem"},
            },
        ),
    ],
)
def test_a_node_of_a_cluster_is_told_of_redis(redis: dict[str, Any], expected: dict[str, Any]) -> None:
    text = Role("livekit", matrixrtc_redis=redis, **CLUSTER).file("redis.yaml.j2")
    # Sentinel mode has limits of 200 ms unless others are set
    limits = {"db": 0, "dial_timeout": 5000, "read_timeout": 3000, "write_timeout": 3000}
    assert yaml.safe_load(text) == {**limits, **expected}
    assert CLUSTER["matrixrtc_redis_password"] not in text


def test_the_password_of_redis_is_in_the_units_environment() -> None:
    role = Role("livekit", matrixrtc_redis={"address": "10.0.0.9:6379"}, matrixrtc_redis_password='a"b\\c')
    assert 'REDIS_PASSWORD="a\\"b\\\\c"' in environment_of(role)
    unit = role.file("service.j2", role="common", common_unit=role.value("__livekit_unit"))
    assert "EnvironmentFile=/etc/matrixrtc/livekit/environment" in unit


def test_a_further_node_is_heard_by_the_front_and_reports_to_it() -> None:
    found = config(matrixrtc_host_parts=["sfu"], matrixrtc_node_address="10.0.0.2", **CLUSTER)
    assert found["bind_addresses"] == ["127.0.0.1", "10.0.0.2"]
    assert found["webhook"]["urls"] == ["https://rtc.example.org/livekit/jwt/sfu_webhook"]


def test_which_node_gets_a_room_is_said_in_livekits_words() -> None:
    selector = {"kind": "regionaware", "regions": [{"name": "north", "lat": 60, "lon": 10}]}
    found = config(matrixrtc_node_selector=selector, matrixrtc_region="north")
    assert (found["node_selector"], found["region"]) == (selector, "north")


def test_values_given_as_text_become_numbers() -> None:
    """As `-e livekit_port=1234` gives them."""
    found = config(livekit_port="1234", livekit_tcp_port="1235", livekit_udp_port="1236")
    assert (found["port"], found["rtc"]["tcp_port"], found["rtc"]["udp_port"]) == (1234, 1235, 1236)


def test_multiplexed_ports_or_a_range_never_both() -> None:
    ends = {"livekit_port_range_start": 50000, "livekit_port_range_end": "50100"}
    ranged = config(livekit_udp_port="", **ends)["rtc"]
    assert (ranged["port_range_start"], ranged["port_range_end"]) == (50000, 50100)
    assert "udp_port" not in ranged
    assert not {"port_range_start", "port_range_end"} & config()["rtc"].keys()
    assert config(livekit_udp_port=7882)["rtc"]["udp_port"] == 7882


def test_extra_settings_are_merged_last_and_key_by_key() -> None:
    extra = {"room": {"max_participants": 5}, "logging": {"level": "debug"}, "turn": {"enabled": False}}
    found = config(livekit_extra_config=extra)
    assert found["room"] == {"auto_create": False, "max_participants": 5}
    assert found["logging"] == {"level": "debug"}
    assert found["turn"] == {"enabled": False}


@pytest.mark.parametrize(
    ("node_ip", "networks"),
    [
        ("192.0.2.1", ["192.0.2.1/32"]),
        ("172.17.0.1", ["172.17.0.1/32"]),
        ("203.0.113.7", ["192.0.2.1/32"]),
        ("2001:db8::1", ["2001:db8::1/128"]),
        ("203.0.113.7,2001:db8::1", ["192.0.2.1/32", "2001:db8::1/128"]),
        ("192.0.2.1, 2001:db8::99", ["192.0.2.1/32", "2001:db8::1/128"]),
    ],
    ids=["own", "own, not the default", "behind NAT", "IPv6", "both", "both, behind NAT"],
)
def test_only_the_address_behind_node_ip_takes_media(node_ip: str, networks: list[str]) -> None:
    """A second address of a family makes LiveKit lose all media on multiplexed ports."""
    assert config(livekit_node_ip=node_ip)["rtc"]["ips"] == {"includes": networks}


def test_media_networks_can_be_set_or_left_to_livekit() -> None:
    assert config(livekit_media_networks=["10.0.0.0/8"])["rtc"]["ips"] == {"includes": ["10.0.0.0/8"]}
    assert "ips" not in config(livekit_media_networks=[])["rtc"]


def test_host_without_a_default_route_filters_nothing() -> None:
    facts = {**SITE["ansible_facts"], "default_ipv4": {}, "default_ipv6": {}}
    assert "ips" not in config(ansible_facts=facts, livekit_node_ip="203.0.113.7")["rtc"]


@pytest.mark.parametrize(("version", "known"), [("1.13.5", False), ("1.13.6", True), ("1.14.0", True)])
def test_keys_of_newer_releases_are_added_by_version(version: str, known: bool) -> None:
    found = config(livekit_version=version, livekit_advertise_internal_ip="yes")
    assert ("advertise_internal_ip" in found["rtc"]) is known
    assert "advertise_internal_ip" not in config(livekit_version=version)["rtc"]


def test_metrics_are_off_unless_asked_for() -> None:
    assert "prometheus" not in config()
    assert config(livekit_prometheus_port="6789")["prometheus"] == {"port": 6789}


def test_stun_is_none_of_the_media_ports() -> None:
    """WebRTC takes all that comes from a STUN server's address for STUN, and throws the media away."""
    assert config()["rtc"]["stun_servers"] == ["rtc.example.org:3478"]


def test_webhooks_follow_the_token_service() -> None:
    assert config(lk_jwt_service_port=18080)["webhook"]["urls"] == ["http://127.0.0.1:18080/sfu_webhook"]


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7880/"),
        ("0.0.0.0", "http://127.0.0.1:7880/"),  # noqa: S104
        ("::", "http://127.0.0.1:7880/"),
        ("", "http://127.0.0.1:7880/"),
        ("::1", "http://[::1]:7880/"),
        ("10.0.0.5", "http://10.0.0.5:7880/"),
    ],
)
def test_health_is_asked_where_it_listens(bind: str, url: str) -> None:
    assert Role("livekit", livekit_bind_addresses=[bind]).value("__livekit_health_url") == url


@pytest.mark.parametrize("architecture", [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_release_of_the_hosts_architecture(architecture: tuple[str, str]) -> None:
    facts = {**SITE["ansible_facts"], "architecture": architecture[0]}
    asset = Role("livekit", ansible_facts=facts).value("__livekit_artifact.asset")
    assert asset == f"livekit_1.13.5_linux_{architecture[1]}.tar.gz"


# kernel --------------------------------------------------------------------------------------------


def buffers(rmem: str, wmem: str, **given: Any) -> Role:
    settable = dict.fromkeys(("settable__net__core__rmem_max", "settable__net__core__wmem_max"), "yes")
    answers = {"net__core__rmem_max": rmem, "net__core__wmem_max": wmem, **settable}
    return Role("livekit", common_host_probe=probed(**answers), **given)


def lines(role: Role) -> list[str]:
    return [line for line in role.file("sysctl.conf.j2").splitlines() if not line.startswith("#")]


def test_socket_buffers_are_raised() -> None:
    role = buffers("212992", "212992")
    assert lines(role) == ["net.core.rmem_max = 16777216", "net.core.wmem_max = 16777216"]
    assert role.value("__livekit_buffers_low and __livekit_buffers_settable") is True


def test_socket_buffers_are_never_lowered() -> None:
    role = buffers("33554432", "212992")
    assert lines(role) == ["net.core.wmem_max = 16777216"]


def test_raised_socket_buffers_stay_in_the_file() -> None:
    """The next boot needs them; and the next run must not find anything to do."""
    role = buffers("16777216", "16777216")
    assert len(lines(role)) == 2
    assert role.value("__livekit_buffers_low") is False


def test_socket_buffers_can_be_left_alone() -> None:
    role = buffers("212992", "212992", livekit_socket_buffer=0)
    assert (lines(role), role.value("__livekit_buffers_low")) == ([], False)


@pytest.mark.parametrize("answers", [{}, {"net__core__rmem_max": "212992", "net__core__wmem_max": "212992"}])
def test_host_that_refuses_or_hides_its_limits(answers: dict[str, str]) -> None:
    role = Role("livekit", common_host_probe=probed(**answers))
    assert role.value("__livekit_buffers_settable") is False
    assert role.value("__livekit_buffers_low") is bool(answers)


# unit ----------------------------------------------------------------------------------------------


def test_unit_is_started_again_whatever_its_status() -> None:
    unit = Role("livekit").unit()
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == (["always"], ["0"])
    assert (unit["KillMode"], unit["TimeoutStopSec"]) == (["mixed"], ["10"])
    assert unit["LimitNOFILE"] == ["500000"]
    assert unit["User"] == ["livekit"]


def test_unit_is_confined() -> None:
    unit = Role("livekit").unit()
    for directive in (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateMounts",
        "ProtectClock",
        "ProtectControlGroups",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "RemoveIPC",
        "PrivateUsers",
    ):
        assert unit[directive] == ["yes"], directive
    assert (unit["ProtectSystem"], unit["ProtectProc"]) == (["strict"], ["invisible"])
    assert (unit["CapabilityBoundingSet"], unit["AmbientCapabilities"]) == ([""], [""])
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert unit["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"]


def test_unit_can_read_the_hosts_load() -> None:
    """Without /proc/stat its statistics fail, and then its health page does."""
    assert "ProcSubset" not in Role("livekit").unit()


def test_user_namespace_only_where_the_host_has_them() -> None:
    without = Role("livekit", common_host_probe={"stdout_lines": []})
    assert without.unit()["PrivateUsers"] == ["no"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("name", ["livekit", "lk_jwt_service"])
def test_exposure_score(name: str, tmp_path: Path) -> None:
    role = Role(name)
    unit = tmp_path / "tested.service"
    unit.write_text(role.file("service.j2", role="common", common_unit=role.value(f"__{name}_unit")))
    ran = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


# the real server -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that the lab deploys. Without one in the lab's cache it is made, once."""
    store = Store(Progress(), ARCHITECTURES[platform.machine()])
    artifact = store.obtain(LIVEKIT, parse_wishes(os.environ.get(LIVEKIT.environment, "")))[0]
    return unpack(Path(artifact.path), tmp_path_factory.mktemp("livekit"))


def ports_of(server: Path, file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(server), "--config", str(file), "ports"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"livekit_udp_port": 7882},
        {"livekit_udp_port": "", "livekit_port_range_start": 50000, "livekit_port_range_end": 50100},
        {"livekit_node_ip": "192.0.2.1,2001:db8::1", "livekit_prometheus_port": 6789},
        {"livekit_version": "1.13.6", "livekit_advertise_internal_ip": True, "livekit_media_networks": []},
    ],
    ids=["default", "one port", "range", "dual stack", "no filter"],
)
def test_livekit_itself_reads_it(server: Path, given: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "livekit.yaml"
    file.write_text(Role("livekit", **given).file("livekit.yaml.j2"))
    ran = ports_of(server, file)
    assert "TCP Ports" in ran.stdout, ran.stdout + ran.stderr


def test_livekit_refuses_an_unknown_key_with_status_0(server: Path, tmp_path: Path) -> None:
    """Why the role looks at what is printed."""
    file = tmp_path / "livekit.yaml"
    file.write_text(Role("livekit", livekit_extra_config={"rooom": {}}).file("livekit.yaml.j2"))
    ran = ports_of(server, file)
    assert (ran.returncode, "TCP Ports" in ran.stdout) == (0, False)
