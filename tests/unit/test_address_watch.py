"""A changed address comes into LiveKit's configuration once it is sure, and a bad one changes nothing."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from ansible.plugins.filter.core import to_nice_yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils import address_watch
from ansible_collections.matrixrtc.backend.plugins.module_utils.address_source import NoAddressError
from ansible_collections.matrixrtc.backend.plugins.module_utils.address_watch import (
    Surroundings,
    Watch,
    WatchError,
    filled,
    values_in,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_service import apply, predict
from ansible_collections.matrixrtc.backend.plugins.module_utils.applied_state import State
from ansible_collections.matrixrtc.backend.plugins.module_utils.service_host import Ran
from ansible_collections.matrixrtc.backend.plugins.module_utils.stuck_sfu import SfuError
from hypothesis import strategies as st
from role_rendering import Role
from test_applied_service import FakeSystemd, KilledError

OLD, NEW, OTHER = "8.8.8.8", "8.8.4.4", "1.1.1.1"
OLD_V6, NEW_V6 = "2001:4860::1", "2001:4860::2"
TEXT = """rtc:
  node_ip: MATRIXRTC_NODE_IP
  ips:
    includes:
    - MATRIXRTC_OWN_V4/32
"""
TEXT_V6 = TEXT + "    - MATRIXRTC_OWN_V6/128\n"


class Site:
    """A host with LiveKit on it, and what its surroundings say of its address."""

    def __init__(self, folder: Path, text: str = TEXT, **present: str) -> None:
        self.folder = folder
        self.config = folder / "livekit.yaml"
        self.record = folder / "record.json"
        self.told: list[str] = []
        self.answers: dict[int, str] = {4: OLD, 6: OLD_V6}
        self.routes: dict[int, str] = {}  # where they differ from the answers: behind NAT
        self.further: list[str] = []  # addresses of the host beside those
        self.people: int | str = 0
        self.host = FakeSystemd(self.config)
        (folder / "livekit.yaml.watch").write_text(text)
        values = {"MATRIXRTC_NODE_IP": OLD, "MATRIXRTC_OWN_V4": OLD, "MATRIXRTC_OWN_V6": OLD_V6, **present}
        self.config.write_text(filled(text, values))
        self.config.chmod(0o640)
        self.settings: dict[str, Any] = {
            "given": "",
            "config": str(self.config),
            "template": str(folder / "livekit.yaml.watch"),
            "record": str(self.record),
            "restart": "immediate",
            "restart_wait": 1800,
            "restart_after_wait": "defer",
            "service": {
                "name": "livekit",
                "state_dir": str(folder / "applied"),
                "inputs": [str(self.config)],
                "check": {"argv": ["livekit-server", "ports"], "expect": "TCP Ports", "user": ""},
                "health": {"url": "http://127.0.0.1:7880/", "timeout": 5},
                "secret_files": [],
            },
        }
        apply(self.wanted, self.host)  # as the role does
        self.started = self.host.restarts

    @property
    def wanted(self) -> Any:
        return address_watch._wanted(self.settings["service"])

    @property
    def restarts(self) -> int:
        return self.host.restarts - self.started

    @property
    def node_ip(self) -> str:
        return values_in((self.folder / "livekit.yaml.watch").read_text(), self.config.read_text())[
            "MATRIXRTC_NODE_IP"
        ]

    def known(self, key: str) -> Any:
        return json.loads(self.record.read_text())[key]

    def _said(self, answers: dict[int, str], version: int) -> Any:
        if not answers.get(version):
            raise NoAddressError("the resolver did not answer")
        return ipaddress.ip_address(answers[version])

    def _participants(self) -> int:
        if isinstance(self.people, str):
            raise SfuError(self.people)
        return self.people

    def look(self, times: int = 1) -> bool:
        """What the timer does so many times; the last status."""
        good = True
        for _time in range(times):
            self.told = []
            self.host.now += 60
            routes = {**self.answers, **self.routes}
            around = Surroundings(
                source=lambda version: self._said(self.answers, version),
                default_route=lambda version: self._said(routes, version),  # noqa: B023
                own=lambda: frozenset([*routes.values(), *self.further]),  # noqa: B023
                participants=self._participants,
                host=self.host,
                say=self.told.append,
            )
            good = Watch(self.settings, around).run()
        return good


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_an_address_that_stays_changes_nothing(site):
    assert site.look(5)
    assert (site.restarts, site.told) == (0, [])
    assert not site.record.exists()


def test_a_new_address_is_acted_on_when_it_is_seen_twice(site):
    site.answers[4] = NEW
    assert site.look()
    assert (site.restarts, site.node_ip) == (0, OLD)
    assert site.look()
    assert (site.restarts, site.node_ip) == (1, NEW)
    assert site.host.running == filled(TEXT, {"MATRIXRTC_NODE_IP": NEW, "MATRIXRTC_OWN_V4": NEW})
    assert site.known("address") == NEW
    assert site.look(3)
    assert (site.restarts, site.told) == (1, [])


def test_one_that_comes_and_goes_is_not_acted_on(site):
    for address in [NEW, OLD, NEW, OTHER, NEW, OLD] * 3:
        site.answers[4] = address
        site.look()
    assert (site.restarts, site.node_ip) == (0, OLD)


def test_what_the_service_runs_on_is_what_applied_service_has_recorded(site):
    """So the next run of the role does nothing."""
    site.answers[4] = NEW
    site.look(2)
    outcome = predict(site.wanted, site.host)
    assert (outcome.action, outcome.reason) == ("none", "")
    assert [item.content.decode() for item in State(str(site.folder / "applied"), "livekit").good_set()] == [
        site.config.read_text()
    ]


def test_the_file_keeps_its_mode(site):
    site.answers[4] = NEW
    site.look(2)
    assert os.stat(site.config).st_mode & 0o777 == 0o640
    assert os.stat(site.record).st_mode & 0o777 == 0o600


# Answers that are none


@pytest.mark.parametrize(
    ("answer", "says"),
    [("", "did not answer"), ("10.0.0.5", "not public"), ("127.0.1.1", "not an address that clients can")],
)
def test_a_bad_answer_changes_nothing_and_is_told_once(site, answer, says):
    site.answers[4] = answer
    assert site.look()
    assert says in site.told[0]
    assert "changes nothing" in site.told[0]
    assert site.look(5)
    assert (site.restarts, site.node_ip, site.told) == (0, OLD, [])
    site.answers[4] = OLD
    site.look()
    site.answers[4] = answer
    site.look()
    assert says in site.told[0], "it is news again"


def test_a_bad_answer_between_two_good_ones_is_no_confirmation(site):
    site.answers[4] = NEW
    site.look()
    site.answers[4] = ""
    site.look()
    site.answers[4] = NEW
    site.look()
    assert site.restarts == 0
    site.look()
    assert site.node_ip == NEW


# Both families, and NAT


def test_each_family_changes_by_itself(tmp_path):
    site = Site(tmp_path, TEXT_V6, MATRIXRTC_NODE_IP=f"{OLD},{OLD_V6}")
    site.answers = {4: "", 6: NEW_V6}
    site.look(2)
    assert site.node_ip == f"{OLD},{NEW_V6}"
    assert f"- {NEW_V6}/128" in site.config.read_text()
    assert f"- {OLD}/32" in site.config.read_text()


def test_behind_nat_the_own_address_is_that_of_the_default_route(tmp_path):
    site = Site(tmp_path, MATRIXRTC_OWN_V4="10.0.0.5")
    site.routes[4] = "10.0.0.5"
    site.answers[4] = NEW
    site.look(2)
    assert (site.node_ip, site.restarts) == (NEW, 1)
    assert "- 10.0.0.5/32" in site.config.read_text()


def test_a_new_address_on_the_inner_side_alone_counts_too(tmp_path):
    site = Site(tmp_path, MATRIXRTC_OWN_V4="10.0.0.5")
    site.routes[4] = "10.0.0.6"
    site.look(2)
    assert (site.node_ip, site.restarts) == (OLD, 1)
    assert "- 10.0.0.6/32" in site.config.read_text()


def test_an_address_of_the_host_that_is_not_the_first_stands_for_itself(site):
    site.routes[4] = "10.0.0.5"
    site.further = [OLD, NEW]
    site.look(2)
    assert site.restarts == 0
    site.answers[4] = NEW
    site.look(2)
    assert f"- {NEW}/32" in site.config.read_text()


def test_an_address_that_is_written_otherwise_is_the_same(tmp_path):
    site = Site(tmp_path, TEXT_V6, MATRIXRTC_NODE_IP=f"{OLD},2001:4860:0::0001")
    site.look(3)
    assert (site.restarts, site.told) == (0, [])


def test_networks_that_the_operator_chose_stay(tmp_path):
    text = "rtc:\n  node_ip: MATRIXRTC_NODE_IP\n  ips:\n    includes:\n    - 10.0.0.0/8\n"
    site = Site(tmp_path, text)
    site.answers[4] = NEW
    site.look(2)
    assert site.config.read_text() == text.replace("MATRIXRTC_NODE_IP", NEW)


# LiveKit does not come up


class Picky(FakeSystemd):
    """Starts on everything but one address."""

    def _restart(self) -> Ran:
        ran = super()._restart()
        if NEW in self.running:
            self._end()
        return ran


def test_the_last_good_configuration_comes_back_and_the_new_one_is_not_tried_again(site):
    before = site.config.read_text()
    site.host.__class__ = Picky
    site.answers[4] = NEW
    assert not site.look(2)
    assert site.config.read_text() == before == site.host.running
    assert "did not come up" in site.told[-1]
    assert site.known("address") == OLD
    tries = site.restarts
    assert not site.look(5)
    assert (site.restarts, site.told) == (tries, [])
    site.answers[4] = OTHER
    assert site.look(2)
    assert site.node_ip == OTHER


def test_it_is_tried_again_when_it_had_been_gone(site):
    site.host.__class__ = Picky
    site.answers[4] = NEW
    site.look(2)
    site.answers[4] = OLD
    site.look()
    site.host.__class__ = FakeSystemd
    site.answers[4] = NEW
    assert site.look(2)
    assert site.node_ip == NEW


def test_a_configuration_that_is_refused_ends_no_call(site):
    site.host.check_output = "could not parse config"
    site.answers[4] = NEW
    assert not site.look(2)
    assert (site.restarts, site.node_ip) == (0, OLD)
    assert "is refused" in site.told[-1]


def test_a_service_that_somebody_stopped_stays_so(site):
    site.host.active = "inactive"
    site.answers[4] = NEW
    assert site.look(2)
    assert (site.restarts, site.node_ip) == (0, NEW)
    assert "is stopped and stays so" in site.told[-1]


# The policy of restarts


def test_running_calls_are_waited_for(site):
    site.settings["restart"] = "when_idle"
    site.people = 3
    site.answers[4] = NEW
    site.look(40)
    assert (site.restarts, site.node_ip) == (0, NEW)
    site.people = 0
    site.look()
    assert site.restarts == 1


def test_not_for_ever_where_that_is_asked_for(site):
    site.settings.update(restart="when_idle", restart_after_wait="force", restart_wait=600)
    site.people = 3
    site.answers[4] = NEW
    site.look(11)
    assert site.restarts == 0
    site.look()
    assert site.restarts == 1


def test_calls_that_cannot_be_counted_are_calls(site):
    site.settings["restart"] = "when_idle"
    site.people = "LiveKit does not answer"
    site.answers[4] = NEW
    site.look(3)
    assert site.restarts == 0
    assert site.look()
    assert site.told == []


def test_nothing_is_waited_for_when_the_service_is_not_up(site):
    site.settings["restart"] = "when_idle"
    site.people = "LiveKit does not answer"
    site.host.active, site.host.sub = "activating", "auto-restart"
    site.answers[4] = NEW
    site.look(2)
    assert site.restarts == 1


def test_the_operator_restarts_it_where_they_want_to(site):
    site.settings["restart"] = "defer"
    site.answers[4] = NEW
    site.look(2)
    assert (site.restarts, site.node_ip) == (0, NEW)
    assert "systemctl restart livekit" in site.told[-1]
    site.look(3)
    assert site.told == []
    apply(site.wanted, site.host)
    site.look()
    assert site.known("pending") == 0


def test_an_address_that_changes_back_while_calls_go_on_costs_nothing(site):
    site.settings["restart"] = "when_idle"
    site.people = 3
    site.answers[4] = NEW
    site.look(3)
    site.answers[4] = OLD
    site.look(2)
    assert (site.restarts, site.node_ip, site.known("pending")) == (0, OLD, 0)


# Together with runs of the role


def test_another_address_of_the_operators_begins_anew(site):
    site.answers[4] = NEW
    site.look(2)
    site.settings["given"] = OTHER
    site.config.write_text(site.config.read_text().replace(NEW, OTHER))
    site.look()
    assert (site.known("given"), site.known("address")) == (OTHER, "")
    site.look()
    assert (site.node_ip, site.known("address")) == (NEW, NEW)


def test_a_run_that_wrote_the_old_address_again_is_made_good(site):
    site.answers[4] = NEW
    site.look(2)
    site.config.write_text(site.config.read_text().replace(NEW, OLD))
    apply(site.wanted, site.host)
    site.look(2)
    assert (site.node_ip, site.host.running) == (NEW, site.config.read_text())


def test_a_run_at_work_is_not_disturbed(site):
    site.answers[4] = NEW
    with State(str(site.folder / "applied"), "livekit").locked():
        assert site.look(2)
        assert "another run" in site.told[-1]
    assert site.restarts == 0
    assert site.look()
    assert site.restarts == 1


@pytest.mark.parametrize("text", ["rtc:\n  use_external_ip: true\n", ""])
def test_a_configuration_of_somebody_else_is_left_alone(site, text):
    site.config.write_text(text)
    site.answers[4] = NEW
    assert not site.look(3)
    assert site.config.read_text() == text


def test_a_missing_file_is_said(site):
    site.config.unlink()
    assert not site.look()
    assert "is not there: run site.yml" in site.told[0]


def test_a_text_without_marks_is_refused():
    with pytest.raises(WatchError, match="MATRIXRTC_NODE_IP"):
        values_in("rtc: {}\n", "rtc: {}\n")


def test_an_unreadable_record_counts_as_none(site):
    site.record.write_text("{")
    site.answers[4] = NEW
    site.look(2)
    assert site.node_ip == NEW


def killed(site: Site, kill: Callable[[str], bool]) -> None:
    site.host.kill = kill
    with pytest.raises(KilledError):
        site.look()
    site.host.kill = lambda call: False


@pytest.mark.parametrize("call", ["livekit-server ports", "systemctl restart", "systemctl daemon-reload"])
def test_killed_anywhere_it_is_finished_the_next_time(site, call):
    site.answers[4] = NEW
    site.look()
    killed(site, lambda said: said.startswith(call))
    site.look(3)
    assert site.host.running == filled(TEXT, {"MATRIXRTC_NODE_IP": NEW, "MATRIXRTC_OWN_V4": NEW})
    assert (site.known("address"), site.known("pending")) == (NEW, 0)


def test_killed_before_the_configuration_is_written_too(site, monkeypatch):
    site.answers[4] = NEW
    site.look()
    real = address_watch.atomic_write

    def write(path: str, *rest: Any, **more: Any) -> bool:
        if path == str(site.config):
            raise KilledError
        return real(path, *rest, **more)

    monkeypatch.setattr(address_watch, "atomic_write", write)
    with pytest.raises(KilledError):
        site.look()
    monkeypatch.setattr(address_watch, "atomic_write", real)
    site.look(3)
    assert (site.node_ip, site.restarts) == (NEW, 1)


# The text is the one that the role writes


def on_host(v4: str, v6: str, **given: Any) -> Role:
    facts = {
        "default_ipv4": {"address": v4},
        "default_ipv6": {"address": v6},
        "all_ipv4_addresses": [v4, "172.17.0.1"],
        "all_ipv6_addresses": [v6, "fe80::1"],
        "architecture": "x86_64",
    }
    return Role("livekit", ansible_facts=facts, **given)


NAT = {"v4": "10.0.0.5", "v6": "fd00::5"}
SITES = [
    ({"v4": OLD, "livekit_node_ip": OLD}, {"v4": NEW, "livekit_node_ip": NEW}),
    ({"v6": OLD_V6, "livekit_node_ip": OLD_V6}, {"v6": NEW_V6, "livekit_node_ip": NEW_V6}),
    ({**NAT, "livekit_node_ip": f"{OLD},{OLD_V6}"}, {**NAT, "livekit_node_ip": f"{NEW},{OLD_V6}"}),
    ({**NAT, "livekit_node_ip": OLD}, {**NAT, "v4": "10.0.0.6", "livekit_node_ip": OLD}),
    # out of NAT, with a relay that has to reach private addresses
    (
        {**NAT, "livekit_node_ip": OLD, "matrixrtc_turn_udp": True},
        {"v4": NEW, "livekit_node_ip": NEW, "matrixrtc_turn_udp": True},
    ),
]


@pytest.mark.parametrize(("before", "after"), SITES)
def test_the_next_run_of_the_role_would_write_the_same(before, after):
    watched = {"v4": OLD, "v6": OLD_V6, "matrixrtc_address_watch": "stun"}
    role = on_host(**{**watched, **before})
    text = role.file("livekit.yaml.j2", **role.value("__livekit_marks"))
    written = role.file("livekit.yaml.j2")
    assert filled(text, values_in(text, written)) == written
    wanted = on_host(**{**watched, **after}).file("livekit.yaml.j2")
    assert wanted != written
    assert filled(text, values_in(text, wanted)) == wanted


def watched_on(record: dict[str, str] | None, **given: Any) -> str:
    """The address that the role takes where the watch knows this."""
    read = {"content": base64.b64encode(json.dumps(record).encode()).decode()} if record else {"failed": True}
    return str(on_host(OLD, OLD_V6, **given, common_watch_read=read).value("common_media_address"))


SET = {"given": "", "address": NEW}


@pytest.mark.parametrize(
    ("record", "given", "address"),
    [
        (None, "", OLD),
        (SET, "", NEW),
        ({"given": "", "address": ""}, "", OLD),
        (SET, OTHER, OTHER),  # given since
        ({"given": OTHER, "address": NEW}, OTHER, NEW),
        ({"given": OTHER, "address": NEW}, "", OLD),
    ],
)
def test_a_run_takes_the_watched_address_until_another_is_given(record, given, address):
    assert watched_on(record, matrixrtc_address_watch="stun", matrixrtc_media_address=given) == address


def test_a_run_without_a_watch_takes_none():
    assert watched_on(SET) == OLD


ANY_V4 = st.integers(0, (1 << 32) - 1).map(ipaddress.IPv4Address)
ANY_V6 = st.one_of(
    st.integers(0, (1 << 128) - 1).map(ipaddress.IPv6Address),
    # what YAML takes for a number of seconds
    st.lists(st.integers(1, 59), min_size=8, max_size=8).map(
        lambda parts: ipaddress.IPv6Address(":".join(map(str, parts)))
    ),
    st.integers(0, (1 << 32) - 1).map(lambda number: ipaddress.IPv6Address(number << 96)),  # ends in ::
)


@hypothesis.given(v4=ANY_V4, v6=ANY_V6, families=st.sampled_from(["4", "6", "46"]))
def test_addresses_look_as_the_yaml_writer_puts_them(v4, v6, families):
    node_ip = ",".join([str(v4)] * ("4" in families) + [str(v6)] * ("6" in families))
    values = {"MATRIXRTC_NODE_IP": node_ip, "MATRIXRTC_OWN_V4": str(v4), "MATRIXRTC_OWN_V6": str(v6)}

    def written(told: str, *own: str) -> str:
        return str(
            to_nice_yaml({"rtc": {"livekit_node_ip": told, "includes": list(own)}}, indent=2, sort_keys=False)
        )

    text = written("MATRIXRTC_NODE_IP", "MATRIXRTC_OWN_V4/32", "MATRIXRTC_OWN_V6/128")
    wanted = written(node_ip, f"{v4}/32", f"{v6}/128")
    assert filled(text, values) == wanted
    assert values_in(text, wanted) == values


def test_what_is_installed_on_the_host_is_whole(tmp_path):
    """The parts are the modules that the program imports, all of them, and no others."""
    here = Path(address_watch.__file__).parent
    found, ahead = set(), ["address_watch"]
    while ahead:
        part = ahead.pop()
        found.add(part)
        imported = re.findall(r"^from \.(\w+) import", (here / f"{part}.py").read_text(), re.MULTILINE)
        ahead += [name for name in imported if name not in found]
    assert sorted(found) == sorted(Role("livekit").value("__livekit_watch_parts"))
