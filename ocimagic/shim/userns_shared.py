"""One user namespace for all launchers of a data root, as long as anybody lives in it.

What belongs to a user namespace, a network above all, can be entered only from there: containers
that two notebooks have started can share one only if both launchers are in the same.  Which it
is, the processes of ours that are alive say: all were started for a run directory.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks
from ocimagic.home.locks import locked
from ocimagic.shim import userns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK = "userns.lock"
_OURS = b"ocimagic-"  # how the names of our processes begin


def enter(room: Path, names: tuple[str, ...]) -> int:
    """Move this process into the user namespace of a data root, and be root there.

    Args:
        room: the data root's run directory, as ``main`` of the launcher got it.
        names: the account's name and uid, as subuid files write them.

    Returns:
        How many ids there are: 1 when only the account's own is mapped.

    Raises:
        HostLacks: user namespaces are not allowed here.
    """
    wanted = userns.mapping_of(names)
    with locked(room, _LOCK):
        for pid in _relatives(room):
            if _mapping(pid) == wanted:
                try:
                    return userns.join(pid)
                except HostLacks:  # it has just ended
                    continue
        return userns.enter(names)


def _relatives(room: Path) -> Iterator[int]:
    """Yield the processes of ours that were started for this run directory."""
    word = json.dumps({"room": str(room)})[1:-1].encode()
    with os.scandir("/proc") as entries:
        numbers = [int(each.name) for each in entries if each.name.isdecimal()]
    for pid in numbers:
        try:
            with open(f"/proc/{pid}/comm", "rb") as file:
                is_ours = file.read().startswith(_OURS)
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if is_ours and pid != os.getpid() and word in file.read():
                    yield pid
        except OSError:  # another's, or gone
            continue


def _mapping(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []
