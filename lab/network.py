# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""One network per lab, with a fixed address for every host.

Fixed, because an operator's `flush ruleset` also removes the rules with which the engine redirects its own
name server inside a host: names of the lab must not depend on it. Hosts get them in /etc/hosts instead.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

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
    """Address and names of every host, by host; those of a second address by `HOST.second`.

    ipv6: the IPv6 addresses, of a lab that has any; ipv6_names: names that have such an address, by host.
    """

    addresses: dict[str, str]
    names: dict[str, list[str]]
    ipv6: dict[str, str] = field(default_factory=dict)
    ipv6_names: dict[str, str] = field(default_factory=dict)

    def hosts_entries(self) -> dict[str, str]:
        """Name to address, for every name of the lab."""
        return {name: self.addresses[host] for host, names in self.names.items() for name in names}

    def ipv6_entries(self) -> dict[str, str]:
        """Name to IPv6 address, for every name that has one."""
        return {name: self.ipv6[host] for host, name in self.ipv6_names.items()}

    def media_addresses(self) -> dict[str, str]:
        """What LiveKit on a host with IPv6 is to advertise."""
        return {host: f"{self.addresses[host]},{self.ipv6[host]}" for host in self.ipv6_names}


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
    if not lab.has_ipv6:
        return Plan(addresses, names)
    # all hosts of such a network have an address; the web servers of the operators know IPv4 alone
    ipv6_network = ipaddress.ip_network(ipv6_subnet(subnet))
    ipv6 = {
        host: str(ipv6_network[int(ipaddress.ip_address(address)) - int(network.network_address)])
        for host, address in addresses.items()
    }
    return Plan(addresses, names, ipv6, {host.name: site.rtc_name for site, host in lab.places if host.ipv6})


def ipv6_subnet(subnet: str) -> str:
    """A subnet of local addresses (RFC 4193) that is in use where the IPv4 one is."""
    high, low = divmod(int(ipaddress.ip_network(subnet).network_address), 1 << 16)
    return f"fd6d:7872:{high:x}:{low:x}::/64"


def ensure(client: docker.DockerClient, lab: Lab) -> str:
    """The IPv4 subnet of the lab's network, which is made when it is missing."""
    name = network_name(lab.name)
    found = client.networks.list(names=[f"^{name}$"])
    network = found[0] if found else _create(client, name, lab)
    network.reload()
    return next(str(one["Subnet"]) for one in network.attrs["IPAM"]["Config"] if ":" not in one["Subnet"])


def network_name(lab: str) -> str:
    """The name of a lab's network."""
    return f"matrixrtc-{lab}"


def _create(client: docker.DockerClient, name: str, lab: Lab) -> Network:
    """Let the engine choose a free subnet, then ask for that one: only then it accepts fixed addresses.

    Between the two, another program may take the subnet: then once more.
    """
    for _attempt in range(_ATTEMPTS):
        try:
            return client.networks.create(
                name,
                driver="bridge",
                labels={LAB_LABEL: lab.name},
                enable_ipv6=lab.has_ipv6,
                ipam=_free_subnet(client, name, lab),
            )
        except APIError as error:
            refused = error
    raise LabError(f"the engine gives lab {lab.name} no network: {refused}")


def _free_subnet(client: docker.DockerClient, name: str, lab: Lab) -> IPAMConfig:
    labels = {LAB_LABEL: lab.name}
    trial = client.networks.create(f"{name}-trial", driver="bridge", labels=labels)
    try:
        trial.reload()
        subnet = str(trial.attrs["IPAM"]["Config"][0]["Subnet"])
    finally:
        trial.remove()
    subnets = [subnet, ipv6_subnet(subnet)] if lab.has_ipv6 else [subnet]
    return IPAMConfig(pool_configs=[IPAMPool(subnet=one) for one in subnets])


def remove(client: docker.DockerClient, lab: str) -> None:
    """Remove the network of a lab."""
    for network in client.networks.list(filters={"label": f"{LAB_LABEL}={lab}"}):
        network.remove()


def labs(client: docker.DockerClient) -> set[str]:
    """The labs that have a network."""
    found = client.networks.list(filters={"label": LAB_LABEL})
    return {str(network.attrs["Labels"][LAB_LABEL]) for network in found}
