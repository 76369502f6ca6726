"""One file on its way into a build: written down as it comes, and read as a tree of one file."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.build.tree import Content
from ocimagic.errors import DiskFull
from ocimagic.home.disk import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.tree import File

_CHUNK = 1 << 20
_LOOK_BYTES = 16 << 20  # how often the disk is looked at
SPARE_BYTES = 64 << 20  # left free where nobody says how much is to come


@dataclass(slots=True)
class Spooled:
    """The bytes of one file; ``close`` takes them away.

    Args:
        bench: of this build.
        name: as errors call it.

    Attributes:
        sha256: digits of its digest, "" before it came.
        size: bytes.
    """

    bench: Bench
    name: str
    sha256: str = ""
    size: int = 0
    _path: str = ""

    @property
    def is_here(self) -> bool:
        """Say whether it came and was not taken away."""
        return bool(self._path)

    def take(self, pieces: Iterable[bytes], left: Callable[[], int] = lambda: SPARE_BYTES) -> None:
        """Write it down as it comes, as long as there is room for it.

        Args:
            pieces: its bytes.
            left: says how many bytes are still to come; a guess if nobody knows.

        Raises:
            DiskFull: it does not fit.
            Cancelled: the user stopped the build.
        """
        home = self.bench.store.home
        path = home.ingest / f"build-{os.getpid()}-{os.urandom(6).hex()}.fetched"
        hasher = hashlib.sha256()
        done, looked_at = 0, -_LOOK_BYTES
        with storage_errors(home.data), path.open("xb") as file:
            self._path = str(path)
            for piece in pieces:
                self.bench.check_cancelled()
                done += len(piece)
                if done - looked_at >= _LOOK_BYTES:
                    looked_at = done
                    self._refuse_too_large(left())
                hasher.update(piece)
                file.write(piece)
        self.size, self.sha256 = done, hasher.hexdigest()

    def close(self) -> None:
        """Remove it."""
        if self._path:
            os.unlink(self._path)
            self._path = ""

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes."""
        with storage_errors(self.bench.store.home.data), open(self._path, "rb") as file:
            while piece := file.read(_CHUNK):
                yield piece

    def _refuse_too_large(self, left: int) -> None:
        """Refuse what cannot be kept before the disk is full: others need it too."""
        where = self.bench.store.home.data
        free = shutil.disk_usage(where).free
        if left > free:
            raise DiskFull(
                f"{self.name} does not fit",
                why=f"{left} bytes of it or more are to come, and {free} are free",
                where=str(where),
                hint="remove images you do not need (%image_rm), or set OCIMAGIC_ROOT elsewhere",
            )

    # -- as a tree -----------------------------------------------------------------

    def find(self, _path: str) -> File | None:
        """Return nothing: it is no directory."""
        return None

    def children(self, _directory: File) -> Sequence[File]:
        """Return nothing."""
        return ()

    def contents(self, files: Sequence[File]) -> Iterator[Content]:
        """Yield its bytes, once for each time it is asked for."""
        for number, _ in enumerate(files):
            yield Content(number, {}, self.chunks())

    def digests(self, files: Sequence[File]) -> list[str]:
        """Return its digest, once for each time it is asked for."""
        return [self.sha256 for _ in files]
