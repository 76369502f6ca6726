"""Links, addresses and routes of the network namespace that the socket was made in.

Source: rtnetlink(7), veth(4); <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>.
"""

from __future__ import annotations

import _thread
import errno
import ipaddress
import socket
import struct
from typing import TYPE_CHECKING, Self

from ocimagic.linux import netlink
from ocimagic.linux.netlink import CREATE, EXCL, REPLACE, Message, Netlink, NetlinkError
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAME_BYTES = 15  # IFNAMSIZ, without the zero at the end

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, which of them to change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NEWNEIGHBOUR, _REACHABLE, _N_ADDRESS, _N_MAC = 28, 2, 1, 2
_ROUTE = struct.Struct("=BBBBBBBBI")
_ANY = socket.AF_UNSPEC
_UP = 1
_MAC, _NAME, _MTU, _MASTER, _LINKINFO, _NETNS_FD = 1, 3, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_SLAVE_KIND, _SLAVE_DATA, _PORT_MODE = 4, 5, 4
_IF_ADDRESS, _IF_LOCAL, _IF_BROADCAST, _IF_FLAGS = 1, 2, 4, 8
_NODAD, _NOPREFIXROUTE = 0x02, 0x200
_R_DST, _R_OIF, _R_GATEWAY, _R_TABLE = 1, 4, 5, 15
_MAIN_TABLE, _BOOT, _UNIVERSE, _ON_LINK, _UNICAST = 254, 3, 0, 253, 1
_HOST, _LOCAL = 254, 2
_NEWRULE, _RULE_MARK, _TO_TABLE = 32, 10, 1
_GLANCE_S = 0.0005


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface.

    Attributes:
        kind: of virtual ones, such as ``bridge``; else "".
        master: index of the bridge it is a port of, or 0.
        mac: as text; "" if it has none.
    """

    index: int
    name: str
    kind: str
    master: int
    is_up: bool
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table: where to, by which gateway and link."""

    destination: Network
    gateway: Address | None
    index: int


