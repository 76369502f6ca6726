"""RUN where there is one id only: somebody answers its questions about users and owners.

A worker does, from before the container is made until it is over (``shim.pretence``); what it
remembers of files is recorded where they are, and the layer that is written of them says it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.bundle.pretence import pretending
from ocimagic.errors import OcimagicError, StartFailed, StepFailed
from ocimagic.model.event import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ocimagic.build.bench import Bench
    from ocimagic.bundle.place import Place
    from ocimagic.shim.client import Launcher
    from ocimagic.spec.runtime import RuntimeConfig

_SOCKET_NAME = "owners"


@dataclass(slots=True)
class _Worker:
    """A worker's job in a thread of its own; it ends at the latest when ``end`` is called."""

    launcher: Launcher
    request: dict[str, object]
    door: socket.socket
    failure: OcimagicError | OSError | None = field(default=None, init=False)
    _thread: threading.Thread = field(init=False)
    _reader: int = field(default=-1, init=False)
    _writer: int = field(default=-1, init=False)

    def begin(self) -> None:
        """Start it."""
        self._reader, self._writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="ocimagic-owners", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.launcher.work(self.request, [self.door.fileno(), self._reader])
        except (OcimagicError, OSError) as err:
            self.failure = err

    def end(self) -> None:
        """Have it finish, and wait for that."""
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)


@contextlib.contextmanager
def answering(
    launcher: Launcher, run_directory: Path, place: Path, snapshots: Sequence[Path]
) -> Iterator[None]:
    """Have a worker answer for a container that begins and ends in the with-block.

    Args:
        launcher: gives the worker.
        run_directory: of the container; there is the socket that its runtime connects to.
        place: holds ``fs``, where its changes go, and gets the list of leaves.
        snapshots: its layers.

    Raises:
        OcimagicError: what the worker reported; it is why a command failed, too, for without
            answers its calls fail.
    """
    request: dict[str, object] = {
        "op": "pretend",
        "place": str(place),
        "snapshots": [str(each) for each in snapshots],
    }
    with _listening(run_directory) as door:
        worker = _Worker(launcher, request, door)
        worker.begin()
        failure: OcimagicError | None = None
        try:
            yield
        except (StartFailed, StepFailed) as err:
            failure = err
        finally:
            worker.end()
    if worker.failure is not None:
        raise worker.failure from failure
    if failure is not None:
        raise failure


@contextlib.contextmanager
def _listening(run_directory: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        directory = os.open(run_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # a socket's path may have 107 bytes only
            door.bind(f"/proc/self/fd/{directory}/{_SOCKET_NAME}")
        finally:
            os.close(directory)
        door.listen(1)
        yield door


def asking(bench: Bench, run_directory: Path, config: RuntimeConfig, where: Place) -> RuntimeConfig:
    """Return a container's config, with questions for ``answered`` if there is one id only."""
    if not bench.unpacker.records:
        return config
    listener = str(run_directory / _SOCKET_NAME)
    return pretending(config, listener, where.machine, where.kernel)


def answered(
    bench: Bench, run_directory: Path, place: Path, snapshots: Sequence[Path]
) -> contextlib.AbstractContextManager[None]:
    """Have somebody answer, in the with-block, if there is one id only; or tell why nobody does.

    Args:
        bench: of the build.
        run_directory: see ``answering``, as the others.
        place: of the changes.
        snapshots: the layers.
    """
    launcher = bench.unpacker.launcher
    if launcher is not None and bench.unpacker.records:
        return answering(launcher, run_directory, place, snapshots)
    why = bench.unpacker.why_owners_are_lost
    if why and not bench.told_of_owners:
        bench.told_of_owners = True
        text = "what RUN gives to other users stays root's, and USER fails"
        bench.on_event(Notice(f"this account has one user id: {text}; {why}"))
    return contextlib.nullcontext()
