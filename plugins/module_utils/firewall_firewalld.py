# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Open ports in firewalld: in the zones of the interfaces with a default route, for now and for good.

Ports are added directly, because a service of our own would need a reload, and that drops what others, such
as container engines, have added at run time. Only ports that a zone does not have yet become ours: firewalld
merges overlapping ranges, and would otherwise take the operator's out together with ours.

Changes go through firewall-cmd. What is there is read from the bus, because firewall-cmd takes a third of a
second of processor time for every question.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .edge_host import Run
from .files import atomic_write, diff_entry, read_text
from .firewall_base import Backend, FirewallError, Plan, Wish, normalized, without
from .firewall_originals import Originals

ZONES = "/etc/firewalld/zones"
# A port of the zone itself as firewalld writes it; those in rich rules stand deeper.
PORT_ELEMENT = re.compile(
    r'^  <port (?:port="([0-9-]+)" protocol="(\w+)"|protocol="(\w+)" port="([0-9-]+)")/>\n', re.MULTILINE
)
BUS = "org.fedoraproject.FirewallD1"  # the service's name, and how those of its interfaces begin
BUS_PATH = "/org/fedoraproject/FirewallD1"
ROUTES = ("/proc/net/route", "/proc/net/ipv6_route")
MODES = {"permanent": ["--permanent"], "runtime": []}  # in this order: what stays, then what is

Ports = list[str]  # such as 7882-7885/udp
Place = tuple[str, str]  # a zone, and which of its two configurations


def default_interfaces(four: str | None, six: str | None) -> list[str]:
    """The interfaces with a default route, from the kernel's tables of routes."""
    found = []
    for row in (line.split() for line in (four or "").splitlines()):
        if len(row) > 7 and row[1] == row[7] == "00000000":
            found.append(row[0])
    for row in (line.split() for line in (six or "").splitlines()):
        if len(row) > 9 and row[0] == "0" * 32 and row[1] == "00" and row[9] != "lo":
            found.append(row[9])
    return list(dict.fromkeys(found))


def by_protocol(ports: Iterable[str]) -> dict[str, list[str]]:
    """The numbers of ports such as 7881/tcp, by protocol."""
    found: dict[str, list[str]] = {}
    for port in ports:
        number, _slash, protocol = port.partition("/")
        found.setdefault(protocol, []).append(number)
    return found


def missing(wanted: Ports, listed: Iterable[str]) -> Ports:
    """The wanted ports that are not listed."""
    there = by_protocol(listed)
    return [
        f"{number}/{protocol}"
        for protocol, numbers in by_protocol(wanted).items()
        for number in without(numbers, there.get(protocol, []))
    ]


def without_ports(text: str, ports: Iterable[str]) -> str:
    """A zone's file without our ports; a range that also holds others is cut."""
    ours = by_protocol(ports)

    def cut(found: re.Match[str]) -> str:
        number, protocol = found[1] or found[4], found[2] or found[3]
        left = without([number], ours.get(protocol, []))
        if left == normalized([number]):
            return found[0]
        return "".join(f'  <port port="{part}" protocol="{protocol}"/>\n' for part in left)

    return PORT_ELEMENT.sub(cut, text)


def _diff(before: Mapping[Place, Ports], after: Mapping[Place, Ports]) -> list[dict[str, str]]:
    """Ansible's diff of what is ours."""

    def text(ports: Iterable[str]) -> str:
        return "".join(f"{port}\n" for port in ports)

    return [
        diff_entry(f"our ports in firewalld's zone {place[0]} ({place[1]})", text(old), text(new))
        for place in sorted({*before, *after})
        if (old := before.get(place, [])) != (new := after.get(place, []))
    ]


