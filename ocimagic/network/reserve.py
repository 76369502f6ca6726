"""Ports of the machine: taken before anything leads from them, so that nobody else gets them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ocimagic.errors import PortTaken
from ocimagic.network.plan import TCP
from ocimagic.spec.record import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ocimagic.network.plan import Port

# What docker gives when it may choose: the upper part of RFC 6335's dynamic ports.
_FIRST, _LAST = 49153, 65535
_TRIES = 100
SOMEBODY = "another process has it"


def reserve(
    ports: Sequence[Port], holder: Callable[[Port], str] = lambda _: ""
) -> tuple[list[Port], list[int]]:
    """Take ports; return them with their numbers, and the descriptors that hold them.

    A port is held by a socket that is bound.  As root nobody reaches it: packets are sent on
    before.  It listens all the same: only then nobody else can have the port, although it may be
    taken again at once when connections of before are still remembered.

    Args:
        ports: those with the number 0 get a free one.
        holder: says which container has a port, "" for none.

    Raises:
        PortTaken: somebody else has one; none is held then.
    """
    taken: list[Port] = []
    with contextlib.ExitStack() as held:
        sockets: list[socket.socket] = []
        for port in ports:
            found, bound = _take_of(port, holder)
            for each in bound:
                held.enter_context(each)
            sockets += bound
            taken.append(found)
        held.pop_all()
    return taken, [each.detach() for each in sockets]


def _take_of(port: Port, holder: Callable[[Port], str]) -> tuple[Port, list[socket.socket]]:
    """Take the port that is meant, of several the first that is free."""
    if not port.host_port:
        return _take_any(port)
    for number in range(port.host_port, port.last_host_port):
        with contextlib.suppress(PortTaken):
            return _take(replace(port, host_port=number, last_host_port=0), lambda _: "")
    last = max(port.host_port, port.last_host_port)
    return _take(replace(port, host_port=last, last_host_port=0), holder)


def _take_any(port: Port) -> tuple[Port, list[socket.socket]]:
    """Take one that is free, for every address it is wanted for."""
    start = int.from_bytes(os.urandom(4)) % (_LAST - _FIRST + 1)
    for number in range(_TRIES):
        chosen = _FIRST + (start + number) % (_LAST - _FIRST + 1)
        with contextlib.suppress(PortTaken):
            return _take(replace(port, host_port=chosen), lambda _: "")
    raise PortTaken("no port is free", why=f"{_TRIES} tries from {_FIRST + start} on")


def _take(port: Port, holder: Callable[[Port], str]) -> tuple[Port, list[socket.socket]]:
    made: list[socket.socket] = []
    try:
        for family, address in _addresses(port):
            with contextlib.suppress(_NoFamilyError):
                made.append(_bound(port, family, address, holder))
    except BaseException:
        for each in made:
            each.close()
        raise
    return port, made


class _NoFamilyError(Exception):
    """This machine has no addresses of this family."""


def _addresses(port: Port) -> list[tuple[int, str]]:
    if not port.host_address:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104
    version = ip_address(port.host_address).version
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, port.host_address)]


def _bound(port: Port, family: int, address: str, holder: Callable[[Port], str]) -> socket.socket:
    kind = socket.SOCK_STREAM if port.protocol == TCP else socket.SOCK_DGRAM
    try:
        made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    except OSError as err:
        raise _NoFamilyError from err
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == TCP:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port.host_port))
        if port.protocol == TCP:
            made.listen(socket.SOMAXCONN)
    except OSError as err:
        made.close()
        if err.errno == errno.EADDRNOTAVAIL and not port.host_address:
            raise _NoFamilyError from err
        raise _refused(port, err, holder(port)) from err
    return made


def _refused(port: Port, err: OSError, container: str) -> PortTaken:
    shown = shown_port(port)
    if err.errno == errno.EADDRINUSE:
        holder = f"container {container}" if container else holder_of(port)
        return PortTaken(
            f"port {shown} is already allocated",
            why=f"{holder} has it" if holder else SOMEBODY,
            hint="end that one, or publish another port: -p OTHER:"
            f"{port.container_port}; -p {port.container_port} lets ocimagic choose",
        )
    if err.errno == errno.EADDRNOTAVAIL:
        return PortTaken(
            f"port {shown} cannot be published",
            why=f"{port.host_address} is no address of this machine",
            hint="leave the address out to publish on all of them",
        )
    return PortTaken(f"port {shown} cannot be published", why=err.strerror)


def shown_port(port: Port) -> str:
    """Return a port as errors name it."""
    return f"{port.host_address or '0.0.0.0'}:{port.host_port}/{port.protocol}"  # noqa: S104


def holder_of(port: Port) -> str:
    """Return who has a port, such as ``nginx (process 4711)``; "" if that cannot be seen."""
    wanted = set(_inodes(port))
    if not wanted:
        return ""
    with os.scandir("/proc") as everybody:
        for entry in everybody:
            if entry.name.isdecimal() and _has_one_of(entry.path, wanted):
                with contextlib.suppress(OSError):  # it has just ended
                    return f"{_name_of(entry.path)} (process {entry.name})"
    return ""


def _has_one_of(process: str, wanted: set[str]) -> bool:
    """Say whether a process has one of these sockets open, as far as that can be seen."""
    with contextlib.suppress(OSError), os.scandir(f"{process}/fd") as opened:
        for fd in opened:
            with contextlib.suppress(OSError):  # just closed
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd.path))
                if found and found[1] in wanted:
                    return True
    return False


def _inodes(port: Port) -> Iterator[str]:
    """Yield the sockets that are bound to a port: proc(5), /proc/net/tcp."""
    for family in ("", "6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{port.protocol}{family}") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port.host_port:
                    is_open = port.protocol != TCP or fields[3] in ("0A", "07")
                    if is_open and fields[9] != "0":
                        yield fields[9]


def _name_of(process: str) -> str:
    with open(f"{process}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
