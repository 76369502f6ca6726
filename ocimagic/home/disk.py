"""A failing disk, told in our own words."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from ocimagic.errors import DiskFull, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Turn a failing disk into our own errors.

    Raises:
        DiskFull: no space or quota left.
        StorageError: not readable or writable.
    """
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                "the disk is full",
                where=str(where),
                hint="remove images you do not need (%image_rm), or set OCIMAGIC_ROOT elsewhere",
            ) from err
        name = f": {err.filename}" if err.filename else ""
        raise StorageError(
            "cannot write the data root", why=f"{err.strerror}{name}", where=str(where)
        ) from err
