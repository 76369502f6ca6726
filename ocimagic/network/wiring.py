"""A container's links: a pair for each of its networks, one end in the container, one a bridge's.

Bridges and rules are there as long as somebody needs them: the first container makes them, the
last takes them away.  All shims of a data root do this one at a time.
"""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ocimagic.errors import StartFailed
from ocimagic.home.locks import locked
from ocimagic.linux import conntrack
from ocimagic.linux.links import Links
from ocimagic.linux.netlink import NETFILTER, Netlink, NetlinkError
from ocimagic.linux.netns import inside
from ocimagic.network.firewall import Firewall
from ocimagic.network.neighbours import Neighbours
from ocimagic.network.plan import PROTOCOLS, UDP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from ocimagic.linux.links import Departure, Link
    from ocimagic.network.plan import Endpoint, Plan, Port

LOCK = "networks.lock"
T = TypeVar("T")


class Place(NamedTuple):
    """Where bridges are, and how the world is reached from there.

    Attributes:
        ground_fd: a network namespace of the account's own; None for the machine's.
        ways: ports of the container's relay there, by protocol and version; none if the
            kernel's routes lead to the world.
    """

    ground_fd: int | None = None
    ways: Mapping[str, int] = MappingProxyType({})

    def call(self, job: Callable[[], T]) -> T:
        """Do a job there."""
        return job() if self.ground_fd is None else inside(self.ground_fd, job)


