"""Locks between processes: flock files, let go by the kernel whatever happens to the holder.

A lock file is taken away by who held it alone, so that there are never more of them than
locks in use; whoever waited for one that is gone tries again with the new one.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ocimagic.home.disk import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: one process at a time is all a learner's laptop needs
    fcntl = None  # type: ignore[assignment]

_local: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_guard = threading.Lock()


@contextlib.contextmanager
def locked(directory: Path, name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock called ``name``: against other threads and other processes.

    Args:
        directory: where lock files are.
        name: a plain file name.
        shared: many may hold it at once, none while somebody holds it alone.

    Raises:
        DiskFull, StorageError: there can be no lock file.
    """
    path = directory / name
    with contextlib.ExitStack() as stack:
        if not shared:
            # flock on two descriptors of one process would also block, but a thread lock is
            # cheaper and says so in a traceback.
            stack.enter_context(_thread_lock(path))
        stack.enter_context(_held(path, shared=shared))
        if not shared:
            stack.callback(_unlink, path)
        yield


@contextlib.contextmanager
def locked_patiently(directory: Path, name: str, pause: Callable[[], None]) -> Iterator[None]:
    """Hold the lock alone, and do something between the tries while another holds it.

    Args:
        directory: where lock files are.
        name: a plain file name.
        pause: waits a moment, or raises what ends the waiting.
    """
    while True:
        with contextlib.ExitStack() as attempt:
            try:
                attempt.enter_context(_held(directory / name, wait=False))
            except BlockingIOError:
                pause()
                continue
            attempt.callback(_unlink, directory / name)
            yield
            return


@contextlib.contextmanager
def try_locked(directory: Path, name: str) -> Iterator[bool]:
    """Hold the lock alone if it is free at once; yields whether it is held."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_held(directory / name, wait=False))
        except BlockingIOError:
            yield False
        else:
            yield True


def is_locked(directory: Path, name: str) -> bool:
    """Say whether somebody holds the lock called ``name``, this process included."""
    try:
        fd = os.open(directory / name, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return False
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def forget_lock(directory: Path, name: str) -> None:
    """Take away the file of a lock that nobody holds: its holder was killed."""
    with try_locked(directory, name) as held:
        if held:
            _unlink(directory / name)


@contextlib.contextmanager
def _held(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    while True:
        with _opened(path) as fd:
            if fcntl is not None:
                how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.flock(fd, how if wait else how | fcntl.LOCK_NB)
            if _is_current(fd, path):
                yield
                return


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    with storage_errors(path.parent):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_current(fd: int, path: Path) -> bool:
    """Say whether a file that was waited for is still the one under its name."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _unlink(path: Path) -> None:
    if fcntl is not None:
        path.unlink(missing_ok=True)


def _thread_lock(path: Path) -> threading.Lock:
    with _guard:
        return _local.setdefault(str(path), threading.Lock())
