"""Networks: what can be asked for, and what there is."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ocimagic.model.result import ContainerSummary

BRIDGE, HOST, NONE = "bridge", "host", "none"
PREDEFINED = (BRIDGE, HOST, NONE)
MAX_PORT = 65535
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_. -]*")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_SCOPES = ("tcp", "udp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A range of addresses that a network gives out.

    Attributes:
        subnet: such as ``172.18.0.0/16``.
        gateway: the machine's own address in it; "" for the first one.
        ip_range: the part addresses are taken from; "" for all of it.
        reserved: name to address that nobody gets.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    reserved: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What ``network create`` asks for.

    Attributes:
        name: letters, digits, ``_``, ``.`` and ``-``.
        driver: ``bridge``.
        subnets: one of each family at most; a free one of IPv4 is taken if none is given.
        ipv6: take a free one of IPv6, too.
        internal: no way out.
        attachable: kept for whoever looks; each container may join a network here.
        mtu: 0 for the usual one.
        options: docker's driver options, kept as they are.
    """

    name: str
    driver: str = BRIDGE
    subnets: tuple[Subnet, ...] = ()
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    mtu: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChoice:
    """A network a container is to be in.

    Attributes:
        network: name or ID.
        aliases: more names for it there.
        ipv4: an address of its own choice, "" for any.
        ipv6: likewise.
        mac: likewise.
        links: names of other containers there, each with one more that only this one calls it.
        link_local: addresses of 169.254.0.0/16 or fe80::/10 that it has there, too.
        options: a driver's; the bridge has none, so they are only shown.
    """

    network: str
    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    links: tuple[tuple[str, str], ...] = ()
    link_local: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """A port of the machine that leads to one of a container: ``-p``.

    Attributes:
        container_port: where it leads.
        protocol: ``tcp`` or ``udp``.
        host_port: 0 for one that is free when the container starts.
        last_host_port: one from ``host_port`` to this one that is free; 0 for just that one.
        host_address: "" for every address of the machine.
    """

    container_port: int
    protocol: str = "tcp"
    host_port: int = 0
    last_host_port: int = 0
    host_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEndpoint:
    """A container's place in a network, as it is now.

    Attributes:
        network: its name.
        gateways: the machine's addresses there.
        addresses: with the network's prefix; none while the container does not run.
        mac: "" while it does not run.
        names: what others may call it there.
        inside: the link's name in the container.
    """

    network: str
    network_id: str
    container_id: str
    container: str
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    mac: str = ""
    names: tuple[str, ...] = ()
    inside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSummary:
    """One network.

    Attributes:
        subnets: with gateways; none for ``host`` and ``none``.
        endpoints: the running containers in it.
    """

    network_id: str
    name: str
    driver: str
    created: datetime
    subnets: tuple[Subnet, ...] = ()
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    mtu: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[NetworkEndpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkMap:
    """Who is where: networks, and the containers that live.

    Attributes:
        containers: with their places in networks and their published ports.
    """

    networks: tuple[NetworkSummary, ...]
    containers: tuple[ContainerSummary, ...]


def check_network_name(name: str) -> str:
    """Return a name that a network may have.

    Raises:
        InvalidOption: it may not.
    """
    if not _NAME.fullmatch(name):
        raise InvalidOption(
            f"{name!r} is no name for a network",
            hint="begin with a letter or digit, then letters, digits, _ . - and spaces",
        )
    return name


def check_mac(text: str) -> str:
    """Return a MAC address as it is written everywhere.

    Raises:
        InvalidOption: it is none, or one of many.
    """
    if not _MAC.fullmatch(text):
        raise InvalidOption(
            f"{text!r} is no MAC address", hint="write six pairs: 02:42:ac:11:00:02"
        )
    made = text.lower().replace("-", ":")
    if int(made[:2], 16) & 1:
        raise InvalidOption(f"{text!r} is the address of a group", hint="begin with 02")
    return made


def check_subnet(text: str) -> str:
    """Return a subnet in its usual form.

    Raises:
        InvalidOption: it is none.
    """
    try:
        return str(ip_network(text))
    except ValueError as err:
        raise InvalidOption(
            f"{text!r} is no subnet", why=str(err), hint="write it as 172.28.0.0/16"
        ) from err


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """What networks containers can have on this machine.

    Attributes:
        kinds: what ``--network`` takes here.
        usual: the one of containers for which none is said.
        why_not: why this account cannot make networks; "" if it can.
        advice: what would change that; "" if nothing is known.
        way_out: how a container's packets leave the machine, and what does not pass; "" if none do.
        forwarding: whether the machine passes packets on; "" where that does not matter.
        firewall: which packet rules are in use, a sentence each.
    """

    kinds: tuple[str, ...]
    usual: str
    why_not: str = ""
    advice: str = ""
    way_out: str = ""
    forwarding: str = ""
    firewall: tuple[str, ...] = ()


def published_ports(text: str) -> tuple[PublishedPort, ...]:
    """Read ``-p``: ``[[ADDRESS:][PORT[-PORT]]:]PORT[-PORT][/tcp|udp]``.

    Raises:
        InvalidOption: it is no such thing.
    """
    rest, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _SCOPES or text.endswith("/"):
        raise InvalidOption(
            f"-p {text}: {protocol or 'no'} protocol", hint="write /tcp, /udp or nothing"
        )
    address, host, container = _parts(text, rest)
    inside = _range(text, container)
    outside = _range(text, host) if host else ()
    if len(outside) > 1 and len(inside) == 1:
        return (
            PublishedPort(
                container_port=inside[0],
                protocol=protocol,
                host_port=outside[0],
                last_host_port=outside[-1],
                host_address=address,
            ),
        )
    if outside and len(outside) != len(inside):
        raise InvalidOption(
            f"-p {text}: {len(outside)} ports of the machine for {len(inside)} of the container",
            hint="give both ranges the same length",
        )
    return tuple(
        PublishedPort(
            container_port=port,
            protocol=protocol,
            host_port=outside[number] if outside else 0,
            host_address=address,
        )
        for number, port in enumerate(inside)
    )


def _parts(text: str, rest: str) -> tuple[str, str, str]:
    """Return address, ports of the machine, ports of the container."""
    address = ""
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise InvalidOption(f"-p {text}: an address in [] is followed by :PORT:PORT")
        rest = rest[1:]
        words = rest.split(":")
    else:
        words = rest.split(":")
        if len(words) > 2:
            address, words = ":".join(words[:-2]), words[-2:]
    if address:
        try:
            address = str(ip_address(address))
        except ValueError as err:
            raise InvalidOption(f"-p {text}: {address!r} is no IP address") from err
    host, container = words if len(words) == 2 else ("", words[0])
    return address, host, container


def _range(text: str, ports: str) -> tuple[int, ...]:
    first, dash, last = ports.partition("-")
    numbers = [first, last if dash else first]
    if not all(each.isascii() and each.isdigit() and len(each) < 10 for each in numbers):
        raise InvalidOption(f"-p {text}: {ports!r} is no port", hint="write -p 8080:80")
    begin, end = map(int, numbers)
    if not 0 < begin <= end <= MAX_PORT:
        raise InvalidOption(f"-p {text}: {ports} is out of range", hint=f"1 to {MAX_PORT}")
    return tuple(range(begin, end + 1))
