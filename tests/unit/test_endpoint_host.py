"""The checks on the RTC host: each fault by its own name, and no secret in any word that leaves them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import endpoint_host
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_host import Host, host_checks
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_service import ADMIN_PATH
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import START_LIVEKIT
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import DELAYED
from endpoint_support import HOMESERVER, SFU, FakeHttp, answer, refusal, site

SECRET = "kXq7vN2mR8tYc4Zb9LwF3sHd6JpG1uEa"
SETTINGS = """\
# Ansible managed
port: 7880
rtc:
  node_ip: 203.0.113.5
  udp_port: 7882-7885
room:
  auto_create: false
webhook:
  api_key: matrixrtc
  urls:
  - http://127.0.0.1:8080/sfu_webhook
"""
LOOPBACK, EVERYWHERE, PUBLIC = "0100007F", "00000000", "057100CB"
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def opening(protocol: str, right: object) -> dict[str, object]:
    """A rule that accepts packets to some ports."""
    left = {"payload": {"protocol": protocol, "field": "dport"}}
    expressions = [{"match": {"op": "==", "left": left, "right": right}}, {"accept": None}]
    return {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": expressions}}


INPUT = {
    "family": "inet",
    "table": "filter",
    "name": "input",
    "type": "filter",
    "hook": "input",
    "policy": "drop",
}
RULES = [{"chain": INPUT}, opening("tcp", {"set": [22, 443, 7881]}), opening("udp", {"range": [7882, 7885]})]


def row(address: str, port: int, state: str) -> str:
    return (
        f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0      "
        "  0 1 1\n"
    )


class Machine:
    """A host in a folder. Its commands are answered from `commands`, by the program's name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tcp = [(LOOPBACK, 7880), (LOOPBACK, 8080), (EVERYWHERE, 7881)]
        self.udp = [(PUBLIC, 7882), (PUBLIC, 7883)]
        self.files = {
            "livekit/livekit.yaml": SETTINGS,
            "livekit/keys.yaml": f"matrixrtc: {SECRET}\n",
            "lk-jwt-service/key": "matrixrtc\n",
            "lk-jwt-service/secret": f"{SECRET}\n",
            "lk-jwt-service/hosts": "127.0.0.1 rtc.example.org # ours\n127.0.0.1 localhost\n",
        }
        self.commands = {"systemctl": (0, "active\nactive\n"), "nft": (0, json.dumps({"nftables": RULES}))}
        self.kind = "synapse"
        self.http = FakeHttp()
        self.http.answers[("POST", f"{SFU}{ADMIN_PATH}")] = answer(401)

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        return self.commands.get(" ".join(words), self.commands.get(words[0], (127, "")))

    def checks(self) -> dict[str, Check]:
        net = self.folder / "proc" / "net"
        net.mkdir(parents=True)
        (net / "tcp").write_text(HEADER + "".join(row(address, port, "0A") for address, port in self.tcp))
        (net / "udp").write_text(HEADER + "".join(row(address, port, "07") for address, port in self.udp))
        (net / "route").write_text("Iface\tDestination\n" + "eth0\t00000000\n")
        for name, content in self.files.items():
            path = self.folder / "etc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        host = Host(str(self.folder / "etc"), process_folder=str(self.folder / "proc"))
        found = host_checks(replace(site(self.http), homeserver_kind=self.kind), host)
        assert SECRET not in repr(found)
        return {check.id: check for check in found}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(endpoint_host, "run_command", made.run)
    return made


def failed(checks: dict[str, Check]) -> list[str]:
    return [check.id for check in checks.values() if check.status == FAIL]


@pytest.mark.parametrize(
    ("kind", "expected"), [("synapse", FAIL), ("ess", FAIL), ("tuwunel", WARN), ("other", WARN)]
)
def test_a_homeserver_without_delayed_events(machine: Machine, kind: str, expected: str) -> None:
    machine.kind = kind
    url = f"{HOMESERVER}{DELAYED}/matrixrtc-probe/restart"
    machine.http.answers[("POST", url)] = refusal(404, "M_UNRECOGNIZED")
    check = machine.checks()["host_delayed_leave"]
    assert check.status == expected
    assert ("matrixrtc_snippets_dir" in check.fix) == (kind == "ess")


def test_a_healthy_host_passes(machine: Machine) -> None:
    assert {check.status for check in machine.checks().values()} == {OK}


