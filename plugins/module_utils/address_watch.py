# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Notice that a host's address has changed, and run LiveKit on the new one.

A timer starts this once a minute or so. What is in LiveKit's configuration is compared with what the source
says; an answer is acted on when it is given twice in a row, and never when it is wrong, absent, or private
where the present address is public. The new configuration is the one that the role livekit would write: it
leaves its text here with marks where addresses stand. The service is restarted as the role does it, by
`applied_service`, so that the two agree on what it runs on, and a configuration that does not come up is
taken back.

What is known from one time to the next is in the record, from which the role also learns the address:

    given     the address that the inventory named when this was written; another one there begins anew
    address   LiveKit's node_ip as it was set last, '' before the first change
    seen      the change that was seen last time, and has to be seen once more
    refused   the change that LiveKit did not come up on; it is not tried again until the answer is another
    pending   since when (epoch seconds) a change waits for the restart, 0 when none does
    told      what the journal was told last time, so that it is not told the same every minute
"""

from __future__ import annotations

import ipaddress
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .address_source import (
    IPV4,
    IPV6,
    Address,
    NoAddressError,
    fault_of,
    of_interface,
    own_addresses,
    source_of,
)
from .applied_service import DEFER, CandidateCheck, Health, ServiceError, Wanted, apply, predict
from .applied_state import StateError
from .files import atomic_write, read_text
from .http_client import HttpClient
from .service_host import Host, LocalHost, unit_state
from .stuck_sfu import Sfu, SfuError, first_pair

WHEN_IDLE, FORCE = "when_idle", "force"
NODE_IP = "MATRIXRTC_NODE_IP"
OWN = {IPV4: "MATRIXRTC_OWN_V4", IPV6: "MATRIXRTC_OWN_V6"}
# What the YAML writer puts quotes around: it reads 1:20:30 as a number of seconds.
_NOT_PLAIN = re.compile(r"[1-9][0-9]*(:[0-5]?[0-9])+|.*:")

Values = Mapping[str, str]  # by mark


class WatchError(Exception):
    """The files are not what the role writes. The text is for the operator."""


@dataclass(frozen=True)
class Record:
    """What is known from one time to the next; see above."""

    given: str = ""
    address: str = ""
    seen: Values = field(default_factory=dict)
    refused: Values = field(default_factory=dict)
    pending: float = 0.0
    told: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Surroundings:
    """What is asked: the source for an address of a family, the host for its own, the SFU for people."""

    source: Callable[[int], Address]
    default_route: Callable[[int], Address]
    own: Callable[[], frozenset[str]]
    participants: Callable[[], int]
    host: Host
    say: Callable[[str], None]


# The text of the configuration ---------------------------------------------------------------------


def filled(template: str, values: Values) -> str:
    """The configuration with these addresses, as the role's YAML writer puts it."""
    for mark, value in values.items():
        quoted = f"'{value}'" if _NOT_PLAIN.fullmatch(value) else value
        template = re.sub(rf"(?<=: ){mark}$", quoted, template, flags=re.MULTILINE).replace(mark, value)
    return template


def values_in(template: str, text: str) -> dict[str, str]:
    """The addresses in a configuration, by mark. Raises WatchError when they are not where they should be."""
    values = {}
    for mark in (NODE_IP, *OWN.values()):
        line = next((line for line in template.splitlines() if mark in line), None)
        if line is None:  # networks that the operator chose
            continue
        before, _mark, after = line.partition(mark)
        found = re.search(rf"^{re.escape(before)}(.+?){re.escape(after)}$", text, re.MULTILINE)
        if not found:
            raise WatchError(f"LiveKit's configuration has no line '{line.strip()}': run site.yml")
        values[mark] = found.group(1).strip("'\"")
    if NODE_IP not in values:
        raise WatchError(f"the text of LiveKit's configuration has no {NODE_IP}: run site.yml")
    return values


# What should be there ------------------------------------------------------------------------------


