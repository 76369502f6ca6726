"""What killed shims left of networks in the kernel: found by who is not kept any more."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.home.locks import locked_patiently
from ocimagic.linux.links import Links
from ocimagic.linux.netns import inside
from ocimagic.network.firewall import Firewall
from ocimagic.network.ground import Ground
from ocimagic.network.neighbours import Neighbours, half_written
from ocimagic.network.wiring import LOCK, end_flows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path


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


def sweep(
    room: Path, look: Callable[[], Living], clean: Callable[[Living], list[str]]
) -> list[str]:
    """Take away links, bridges, rules and names that belong to nobody; return what.

    Nothing if somebody is at work on networks just now: the next engine looks again.

    Args:
        room: see ``Wiring``.
        look: says what belongs to somebody; called when nobody can change anything: who is
            connected then was there before.
        clean: takes the rest away; ``clean`` or ``clean_ground`` of this module.
    """
    try:
        with locked_patiently(room, LOCK, _give_up):
            return clean(look())
    except _BusyError:
        return []


def strangers(room: Path, living: Collection[str]) -> set[str]:
    """Return the containers that are written down to be somewhere, and are not of these."""
    places = Neighbours(room).read()
    return {each for line in places.values() for each in line if each not in living}


class _BusyError(Exception):
    """Somebody holds the lock."""


def _give_up() -> None:
    raise _BusyError


def clean_ground(room: Path, table: str, living: Living) -> list[str]:
    """Do in the account's own network namespace what ``clean`` does."""
    fd = Ground(room).find()
    if fd is None:  # with the last who kept it all that was in it has gone
        Ground(room).leave(())
        return _forget(room, living)
    try:
        return inside(fd, lambda: clean(room, table, living))
    finally:
        os.close(fd)


def clean(room: Path, table: str, living: Living) -> list[str]:
    """Take away what belongs to nobody in the network namespace we are in; return what."""
    gone: list[str] = []
    with Links() as kernel:
        firewall, places = Firewall(table), Neighbours(room).read()
        there = {each.name: each for each in kernel.all()}
        ours = {each.index: each for name, each in there.items() if name in living.bridges}
        used = set()
        for name, link in there.items():
            if link.master in ours and name.startswith(living.links):
                used.add(link.master)
            elif link.master in ours:
                kernel.delete(link.index)
                gone.append(name)
        addresses = {
            address
            for line in places.values()
            for container, told in line.items()
            if container in living.containers
            for address in told["addresses"]
        }
        lost = {each.target for each in firewall.published()} - addresses
        firewall.withdraw(lost)
        shut = firewall.ways() - addresses
        firewall.keep_in(shut)
        dead = _forget(room, living)
        for index, bridge in ours.items():
            if index not in used:
                kernel.delete(index)
                firewall.remove_bridge(bridge.name)
                gone.append(bridge.name)
            else:  # somebody may have flushed the rules that dockerd lets others add
                firewall.tell_docker(bridge.name)
        firewall.commit()
        end_flows(map(ip_address, lost))
        if firewall.is_there and not firewall.bridges():
            firewall.delete()
            firewall.commit()
    return [*gone, *sorted(lost | shut), *dead]


def _forget(room: Path, living: Living) -> list[str]:
    dead = sorted(strangers(room, living.containers))
    neighbours = Neighbours(room)
    for container in dead:
        neighbours.drop(container)
    halves = half_written(room)
    for path in halves:
        path.unlink(missing_ok=True)
    return [*dead, *(path.name for path in halves)]
