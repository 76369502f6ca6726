"""The holder: the shim's parent, which keeps what must not die with it.

It sleeps until its shim dies.  Then it forks another from its own memory, which finds the
container's descriptors here, already open, and what the last shim knew in shared memory.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.linux import syscalls
from ocimagic.linux.processes import children
from ocimagic.shim.forks import fork_child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_MESSAGE = 1 << 17
_MAX_FDS = 253  # SCM_MAX_FD
_RIGHTS = socket.CMSG_SPACE(_MAX_FDS * 4)
_SOON_S = 1.0  # a shim that died this soon has perhaps a defect
_FORGIVEN = 4
_CALM_S = 0.25
_MAX_CALM_S = 10.0
RENEW = 3  # exit code of a shim that wants another one in its place

_THERE = b"there"

Groups = dict[str, dict[str, int]]


class _Shim(NamedTuple):
    """A shim as its holder knows it."""

    pid: int
    pidfd: int
    link: socket.socket

    def end(self) -> int:
        """Let go of one that has ended; return its exit code."""
        self.link.close()
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Holder:
    """The life of a holder.

    Args:
        serve: the life of a shim, given its end of our socket.
        on_asked: called when the shim knows what to keep.

    Attributes:
        pidfd: of the holder, opened by itself: its child would perhaps be too late.
        request: what the shim was asked to keep; empty until it is asked.
        groups: the descriptors kept, by what they belong to and by name.
        parent: pid of who made the holder.
    """

    def __init__(
        self, serve: Callable[[Holder, socket.socket], None], on_asked: Callable[[], None]
    ) -> None:
        self._serve = serve
        self._on_asked = on_asked
        self.pidfd = -1
        self.request: dict[str, object] = {}
        self.groups: Groups = {}
        self.parent = 0
        self._next: _Shim | None = None  # waits for the end of the one that is there
        self._wants_next = False

    def run(self) -> None:
        """Fork a shim, and another whenever it dies; return when one has done its work.

        Or when it is hopeless: each one dies at once, and the container has not begun.  Who asked
        for it then sees its connection end.  Or its directory is gone, so nobody could ever find
        it again: then it is ended.
        """
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        self.pidfd, self.parent = os.pidfd_open(os.getpid()), os.getppid()
        self._keep_one(self._fork(), time.monotonic())

    def take_over(self, pid: int, link: socket.socket) -> None:
        """Go on as ``run`` does with a shim that is there already."""
        syscalls.set_process_name("ocimagic-hold")
        self._keep_one(_Shim(pid, os.pidfd_open(pid), link), time.monotonic())

    def _keep_one(self, shim: _Shim, began: float) -> None:
        hasty = 0
        while (code := self._watch(shim)) != 0:
            is_hasty = code != RENEW and time.monotonic() - began < _SOON_S
            hasty = hasty + 1 if is_hasty else 0
            if hasty > _FORGIVEN and "first" in self.groups:
                break
            if hasty > _FORGIVEN and not os.path.isdir(str(self.request.get("directory", "/"))):
                _end_children()
                break
            if hasty > _FORGIVEN:
                select.select([], [], [], min(_CALM_S * 2 ** (hasty - _FORGIVEN), _MAX_CALM_S))
            shim, self._next = self._next or self._fork(), None
            began = time.monotonic()

    def _fork(self, before: _Shim | None = None) -> _Shim:
        """Fork a shim; one that has another before it waits for that one's end."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def live() -> None:
            mine.close()
            syscalls.set_process_name("ocimagic-shim")
            if before is None or self._succeeds(before):
                self._serve(self, theirs)

        pid = fork_child(live)
        theirs.close()
        syscalls.set_process_name("ocimagic-hold")
        mine.setblocking(False)
        return _Shim(pid, os.pidfd_open(pid), mine)

    def _succeeds(self, before: _Shim) -> bool:
        """Wait, as the next shim, for the end of the one before; False if it stays after all.

        It ends once it has heard that we are there: until then it is the one that lives when
        the holder is killed, from then on we are.
        """
        ends = select.poll()
        ends.register(before.pidfd, select.POLLIN)
        try:
            before.link.send(_THERE)
        except OSError:  # it is dying, or has seen the holder's death and listens no more
            ends.register(self.pidfd, select.POLLIN)
        found = [fd for fd, _ in ends.poll()]
        is_over = before.pidfd in found
        before.link.close()
        os.close(before.pidfd)
        return is_over

    def _watch(self, shim: _Shim) -> int:
        """Keep what the shim gives until it ends; return its exit code: 0 for work done."""
        sleep = select.poll()
        for each in (shim.pidfd, shim.link.fileno()):
            sleep.register(each, select.POLLIN)
        shim.link.setblocking(False)
        ended, speaks = False, True
        while not ended:
            # Asked for before the socket is read: its last words are read after its death.
            found = [fd for fd, _ in sleep.poll()]
            ended = shim.pidfd in found
            if speaks and not self._listen(shim.link):
                sleep.unregister(shim.link.fileno())
                speaks = False
            if self._next is not None and self._next.pidfd in found:
                sleep.unregister(self._next.pidfd)
                self._next.end()
                self._next, self._wants_next = None, True
            if self._wants_next:
                self._wants_next = False  # the next one's memory begins as ours is here
                self._next = self._fork(before=shim)
                sleep.register(self._next.pidfd, select.POLLIN)
        return shim.end()

    def _listen(self, link: socket.socket) -> bool:
        """Read what the shim said; say whether it may say more."""
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    packet, extra, _, _ = link.recvmsg(
                        MAX_MESSAGE, _RIGHTS, socket.MSG_CMSG_CLOEXEC
                    )
                except ConnectionResetError:
                    return False
                if not packet:
                    return False
                fds = array.array("i")
                for _, _, data in extra:
                    fds.frombytes(data)
                self._obey(json.loads(packet), list(fds))
        return True

    def _obey(self, message: Mapping[str, object], fds: list[int]) -> None:
        if isinstance(request := message.get("request"), dict):
            self.request = request
            self._on_asked()
        self._wants_next |= bool(message.get("renew"))
        groups = message.get("groups")
        assert isinstance(groups, dict)
        for group, names in groups.items():
            close_group(self.groups, group)
            if names:
                self.groups[group] = dict(zip(names, fds, strict=False))
                del fds[: len(names)]
        for pid in message.get("reap", ()):  # type: ignore[attr-defined]
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _end_children() -> None:
    """Kill what is left of a container; the shim that would wait for it cannot live."""
    for pid in children(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def close_group(groups: Groups, group: str) -> None:
    """Close and forget descriptors that are kept."""
    for fd in groups.pop(group, {}).values():
        with contextlib.suppress(OSError):
            os.close(fd)


class Keeper:
    """A shim's way to its holder: what it gives away is safe.

    Args:
        holder: the holder as it was when this shim was forked: its copy in our memory.
        link: our end of the socket.
        on_alone: called when the holder is dead.
    """

    def __init__(self, holder: Holder, link: socket.socket) -> None:
        self._holder = holder
        self._link = link

    @property
    def pidfd(self) -> int:
        """Return what is readable once the holder is dead."""
        return self._holder.pidfd

    @property
    def holders_parent(self) -> int:
        """Return the pid of who made the holder: the launcher."""
        return self._holder.parent

    @property
    def groups(self) -> Groups:
        """Return what is kept, by what it belongs to and by name; the numbers are ours."""
        return self._holder.groups

    def drop(self, *groups: str) -> None:
        """Close descriptors here and at the holder's."""
        ours = [fd for group in groups for fd in self.groups.get(group, {}).values()]
        self.keep({group: {} for group in groups})
        for fd in ours:
            os.close(fd)

    def keep(
        self,
        groups: Mapping[str, Mapping[str, int]],
        *,
        request: Mapping[str, object] | None = None,
        reap: tuple[int, ...] = (),
        renew: bool = False,
    ) -> None:
        """Give copies of descriptors to the holder.

        Args:
            groups: replace those of the same name; of an empty one the holder closes its own.
                What is kept is closed here only by ``drop``.
            request: what the shim was asked to keep.
            reap: children of an earlier shim that have ended.
            renew: another shim is wanted in the place of this one.
        """
        message: dict[str, object] = {
            "groups": {group: list(names) for group, names in groups.items()},
            "reap": reap,
            "renew": renew,
        }
        if request is not None:
            message["request"] = self._holder.request = dict(request)
        for group, names in groups.items():
            self._holder.groups.pop(group, None)
            if names:
                self._holder.groups[group] = dict(names)
        fds = [fd for names in groups.values() for fd in names.values()]
        # A holder that is dead: its pidfd says so, and we become the holder.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._link, [json.dumps(message).encode()], fds)

    def renew(self) -> bool:
        """Ask for another shim and wait until it is there: then this one ends with ``RENEW``.

        At any moment one of the two can live on without the holder.

        Returns:
            False if the holder died before: this shim stays.
        """
        self.keep({}, renew=True)
        wait = select.poll()
        for fd in (self._link.fileno(), self.pidfd):
            wait.register(fd, select.POLLIN)
        if self._link.fileno() not in [fd for fd, _ in wait.poll()]:
            # Either the next one's word is here by now, or it learns that it is not wanted.
            self._link.shutdown(socket.SHUT_RD)
        with contextlib.suppress(ConnectionResetError):  # the holder died before it read us
            return bool(self._link.recv(len(_THERE)))
        return False

    def succeed(self, leave: Callable[[], None]) -> None:
        """Take the place of a holder that is dead, and go on in a child.

        Returns in the child only.  The parent sleeps from then on; its children, the container
        among them, keep their parent.

        Args:
            leave: closes, in the parent, what only a shim should have.
        """
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.close()
        os.close(self.pidfd)
        self._holder.pidfd = os.pidfd_open(os.getpid())
        pid = os.fork()  # noqa: TID251  one thread
        if pid:
            theirs.close()
            leave()
            self._holder.take_over(pid, mine)
            os._exit(0)
        mine.close()
        self._link = theirs
