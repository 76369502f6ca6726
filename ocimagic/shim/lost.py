"""Containers that nobody keeps any more: shim and holder were killed, or the machine went down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.home.locks import is_locked
from ocimagic.shim.outcome import STATE_NAME, Started

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def is_kept(directory: Path) -> bool:
    """Say whether a shim or its holder keeps the container of this directory.

    They hold a lock on the directory, which the kernel lets go when both are dead.
    """
    return is_locked(directory.parent, directory.name)


def end_lost(directory: Path) -> None:
    """End what is left of a container that nobody keeps; nothing if somebody does.

    Args:
        directory: where the shim wrote its state.
    """
    try:
        state = json.loads((directory / STATE_NAME).read_bytes())
    except (OSError, ValueError):
        return
    if not is_kept(directory):
        Started.from_message(state).init.kill()
        _remove_cgroup(state.get("cgroup_paths", {}))


def _remove_cgroup(paths: Mapping[str, str]) -> None:
    if any(map(os.path.isdir, paths.values())):
        from ocimagic.runtime.cgroup import Cgroup  # the engine loads without Linux

        # Some of its processes may have had another pid namespace than the first one.
        with contextlib.suppress(OcimagicError, OSError):
            Cgroup.from_paths(paths).kill(signal.SIGKILL)
            Cgroup.from_paths(paths).remove()
