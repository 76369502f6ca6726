"""What a container's shim has to do about networks: part of the request it is started with.

The engine decides (which network, which address); shims do it, since a container that is
started again or outlives its engine needs it, too.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec.record import dataclass
from ocimagic.spec.record import fields as fields_of

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields

    Interface = IPv4Interface | IPv6Interface

TCP, UDP = "tcp", "udp"
PASTA, SLIRP, RELAY = "pasta", "slirp4netns", "relay"  # ways out; the last is our own
RESOLVER = "127.0.0.11"  # where a container asks for names, as with docker
PROTOCOLS = {TCP: 6, UDP: 17}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's place in one network.

    Attributes:
        network_id: of the network.
        network: its name.
        bridge: name of its link.
        gateways: the bridge's addresses, such as ``172.18.0.1/16``.
        link: name of the container's link, as the machine sees it.
        inside: its name in the container.
        mac: its address there.
        addresses: those of the container, with the network's prefix.
        names: what other containers of the network may call it.
        internal: there is no way out of the network.
        resolves: names are answered in this network.
        mtu: 0 for the usual one.
        links: ``NAME:ALIAS``, names of others with what only this container calls them.
        link_local: more addresses of the container, for this link alone.
    """

    network_id: str
    network: str
    bridge: str
    gateways: tuple[str, ...]
    link: str
    inside: str
    mac: str
    addresses: tuple[str, ...]
    names: tuple[str, ...] = ()
    internal: bool = False
    resolves: bool = True
    mtu: int = 0
    links: tuple[str, ...] = ()
    link_local: tuple[str, ...] = ()

    @property
    def gateway_interfaces(self) -> tuple[Interface, ...]:
        """Return the bridge's addresses."""
        return tuple(map(ip_interface, self.gateways))

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """Return the container's addresses."""
        return tuple(map(ip_interface, self.addresses))

    @property
    def link_interfaces(self) -> tuple[Interface, ...]:
        """Return the container's addresses for this link alone."""
        return tuple(map(ip_interface, self.link_local))

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read it from JSON.

        Raises:
            InvalidDocument: a field is missing or has another type.
        """
        made = cls(
            network_id=fields.text("network_id"),
            network=fields.text("network"),
            bridge=fields.text("bridge"),
            gateways=fields.texts("gateways"),
            link=fields.text("link"),
            inside=fields.text("inside"),
            mac=fields.text("mac"),
            addresses=fields.texts("addresses"),
            names=fields.texts("names"),
            internal=fields.flag("internal"),
            resolves=fields.flag("resolves"),
            mtu=fields.number("mtu", 0),
            links=fields.texts("links"),
            link_local=fields.texts("link_local"),
        )
        try:
            _ = made.gateway_interfaces, made.interfaces, made.link_interfaces
        except ValueError as err:
            raise InvalidDocument("an endpoint's address is none", why=str(err)) from err
        return made

    def to_json(self) -> dict[str, object]:
        """Return what ``parse`` reads."""
        return _plain(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of the machine that leads to one of the container.

    Attributes:
        protocol: ``tcp`` or ``udp``.
        last_host_port: the first free one from ``host_port`` to this; 0 for just that one.
        host_address: only there; "" for every address of the machine.
    """

    protocol: str
    host_port: int
    container_port: int
    host_address: str = ""
    last_host_port: int = 0

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read it from JSON.

        Raises:
            InvalidDocument: a field is missing or has another type.
        """
        protocol = fields.text("protocol")
        if protocol not in PROTOCOLS:
            raise InvalidDocument(f"no port can be published for {protocol!r}")
        return cls(
            protocol=protocol,
            host_port=fields.number("host_port"),
            container_port=fields.number("container_port"),
            host_address=fields.text("host_address", ""),
            last_host_port=fields.number("last_host_port", 0),
        )

    def to_json(self) -> dict[str, object]:
        """Return what ``parse`` reads."""
        return _plain(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All networks of one container.

    Attributes:
        room: the data root's run directory, for the lock and who is where.
        table: the data root's table of packet rules.
        container: what the container is called.
        endpoints: the first one's network has the way out.
        ports: published ones.
        servers: addresses of the name servers that know the rest of the world.
        way: without root, what leads out of the account's own network namespace.
    """

    room: str
    table: str
    container: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()
    servers: tuple[str, ...] = ()
    way: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read it from JSON.

        Raises:
            InvalidDocument: a field is missing or has another type.
        """
        return cls(
            room=fields.text("room"),
            table=fields.text("table"),
            container=fields.text("container", ""),
            endpoints=tuple(map(Endpoint.parse, fields.children("endpoints"))),
            ports=tuple(map(Port.parse, fields.children("ports"))),
            servers=fields.texts("servers"),
            way=fields.text("way", ""),
        )

    def to_json(self) -> dict[str, object]:
        """Return what ``parse`` reads."""
        return _plain(self)


def _plain(value: Plan | Endpoint | Port) -> dict[str, object]:
    made: dict[str, object] = {}
    for each in fields_of(value):
        found = getattr(value, each.name)
        if isinstance(found, tuple):
            found = [_plain(item) if isinstance(item, Endpoint | Port) else item for item in found]
        made[each.name] = found
    return made
