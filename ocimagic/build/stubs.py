"""Mount points: empty files and directories that a layer would hold for nothing.

All is removed by descriptor: the command may have put links anywhere (CVE-2024-23652).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.linux.paths import open_beneath
from ocimagic.model.rootfs import IMAGE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ocimagic.build.image_files import ImageFiles
    from ocimagic.spec.runtime import RuntimeConfig


def remove_made(upper: Path, targets: Iterable[str], below: ImageFiles) -> None:
    """Take away mount points and the directories they are in, as far as they were not there.

    Args:
        upper: what the command changed.
        targets: absolute paths in the container.
        below: what it began with.
    """
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for target in targets:
            for path in _missing(target, below):
                _remove_below(root, path)
    finally:
        os.close(root)


def _remove_below(root: int, path: str) -> None:
    """Remove what is empty there, if no link is on the way."""
    parent, name = _split(path)
    with suppress(OSError):
        fd = open_beneath(root, parent or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            _remove_empty(name, fd)
        finally:
            os.close(fd)


def _missing(target: str, below: ImageFiles) -> list[str]:
    """Return the paths that had to be made for a mount, deepest first."""
    parts = [part for part in target.split("/") if part]
    for count in range(len(parts), -1, -1):
        found = below.find("/".join(parts[:count]))
        if found is not None:
            made = parts[count:]
            prefix = [found.path] if found.path else []
            return ["/".join((*prefix, *made[:end])) for end in range(len(made), 0, -1)]
    return []


def remove_stubs(upper: Path, lowers: Sequence[Path], config: RuntimeConfig) -> None:
    """Take away the empty files and directories that only mounts were put on.

    The command could neither write nor remove them, for something was mounted there.
    """
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The command may have put links anywhere: never by a joined path.
        for path in {mount.destination for mount in config.mounts}:
            _remove_below(root, path)
            parent, _ = _split(path)
            if parent and "/" not in parent and _is_untouched(parent, root, lowers):
                with suppress(OSError):
                    os.rmdir(parent, dir_fd=root)
    finally:
        os.close(root)


def _split(destination: str) -> tuple[str, str]:
    parent, _, name = destination.strip("/").rpartition("/")
    return parent, name


def _remove_empty(name: str, directory: int) -> None:
    told = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISDIR(told.st_mode):
        os.rmdir(name, dir_fd=directory)
    elif stat.S_ISREG(told.st_mode) and not told.st_size:
        os.unlink(name, dir_fd=directory)


def _is_untouched(name: str, upper: int, lowers: Sequence[Path]) -> bool:
    """Say whether a directory is in the upper only because stubs were made in it."""
    with suppress(OSError):
        told = os.stat(name, dir_fd=upper, follow_symlinks=False)
        for lower in lowers:
            below = _owner_and_mode(lower, name)
            if below is not None:
                return (told.st_mode, told.st_uid, told.st_gid) == below
        return True
    return False


def _owner_and_mode(lower: Path, name: str) -> tuple[int, int, int] | None:
    """Return ``st_mode``, user and group of a file at the top of a layer, None if it has none."""
    from ocimagic.layers.erofs.look import find_in_image

    image = f"{lower}{IMAGE_SUFFIX}"
    if os.path.exists(image):
        return find_in_image(image, os.fsencode(name))
    try:
        told = os.lstat(lower / name)
    except FileNotFoundError:
        return None
    return told.st_mode, told.st_uid, told.st_gid
