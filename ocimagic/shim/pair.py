"""A holder and its shim, made before they are needed.

The launcher keeps one pair waiting, so that a container costs no fork.  A pair whose launcher
is gone before it was asked for anything ends.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import select
import socket
import struct
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError, pack
from ocimagic.linux import syscalls
from ocimagic.shim import protocol
from ocimagic.shim.foreign import ForeignRuntime
from ocimagic.shim.forks import fork_apart
from ocimagic.shim.holder import Holder, Keeper
from ocimagic.shim.memory import anonymous, own_pages
from ocimagic.shim.monitor import MEMORY_BYTES, Monitor
from ocimagic.shim.own import OwnRuntime
from ocimagic.shim.task import Task
from ocimagic.shim.workshop import MAX_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable

Filters = dict[bytes, bytes]
MAX_LESSON = 1 << 17
_RIGHTS = socket.CMSG_SPACE(8 * 4)
_LESSON = struct.Struct("=I")


def open_pair(
    leave: Callable[[], None], filters: Filters, *, is_spare: bool = False
) -> socket.socket:
    """Fork a pair; return the socket that takes one request, with the client's socket.

    What comes back over it is for ``learn``.

    Args:
        leave: closes, in the pair, what is the launcher's.
        filters: compiled seccomp filters by their JSON.
        is_spare: nobody waits for it yet.
    """
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def live() -> None:
        leave()
        mine.close()
        _Pair(theirs, filters, is_spare=is_spare).run()

    fork_apart(live)
    theirs.close()
    return mine


def learn(lesson: bytes, filters: Filters) -> None:
    """Note a seccomp filter that a pair had to compile, so that the next need not."""
    (length,) = _LESSON.unpack_from(lesson)
    program = _LESSON.size + length
    filters[lesson[_LESSON.size : program]] = lesson[program:]


class _Pair:
    def __init__(self, inbox: socket.socket, filters: Filters, *, is_spare: bool) -> None:
        self._inbox = inbox
        self._is_spare = is_spare
        self._filters = filters
        self._memory = anonymous(MEMORY_BYTES)

    def run(self) -> None:
        Holder(self._serve, self._inbox.close).run()

    def _serve(self, holder: Holder, link: socket.socket) -> None:
        """Live as a shim: the first one waits to be asked, others know already."""
        syscalls.set_process_name("ocimagic-shim")
        gc.enable()  # what was there before is frozen
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        keeper = Keeper(holder, link)
        if not holder.request:
            if self._is_spare:
                own_pages(self._is_asked)
            if not self._wait(keeper):
                return
        request = holder.request
        try:
            task = Task.parse(request)
        except OcimagicError as err:
            _refuse(keeper, err)
            return
        kind = ForeignRuntime if task.runtime else OwnRuntime
        runtime = kind(task, self._filters, self._teach)
        Monitor(task, runtime, keeper, self._memory).run()

    def _teach(self, learnt: Filters) -> None:
        """Tell the launcher of new filters, and that there is nothing more to say."""
        for key, program in learnt.items():
            lesson = _LESSON.pack(len(key)) + key + program
            if len(lesson) <= MAX_LESSON:
                with contextlib.suppress(OSError):  # it is gone
                    self._inbox.send(lesson, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        self._inbox.close()

    def _wait(self, keeper: Keeper) -> bool:
        """Take the request, and give it to the holder at once; False if none will come."""
        # Taken out only when the holder has it: a shim that is killed before leaves it to the next.
        data, fds = self._receive(socket.MSG_PEEK)
        if not data:
            return False
        keeper.keep({"first": {"fd": fds[0]}}, request=json.loads(data))
        for fd in (*fds[1:], *self._receive()[1]):
            os.close(fd)
        return True

    def _is_asked(self) -> bool:
        return bool(select.select([self._inbox], [], [], 0)[0])

    def _receive(self, flags: int = 0) -> tuple[bytes, list[int]]:
        # Not recv_fds: that of Python 3.11 forgets its flags.
        data, extra, _, _ = self._inbox.recvmsg(MAX_REQUEST, _RIGHTS, flags)
        fds = array.array("i")
        for _, _, rights in extra:
            fds.frombytes(rights)
        return data, list(fds)


def _refuse(keeper: Keeper, err: OcimagicError) -> None:
    with socket.socket(fileno=keeper.groups["first"]["fd"]) as reply:
        reply.sendall(protocol.message({"error": pack(err)}))