class Firewalld(Backend):
    """Ports in zones."""

    name = "firewalld"

    def __init__(self, wish: Wish, host_run: Run) -> None:
        super().__init__(wish, host_run)
        self.originals = Originals(os.path.join(wish.folder, "firewalld.json"))

    def is_active(self) -> bool:
        """The daemon runs."""
        return self.run(["systemctl", "is-active", "--quiet", "firewalld"]).ok

    # What is there, and what is wanted

    def _ask(self, path: str, interface: str, method: str, *arguments: str) -> Any:
        """What firewalld answers on the bus."""
        signature = ["s" * len(arguments)] if arguments else []
        call = ["busctl", "--json=short", "call", BUS, path, BUS + interface, method, *signature, *arguments]
        answer = self.must(call, f"firewalld does not answer to {method} {' '.join(arguments)}".rstrip())
        return json.loads(answer)["data"][0]

    def _zones(self) -> list[str]:
        """The zones that packets from outside come into; the default zone has what no zone claims."""
        interfaces = default_interfaces(*(read_text(self.path(path)) for path in ROUTES))
        default = self._ask(BUS_PATH, "", "getDefaultZone")
        active = self._ask(BUS_PATH, ".zone", "getActiveZones")
        bound = {name: zone for zone, about in active.items() for name in about.get("interfaces", ())}
        return sorted({bound.get(interface, default) for interface in interfaces} or {default})

    def _listed(self, place: Place) -> Ports:
        zone, mode = place
        if mode == "runtime":
            ports = self._ask(BUS_PATH, ".zone", "getPorts", zone)
        else:
            path = self._ask(f"{BUS_PATH}/config", ".config", "getZoneByName", zone)
            ports = self._ask(path, ".config.zone", "getPorts")
        return ["/".join(port) for port in ports]

    def _known_zones(self) -> set[str]:
        return set(self._ask(f"{BUS_PATH}/config", ".config", "getZoneNames"))

    def _ours(self) -> dict[Place, Ports]:
        """What we have added, and whether it is still so or not."""
        noted = (self.originals.ours or {}).get("zones", [])
        return {(zone, mode): list(ports) for zone, mode, ports in noted}

    def _note(self, ours: Mapping[Place, Ports], wished: Ports) -> None:
        zones = [[*place, ports] for place, ports in sorted(ours.items()) if ports]
        self.originals.ours = {"wished": wished, "zones": zones}

    def _wanted(self) -> Ports:
        return [f"{port}/{protocol}" for protocol, ports in self.wish.ports for port in ports]

    def _files(self, zones: Iterable[str]) -> list[str]:
        return [self.path(f"{ZONES}/{zone}.xml{suffix}") for zone in sorted(zones) for suffix in ("", ".old")]

    # Opening

    def opening(self) -> Plan:
        if not self.is_active():
            raise FirewallError("firewalld does not run: set firewall_backend to auto, or start it first.")
        zones, noted = self._zones(), self._ours()
        left = {zone for zone, _mode in noted} - {*zones}
        known = {*zones, *(left & self._known_zones() if left else ())}
        listed = {(zone, mode): self._listed((zone, mode)) for zone in sorted(known) for mode in MODES}
        ours, wanted = {}, {}
        for place, ports in listed.items():
            ours[place] = [port for port in noted.get(place, []) if port in ports]
            others = [port for port in ports if port not in ours[place]]
            wanted[place] = missing(self._wanted(), others) if place[0] in zones else []
        changed = ours != wanted or noted != {place: ports for place, ports in wanted.items() if ports}
        return Plan(changed, _diff(ours, wanted), zones, lambda: self._open(listed, ours, wanted))

    def _open(
        self, listed: Mapping[Place, Ports], ours: Mapping[Place, Ports], wanted: Mapping[Place, Ports]
    ) -> None:
        noted = self.originals.ours
        self.originals.remember(self._files({zone for zone, _mode in listed}))
        # a run that is killed leaves some of both
        self._note({place: list(dict.fromkeys([*ours[place], *wanted[place]])) for place in listed}, [])
        self.originals.save()
        try:
            for place in listed:
                self._change(place, ours[place], wanted[place])
                lacking = missing(wanted[place], self._listed(place))
                if lacking:
                    raise FirewallError(f"firewalld did not add {', '.join(lacking)} to zone {place[0]}.")
        except (FirewallError, OSError) as fault:
            raise FirewallError(f"{fault} {self._put_back(listed, noted)}") from fault
        self._note(wanted, self._wanted())
        self.originals.seal()
        self.originals.save()

    def _change(self, place: Place, before: Ports, after: Ports) -> None:
        """Have these ports in a zone where there were those. Connections that are open stay so."""
        zone, mode = place
        for verb, ports in (
            ("remove", [port for port in before if port not in after]),
            ("add", [port for port in after if port not in before]),
        ):
            if ports:
                options = [*MODES[mode], f"--zone={zone}", *(f"--{verb}-port={port}" for port in ports)]
                self.must(["firewall-cmd", *options], f"firewall-cmd {' '.join(options)}")

    def _put_back(self, listed: Mapping[Place, Ports], noted: object) -> str:
        """Have the ports that were there; the sentence says how that went."""
        try:
            for place, before in listed.items():
                self._change(place, self._listed(place), before)
        except FirewallError as fault:
            return f"The ports before cannot be put back: {fault}"
        if noted is None:
            self.originals.put_back()
            self.originals.forget()
        else:
            self.originals.ours = noted
            self.originals.seal()
            self.originals.save()
        return "The ports before are back."

    # Closing

    def closing(self) -> Plan:
        if not self.originals.exists:
            return Plan()
        return Plan(True, _diff(self._ours(), {}), act=self._close)

    def _close(self) -> None:
        self.originals.remember([])
        self.originals.save()
        if self.is_active():
            known = self._known_zones()
            for place, ports in self._ours().items():
                if place[0] in known:
                    listed = self._listed(place)
                    self._change(place, [port for port in ports if port in listed], [])
        else:
            for (zone, mode), ports in self._ours().items():
                path = self._files([zone])[0]
                text = read_text(path)
                if mode == "permanent" and text is not None:
                    atomic_write(path, without_ports(text, ports).encode("utf-8"))
        self.originals.put_back()
        self.originals.forget()

    def waiting(self) -> Plan | None:
        if not self.originals.exists:
            return None
        if self.originals.ours["wished"] == self._wanted():
            return Plan(places=sorted({zone for zone, _mode in self._ours()}))
        return self.closing()
