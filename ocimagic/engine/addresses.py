"""Which addresses a network has, which of them a container gets, and what links are called."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

from ocimagic.errors import Conflict, InvalidOption
from ocimagic.model.network import BRIDGE, NetworkOptions, Subnet, check_subnet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    Network = IPv4Network | IPv6Network

# What docker takes subnets from, in its order.
_POOLS = (
    *(ip_network(f"172.{number}.0.0/16") for number in range(17, 32)),
    *(ip_network(f"192.168.{number}.0/20") for number in range(0, 256, 16)),
)


def subnets(
    options: NetworkOptions, network_id: str, taken: Iterable[Network]
) -> tuple[Subnet, ...]:
    """Fill in what was not said of a network's subnets."""
    taken = [*taken, *_routed()]
    asked = list(options.subnets)
    versions = {ip_network(check_subnet(each.subnet)).version for each in asked}
    for each in asked:
        mine = ip_network(each.subnet)
        clash = [other for other in taken if other.version == mine.version and mine.overlaps(other)]
        if clash:
            raise Conflict(
                f"subnet {mine} overlaps {clash[0]}",
                why="another network has it, or the machine has a way there",
                hint="leave --subnet out, and a free one is taken",
            )
    if 4 not in versions:
        free = (
            pool
            for pool in _POOLS
            if not any(pool.overlaps(each) for each in taken if each.version == 4)
        )
        chosen = next(free, None)
        if chosen is None:
            raise Conflict(
                "no subnet is free", hint="%network_prune removes unused networks, or say --subnet"
            )
        asked.insert(0, Subnet(subnet=str(chosen)))
    if options.ipv6 and 6 not in versions:
        asked.append(Subnet(subnet=f"fd00:{network_id[:4]}:{network_id[4:8]}::/64"))
    return tuple(_with_gateway(each) for each in asked)


def _with_gateway(subnet: Subnet) -> Subnet:
    network = ip_network(subnet.subnet)
    gateway = ip_address(subnet.gateway) if subnet.gateway else network[1]
    if gateway not in network:
        raise InvalidOption(f"gateway {gateway} is not in subnet {network}")
    if subnet.ip_range and not ip_network(check_subnet(subnet.ip_range)).subnet_of(network):  # type: ignore[arg-type]
        raise InvalidOption(f"--ip-range {subnet.ip_range} is not in subnet {network}")
    return Subnet(
        subnet=str(network),
        gateway=str(gateway),
        ip_range=subnet.ip_range,
        reserved=subnet.reserved,
    )


def _routed() -> list[Network]:
    """Return where the machine has ways to, but for the way to everywhere else."""
    from ocimagic.linux.links import Links

    with Links() as links:
        return [each.destination for each in links.routes() if each.destination.prefixlen]


def clash(options: NetworkOptions, bridge: str) -> str:
    """Say what of the machine is where a network's subnets are; "" if nothing is.

    Another data root's engine, or dockerd, may have chosen the same while nobody was in it.

    Args:
        options: of the network.
        bridge: its own link, which may be there.
    """
    from ocimagic.linux.links import Links

    mine = [ip_network(each.subnet) for each in options.subnets]
    with Links() as links:
        for route in links.routes():
            where = route.destination
            inside = [each for each in mine if each.version == where.version]
            if not any(where.subnet_of(each) for each in inside):  # type: ignore[arg-type]
                continue
            names = [each.name for each in links.all() if each.index == route.index]
            if names and names[0] != bridge:
                return f"{where} is reached by {names[0]}"
    return ""


def check_address(name: str, options: NetworkOptions, asked: str, version: int) -> None:
    """See that a network can give an address of choice.

    Raises:
        InvalidOption: it is no address, or not one of the network.
    """
    try:
        address = ip_address(asked)
    except ValueError as err:
        raise InvalidOption(f"{asked!r} is no IP address") from err
    option = "--ip" if version == 4 else "--ip6"
    fitting = [each for each in options.subnets if ip_network(each.subnet).version == version]
    if address.version != version or not any(
        address in ip_network(each.subnet) for each in fitting
    ):
        ranges = ", ".join(each.subnet for each in fitting) or f"none of IPv{version}"
        raise InvalidOption(
            f"{option} {asked} is not in network {name}", why=f"its subnets: {ranges}"
        )
    if name == BRIDGE:
        raise InvalidOption(
            f"{option} {asked}: only networks that users make have addresses of choice",
            hint="%network_create one, and use it",
        )


def choose(name: str, subnet: Subnet, asked: str, taken: set[str]) -> str:
    """Return a free address of a subnet.

    Raises:
        Conflict: the one that was asked for is another container's, or none is free.
    """
    kept = {subnet.gateway, *subnet.reserved.values(), *taken}
    if asked:
        address = str(ip_address(asked))
        if address in kept:
            raise Conflict(
                f"address {address} of network {name} is already in use",
                hint="choose another --ip, or leave it out",
            )
        return address
    network = ip_network(subnet.ip_range or subnet.subnet)
    for each in network.hosts():
        if str(each) not in kept:
            return str(each)
    raise Conflict(f"no address of network {name} is free", why=f"{network} is used up")


def shown_address(interface: str) -> str:
    """Return an address without its prefix."""
    return str(ip_interface(interface).ip)


def bridge_of(network_id: str) -> str:
    """Return what the machine calls a network's bridge."""
    return f"oci-{network_id[:11]}"


def link_of(container_id: str, network_id: str) -> str:
    """Return how the machine's name of a container's link begins: it tells who is gone."""
    return f"veth{hashlib.sha256(f'{container_id} {network_id}'.encode()).hexdigest()[:7]}"


def table_of(data_root: Path) -> str:
    """Return the name of a data root's packet rules."""
    return f"ocimagic-{hashlib.sha256(str(data_root).encode()).hexdigest()[:8]}"
