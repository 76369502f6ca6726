"""Snapshots: unpacked layers, stacked by overlayfs into what a container sees.

One is a directory, ``fs``, or an image of a file system, ``fs.erofs``, beside an empty ``fs``
that it is mounted on.  Where nothing can be mounted a snapshot is a layer with all that is
below it, to be copied.

A snapshot can always be made again from its blob, so it is never synced by itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.home.disk import storage_errors
from ocimagic.layers.ownership import LEAVES_NAME
from ocimagic.model.rootfs import IMAGE_SUFFIX, Rootfs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ocimagic.home.database import Database
    from ocimagic.home.location import Home
    from ocimagic.spec.digest import Digest

EMPTY = "empty"


def copied_key(chain_id: Digest) -> str:
    """Return the key of a snapshot that holds a whole stack."""
    return f"copied:{chain_id}"


class Snapshots:
    """The unpacked layers of one data root."""

    def __init__(self, home: Home, database: Database, boot_id: str) -> None:
        self._home = home
        self._database = database
        self._boot_id = boot_id

    def find(self, diff_id: Digest, chain_id: Digest, *, copied: bool = False) -> str | None:
        """Return the directory name of a layer's snapshot, None if it must be unpacked.

        Args:
            diff_id: of the layer.
            chain_id: of the stack up to and including it.
            copied: one that holds the whole stack.
        """
        keys = (copied_key(chain_id),) * 2 if copied else (diff_id, chain_id)
        rows = self._database.rows(
            "SELECT number FROM snapshots WHERE key IN (?, ?) AND (boot_id IS NULL OR boot_id = ?)",
            *keys,
            self._boot_id,
        )
        for (number,) in rows:
            if (self._home.snapshots / f"{number}" / "fs").is_dir():
                return f"{number}"
        return None

    def new(self) -> Path:
        """Make a directory for a layer about to be unpacked; it has no number yet."""
        path = self._home.snapshots / f"new-{os.getpid()}-{os.urandom(6).hex()}"
        path.mkdir(mode=0o711)
        (path / "fs").mkdir(mode=0o755)
        (path / "fs").chmod(0o755)
        return path

    def is_image(self, name: str) -> bool:
        """Say whether a snapshot is an image that must be mounted to be seen."""
        return os.path.exists(f"{self._home.snapshots}/{name}/fs{IMAGE_SUFFIX}")

    def is_recorded(self, name: str) -> bool:
        """Say whether the owners of a snapshot's files are recorded beside them."""
        return (self._home.snapshots / name / LEAVES_NAME).exists()

    def commit(
        self, unpacked: Path, key: str, *, no_image: bool = False, is_recorded: bool = False
    ) -> str:
        """Give an unpacked layer its number and return it; the first of two wins.

        The loser's directory stays where it is for the caller to remove.

        Args:
            unpacked: what ``new`` returned, filled.
            key: the layer's.
            no_image: an image that is there already is of no use on this machine.
            is_recorded: one that was made without recording owners is of no use either.
        """
        with self._database.transaction() as cursor:
            rows = cursor.execute(
                "SELECT number, boot_id FROM snapshots WHERE key = ?", (key,)
            ).fetchall()
            for number, boot_id in rows:
                usable = boot_id in (None, self._boot_id)
                if no_image and self.is_image(f"{number}"):
                    usable = False
                if is_recorded and not self.is_recorded(f"{number}"):
                    usable = False
                if usable and (self._home.snapshots / f"{number}" / "fs").is_dir():
                    return str(number)
            cursor.execute("DELETE FROM snapshots WHERE key = ?", (key,))
            last = cursor.execute("SELECT COALESCE(MAX(number), 0) FROM snapshots").fetchone()[0]
            number = last + 1
            while (self._home.snapshots / str(number)).exists():
                number += 1
            with storage_errors(self._home.data):
                os.rename(unpacked, self._home.snapshots / str(number))
            cursor.execute("INSERT INTO snapshots VALUES (?, ?, ?)", (key, number, self._boot_id))
        return str(number)

    def rootfs(
        self,
        layers: Sequence[str],
        directory: Path,
        *,
        userxattr: bool,
        volatile: bool = False,
    ) -> Rootfs:
        """Return the mount of these layers with changes going to ``directory``.

        Args:
            layers: directory names, bottom first; none gives an empty root.
            directory: gets ``upper`` and ``work``.
            userxattr: in a user namespace.
            volatile: nobody will keep the changes.
        """
        for name in ("upper", "work"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        # Two equal layers have one directory, which overlayfs takes once only; the upper of
        # the two says all that the lower one did.
        lowers = tuple(dict.fromkeys(f"{name}/fs" for name in reversed(layers)))
        if not lowers:
            (self._home.snapshots / EMPTY / "fs").mkdir(parents=True, exist_ok=True)
            lowers = (f"{EMPTY}/fs",)
        # The root of an overlay looks like its top directory, so that must look like the image.
        mode = (self._home.snapshots / lowers[0]).stat().st_mode
        (directory / "upper").chmod(mode & 0o7777)
        return Rootfs(
            base=str(self._home.snapshots),
            lowers=lowers,
            upper=str(directory / "upper"),
            work=str(directory / "work"),
            images=tuple(each for each in lowers if self.is_image(each.removesuffix("/fs"))),
            userxattr=userxattr,
            volatile=volatile,
        )

    def copied_rootfs(self, layers: Sequence[str], directory: Path) -> Rootfs:
        """Return a root for a worker to fill: ``directory/upper``, a copy of these layers.

        Args:
            layers: directory names, bottom first, each with all below it; none is an empty root.
            directory: is made.
        """
        directory.mkdir(parents=True, exist_ok=True)
        if not layers:
            (self._home.snapshots / EMPTY / "fs").mkdir(parents=True, exist_ok=True)
        return Rootfs(
            base=str(self._home.snapshots),
            lowers=(f"{layers[-1] if layers else EMPTY}/fs",),
            upper=str(directory / "upper"),
            work="",
            copied=True,
        )

    def directory(self, name: str) -> Path:
        """Return the directory that holds ``fs`` and ``toc`` of one snapshot."""
        return self._home.snapshots / name
