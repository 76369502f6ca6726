"""What killed shims left of networks in the kernel: found by who is not kept any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.home.locks import locked_patiently
from ocimagic.linux.links import Links
from ocimagic.network.firewall import Firewall
from ocimagic.network.neighbours import Neighbours
from ocimagic.network.wiring import LOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class Living(NamedTuple):
    """What belongs to somebody.

    Attributes:
        bridges: those that the data root's networks have, or would have.
        links: how the names of those begin that containers which run may have.
        containers: IDs of those that run, or are about to.
    """

    bridges: Collection[str]
    links: tuple[str, ...]
    containers: Collection[str]


def sweep(room: str, table: str, look: Callable[[], Living]) -> list[str]:
    """Take away links, bridges, rules and names that belong to nobody; return what.

    Nothing if somebody is at work on networks just now: the next engine looks again.

    Args:
        room: see ``Wiring``.
        table: see ``Wiring``.
        look: says what belongs to somebody; called when nobody can change anything: who is
            connected then was there before.
    """
    try:
        with locked_patiently(Path(room), LOCK, _give_up):
            return _swept(Path(room), table, look())
    except _BusyError:
        return []


class _BusyError(Exception):
    """Somebody holds the lock."""


def _give_up() -> None:
    raise _BusyError


def _swept(room: Path, table: str, living: Living) -> list[str]:
    gone: list[str] = []
    with Links() as kernel:
        firewall, neighbours = Firewall(table), Neighbours(room)
        there = {each.name: each for each in kernel.all()}
        ours = {each.index: each for name, each in there.items() if name in living.bridges}
        used = set()
        for name, link in there.items():
            if link.master in ours and name.startswith(living.links):
                used.add(link.master)
            elif link.master in ours:
                kernel.delete(link.index)
                gone.append(name)
        places = neighbours.read()
        dead = {each for line in places.values() for each in line if each not in living.containers}
        addresses = {
            address
            for line in places.values()
            for container, told in line.items()
            if container not in dead
            for address in told["addresses"]
        }
        lost = {each.target for each in firewall.published()} - addresses
        firewall.withdraw(lost)
        for container in dead:
            neighbours.drop(container)
        for index, bridge in ours.items():
            if index not in used:
                kernel.delete(index)
                firewall.remove_bridge(bridge.name)
                gone.append(bridge.name)
        firewall.commit()
        if firewall.is_there and not firewall.bridges():
            firewall.delete()
            firewall.commit()
    return [*gone, *sorted(lost), *sorted(dead)]
