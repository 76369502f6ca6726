"""Removing directory trees from where a container kept its files."""

from __future__ import annotations

import contextlib
import os

from ocimagic.layers.openup import open_up
from ocimagic.linux.paths import remove_tree


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
