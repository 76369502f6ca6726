"""Where bridges are without root: a network namespace of the account's own.

All its containers that are in networks share it.  Nobody owns it but who uses it: every
container's holder keeps a descriptor of it, and with the last one it is gone, bridges and rules
with it.  A file says which one it is and who may have it.

What reaches the world from there goes through a ``relay``: packets that are for nobody here are
handed to its sockets, whatever they are addressed to.  The kernel does that for marked packets,
which a route calls local.

Source: kernel documentation, "Transparent proxy support"; network_namespaces(7).
"""

from __future__ import annotations

import contextlib
import json
import os
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.errors import StartFailed
from ocimagic.home.location import write_atomic
from ocimagic.linux.links import Links
from ocimagic.linux.netns import inside, kept_file, new_netns
from ocimagic.network.firewall import MARK
from ocimagic.network.neighbours import GROUND_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    LeadOut = Callable[[int, bool], int | None]

_TABLE = 100
_LOOPBACK = 1
_BRIDGE_CALLS = ("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables")


class Ground:
    """The namespace of one data root; all methods are for who holds the lock of its networks.

    Args:
        room: the data root's run directory.
    """

    def __init__(self, room: Path) -> None:
        self._path = room / GROUND_NAME

    def find(self) -> int | None:
        """Return a descriptor of it, None if nobody is in a network.

        Raises:
            StartFailed: it belongs to another user namespace.
        """
        told = self._read()
        fd = _open(f"net:[{told.inode}]", told.pids)
        if fd is None:
            return None
        try:
            inside(fd, lambda: None)
        except OSError as err:
            os.close(fd)
            raise StartFailed(
                "cannot enter the network of this account's other containers",
                why=f"{err.strerror}: its user namespace is another one",
                hint="stop the containers that are in networks, and start them again",
            ) from err
        return fd

    def join(self, pids: tuple[int, ...], lead_out: LeadOut) -> dict[str, int]:
        """Return descriptors that keep it, made if it is not there.

        Args:
            pids: of those who will keep copies.
            lead_out: makes a way out of it; returns what keeps that, None if there is none.

        Returns:
            The namespace's as ``fd``, and if something leads out of it what keeps that, as ``way``.

        Raises:
            OSError: the kernel refused.
            StartFailed: it belongs to another user namespace.
        """
        told = self._read()
        fd = self.find()
        if fd is None:
            fd, told = new_netns(), _Told()
            inside(fd, prepare)
            way = lead_out(fd, False)
        else:
            way = _open(f"pipe:[{told.way}]", told.pids) or lead_out(fd, True)
        there = [each for each in told.pids if kept_file(f"net:[{told.inode}]", each)]
        number = 0 if way is None else os.fstat(way).st_ino
        self._write(_Told(os.fstat(fd).st_ino, (*dict.fromkeys((*there, *pids)),), number))
        return {"fd": fd} if way is None else {"fd": fd, "way": way}

    def note(self, pids: tuple[int, ...]) -> None:
        """Note who keeps copies, too."""
        told = self._read()
        there = [each for each in told.pids if kept_file(f"net:[{told.inode}]", each)]
        self._write(told._replace(pids=(*dict.fromkeys((*there, *pids)),)))

    def leave(self, pids: tuple[int, ...]) -> None:
        """Note who keeps a copy no more."""
        told = self._read()
        rest = [
            each
            for each in told.pids
            if each not in pids and kept_file(f"net:[{told.inode}]", each)
        ]
        if rest:
            self._write(told._replace(pids=tuple(rest)))
        else:
            self._path.unlink(missing_ok=True)

    def _read(self) -> _Told:
        try:
            told = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return _Told()
        return _Told(told["inode"], tuple(told["pids"]), told["way"])

    def _write(self, told: _Told) -> None:
        write_atomic(self._path, json.dumps(told._asdict()).encode(), mode=0o600)


class _Told(NamedTuple):
    """What the file says.

    Attributes:
        inode: of the namespace.
        pids: of those who may keep it.
        way: inode of the pipe that keeps what leads out of it, or 0.
    """

    inode: int = 0
    pids: tuple[int, ...] = ()
    way: int = 0


def _open(name: str, pids: Sequence[int]) -> int | None:
    """Open what one of these processes keeps, as proc(5) names it; None if nobody does."""
    flags = os.O_WRONLY if name.startswith("pipe:") else os.O_RDONLY
    for pid in pids:
        if path := kept_file(name, pid):
            with contextlib.suppress(OSError):  # it has just ended
                return os.open(path, flags | os.O_CLOEXEC)
    return None


def prepare() -> None:
    """Make a new namespace ready: what is marked is for this machine."""
    for name in _BRIDGE_CALLS:  # or a packet is given to a socket before the bridge, and lost
        with contextlib.suppress(OSError):  # no such switch, no such calls
            Path("/proc/sys/net", name).write_text("0")
    with Links() as links:
        links.bring_up(_LOOPBACK)
        for everywhere in (ip_network("0.0.0.0/0"), ip_network("::/0")):
            with contextlib.suppress(OSError):  # a kernel without IPv6
                links.add_rule(everywhere.version, mark=MARK, table=_TABLE)
                links.add_local_route(everywhere, _LOOPBACK, table=_TABLE)


def bridge_calls() -> bool:
    """Say whether bridged packets pass rules that are not for them, after ``prepare``."""
    for name in _BRIDGE_CALLS:
        with contextlib.suppress(OSError):
            if Path("/proc/sys/net", name).read_text().strip() != "0":
                return True
    return False
