# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""One network per lab, with a fixed address for every host.

Fixed, because an operator's `flush ruleset` also removes the rules with which the engine redirects its own
name server inside a host: names of the lab must not depend on it. Hosts get them in /etc/hosts instead.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import docker
from docker.errors import APIError
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from .definitions import Lab
from .errors import LabError
from .mirror import NAME as MIRROR_NAME

LAB_LABEL = "org.matrixrtc.lab"
CLIENT, MIRROR = "client", "mirror"
_FIRST_SITE = 10
_SECOND = 100
_ATTEMPTS = 3


@dataclass(frozen=True)
class Plan:
    """Address and names of every host, by host; those of a second address by `HOST.second`."""

    addresses: dict[str, str]
    names: dict[str, list[str]]

    def hosts_entries(self) -> dict[str, str]:
        """Name to address, for every name of the lab."""
        return {name: self.addresses[host] for host, names in self.names.items() for name in names}


def plan(lab: Lab, subnet: str) -> Plan:
    """Addresses for the hosts of a lab: .1 the gateway, .2 the mirror, .3 the client, sites from .10 on.

    Second addresses are from .110 on.
    """
    network = ipaddress.ip_network(subnet)
    addresses = {MIRROR: str(network[2]), CLIENT: str(network[3])}
    names = {MIRROR: [MIRROR_NAME], CLIENT: ["client.test"]}
    for number, (site, host) in enumerate(lab.places):
        addresses[host.name] = str(network[_FIRST_SITE + number])
        names[host.name] = list(site.names(host))
        if second := site.second_names(host):
            addresses[f"{host.name}.second"] = str(network[_FIRST_SITE + _SECOND + number])
            names[f"{host.name}.second"] = list(second)
    # the mirror also answers under each site's own domain, as a company's mirror would
    names[MIRROR] += [f"mirror.{site.server_name}" for site in lab.sites]
    return Plan(addresses, names)


def ensure(client: docker.DockerClient, lab: Lab) -> str:
    """The IPv4 subnet of the lab's network, which is made when it is missing."""
    name = network_name(lab.name)
    found = client.networks.list(names=[f"^{name}$"])
    network = found[0] if found else _create(client, name, lab.name)
    network.reload()
    return str(network.attrs["IPAM"]["Config"][0]["Subnet"])


def network_name(lab: str) -> str:
    """The name of a lab's network."""
    return f"matrixrtc-{lab}"


def _create(client: docker.DockerClient, name: str, lab: str) -> Network:
    """Let the engine choose a free subnet, then ask for that one: only then it accepts fixed addresses.

    Between the two, another program may take the subnet: then once more.
    """
    for _attempt in range(_ATTEMPTS):
        try:
            return client.networks.create(
                name, driver="bridge", labels={LAB_LABEL: lab}, ipam=_free_subnet(client, name, lab)
            )
        except APIError as error:
            refused = error
    raise LabError(f"the engine gives lab {lab} no network: {refused}")


def _free_subnet(client: docker.DockerClient, name: str, lab: str) -> IPAMConfig:
    labels = {LAB_LABEL: lab}
    trial = client.networks.create(f"{name}-trial", driver="bridge", labels=labels)
    try:
        trial.reload()
        subnet = str(trial.attrs["IPAM"]["Config"][0]["Subnet"])
    finally:
        trial.remove()
    return IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])


def remove(client: docker.DockerClient, lab: str) -> None:
    """Remove the network of a lab."""
    for network in client.networks.list(filters={"label": f"{LAB_LABEL}={lab}"}):
        network.remove()


def labs(client: docker.DockerClient) -> set[str]:
    """The labs that have a network."""
    found = client.networks.list(filters={"label": LAB_LABEL})
    return {str(network.attrs["Labels"][LAB_LABEL]) for network in found}