class Links:
    """What ``ip link``, ``ip address`` and ``ip route`` do.

    Every method raises NetlinkError when the kernel refuses.
    """

    def __init__(self) -> None:
        self._netlink = Netlink(netlink.ROUTE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        self._netlink.close()

    # -- links ---------------------------------------------------------------------

    def all(self) -> list[Link]:
        """Return all interfaces."""
        found = self._netlink.dump(Message(_GETLINK, _LINK.pack(_ANY, 0, 0, 0, 0)))
        return [_link(each.payload) for each in found]

    def find(self, name: str) -> Link | None:
        """Return an interface by name; None if there is none."""
        asked = _LINK.pack(_ANY, 0, 0, 0, 0) + netlink.text(_NAME, name)
        try:
            return _link(self._netlink.get(Message(_GETLINK, asked)).payload)
        except NetlinkError as err:
            if err.errno == errno.ENODEV:
                return None
            raise

    def add_bridge(self, name: str, *, mac: str = "", mtu: int = 0) -> None:
        """Make a bridge, and bring it up."""
        info = netlink.nested(_LINKINFO, netlink.text(_INFO_KIND, "bridge"))
        self._add(_named(name, mac, mtu) + info)

    def add_veth(
        self, name: str, *, master: int, netns_fd: int, inside: str, mac: str, mtu: int = 0
    ) -> None:
        """Make a pair: one end a port of a bridge and up, the other in another namespace.

        Args:
            name: of our end.
            master: index of the bridge.
            netns_fd: the other namespace.
            inside: the other end's name there.
            mac: the other end's address.
            mtu: of both, 0 for the usual one.
        """
        peer = _LINK.pack(_ANY, 0, 0, 0, 0) + _named(inside, mac, mtu)
        peer += netlink.number(_NETNS_FD, netns_fd)
        info = netlink.nested(
            _LINKINFO,
            netlink.text(_INFO_KIND, "veth"),
            netlink.nested(_INFO_DATA, netlink.attribute(_VETH_PEER, peer)),
        )
        self._add(_named(name, "", mtu) + netlink.number(_MASTER, master) + info)

    def _add(self, attributes: bytes) -> None:
        head = _LINK.pack(_ANY, 0, 0, _UP, _UP)
        self._netlink.change(Message(_NEWLINK, head + attributes, CREATE | EXCL))

    def bring_up(self, index: int) -> None:
        """Let an interface carry packets."""
        self._netlink.change(Message(_NEWLINK, _LINK.pack(_ANY, 0, index, _UP, _UP)))

    def reflect(self, index: int) -> None:
        """Let a bridge send back to a port what came from it, if that is where it is for."""
        info = netlink.nested(
            _LINKINFO,
            netlink.text(_SLAVE_KIND, "bridge"),
            netlink.nested(_SLAVE_DATA, netlink.attribute(_PORT_MODE, b"\x01")),
        )
        self._netlink.change(Message(_NEWLINK, _LINK.pack(_ANY, 0, index, 0, 0) + info))

    def delete(self, index: int) -> None:
        """Remove an interface, and the other end of a pair; one that is gone is no error."""
        try:
            self._netlink.change(Message(_DELLINK, _LINK.pack(_ANY, 0, index, 0, 0)))
        except NetlinkError as err:
            if err.errno != errno.ENODEV:
                raise

    def begin_delete(self, index: int) -> Departure:
        """Remove an interface as ``delete`` does; return when nobody finds it any more."""
        departure = Departure(index)
        while self._is_there(index) and not departure.is_over(within_s=_GLANCE_S):
            pass
        return departure

    def _is_there(self, index: int) -> bool:
        try:
            self._netlink.get(Message(_GETLINK, _LINK.pack(_ANY, 0, index, 0, 0)))
        except NetlinkError as err:
            if err.errno == errno.ENODEV:
                return False
            raise
        return True

    # -- addresses -----------------------------------------------------------------

    def add_address(self, index: int, address: Interface) -> None:
        """Give an interface an address; what is in its network is reached through it."""
        raw = netlink.attribute(_IF_LOCAL, address.ip.packed)
        raw += netlink.attribute(_IF_ADDRESS, address.ip.packed)
        if address.version == 4 and address.network.prefixlen < 31:
            raw += netlink.attribute(_IF_BROADCAST, address.network.broadcast_address.packed)
        if address.version == 6:
            # Nobody else can have it, and a second of detection would delay the command.
            raw += netlink.number(_IF_FLAGS, _NODAD)
        head = _ADDRESS.pack(_family(address), address.network.prefixlen, 0, 0, index)
        self._netlink.change(Message(_NEWADDR, head + raw, CREATE | REPLACE))

    def addresses(self) -> list[tuple[int, Interface]]:
        """Return all addresses with the index of their interface."""
        found = self._netlink.dump(Message(_GETADDR, _ADDRESS.pack(_ANY, 0, 0, 0, 0)))
        made = []
        for each in found:
            _, prefix, _, _, index = _ADDRESS.unpack_from(each.payload)
            values = netlink.attributes(each.payload[_ADDRESS.size :])
            raw = values.get(_IF_LOCAL) or values.get(_IF_ADDRESS)
            if raw:
                made.append((index, ipaddress.ip_interface((raw, prefix))))
        return made

    def introduce(self, index: int, address: Address, mac: str) -> None:
        """Say who has an address, until the kernel finds out otherwise."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        head = _NEIGHBOUR.pack(family, index, _REACHABLE, 0, 0)
        raw = netlink.attribute(_N_ADDRESS, address.packed)
        raw += netlink.attribute(_N_MAC, bytes.fromhex(mac.replace(":", "")))
        self._netlink.change(Message(_NEWNEIGHBOUR, head + raw, CREATE | REPLACE))

    # -- routes --------------------------------------------------------------------

    def add_default_route(self, index: int, gateway: Address) -> None:
        """Send what is for nobody else to a gateway."""
        self._route(_NEWROUTE, index, gateway, CREATE | REPLACE)

    def delete_default_route(self, index: int, gateway: Address) -> None:
        """Take a default route back; one that is gone is no error."""
        try:
            self._route(_DELROUTE, index, gateway, 0)
        except NetlinkError as err:
            if err.errno != errno.ESRCH:
                raise

    def _route(self, kind: int, index: int, gateway: Address, flags: int) -> None:
        family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
        head = _ROUTE.pack(family, 0, 0, 0, _MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST, 0)
        raw = netlink.attribute(_R_GATEWAY, gateway.packed) + netlink.number(_R_OIF, index)
        self._netlink.change(Message(kind, head + raw, flags))

    def add_rule(self, version: int, *, mark: int, table: int) -> None:
        """Let packets of a family that have a mark be routed by a table."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        head = _ROUTE.pack(family, 0, 0, 0, table, 0, 0, _TO_TABLE, 0)
        raw = netlink.number(_RULE_MARK, mark)
        self._netlink.change(Message(_NEWRULE, head + raw, CREATE | EXCL))

    def add_local_route(self, destination: Network, index: int, *, table: int) -> None:
        """Take what is for these addresses as for this machine."""
        family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
        scope, prefix = _HOST, destination.prefixlen
        head = _ROUTE.pack(family, prefix, 0, 0, table, _BOOT, scope, _LOCAL, 0)
        raw = netlink.number(_R_OIF, index)
        if prefix:
            raw += netlink.attribute(_R_DST, destination.network_address.packed)
        self._netlink.change(Message(_NEWROUTE, head + raw, CREATE | REPLACE))

    def routes(self) -> list[Route]:
        """Return the routes of the main table, those of both families."""
        made: list[Route] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            for each in self._netlink.dump(Message(_GETROUTE, asked)):
                made += _route_of(each.payload)
        return made


class Departure:
    """An interface that the kernel is letting go of.

    For tens of milliseconds after nobody finds it, it waits for who may still be looking at it;
    a thread waits with it.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._links = Links()
        self._failure: BaseException | None = None
        self._end = _thread.allocate_lock()
        self._end.acquire()
        _thread.start_new_thread(self._work, ())

    def _work(self) -> None:
        try:
            with self._links:
                self._links.delete(self._index)
        except BaseException as err:  # noqa: BLE001  raised by ``wait``
            self._failure = err
        finally:
            self._end.release()

    def is_over(self, within_s: float) -> bool:
        """Say whether the kernel is through with it, or has refused, in this time."""
        if not self._end.acquire(timeout=within_s):
            return False
        self._end.release()
        return True

    def wait(self) -> None:
        """Wait until nothing of it is left.

        Raises:
            NetlinkError: the kernel refused.
        """
        with self._end:
            if self._failure is not None:
                raise self._failure


def _named(name: str, mac: str, mtu: int) -> bytes:
    raw = netlink.text(_NAME, name)
    if mac:
        raw += netlink.attribute(_MAC, bytes.fromhex(mac.replace(":", "")))
    if mtu:
        raw += netlink.number(_MTU, mtu)
    return raw


def _family(address: Interface) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _number(raw: bytes | None) -> int:
    return int(struct.unpack("=I", raw)[0]) if raw else 0


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    values = netlink.attributes(payload[_LINK.size :])
    info = netlink.attributes(values.get(_LINKINFO, b""))
    return Link(
        index,
        values[_NAME].rstrip(b"\0").decode(),
        info.get(_INFO_KIND, b"").rstrip(b"\0").decode(),
        _number(values.get(_MASTER)),
        bool(flags & _UP),
        values.get(_MAC, b"").hex(":"),
        _number(values.get(_MTU)),
    )


def _route_of(payload: bytes) -> Iterable[Route]:
    """Return the route of an answer; none if it is no unicast route of the main table."""
    family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(payload)
    values = netlink.attributes(payload[_ROUTE.size :])
    table = _number(values.get(_R_TABLE)) or table
    if table != _MAIN_TABLE or kind != _UNICAST or family not in (socket.AF_INET, socket.AF_INET6):
        return ()
    size = 4 if family == socket.AF_INET else 16
    destination = ipaddress.ip_network((values.get(_R_DST, bytes(size)), prefix))
    raw = values.get(_R_GATEWAY)
    gateway = ipaddress.ip_address(raw) if raw else None
    return (Route(destination, gateway, _number(values.get(_R_OIF))),)
