"""A container's links: a pair for each of its networks, one end in the container, one a bridge's.

Bridges and rules are there as long as somebody needs them: the first container makes them, the
last takes them away.  All shims of a data root do this one at a time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import StartFailed
from ocimagic.home.locks import locked
from ocimagic.linux import syscalls
from ocimagic.linux.links import Links
from ocimagic.linux.netlink import NetlinkError
from ocimagic.network.firewall import Firewall
from ocimagic.network.neighbours import Neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from ocimagic.linux.links import Link
    from ocimagic.network.plan import Endpoint, Plan, Port

LOCK = "networks.lock"


class Wiring:
    """The networks of one container.

    Args:
        container_id: whose.
        container: what it is called.
        room: the data root's run directory, for the lock and who is where.
        table: name of the data root's packet rules.
    """

    def __init__(self, container_id: str, container: str, room: str, table: str) -> None:
        self._container_id = container_id
        self._container = container
        self._room = Path(room)
        self._table = table

    def attach(self, netns_fd: int, plan: Plan, ports: Sequence[Port]) -> None:
        """Bring a container into its networks, and let ports of the machine lead to it.

        Args:
            netns_fd: its network namespace; the command has not begun.
            plan: what is asked for.
            ports: those of the plan, with the numbers they got.

        Raises:
            StartFailed: the kernel refused; nothing is left.
        """
        try:
            with self._alone() as (links, firewall, neighbours):
                for endpoint in plan.endpoints:
                    self._join(links, firewall, endpoint, netns_fd)
                for port in ports:
                    firewall.publish(port, _targets(plan.endpoints))
                for endpoint in plan.endpoints if ports else ():
                    _reflect(links, endpoint)
                firewall.commit()
                neighbours.put(self._container_id, plan, ports)
            with entered(netns_fd), Links() as links:
                links.bring_up(1)
                for number, endpoint in enumerate(plan.endpoints):
                    _furnish(links, endpoint, is_way_out=number == 0)
        except NetlinkError as err:
            self.withdraw(plan.endpoints, published=bool(ports))
            self.remove_links(plan.endpoints)
            raise StartFailed("cannot connect the container", why=err.strerror) from err

    def connect(self, netns_fd: int, endpoint: Endpoint, *, is_way_out: bool) -> None:
        """Bring a running container into one more network.

        Raises:
            StartFailed: the kernel refused; the container's other networks stay.
        """
        try:
            with self._alone() as (links, firewall, neighbours):
                self._join(links, firewall, endpoint, netns_fd)
                firewall.commit()
                neighbours.add(self._container_id, self._container, endpoint)
            with entered(netns_fd), Links() as links:
                _furnish(links, endpoint, is_way_out=is_way_out)
        except NetlinkError as err:
            self.disconnect(endpoint)
            raise StartFailed("cannot connect the container", why=err.strerror) from err

    def disconnect(self, endpoint: Endpoint) -> None:
        """Take a container out of one network; again does nothing."""
        with self._alone() as (links, firewall, neighbours):
            self._leave(links, firewall, endpoint)
            firewall.commit()
            neighbours.drop(self._container_id, endpoint.network_id)

    def give_way_out(self, netns_fd: int, endpoint: Endpoint) -> None:
        """Let what is for no network of the container leave it by this one."""
        with entered(netns_fd), Links() as links:
            _route_out(links, endpoint)

    def withdraw(self, endpoints: Sequence[Endpoint], *, published: bool) -> None:
        """Let others have a container's addresses and ports; again does nothing.

        Args:
            endpoints: its places.
            published: ports of the machine lead to it.
        """
        with self._alone() as (_, firewall, neighbours):
            if published:
                firewall.withdraw({str(address) for address in _targets(endpoints)})
                firewall.commit()
            neighbours.drop(self._container_id)

    def remove_links(self, endpoints: Sequence[Endpoint]) -> None:
        """Take away a container's links, and what only they needed; again does nothing.

        The kernel takes its time for it, so it comes last: nothing depends on it any more.
        """
        with self._alone() as (links, firewall, _):
            for endpoint in endpoints:
                self._leave(links, firewall, endpoint)
            firewall.commit()
            if firewall.is_there and not firewall.bridges():
                firewall.delete()
                firewall.commit()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[tuple[Links, Firewall, Neighbours]]:
        """Keep all others from changing anything meanwhile."""
        with locked(self._room, LOCK), Links() as links:
            yield links, Firewall(self._table), Neighbours(self._room)

    def _join(self, links: Links, firewall: Firewall, endpoint: Endpoint, netns_fd: int) -> None:
        bridge = links.find(endpoint.bridge) or _make_bridge(links, endpoint)
        firewall.make()
        firewall.add_bridge(endpoint.bridge, internal=endpoint.internal)
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
            links.delete(link.index)
        bridge = links.find(endpoint.bridge)
        if bridge is not None and not any(each.master == bridge.index for each in links.all()):
            links.delete(bridge.index)
            firewall.remove_bridge(endpoint.bridge)


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


def _targets(endpoints: Sequence[Endpoint]) -> list[IPv4Address | IPv6Address]:
    """Return where published ports lead: the first address of each family."""
    found: dict[int, IPv4Address | IPv6Address] = {}
    for endpoint in endpoints:
        for each in endpoint.interfaces if not endpoint.internal else ():
            found.setdefault(each.version, each.ip)
    return list(found.values())


@contextlib.contextmanager
def entered(netns_fd: int) -> Iterator[None]:
    """Be in another network namespace: this thread only, or a process that has one."""
    mine = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(netns_fd, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(mine, syscalls.CLONE_NEWNET)
    finally:
        os.close(mine)


def _furnish(links: Links, endpoint: Endpoint, *, is_way_out: bool) -> None:
    """Give a container's end of a pair its addresses, and a way out."""
    link = links.find(endpoint.inside)
    assert link is not None
    for each in endpoint.interfaces:
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