def test_a_stopped_livekit_is_named_by_its_unit(machine: Machine) -> None:
    machine.commands["systemctl"] = (3, "inactive\nactive\n")
    machine.tcp, machine.udp = [(LOOPBACK, 8080)], []
    machine.http.answers[("GET", f"{SFU}/rtc/validate")] = answer(502)
    checks = machine.checks()
    assert failed(checks) == ["host_services", "host_sockets", "host_sfu_route"]
    assert "livekit not running" in checks["host_services"].cause
    assert {checks[check_id].fix for check_id in failed(checks)} == {START_LIVEKIT}


def test_a_stopped_token_service_is_told_from_a_stopped_livekit(machine: Machine) -> None:
    machine.commands["systemctl"] = (3, "active\nfailed\n")
    machine.tcp = [(LOOPBACK, 7880), (EVERYWHERE, 7881)]
    checks = machine.checks()
    assert failed(checks) == ["host_services", "host_sockets"]
    assert "lk-jwt-service" in checks["host_services"].fix


def test_the_last_words_of_a_unit_are_told_without_tokens(machine: Machine) -> None:
    machine.commands["systemctl"] = (3, "failed\nactive\n")
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
    machine.commands["journalctl"] = (0, f"bad request {token} ?access_token=syt_x&y\n")
    seen = machine.checks()["host_services"].seen
    assert seen == "livekit failed, lk-jwt-service active; livekit: bad request *** ?access_token=***&y"


def test_a_livekit_that_gets_no_answer_from_stun_is_told_from_a_stopped_one(machine: Machine) -> None:
    machine.commands["systemctl"] = (3, "activating\nactive\n")
    words = "could not validate RTC config: could not resolve external IP: context deadline exceeded"
    machine.commands["journalctl"] = (0, words)
    check = machine.checks()["host_services"]
    assert "again and again" in check.cause
    assert "matrixrtc_media_address" in check.fix


@pytest.mark.parametrize("position", [0, len(SECRET) // 2, len(SECRET) - 1])
def test_one_wrong_character_of_the_secret_is_named(machine: Machine, position: int) -> None:
    altered = SECRET[:position] + "#" + SECRET[position + 1 :]
    machine.files["lk-jwt-service/secret"] = altered
    checks = machine.checks()
    assert failed(checks) == ["host_credentials"]
    assert "the secrets differ" in checks["host_credentials"].seen
    assert altered not in repr(checks)
    assert "run site.yml" in checks["host_credentials"].fix


def test_one_wrong_character_of_the_key_is_named(machine: Machine) -> None:
    machine.files["lk-jwt-service/key"] = "matrixrtd"
    checks = machine.checks()
    assert failed(checks) == ["host_credentials"]
    assert "the key in the token service's file differs" in checks["host_credentials"].cause


def test_missing_files_are_named(machine: Machine) -> None:
    del machine.files["lk-jwt-service/secret"]
    assert "lk-jwt-service/secret" in machine.checks()["host_credentials"].seen


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("auto_create: false", "auto_create: true", "the full-access list means nothing"),
        ("room:\n  auto_create: false\n", "", "the full-access list means nothing"),
        ("  urls:\n  - http://127.0.0.1:8080/sfu_webhook\n", "", "never learns who left"),
        ("/sfu_webhook", "/elsewhere", "never learns who left"),
        ("api_key: matrixrtc", "api_key: another", "cannot sign its webhooks"),
    ],
)
def test_settings_of_livekit_that_only_a_crash_would_show(
    machine: Machine, old: str, new: str, said: str
) -> None:
    assert old in SETTINGS
    machine.files["livekit/livekit.yaml"] = SETTINGS.replace(old, new)
    checks = machine.checks()
    assert failed(checks) == ["host_livekit_settings"]
    assert said in checks["host_livekit_settings"].cause


def test_an_internal_port_on_every_address_is_found(machine: Machine) -> None:
    machine.tcp[0] = (EVERYWHERE, 7880)
    check = machine.checks()["host_sockets"]
    assert check.status == FAIL
    assert "TCP 7880 should be on 127.0.0.1" in check.cause


def test_media_ports_other_than_the_inventorys_are_found(machine: Machine) -> None:
    machine.udp = [(PUBLIC, 50000)]
    check = machine.checks()["host_sockets"]
    assert check.status == FAIL
    assert "nothing listens on UDP 7882-7885" in check.seen


