"""The process that leads a container's connections where the kernel does not (``network.relay``).

It is made when the first packet is there to be led, and is a child of the shim that outlives it:
connections do not end because a shim does.  The holder keeps the end of a socket by which it
hears what changes, and that all who kept the container are gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.linux import syscalls
from ocimagic.network.plan import TCP, UDP
from ocimagic.network.relay import Relay, Target
from ocimagic.shim.forks import close_all_but, fork_child
from ocimagic.shim.loop import READ, Loop

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from ocimagic.network.plan import Port
    from ocimagic.shim.holder import Keeper

    Address = IPv4Address | IPv6Address

# Groups of descriptors that the holder keeps.
PORTS, WAYS, GROUND, _RELAY = "ports", "ways", "ground", "relay"
_CONTROL, _PIDFD = "control", "pidfd"
_MAX_MESSAGE = 1 << 16


class Leads(NamedTuple):
    """What a relay has to know.

    Attributes:
        ports: published ones.
        targets: the container's addresses that they lead to.
    """

    ports: tuple[Port, ...]
    targets: tuple[Address, ...]


class RelayKeeper:
    """A shim's relay: made at need, told of changes, and ended.

    Args:
        loop: the shim's.
        keeper: has the sockets it serves.
    """

    def __init__(self, loop: Loop, keeper: Keeper) -> None:
        self._loop = loop
        self._keeper = keeper
        self._leads = Leads((), ())
        self._awaited: list[int] = []

    def begin(self, leads: Leads) -> None:
        """See to it that whoever comes is led; go on with a relay that an earlier shim made."""
        self._leads = leads
        if _RELAY in self._keeper.groups:
            self._watch()
        else:
            self._await()

    def change(self, leads: Leads) -> None:
        """Lead elsewhere from now on."""
        self._leads = leads
        control = self._keeper.groups.get(_RELAY, {}).get(_CONTROL)
        if control is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(control)) as told:
                told.send(json.dumps(list(map(str, leads.targets))).encode(), socket.MSG_NOSIGNAL)

    def end(self) -> None:
        """Lead nobody any more: when this returns, ports are free."""
        self._rest()
        group = self._keeper.groups.get(_RELAY)
        if group is None:
            return
        pidfd = group[_PIDFD]
        self._loop.forget(pidfd)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        gone.poll()
        self._keeper.drop(_RELAY)

    def _doors(self) -> list[int]:
        """Return the sockets of ports that the kernel does not lead."""
        relayed = GROUND in self._keeper.groups
        return [
            fd
            for fd in self._keeper.groups.get(PORTS, {}).values()
            if self._leads.targets and (relayed or self._only_relay_leads(fd))
        ]

    def _only_relay_leads(self, fd: int) -> bool:
        """Say whether a container has no address of a port's family."""
        with socket.socket(fileno=os.dup(fd)) as door:
            version = 4 if door.family == socket.AF_INET else 6
        return all(each.version != version for each in self._leads.targets)

    def _await(self) -> None:
        """Wait for the first who comes."""
        self._awaited = [*self._doors(), *self._keeper.groups.get(WAYS, {}).values()]
        for fd in self._awaited:
            self._loop.watch(fd, READ, lambda _: self._start())

    def _rest(self) -> None:
        for fd in self._awaited:
            self._loop.forget(fd)
        self._awaited = []

    def _start(self) -> None:
        self._rest()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        groups = self._keeper.groups
        ways = list(groups.get(WAYS, {}).values())
        ground_fd = groups[GROUND]["fd"] if GROUND in groups else None
        doors, leads = self._doors(), self._leads

        def live() -> None:
            ground = [] if ground_fd is None else [ground_fd]
            close_all_but([theirs.fileno(), *ground, *doors, *ways])
            _Process(theirs, ground_fd, doors, ways, leads).run()

        pid = fork_child(live)
        theirs.close()
        pidfd = os.pidfd_open(pid)
        self._keeper.keep({_RELAY: {_CONTROL: mine.detach(), _PIDFD: pidfd}})
        self._watch()

    def _watch(self) -> None:
        pidfd = self._keeper.groups[_RELAY][_PIDFD]
        self._loop.watch(pidfd, READ, lambda _: self._died())

    def _died(self) -> None:
        """Make another one for the next who comes: it was killed."""
        self._loop.forget(self._keeper.groups[_RELAY][_PIDFD])
        self._keeper.drop(_RELAY)
        self._await()


class _Process:
    """The life of a relay."""

    def __init__(
        self,
        control: socket.socket,
        ground_fd: int | None,
        doors: list[int],
        ways: list[int],
        leads: Leads,
    ) -> None:
        self._loop = Loop()
        self._control = control
        self._relay = Relay(self._loop, ground_fd)
        self._doors = [socket.socket(fileno=fd) for fd in doors]
        self._ways = [socket.socket(fileno=fd) for fd in ways]
        self._ports = leads.ports
        self._lead(leads)
        self._is_over = False

    def run(self) -> None:
        syscalls.set_process_name("ocimagic-relay")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two or more a connection
        for way in self._ways:
            self._relay.let_out(way)
        self._loop.watch(self._control.fileno(), READ, self._hear)
        while not self._is_over:
            self._loop.turn()

    def _lead(self, leads: Leads) -> None:
        for door in self._doors:
            port = _port_behind(door, leads.ports)
            self._relay.publish(door, Target(leads.targets, port))

    def _hear(self, _events: int) -> None:
        try:
            told = self._control.recv(_MAX_MESSAGE)
        except ConnectionResetError:
            told = b""
        if not told:  # nobody keeps the container any more
            self._is_over = True
            return
        self._lead(Leads(self._ports, tuple(map(ip_address, json.loads(told)))))


def _port_behind(door: socket.socket, ports: tuple[Port, ...]) -> int:
    """Return the container's port that a socket is the door of."""
    address, number = door.getsockname()[:2]
    protocol = TCP if door.type == socket.SOCK_STREAM else UDP
    fitting = [
        each
        for each in ports
        if (each.protocol, each.host_port) == (protocol, number)
        and (not each.host_address or ip_address(each.host_address) == ip_address(address))
    ]
    return fitting[0].container_port


def port_of_socket(fd: int) -> int:
    """Return the port that a socket is bound to."""
    with socket.socket(fileno=os.dup(fd)) as bound:
        return int(bound.getsockname()[1])
