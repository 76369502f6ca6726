"""The launcher's child for work on files: it has the code for that, which containers need not.

Each job is a fork of it.  It ends with its launcher.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError, StorageError
from ocimagic.linux import syscalls
from ocimagic.shim import preload, worker
from ocimagic.shim.ending import reap_strangers
from ocimagic.shim.forks import fork_apart

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_REQUEST = 1 << 16
MAX_FDS = 8


class Workshop:
    """The launcher's end: passes requests on.

    Args:
        leave: closes, in the child, what is the launcher's.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._ways: preload.Ways | None = None
        self._open()

    def forbid_imports(self) -> None:
        """Load nothing into this process any more; a workshop begun anew still may."""
        self._ways = preload.forbid_imports()

    def _open(self) -> None:
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def live() -> None:
            self._door.close()
            self._leave()
            if self._ways is not None:
                preload.allow_imports(self._ways)
            _serve(theirs)

        fork_apart(live)
        theirs.close()

    def pass_on(self, data: bytes, fds: list[int]) -> None:
        """Have a job done."""
        try:
            socket.send_fds(self._door, [data], fds)
        except OSError:  # somebody has killed it
            self._door.close()
            self._open()
            socket.send_fds(self._door, [data], fds)

    def close(self) -> None:
        """Let it end."""
        self._door.close()


def _serve(door: socket.socket) -> None:
    syscalls.set_process_name("ocimagic-works")
    preload.load_for_files()
    preload.forbid_imports()
    # A job that has ended is waited for here, at the latest with the next one.
    ended, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ready = select.poll()
    ready.register(door, select.POLLIN)
    ready.register(ended, select.POLLIN)
    while True:
        for fd, _ in ready.poll():
            if fd == ended:
                os.read(ended, 4096)
                reap_strangers(set())
                continue
            data, fds, _, _ = socket.recv_fds(door, MAX_REQUEST, MAX_FDS)
            if not data:
                return
            _begin(door, data, fds)


def _begin(door: socket.socket, data: bytes, fds: list[int]) -> None:
    reply = socket.socket(fileno=fds[0])

    def work() -> None:
        door.close()
        signal.set_wakeup_fd(-1)
        worker.run(json.loads(data), reply, fds[1:])

    try:
        fork_apart(work)
    except OSError as err:
        failure: OcimagicError = StorageError("no worker can be started", why=str(err))
        worker.refuse(reply, failure)
    finally:
        reply.close()
        for fd in fds[1:]:
            os.close(fd)
