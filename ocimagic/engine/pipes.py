"""Pipes to workers, and threads that wait for them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 18


def pieces_of(stdin: int | bytes) -> Iterator[bytes]:
    """Yield what is read from a descriptor, or all bytes at once."""
    if isinstance(stdin, bytes):
        yield stdin
        return
    while piece := os.read(stdin, _CHUNK):
        yield piece


class Counted:
    """Pieces that are counted on their way."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.total = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.total += len(piece)
            yield piece


class Pipe:
    """A pipe whose ends are closed one by one, by whoever is done with them."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.total = 0

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_reader()
        self.close_writer()

    def close_reader(self) -> None:
        """Read no more."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def close_writer(self) -> None:
        """Write no more: who reads sees the end."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def pieces(self) -> Iterator[bytes]:
        """Yield what is read until all writers are gone."""
        while piece := os.read(self.reader, _CHUNK):
            yield piece

    def write(self, piece: bytes | memoryview) -> None:
        """Write all of it."""
        view = memoryview(piece)
        while view:
            written = os.write(self.writer, view)
            self.total += written
            view = view[written:]


class Beside:
    """A job in a thread of its own; ``result`` raises what it raised."""

    def __init__(self, job: Callable[[], object], after: Callable[[], None]) -> None:
        self._error: OcimagicError | OSError | None = None
        self._thread = threading.Thread(
            target=self._run, args=(job, after), name="ocimagic-files", daemon=True
        )
        self._thread.start()

    def _run(self, job: Callable[[], object], after: Callable[[], None]) -> None:
        try:
            job()
        except (OcimagicError, OSError) as err:
            self._error = err
        finally:
            after()

    def join(self) -> None:
        """Wait until it is over."""
        self._thread.join()

    def result(self) -> None:
        """Raise what it raised."""
        if self._error is not None:
            raise self._error


def written(job: Callable[[Pipe], object]) -> Iterator[bytes]:
    """Yield what a job writes, in a thread of its own and no faster than it is read.

    Raises:
        OcimagicError, OSError: what the job raised, after all that it wrote before.
    """
    with Pipe() as pipe:
        writer = Beside(lambda: job(pipe), pipe.close_writer)
        try:
            yield from pipe.pieces()
        finally:
            pipe.close_reader()
            writer.join()
        writer.result()
