"""Removing directory trees from where a container kept its files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.home.locks import locked_patiently
from ocimagic.layers.openup import open_up
from ocimagic.linux.paths import remove_tree
from ocimagic.model.volume import SHARED

if TYPE_CHECKING:
    from ocimagic.shim.task import Nameless


def remove_path(path: str) -> None:
    """Remove a directory tree by its parent's descriptor.

    Raises:
        OSError: something in it cannot be removed.
    """
    head, tail = os.path.split(path)
    parent = os.open(head, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while _is_there(tail, parent):
            # Somebody else may be removing it as well.
            with contextlib.suppress(FileNotFoundError):
                _remove(tail, parent, path)
    finally:
        os.close(parent)


def remove_volume(volume: Nameless) -> None:
    """Take a volume that nobody named away, unless another container was made with it.

    Its row stays until somebody looks, who takes it for one of a removal that was killed; and
    if somebody begins to use the volume just now, all of it is left to who looks.

    Raises:
        OSError: something in it cannot be removed.
    """
    with (
        contextlib.suppress(_BusyError),
        locked_patiently(Path(volume.locks), volume.lock, _give_up),
    ):
        if os.path.exists(os.path.join(volume.directory, SHARED)):
            return
        os.rename(volume.directory, volume.gone)
    if os.path.exists(volume.gone):
        remove_path(volume.gone)


class _BusyError(Exception):
    """Somebody holds the lock."""


def _give_up() -> None:
    raise _BusyError


def _remove(name: str, parent: int, path: str) -> None:
    try:
        remove_tree(name, parent)
    except PermissionError:
        if os.geteuid() == 0:
            raise
        open_up(path)
        remove_tree(name, parent)


def _is_there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
