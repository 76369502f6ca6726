"""Podman's own program: it usually has no daemon that could be asked.

Source: podman-images(1), podman-save(1).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from ocimagic.errors import ImageNotFound, NeighbourError, NeighbourUnreachable
from ocimagic.transfer.neighbour import BEGIN_S, MAX_LIST_BYTES, PIECE_BYTES, Waiting, parse_list

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from ocimagic.spec.digest import Digest
    from ocimagic.transfer.neighbour import Check, ImageThere

_LIST_S = 60.0
_END_S = 30.0
_SAID_BYTES = 4096


class Podman:
    """The program at a path.

    Args:
        path: of the program.
        environment: it runs with this and nothing else: it says which account's images.
        check: called again and again; may raise.
    """

    def __init__(self, path: str, environment: Mapping[str, str], check: Check) -> None:
        self.shown = f"podman ({path})"
        self._path = path
        self._environment = dict(environment)
        self._check = check

    def images(self) -> list[ImageThere]:
        """List its images; see ``Neighbour``."""
        raw = bytearray()
        for piece in self._output(["images", "--format", "json"], _LIST_S):
            raw += piece
            if len(raw) > MAX_LIST_BYTES:
                raise NeighbourError(
                    f"{self.shown} does not list its images", why=f"over {MAX_LIST_BYTES} bytes"
                )
        return parse_list(bytes(raw), self.shown)

    def archive(self, image_ids: Sequence[Digest]) -> Generator[bytes]:
        """Yield an archive of some images; see ``Neighbour``."""
        words = ["save", "--quiet", "--format", "docker-archive", "--multi-image-archive"]
        yield from self._output([*words, *(each.hex for each in image_ids)], BEGIN_S)

    def _output(self, words: Sequence[str], begin_s: float) -> Generator[bytes]:
        """Yield what the program writes; its exit code counts, too."""
        waiting = Waiting(begin_s, self._check)
        with self._running(words) as (process, errors):
            assert process.stdout is not None
            output = process.stdout.fileno()
            try:
                waiting.wait(output)
                while piece := os.read(output, PIECE_BYTES):
                    yield piece
                    waiting.came(len(piece))
                    waiting.wait(output)
                process.wait(_END_S)
            except (TimeoutError, subprocess.TimeoutExpired) as err:
                raise NeighbourError(
                    f"{self.shown} does not go on with its answer",
                    why="nothing, or almost nothing, came for a long time",
                    hint="see whether it is well: podman info",
                ) from err
            if process.returncode:
                raise self._refusal(process.returncode, errors)

    @contextmanager
    def _running(self, words: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
        """Run the program, and see that nothing of it is left."""
        with tempfile.TemporaryFile() as errors:
            try:
                # Of its own session: ^C is ours to hear, and all that it starts ends with it.
                process = subprocess.Popen(
                    [self._path, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=self._environment,
                    start_new_session=True,
                )
            except OSError as err:
                raise NeighbourUnreachable(
                    f"{self.shown} cannot be run", why=err.strerror or str(err)
                ) from err
            with process:
                try:
                    yield process, errors
                finally:
                    _end(process)

    def _refusal(self, code: int, errors: BinaryIO) -> NeighbourError | ImageNotFound:
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - _SAID_BYTES))
        lines = errors.read().decode(errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("Error: ") if lines else f"exit code {code}"
        if "image not known" in said:
            return ImageNotFound(f"{self.shown}: {said}", hint="list what is there: %image_adopt")
        return NeighbourError(f"{self.shown} refuses", why=said)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that is not wanted any more: politely, since it holds locks."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
