"""What leads between the machine and containers where the kernel cannot: without root.

``published`` ports: connections and datagrams that come to a port of the machine go on to a
container.  ``ways out``: transparent sockets in the ground get whatever a container sends to the
world, and it goes on from the machine's own network.  Nothing of this needs a privilege or a
device of the machine.

Its limits: TCP and UDP only, so nobody outside answers a ping; and a container's connection is
there before the far side was asked, which it learns when that refuses.

Source: kernel documentation, "Transparent proxy support"; ip(7), IP_TRANSPARENT.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.linux.netns import inside
from ocimagic.network.flow import Flow, Flows
from ocimagic.network.plan import TCP, UDP
from ocimagic.network.stream import Stream
from ocimagic.network.waiting import READ

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv6Address

    from ocimagic.network.waiting import Loop

    Address = IPv4Address | IPv6Address

_AT_ONCE = 32
_STOCK = 8
_REST_S = 0.1
_READ_BYTES = 1 << 16
_KINDS = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
# Level, name: IP_TRANSPARENT, IP_RECVORIGDSTADDR; those of IPv6.
_TRANSPARENT = {4: (socket.IPPROTO_IP, 19), 6: (socket.IPPROTO_IPV6, 75)}
_SAY_WHERE = {4: (socket.IPPROTO_IP, 20), 6: (socket.IPPROTO_IPV6, 74)}
# Nobody is there: only which address this machine would use is asked.
_ELSEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}


class Target(NamedTuple):
    """Where a published port leads."""

    addresses: tuple[Address, ...]
    port: int


def open_ways() -> dict[str, int]:
    """Open transparent sockets in the network namespace we are in.

    Returns:
        Their descriptors, by protocol and version: ``tcp4`` and its like.
    """
    made: dict[str, socket.socket] = {}
    with contextlib.ExitStack() as opened:
        for version, family in _FAMILIES.items():
            for protocol, kind in _KINDS.items():
                with contextlib.suppress(_NoFamilyError):
                    each = opened.enter_context(_transparent(family, kind))
                    made[f"{protocol}{version}"] = each
                    if kind == socket.SOCK_DGRAM:
                        each.setsockopt(*_SAY_WHERE[version], 1)
                    each.bind(("", 0))
                    if kind == socket.SOCK_STREAM:
                        each.listen(socket.SOMAXCONN)
        opened.pop_all()
    return {name: each.detach() for name, each in made.items()}


class _NoFamilyError(Exception):
    """There is no IPv6 here."""


def _transparent(family: int, kind: int) -> socket.socket:
    try:
        made = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    except OSError as err:
        if err.errno == errno.EAFNOSUPPORT:
            raise _NoFamilyError from err
        raise
    _make_transparent(made)
    return made


def _make_transparent(made: socket.socket) -> None:
    version = 4 if made.family == socket.AF_INET else 6
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(*_TRANSPARENT[version], 1)


class Relay:
    """All that leads to and from one container.

    Args:
        loop: calls us.
        ground_fd: the network namespace the container's networks are in; None for this one.
    """

    def __init__(self, loop: Loop, ground_fd: int | None = None) -> None:
        self._loop = loop
        self._ground_fd = ground_fd
        self._streams: set[Stream] = set()
        self._stock: dict[tuple[int, int], list[socket.socket]] = {}

    # -- doors ---------------------------------------------------------------------

    def publish(self, door: socket.socket, target: Target) -> None:
        """Let a port of the machine lead to a container; again, to another address of it.

        Args:
            door: bound to the port; a TCP one listens.
            target: where to; with no address nobody is let in.
        """
        if not target.addresses:
            self._loop.forget(door.fileno())
            return
        address = _nearest(target.addresses, 4 if door.family == socket.AF_INET else 6)
        where = (str(address), target.port)
        family = _FAMILIES[address.version]
        door.setblocking(False)
        if door.type == socket.SOCK_STREAM:
            self._serve(door, lambda _: (self._in_ground(family, socket.SOCK_STREAM), where))
            return
        flows = Flows(self._loop)

        def make(who: tuple[str, int]) -> Flow:
            far = self._in_ground(family, socket.SOCK_DGRAM)
            _connect(far, where)
            return Flow(self._loop, far, lambda data: door.sendto(data, who))

        def hear(_events: int) -> None:
            with contextlib.suppress(OSError):
                for _ in range(_AT_ONCE):
                    data, who = door.recvfrom(_READ_BYTES)
                    flows.send(who, data, partial(make, who))

        self._loop.watch(door.fileno(), READ, hear)

    def let_out(self, way: socket.socket) -> None:
        """Send what comes to a transparent socket on to where it was sent."""
        way.setblocking(False)
        if way.type == socket.SOCK_STREAM:
            self._serve(
                way, lambda near: self._outside(way.family, way.type, near.getsockname()[:2])
            )
            return
        flows = Flows(self._loop)

        def make(who: tuple[str, int], where: tuple[str, int]) -> Flow:
            far, there = self._outside(way.family, socket.SOCK_DGRAM, where)
            _connect(far, there)
            near = self._in_ground(way.family, socket.SOCK_DGRAM)
            # As if the far side itself were here: what follows comes to this socket.
            _make_transparent(near)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            near.bind(where)
            _connect(near, who)
            return Flow(self._loop, far, near.send, near)

        def hear(_events: int) -> None:
            with contextlib.suppress(OSError):
                for _ in range(_AT_ONCE):
                    data, extra, _, who = way.recvmsg(_READ_BYTES, socket.CMSG_SPACE(28))
                    where = _sent_to(way.family, extra[0][2])
                    flows.send((who, where), data, partial(make, who, where))

        self._loop.watch(way.fileno(), READ, hear)

    # -- connections -----------------------------------------------------------------

    def _serve(self, door: socket.socket, lead: _Lead) -> None:
        """Accept connections, and connect each with where it leads."""

        def accept(_events: int) -> None:
            for _ in range(_AT_ONCE):
                try:
                    near, _who = door.accept()
                except BlockingIOError:
                    return
                except OSError as err:
                    if err.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        # Others have to end first; asked again at once it would be the same.
                        self._loop.forget(door.fileno())
                        self._loop.at(time.monotonic() + _REST_S, listen)
                        return
                    continue  # it has gone away meanwhile
                self._lead_on(near, lead)

        def listen() -> None:
            self._loop.watch(door.fileno(), READ, accept)

        listen()

    def _lead_on(self, near: socket.socket, lead: _Lead) -> None:
        near.setblocking(False)
        far = None
        try:
            far, where = lead(near)
            _connect(far, where)
            stream = Stream(self._loop, near, far, self._streams.discard)
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.close()
            if far is not None:
                far.close()
        else:
            self._streams.add(stream)

    def _outside(
        self, family: int, kind: int, where: tuple[str, int]
    ) -> tuple[socket.socket, tuple[str, int]]:
        """Return a socket of the machine, and what it is to be connected to.

        Raises:
            OSError: nobody may be reached there.
        """
        there = self._meant(ip_address(where[0]))
        made = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        return made, (str(there), where[1])

    def _meant(self, address: Address) -> Address:
        """Return the address of the machine for what means it; services of its own stay its own.

        Raises:
            OSError: nobody may be reached there.
        """
        if address.is_loopback or address.is_unspecified:
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        return _own_address(address.version) if self._is_gateway(address) else address

    def _is_gateway(self, address: Address) -> bool:
        """Say whether an address is a bridge's: that means the machine."""
        with self._in_ground(_FAMILIES[address.version], socket.SOCK_DGRAM) as trying:
            try:
                trying.bind((str(address), 0))
            except OSError:
                return False
        return True

    def _in_ground(self, family: int, kind: int) -> socket.socket:
        """Return a socket of the network namespace where the containers are."""
        flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        if self._ground_fd is None:
            return socket.socket(family, kind | flags)
        stock = self._stock.setdefault((family, kind), [])
        if not stock:  # several, since each visit takes a thread
            stock += inside(
                self._ground_fd,
                lambda: [socket.socket(family, kind | flags) for _ in range(_STOCK)],
            )
        return stock.pop()


if TYPE_CHECKING:
    from collections.abc import Callable

    _Lead = Callable[[socket.socket], tuple[socket.socket, tuple[str, int]]]


def _nearest(addresses: Sequence[Address], version: int) -> Address:
    """Return the address of this family, or the first there is."""
    return next((each for each in addresses if each.version == version), addresses[0])


def _connect(made: socket.socket, where: tuple[str, int]) -> None:
    """Begin to connect; whether it works out is heard later."""
    with contextlib.suppress(BlockingIOError):
        made.connect(where)


def _own_address(version: int) -> Address:
    """Return the address by which this machine reaches others.

    Raises:
        OSError: it reaches nobody.
    """
    with socket.socket(_FAMILIES[version], socket.SOCK_DGRAM) as asking:
        asking.connect((_ELSEWHERE[version], 9))
        return ip_address(asking.getsockname()[0])


def _sent_to(family: int, raw: bytes) -> tuple[str, int]:
    """Read the address that a datagram was sent to: sockaddr_in, sockaddr_in6."""
    (port,) = struct.unpack_from("!H", raw, 2)
    start, length = (4, 4) if family == socket.AF_INET else (8, 16)
    return str(ip_address(raw[start : start + length])), port
