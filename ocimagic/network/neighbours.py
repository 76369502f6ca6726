"""Who is where: the names and addresses of all running containers, by network.

One file, written whole by whoever holds the lock; shims read it to answer their containers'
questions for names.
"""

from __future__ import annotations

import json
import os
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from ocimagic.home.location import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ocimagic.network.plan import Endpoint, Plan, Port

_NAME, GROUND_NAME = "neighbours.json", "ground.json"
Line = dict[str, list[str]]  # of a container: called, names, addresses, ports
Places = dict[str, dict[str, Line]]  # by network and container


def is_used(room: Path) -> bool:
    """Say whether any container is in a network, or was when its shim was killed."""
    return (room / _NAME).exists() or bool(half_written(room))


def half_written(room: Path) -> list[Path]:
    """Return the files that somebody was writing; nobody is, for who holds the lock."""
    return [path for name in (_NAME, GROUND_NAME) for path in room.glob(f".{name}.*")]


def is_grounded(room: Path) -> bool:
    """Say whether an ordinary account's network namespace has been made; see ``ground``."""
    return (room / GROUND_NAME).exists()


def leads_by_program(room: Path) -> bool | None:
    """Say whether a program leads out of that namespace; None if there is none now."""
    try:
        return bool(json.loads((room / GROUND_NAME).read_bytes())["way"])
    except FileNotFoundError:
        return None


class Neighbours:
    """The file of one data root.

    Args:
        room: the directory it is in.
    """

    def __init__(self, room: Path) -> None:
        self._path = room / _NAME
        self._seen: tuple[int, int] | None = None
        self._places: Places = {}

    def read(self) -> Places:
        """Return everybody; read again only if the file is another one."""
        try:
            told = os.stat(self._path)
        except FileNotFoundError:
            self._seen, self._places = None, {}
            return self._places
        if self._seen != (told.st_ino, told.st_mtime_ns):
            self._places = json.loads(self._path.read_bytes())
            self._seen = told.st_ino, told.st_mtime_ns
        return self._places

    def put(self, container_id: str, plan: Plan, ports: Sequence[Port]) -> None:
        """Write down where a container is, and nowhere else."""
        places = self._without(container_id)
        for each in plan.endpoints:
            line = _line(plan.container, each, ports)
            places.setdefault(each.network_id, {})[container_id] = line
        self._write(places)

    def add(self, container_id: str, container: str, endpoint: Endpoint) -> None:
        """Write down one more place."""
        places = self._without(container_id, endpoint.network_id)
        line = _line(container, endpoint, ())
        places.setdefault(endpoint.network_id, {})[container_id] = line
        self._write(places)

    def holder_of(self, port: Port) -> str:
        """Return the name of the container that a port of the machine leads to, or ""."""
        for everybody in self.read().values():
            for line in everybody.values():
                if any(_clash(port, each) for each in line["ports"]):
                    return line["called"][0]
        return ""

    def drop(self, container_id: str, network_id: str | None = None) -> None:
        """Forget a container, in one network or all."""
        self._write(self._without(container_id, network_id))

    def _without(self, container_id: str, network_id: str | None = None) -> Places:
        return {
            network: rest
            for network, everybody in self.read().items()
            if (
                rest := {
                    each: line
                    for each, line in everybody.items()
                    if each != container_id or network_id not in (None, network)
                }
            )
        }

    def _write(self, places: Places) -> None:
        if places:
            write_atomic(self._path, json.dumps(places).encode(), mode=0o600)
        else:
            self._path.unlink(missing_ok=True)


def _line(container: str, endpoint: Endpoint, ports: Sequence[Port]) -> Line:
    return {
        "called": [container],
        "names": list(endpoint.names),
        "addresses": [str(ip_interface(each).ip) for each in endpoint.addresses],
        "ports": [f"{each.protocol} {each.host_port} {each.host_address}" for each in ports],
    }


def _clash(port: Port, told: str) -> bool:
    protocol, number, address = told.split(" ")
    same_place = address == port.host_address or not address or not port.host_address
    return (protocol, int(number)) == (port.protocol, port.host_port) and same_place
