"""What killed shims left of networks in the kernel: who is not kept is not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.engine.addresses import bridge_of, link_of
from ocimagic.network.neighbours import half_written
from ocimagic.network.sweep import Living, clean, strangers
from ocimagic.network.sweep import sweep as sweep_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.engine.register import Register


def sweep(
    containers: Register, table: str, networks: Sequence[str], is_alive: Callable[[str], bool]
) -> list[str]:
    """Take it away; return what that was.

    Args:
        containers: of the same engine.
        table: the data root's packet rules.
        networks: IDs of all there are.
        is_alive: says whether a container runs, or is about to.

    Whoever calls knows that somebody is in a network, or was (``neighbours.is_used``).
    """
    room = containers.store.home.run

    def alive() -> set[str]:
        everybody = (each.container_id for each in containers.store.containers.all())
        return {each for each in everybody if is_alive(each)}

    def look() -> Living:
        living = alive()
        return Living(
            bridges={bridge_of(each) for each in networks},
            links=tuple(link_of(who, where) for who in living for where in networks),
            containers=living,
        )

    def away(living: Living) -> list[str]:
        if not containers.unpacker.rootless:
            return clean(room, table, living)
        told = {name: list(some) for name, some in living._asdict().items()}
        request = {"op": "sweep_networks", "room": str(room), "table": table}
        gone = containers.launcher.work(request | {"living": told})["gone"]
        return list(map(str, gone)) if isinstance(gone, list) else []

    if os.geteuid() and not half_written(room) and not strangers(room, alive()):
        return []  # a launcher would have to be started for nothing
    return sweep_kernel(room, look, away)