class Wiring:
    """The networks of one container.

    Args:
        container_id: whose.
        container: what it is called.
        room: the data root's run directory, for the lock and who is where.
        table: name of the data root's packet rules.
        place: where the bridges are.
    """

    def __init__(
        self, container_id: str, container: str, room: str, table: str, place: Place | None = None
    ) -> None:
        self._container_id = container_id
        self._container = container
        self._room = Path(room)
        self._table = table
        self._place = place or Place()
        self._rules: Netlink | None = None
        self._leaving: list[Departure] = []

    def close(self) -> None:
        """Let go of the way to the packet rules; who needs it again gets a new one."""
        if self._rules is not None:
            self._rules.close()
            self._rules = None

    def attach(self, netns_fd: int, plan: Plan, ports: Sequence[Port]) -> None:
        """Bring a container into its networks, and let ports of the machine lead to it.

        Args:
            netns_fd: its network namespace; the command has not begun.
            plan: what is asked for.
            ports: those of the plan, with the numbers they got.

        Raises:
            StartFailed: the kernel refused; nothing is left.
        """

        def make() -> None:
            with self._alone() as (links, firewall, neighbours):
                for endpoint in plan.endpoints:
                    self._join(links, firewall, endpoint, netns_fd)
                if self._place.ground_fd is None:
                    for port in ports:
                        firewall.publish(port, targets(plan.endpoints))
                    for endpoint in plan.endpoints if ports else ():
                        _reflect(links, endpoint)
                firewall.commit()
                _begin_flows(ports)
                neighbours.put(self._container_id, plan, ports)

        def furnish() -> None:
            with Links() as links:
                links.bring_up(1)
                for number, endpoint in enumerate(plan.endpoints):
                    _furnish(links, endpoint, is_way_out=number == 0)

        try:
            self._place.call(make)
            inside(netns_fd, furnish)
        except NetlinkError as err:
            self.withdraw(plan.endpoints, ports)
            self.remove_links(plan.endpoints)
            raise StartFailed("cannot connect the container", why=err.strerror) from err

    def connect(self, netns_fd: int, endpoint: Endpoint, *, is_way_out: bool) -> None:
        """Bring a running container into one more network.

        Raises:
            StartFailed: the kernel refused; the container's other networks stay.
        """

        def make() -> None:
            with self._alone() as (links, firewall, neighbours):
                self._join(links, firewall, endpoint, netns_fd)
                firewall.commit()
                neighbours.add(self._container_id, self._container, endpoint)

        def furnish() -> None:
            with Links() as links:
                _furnish(links, endpoint, is_way_out=is_way_out)

        try:
            self._place.call(make)
            inside(netns_fd, furnish)
        except NetlinkError as err:
            self.disconnect(endpoint)
            raise StartFailed("cannot connect the container", why=err.strerror) from err

    def disconnect(self, endpoint: Endpoint) -> None:
        """Take a container out of one network; again does nothing."""

        def leave() -> None:
            with self._alone() as (links, firewall, neighbours):
                if self._place.ways:
                    firewall.keep_in(_sources([endpoint]))
                self._leave(links, firewall, endpoint)
                firewall.commit()
                neighbours.drop(self._container_id, endpoint.network_id)

        self._place.call(leave)

    def lead_ports(
        self, ports: Sequence[Port], was: Sequence[Endpoint], now: Sequence[Endpoint]
    ) -> None:
        """Let published ports lead to where the container is now, if it is the kernel that does.

        Args:
            ports: of the machine.
            was: its places before.
            now: its places.
        """
        before, after = targets(was), targets(now)
        if self._place.ground_fd is not None or not ports or before == after:
            return
        with self._alone() as (links, firewall, _):
            _unpublish(firewall, ports, before)
            for port in ports:
                firewall.publish(port, after)
            for endpoint in now:
                _reflect(links, endpoint)
            firewall.commit()

    def give_way_out(self, netns_fd: int, endpoint: Endpoint) -> None:
        """Let what is for no network of the container leave it by this one."""

        def route() -> None:
            with Links() as links:
                _route_out(links, endpoint)

        inside(netns_fd, route)

    def withdraw(self, endpoints: Sequence[Endpoint], ports: Sequence[Port]) -> None:
        """Let others have a container's addresses and ports; again does nothing.

        Args:
            endpoints: its places.
            ports: those of the machine that lead to it.
        """

        def leave() -> None:
            with self._alone() as (_, firewall, neighbours):
                if ports and self._place.ground_fd is None:
                    _unpublish(firewall, ports, targets(endpoints))
                if self._place.ways:
                    firewall.keep_in(_sources(endpoints))
                firewall.commit()
                neighbours.drop(self._container_id)

        self._place.call(leave)

    def remove_links(self, endpoints: Sequence[Endpoint]) -> None:
        """Take away a container's links, and what only they needed; again does nothing.

        The kernel takes its time for it, so it comes last: nothing depends on it any more.
        """

        def remove() -> None:
            with self._alone() as (links, firewall, _):
                for endpoint in endpoints:
                    self._leave(links, firewall, endpoint)
                firewall.commit()
                if firewall.is_there and not firewall.bridges():
                    firewall.delete()
                    firewall.commit()

        self._place.call(remove)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[tuple[Links, Firewall, Neighbours]]:
        """Keep all others from changing anything meanwhile; links that go are waited for alone."""
        with locked(self._room, LOCK), Links() as links:
            if self._rules is None:  # kept: closing it takes long
                self._rules = Netlink(NETFILTER)
            firewall = Firewall(self._table, relayed=bool(self._place.ways), kernel=self._rules)
            yield links, firewall, Neighbours(self._room)
        leaving, self._leaving = self._leaving, []
        for each in leaving:
            each.wait()

    def _join(self, links: Links, firewall: Firewall, endpoint: Endpoint, netns_fd: int) -> None:
        bridge = links.find(endpoint.bridge) or _make_bridge(links, endpoint)
        firewall.make()
        firewall.add_bridge(endpoint.bridge, internal=endpoint.internal)
        if not endpoint.internal:
            firewall.let_out([each.ip for each in endpoint.interfaces], self._place.ways)
        links.add_veth(
            endpoint.link,
            master=bridge.index,
            netns_fd=netns_fd,
            inside=endpoint.inside,
            mac=endpoint.mac,
            mtu=endpoint.mtu,
        )
        for each in endpoint.interfaces:  # or the first packet would have to wait for answers
            links.introduce(bridge.index, each.ip, endpoint.mac)

    def _leave(self, links: Links, firewall: Firewall, endpoint: Endpoint) -> None:
        link = links.find(endpoint.link)
        if link is not None:
            self._leaving.append(links.begin_delete(link.index))
        bridge = links.find(endpoint.bridge)
        if bridge is not None and not any(each.master == bridge.index for each in links.all()):
            self._leaving.append(links.begin_delete(bridge.index))
            firewall.remove_bridge(endpoint.bridge)


