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
from ocimagic.errors import OcimagicError
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
    """A worker's job in a thread of its own."""

    launcher: Launcher
    request: dict[str, object]
    fds: list[int]
    failure: OcimagicError | OSError | None = field(default=None, init=False)

    def run(self) -> None:
        try:
            self.launcher.work(self.request, self.fds)
        except (OcimagicError, OSError) as err:
            self.failure = err


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
        OcimagicError: what the worker reported; without its answers the container fails.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        directory = os.open(run_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # a socket's path may have 107 bytes only
            door.bind(f"/proc/self/fd/{directory}/{_SOCKET_NAME}")
        finally:
            os.close(directory)
        door.listen(1)
        reader, writer = os.pipe()
        request: dict[str, object] = {
            "op": "pretend",
            "place": str(place),
            "snapshots": [str(each) for each in snapshots],
        }
        worker = _Worker(launcher, request, [door.fileno(), reader])
        thread = threading.Thread(target=worker.run, name="ocimagic-owners", daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(writer)
            thread.join()
            os.close(reader)
            if worker.failure is not None:
                raise worker.failure  # where the with-block failed, too, that is why


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
