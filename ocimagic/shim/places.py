"""Where volumes are shown in a root: a start makes their places, and who copies before it, too."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from ocimagic.linux.paths import make_directories, open_in_root
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Places:
    """The places of volumes that are directories, as paths in a root."""

    paths: tuple[str, ...]

    @classmethod
    def of(cls, binds: Iterable[list[object]]) -> Self:
        """Return those of some volumes: of each its source, then its place."""
        return cls(tuple(str(place) for source, place, *_ in binds if os.path.isdir(str(source))))

    def are_missing(self, root_fd: int) -> bool:
        """Say whether one of them is not there."""
        return any(_lacks(root_fd, each) for each in self.paths)

    def make(self, root_fd: int) -> None:
        """Make those that are missing; one that cannot be is left out."""
        for each in self.paths:
            with suppress(OSError):
                if _lacks(root_fd, each):
                    os.close(make_directories(root_fd, each))


def _lacks(root_fd: int, path: str) -> bool:
    try:
        os.close(open_in_root(root_fd, path, os.O_PATH))
    except FileNotFoundError:
        return True
    return False