def end_flows(addresses: Iterable[IPv4Address | IPv6Address]) -> None:
    """Let who goes on sending to ports that led to these addresses be sent anew."""
    # A kernel that lists no flows: those of UDP lead nowhere until nobody sent for a while.
    with contextlib.suppress(OSError):
        for each in addresses:
            conntrack.forget_address(each)


def _unpublish(
    firewall: Firewall, ports: Sequence[Port], addresses: Sequence[IPv4Address | IPv6Address]
) -> None:
    """Let ports lead to these addresses no more; what is gone already is no error."""
    try:
        firewall.unpublish(ports, addresses)
        firewall.commit()
    except NetlinkError as err:
        if err.errno != errno.ENOENT:
            raise
        firewall.withdraw({str(each) for each in addresses})
        firewall.commit()
    if any(each.protocol == UDP for each in ports):
        end_flows(addresses)


def _begin_flows(ports: Sequence[Port]) -> None:
    """Let who has been sending to a port before it was published reach the container."""
    with contextlib.suppress(OSError):  # see ``end_flows``
        for each in ports:
            if each.protocol == UDP:
                conntrack.forget_port(PROTOCOLS[UDP], each.host_port, (4, 6))


def _reflect(links: Links, endpoint: Endpoint) -> None:
    """Let a container reach its own published ports where bridged packets are translated, too."""
    link = links.find(endpoint.link)
    if link is not None:
        links.reflect(link.index)


def _make_bridge(links: Links, endpoint: Endpoint) -> Link:
    gateways = endpoint.gateway_interfaces
    links.add_bridge(endpoint.bridge, mac=_mac_of_bridge(endpoint), mtu=endpoint.mtu)
    made = links.find(endpoint.bridge)
    assert made is not None
    for each in gateways:
        links.add_address(made.index, each)
    # What the machine sends to a published port on 127.0.0.1 goes out by the bridge.
    _switch(f"ipv4/conf/{endpoint.bridge}/route_localnet")
    if not endpoint.internal:
        _switch("ipv4/ip_forward")
        if any(each.version == 6 for each in gateways):
            _switch("ipv6/conf/all/forwarding")
    return made


def _mac_of_bridge(endpoint: Endpoint) -> str:
    return (b"\x02\x42" + endpoint.gateway_interfaces[0].ip.packed[-4:]).hex(":")


def _switch(name: str) -> None:
    """Set a sysctl to 1 unless it is already; the machine may show them read-only."""
    path = Path("/proc/sys/net") / name
    with contextlib.suppress(OSError):
        if path.read_text() != "1\n":
            path.write_text("1")


def _sources(endpoints: Sequence[Endpoint]) -> set[str]:
    """Return all addresses of a container."""
    return {str(each.ip) for endpoint in endpoints for each in endpoint.interfaces}


def targets(endpoints: Sequence[Endpoint]) -> list[IPv4Address | IPv6Address]:
    """Return where published ports lead: the first address of each family."""
    found: dict[int, IPv4Address | IPv6Address] = {}
    for endpoint in endpoints:
        for each in endpoint.interfaces if not endpoint.internal else ():
            found.setdefault(each.version, each.ip)
    return list(found.values())


def _furnish(links: Links, endpoint: Endpoint, *, is_way_out: bool) -> None:
    """Give a container's end of a pair its addresses, and a way out."""
    link = links.find(endpoint.inside)
    assert link is not None
    for each in (*endpoint.interfaces, *endpoint.link_interfaces):
        links.add_address(link.index, each)
    links.bring_up(link.index)
    for each in endpoint.gateway_interfaces:
        links.introduce(link.index, each.ip, _mac_of_bridge(endpoint))
    if is_way_out:
        _route_out(links, endpoint)


def _route_out(links: Links, endpoint: Endpoint) -> None:
    link = links.find(endpoint.inside)
    if link is None or endpoint.internal:
        return
    versions = {each.version for each in endpoint.interfaces}
    for each in endpoint.gateway_interfaces:
        if each.version in versions:
            links.add_default_route(link.index, each.ip)