def look(present: Values, around: Surroundings) -> tuple[dict[str, str], list[str]]:
    """The addresses that should be there now, by mark, and why some could not be found out."""
    wanted, faults = dict(present), []
    nodes = []
    own = around.own()
    for text in present[NODE_IP].split(","):
        node = ipaddress.ip_address(text)
        try:
            answer = around.source(node.version)
            fault = fault_of(answer, node)
        except NoAddressError as error:
            answer, fault = node, str(error)
        nodes.append(text if fault else _as_written(answer, text))
        mark = OWN[node.version]
        if fault:
            faults.append(fault)
        elif mark in present:
            wanted[mark] = _as_written(_behind(answer, own, around, present[mark]), present[mark])
    wanted[NODE_IP] = ",".join(nodes)
    return wanted, faults


def _as_written(address: Address, present: str) -> str:
    """The address as text, in the way that it is written already."""
    return present if address == ipaddress.ip_address(present) else str(address)


def _behind(node: Address, own: frozenset[str], around: Surroundings, present: str) -> Address:
    """The address of this host behind the one that clients are told; the present one if there is none."""
    if str(node) in own:
        return node
    try:
        return around.default_route(node.version)
    except NoAddressError:  # its line is down, which the source has said if it matters
        return ipaddress.ip_address(present)


# One time ------------------------------------------------------------------------------------------


class Watch:
    """One look, and what follows from it."""

    def __init__(self, settings: Mapping[str, Any], around: Surroundings) -> None:
        self.settings = settings
        self.around = around
        self.before = _record(read_text(settings["record"]))
        given = settings["given"]
        self.record = self.before if self.before.given == given else Record(given=given)
        self.wanted = _wanted(settings["service"])
        self.told: list[str] = []

    def run(self) -> bool:
        """Look once, act if it is time to; False when LiveKit cannot be brought to the new address."""
        try:
            good = self._look()
            if self.record.pending:
                good = self._restart() and good
        except (NoAddressError, StateError, WatchError) as error:
            self._tell(f"{error}. Nothing was changed.")
            good = False
        self.record = replace(self.record, told=self.told)
        self._save()
        return good

    def _text(self, name: str) -> str:
        text = read_text(self.settings[name])
        if text is None:
            raise WatchError(f"{self.settings[name]} is not there: run site.yml")
        return text

    def _present(self) -> dict[str, str]:
        """The addresses in LiveKit's configuration, by mark."""
        return values_in(self._text("template"), self._text("config"))

    def _look(self) -> bool:
        present = self._present()
        wanted, faults = look(present, self.around)
        for fault in faults:
            self._tell(f"{fault}: that changes nothing.")
        if wanted == present:
            self._nothing_new(is_sure=not faults)
        elif wanted == self.record.refused:
            self._tell(f"{_shown(wanted)} is not tried again: LiveKit did not come up on it.")
            return False
        elif wanted != self.record.seen:
            self.record = replace(self.record, seen=wanted)
            self._tell(f"{_shown(present)} has become {_shown(wanted)}, if that is seen once more.")
        else:
            self._accept(wanted)
        return True

    def _nothing_new(self, is_sure: bool) -> None:
        if self.record.seen:
            self.record = replace(self.record, seen={})
            self._tell("The address is what it was again.")
        if is_sure:
            self.record = replace(self.record, refused={})

    def _accept(self, wanted: Values) -> None:
        """Have the new configuration. The record comes first: it says that a restart is due."""
        self.around.say(f"The address is {_shown(wanted)} now.")
        pending = self.record.pending or self.around.host.wall()
        self.record = replace(self.record, address=wanted[NODE_IP], seen={}, refused={}, pending=pending)
        self._save()
        atomic_write(self.settings["config"], filled(self._text("template"), wanted).encode())

    def _restart(self) -> bool:
        """Run LiveKit on the new configuration, when the operator's policy lets it."""
        unit = unit_state(self.around.host, self.wanted.unit)
        if unit.active in ("inactive", "failed"):  # it is started again by itself unless somebody stopped it
            self.around.say(f"{self.wanted.unit} is stopped and stays so. It will start on the new address.")
            self.record = replace(self.record, pending=0.0)
            return True
        if not predict(self.wanted, self.around.host).reason:
            self.record = replace(self.record, pending=0.0)
            return True
        waiting = self._waiting() if unit.up else ""
        if waiting:
            self._tell(waiting)
            return True
        return self._apply()

    def _waiting(self) -> str:
        """'' when the service may be restarted now, else what is waited for."""
        policy = self.settings["restart"]
        if policy == DEFER:
            return (
                f"{self.wanted.unit} keeps running on the old address, because livekit_restart is '{DEFER}': "
                f"'systemctl restart {self.wanted.name}', or site.yml with -e livekit_restart=immediate."
            )
        if policy != WHEN_IDLE:
            return ""
        try:
            people = self.around.participants()
            if not people:
                return ""
            why = f"{people} people are in calls"
        except SfuError as error:
            why = f"nobody knows who is in calls ({error})"
        waited = self.around.host.wall() - self.record.pending
        if waited >= self.settings["restart_wait"] and self.settings["restart_after_wait"] == FORCE:
            return ""
        return f"{self.wanted.unit} will be restarted on the new address when it is idle: {why}."

    def _apply(self) -> bool:
        tried = self._present()
        try:
            apply(self.wanted, self.around.host)
        except StateError as error:
            self._tell(f"{error}. It is tried again.")
            return True
        except ServiceError as error:
            self.around.say(str(error))
            self.record = replace(self.record, address=self._present()[NODE_IP], refused=tried, pending=0.0)
            return False
        self.around.say(f"{self.wanted.unit} was restarted and is healthy.")
        self.record = replace(self.record, pending=0.0)
        return True

    def _tell(self, text: str) -> None:
        """Tell the journal something that may be as true the next time."""
        self.told.append(text)
        if text not in self.before.told:
            self.around.say(text)

    def _save(self) -> None:
        if self.record != self.before:
            text = json.dumps(asdict(self.record), indent=2)
            atomic_write(self.settings["record"], f"{text}\n".encode(), mode=0o600)
            self.before = self.record


