"""A few files that are ours: handled here, since a worker in the launcher costs a fork."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ocimagic.transfer.unpack import Unpacker

_FEW = 100


def write_changes(unpacker: Unpacker, request: dict[str, object], fd: int) -> Mapping[str, object]:
    """Have a container's changes written as a layer.

    Args:
        unpacker: knows whose they are.
        request: for a worker, see ``layers.pack.pack_changes``.
        fd: where the tar goes.

    Returns:
        The worker's result.

    Raises:
        StorageError, LayerRefused, OSError: they cannot be read or kept.
    """
    is_ours = request["op"] == "diff" and not unpacker.rootless
    if is_ours and _are_few(str(request["upper"])):
        from ocimagic.layers.pack import pack_changes  # for Linux only

        return pack_changes(request, fd)
    assert unpacker.launcher is not None
    return unpacker.launcher.work(request, [fd])


def remove_few(unpacker: Unpacker, path: Path) -> None:
    """Remove a small tree, by a worker if some of it belongs to another id; nothing is no error."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError:
        unpacker.remove_trees([path])


def _are_few(directory: str) -> bool:
    pending, left = [directory], _FEW
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    return False
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return True
