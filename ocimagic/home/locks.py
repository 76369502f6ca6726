"""Locks between processes: flock files, let go by the kernel whatever happens to the holder."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: one process at a time is all a learner's laptop needs
    fcntl = None  # type: ignore[assignment]

_local: dict[str, threading.Lock] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def locked(directory: Path, name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock called ``name``: against other threads and other processes.

    Args:
        directory: where lock files are.
        name: a plain file name.
        shared: many may hold it at once, none while somebody holds it alone.
    """
    with contextlib.ExitStack() as stack:
        if not shared:
            # flock on two descriptors of one process would also block, but a thread lock is
            # cheaper and says so in a traceback.
            stack.enter_context(_thread_lock(directory / name))
        fd = stack.enter_context(_opened(directory / name))
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def try_locked(directory: Path, name: str) -> Iterator[bool]:
    """Hold the lock alone if it is free at once; yields whether it is held."""
    with _opened(directory / name) as fd:
        try:
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _thread_lock(path: Path) -> threading.Lock:
    with _guard:
        return _local.setdefault(str(path), threading.Lock())