def _record(text: str | None) -> Record:
    """The record; one that cannot be read counts as none."""
    try:
        return Record(**json.loads(text or "{}"))
    except (ValueError, TypeError):
        return Record()


def _shown(values: Values) -> str:
    own = [value for mark, value in values.items() if mark != NODE_IP]
    behind = [value for value in own if value not in values[NODE_IP].split(",")]
    return values[NODE_IP] + (f" (on this host {', '.join(behind)})" if behind else "")


def _wanted(service: Mapping[str, Any]) -> Wanted:
    """The service as the role has it; see the task that runs it."""
    check, health = service["check"], service["health"]
    return Wanted(
        name=service["name"],
        state_dir=service["state_dir"],
        inputs=tuple(service["inputs"]),
        daemon_reload=True,
        check=CandidateCheck(tuple(check["argv"]), check["expect"], user=check["user"]),
        health=Health(health["url"], timeout=health["timeout"]),
        secret_files=tuple(service["secret_files"]),
    )


def participants(url: str, key_file: str) -> int:
    """How many people are connected to the SFU. Raises SfuError."""
    key, secret = first_pair(key_file)
    return sum(map(len, Sfu(url, key, secret, HttpClient(timeout=5.0)).connected().values()))


def main() -> int:
    """Look once; the settings are in the file that is named."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        settings = json.load(stream)
    around = Surroundings(
        source=source_of(settings),
        default_route=of_interface,
        own=own_addresses,
        participants=lambda: participants(settings["livekit_url"], settings["key_file"]),
        host=LocalHost(),
        say=lambda text: print(text, flush=True),
    )
    return 0 if Watch(settings, around).run() else 1
