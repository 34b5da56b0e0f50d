"""The checks of a further node: each fault by its own name, and nothing restarted for any of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import endpoint_host
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_host import Host
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_node import (
    closed_check,
    named,
    node_checks,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import Peer
from endpoint_support import SERVICE, FakeHttp, answer, refusal, site
from test_endpoint_host import EVERYWHERE, HEADER, LOOPBACK, PUBLIC, RULES, SETTINGS, row

HEALTH = ("GET", "http://127.0.0.1:7880/")
HOOK = ("POST", f"{SERVICE}/sfu_webhook")


class Node:
    """A node in a folder, healthy until a test breaks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tcp = [(LOOPBACK, 7880), (PUBLIC, 7880), (EVERYWHERE, 7881)]
        self.udp = [(PUBLIC, 7882)]
        self.settings = SETTINGS.replace("http://127.0.0.1:8080/sfu_webhook", f"{SERVICE}/sfu_webhook")
        self.commands = {"systemctl": (0, "active\n"), "nft": (0, json.dumps({"nftables": RULES}))}
        self.http = FakeHttp()
        self.http.answers.update({HEALTH: answer(200, "OK"), HOOK: answer(200)})

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        return self.commands.get(words[0], (127, ""))

    def checks(self) -> dict[str, Check]:
        net, etc = self.folder / "proc" / "net", self.folder / "etc" / "livekit"
        net.mkdir(parents=True)
        etc.mkdir(parents=True)
        (net / "tcp").write_text(HEADER + "".join(row(address, port, "0A") for address, port in self.tcp))
        (net / "udp").write_text(HEADER + "".join(row(address, port, "07") for address, port in self.udp))
        (net / "route").write_text("Iface\tDestination\n" + "eth0\t00000000\n")
        (etc / "livekit.yaml").write_text(self.settings)
        (etc / "keys.yaml").write_text("matrixrtc: secret\n")
        host = Host(str(self.folder / "etc"), process_folder=str(self.folder / "proc"))
        return {check.id: check for check in node_checks(site(self.http), host)}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node(tmp_path)
    monkeypatch.setattr(endpoint_host, "run_command", made.run)
    return made


def failed(checks: dict[str, Check]) -> list[str]:
    return [check.id for check in checks.values() if check.status == FAIL]


def test_a_healthy_node_passes(node):
    checks = node.checks()
    assert {check.status for check in checks.values()} == {OK}
    assert set(checks) == {
        "node_services",
        "node_health",
        "node_sockets",
        "node_livekit_settings",
        "node_webhook",
        "node_clock",
        "node_firewall",
    }


def test_a_node_without_redis_is_not_to_be_restarted(node):
    node.http.answers[HEALTH] = answer(406, "Not Ready")
    checks = node.checks()
    assert failed(checks) == ["node_health"]
    assert "does not reach Redis" in checks["node_health"].cause
    assert "do not restart" in checks["node_health"].fix


def test_a_stopped_node(node):
    node.commands["systemctl"] = (3, "inactive\n")
    node.http.answers[HEALTH] = answer(500)
    assert failed(node.checks()) == ["node_services", "node_health"]


@pytest.mark.parametrize(
    ("tcp", "udp", "says"),
    [
        ([(LOOPBACK, 7880), (EVERYWHERE, 7881)], [(PUBLIC, 7882)], "on loopback only"),
        ([(EVERYWHERE, 7880), (EVERYWHERE, 7881)], [(PUBLIC, 7882)], "signalling listens on every address"),
        ([(LOOPBACK, 7880), (PUBLIC, 7880)], [(PUBLIC, 7882)], "nothing listens on TCP 7881"),
        ([(LOOPBACK, 7880), (PUBLIC, 7880), (EVERYWHERE, 7881)], [], "nothing listens on UDP"),
    ],
)
def test_sockets_that_are_not_as_they_should_be(node, tcp, udp, says):
    node.tcp, node.udp = tcp, udp
    checks = node.checks()
    assert failed(checks) == ["node_sockets"]
    assert says in checks["node_sockets"].cause


@pytest.mark.parametrize("status", [403, 404, 502])
def test_a_front_that_does_not_hear_the_node(node, status):
    node.http.answers[HOOK] = refusal(status, "M_UNRECOGNIZED")
    checks = node.checks()
    assert failed(checks) == ["node_webhook"]
    assert "nginx_proxy_sfu_sources" in checks["node_webhook"].fix


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        (Peer(error="timeout"), OK),
        (Peer(address="203.0.113.5"), FAIL),
        (Peer(address="203.0.113.5", local=True), SKIP),
    ],
)
def test_signalling_from_outside(peer, status):
    http = FakeHttp(open_ports={7880: peer})
    assert closed_check(replace(site(http), media_addresses=("203.0.113.5",))).status == status


def test_several_nodes_are_told_apart():
    check = Check("node_health", "The node's own page", OK)
    assert named("sfu2", [check])[0].title == "sfu2: The node's own page"
    assert named("", [check]) == [check]
