"""Network namespaces: made, and worked in without moving there.

Source: network_namespaces(7), setns(2).
"""

from __future__ import annotations

import _thread
import contextlib
import os
from typing import TYPE_CHECKING, TypeVar

from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_HERE = "/proc/thread-self/ns/net"


def inside(netns_fd: int, job: Callable[[], T]) -> T:
    """Do a job in a network namespace; sockets that it opens stay there.

    A thread goes there and ends: who is not root of the machine could go, but never come back.

    Raises:
        PermissionError: it belongs to a user namespace we are not root of.
    """
    return _elsewhere(lambda: syscalls.setns(netns_fd, syscalls.CLONE_NEWNET), job)


def new_netns() -> int:
    """Make a network namespace; return its descriptor, which keeps it.

    Raises:
        OSError: that is not allowed here.
    """
    return _elsewhere(lambda: syscalls.unshare(syscalls.CLONE_NEWNET), open_own)


def open_own() -> int:
    """Return a descriptor of the network namespace this thread is in."""
    return os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)


def kept_file(wanted: str, pid: int) -> str:
    """Return the path of a descriptor by which a process keeps something; "" if it does not.

    Args:
        wanted: as proc(5) names it: ``net:[4026531833]``, ``pipe:[12345]``.
        pid: the process.
    """
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for each in entries:
                with contextlib.suppress(FileNotFoundError):  # just closed
                    if os.readlink(each.path) == wanted:
                        return each.path
    except OSError:  # it has ended
        pass
    return ""


def _elsewhere(go: Callable[[], None], job: Callable[[], T]) -> T:
    done = _thread.allocate_lock()
    done.acquire()
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            go()
            results.append(job())
        except BaseException as err:  # noqa: BLE001  raised again by who waits
            failures.append(err)
        finally:
            done.release()

    _thread.start_new_thread(work, ())
    done.acquire()
    if failures:
        raise failures[0]
    return results[0]
