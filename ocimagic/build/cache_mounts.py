"""Directories that outlive a build: ``RUN --mount=type=cache``.

::

    cache-mounts/<sha256 of the id>-<n>/fs        what the command sees, or, where the cache
                                       /upper     begins as files of an image, what it changed
                                       /work

``n`` is 0, but for caches that a command wants for itself while others use the first.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocimagic.home.disk import storage_errors
from ocimagic.home.locks import locked, try_locked
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ocimagic.dockerfile.mounts import Sharing
    from ocimagic.home.location import Home

_POLL_S = 0.1
_MOST_PRIVATE = 1000


class CacheMounts:
    """The cache mounts of one data root."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @contextlib.contextmanager
    def held(self, name: str, sharing: Sharing, wait: Callable[[float], None]) -> Iterator[Path]:
        """Have a cache, perhaps alone; yields its directory.

        Nobody prunes it meanwhile: the store is in use.

        Args:
            name: its id, any text: only its digest becomes part of a path.
            sharing: ``shared`` with whoever wants it, ``locked`` until it is free, or
                ``private``, which takes another of that name if this one is in use.
            wait: called while it is not free, with the seconds to wait; may raise.
        """
        key = Digest.of(name.encode()).hex
        with contextlib.ExitStack() as stack:
            number = self._lock(key, sharing, wait, stack)
            directory = self._home.cache_mounts / f"{key}-{number}"
            with storage_errors(self._home.data):
                directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            yield directory

    def files(self, directory: Path, furnish: Callable[[Path], None]) -> Path:
        """Return what a command sees of a cache; it is there whole, or made now.

        Args:
            directory: of the cache.
            furnish: gives an empty directory its mode and owner.
        """
        path = directory / "fs"
        with locked(self._home.locks, f"cache-{directory.name}-fs"):
            if not path.exists():
                made = directory / "fs-new"
                with contextlib.suppress(FileNotFoundError):
                    made.rmdir()  # of whoever was killed here
                made.mkdir()
                furnish(made)
                made.rename(path)
        return path

    def _lock(
        self, key: str, sharing: Sharing, wait: Callable[[float], None], stack: contextlib.ExitStack
    ) -> int:
        locks = self._home.locks
        if sharing == "shared":
            return 0
        most = _MOST_PRIVATE if sharing == "private" else 1
        while True:
            for number in range(most):
                if stack.enter_context(try_locked(locks, f"cache-{key}-{number}")):
                    return number
            wait(_POLL_S)

    def all(self) -> list[Path]:
        """Return the directories of all caches."""
        place = self._home.cache_mounts
        return sorted(place.iterdir()) if place.is_dir() else []