def test_the_ports_of_a_range_are_opened_on_demand(machine: Machine) -> None:
    machine.udp = []
    machine.files["livekit/livekit.yaml"] = SETTINGS.replace("udp_port: 7882-7885", "port_range_start: 50000")
    assert machine.checks()["host_sockets"].status == OK


def test_a_removed_udp_rule_is_named_with_its_chain(machine: Machine) -> None:
    machine.commands["nft"] = (0, json.dumps({"nftables": RULES[:2]}))
    checks = machine.checks()
    assert failed(checks) == ["host_firewall"]
    assert (
        "UDP 7882-7885 is dropped in table inet filter, chain input, by its policy"
        in checks["host_firewall"].seen
    )
    assert "UDP 7882-7885" in checks["host_firewall"].fix


def test_a_port_that_iptables_closes_is_named_with_its_tool(machine: Machine) -> None:
    del machine.commands["nft"]
    machine.commands["iptables --version"] = (0, "iptables v1.8.11 (nf_tables)")
    machine.commands["iptables -S"] = (0, "-P INPUT DROP\n-N ufw-user-input\n-A INPUT -p tcp -j ACCEPT\n")
    checks = machine.checks()
    assert failed(checks) == ["host_firewall"]
    assert "UDP 7882-7885 is dropped in table ip filter, chain INPUT" in checks["host_firewall"].seen
    assert "opens UDP 7882-7885 in ufw" in checks["host_firewall"].fix


@pytest.mark.parametrize("command", [(127, ""), (1, "Operation not permitted")])
def test_a_packet_filter_that_cannot_be_read_is_not_judged(
    machine: Machine, command: tuple[int, str]
) -> None:
    machine.commands["nft"] = command
    assert machine.checks()["host_firewall"].status == SKIP


def test_a_blocked_admin_api_is_told_from_a_stopped_livekit(machine: Machine) -> None:
    machine.http.answers[("POST", f"{SFU}{ADMIN_PATH}")] = answer(403)
    check = machine.checks()["host_sfu_route"]
    assert check.status == FAIL
    assert "Unable to create room on SFU" in check.cause
    assert "127.0.0.1" in check.fix


def test_the_token_services_hosts_file_is_used(machine: Machine) -> None:
    seen = []

    class Watching(FakeHttp):
        def request(self, method: str, url: str, *rest: object, **more: object) -> Response:
            seen.append(dict(self.addresses))
            return super().request(method, url, *rest, **more)  # type: ignore[arg-type]

    machine.http = Watching(answers=machine.http.answers)
    machine.checks()
    assert all(addresses["rtc.example.org"] == "127.0.0.1" for addresses in seen)


@pytest.mark.parametrize(
    "reply", [refusal(404, "M_UNRECOGNIZED"), answer(502), Response("", error="timeout")]
)
def test_a_homeserver_that_takes_no_leaves_is_found(machine: Machine, reply: Response) -> None:
    machine.http.answers[("POST", f"{HOMESERVER}{DELAYED}/matrixrtc-probe/restart")] = reply
    check = machine.checks()["host_delayed_leave"]
    assert check.status == FAIL
    assert "who crashes stays" in check.shows


def test_a_clock_that_is_not_the_homeservers_is_found(machine: Machine) -> None:
    machine.http.clocks["matrix.example.org"] = 300
    checks = machine.checks()
    assert failed(checks) == ["host_clock"]
    assert "300 s behind that of the homeserver" in checks["host_clock"].cause


def test_a_rate_limit_proves_that_leaves_are_taken(machine: Machine) -> None:
    url = f"{HOMESERVER}{DELAYED}/matrixrtc-probe/restart"
    machine.http.answers[("POST", url)] = refusal(429, "M_LIMIT_EXCEEDED")
    assert machine.checks()["host_delayed_leave"].status == OK


def test_a_switched_off_tcp_port_is_not_missed(machine: Machine) -> None:
    machine.tcp = machine.tcp[:2]
    host = Host(str(machine.folder / "etc"), process_folder=str(machine.folder / "proc"))
    machine.checks()
    without = replace(site(machine.http), tcp_port=0)
    assert endpoint_host.sockets_check(without, host).status == OK
