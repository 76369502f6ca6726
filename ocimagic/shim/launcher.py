"""The launcher: the only process of an engine that forks.

A small Python with one thread, started once per engine.  It knows the runtime already, so a
container costs a fork and not a start of Python.  As an ordinary user it first moves into a
user namespace of its own, where it is root.  It ends when its engine lets go of the socket;
the shims it forked go on.

Requests arrive as one datagram of JSON with descriptors attached; each answer goes over the
first descriptor, a stream of frames (``protocol``).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pwd
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ocimagic.errors import HostLacks, OcimagicError, StorageError, pack
from ocimagic.linux import syscalls
from ocimagic.linux.identity import boot_id
from ocimagic.runtime.cgroup_hierarchy import Hierarchies
from ocimagic.shim import preload, userns, userns_shared, worker
from ocimagic.shim.bare import find_tracer, try_changed_root, try_tracer
from ocimagic.shim.pair import MAX_LESSON, Filters, learn, open_pair
from ocimagic.shim.workshop import MAX_FDS, MAX_REQUEST, Workshop

if TYPE_CHECKING:
    from collections.abc import Callable

_IDLE_MS = 10
_TOO_LONG: dict[str, object] = {}


def main() -> NoReturn:
    """Serve an engine until it closes its end of the socket.

    ``argv[1]``: JSON with the socket's ``fd``, the pid of a process whose user namespace is to be
    ``join``ed, and the ``room`` of those who share one.
    """
    told = json.loads(sys.argv[1])
    control = socket.socket(fileno=told["fd"])
    # The program's own descriptor among them, see Launcher in ``client``.
    syscalls.close_range(3, control.fileno() - 1)
    syscalls.close_range(control.fileno() + 1)
    syscalls.set_process_name("ocimagic-launch")
    try:
        join = told["join"]
        place = _Place(userns.join(join)) if join else _find_place(told["room"])
    except OcimagicError as err:
        control.send(json.dumps(pack(err)).encode())
        os._exit(0)
    # Before children are waited for by a signal handler: who waits here would come too late.
    hides = place.may_mount and (not place.ids or userns.can_hide_processes())
    preload.load_for_containers()
    # What all forks would find out again.
    Hierarchies.discover()
    boot_id()
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is loaded now is shared by all forks: keep the collector from touching its pages.
    gc.disable()
    gc.freeze()
    launcher = Launcher(control)
    launcher.forbid_imports()
    ready = place._asdict() | {"pid": os.getpid(), "own_processes": hides}
    control.send(json.dumps({"ready": ready}).encode())
    launcher.run()


class _Place(NamedTuple):
    """What containers have here.

    Attributes:
        ids: how many user ids, 0 for the machine's.
        may_mount: they may.
        tracer: what shows them their root, where it cannot even be changed; else "".
    """

    ids: int
    may_mount: bool = True
    tracer: str = ""


def _find_place(room: str) -> _Place:
    """Become root as far as this account can, and say how far that is.

    Args:
        room: of those who share a user namespace; "" to be alone.
    """
    uid = os.geteuid()
    if uid == 0 and _works(lambda: syscalls.unshare(syscalls.CLONE_NEWNS)):
        return _Place(0)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    try:
        names = name, str(uid)
        return _Place(userns_shared.enter(Path(room), names) if room else userns.enter(names))
    except HostLacks:
        if uid == 0 and _works(try_changed_root):
            return _Place(0, may_mount=False)
        tracer = find_tracer()
        if uid and tracer and _works(lambda: try_tracer(tracer)):
            return _Place(1, may_mount=False, tracer=tracer)
        raise


def _works(attempt: Callable[[], None]) -> bool:
    """Try in a child what cannot be undone."""
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _reap(_signal: int, _frame: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


class Launcher:
    """Serves one engine.

    Args:
        control: where its requests come in.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._filters: Filters = {}
        self._spare: socket.socket | None = None
        self._pairs: dict[int, socket.socket] = {}  # asked for a container just now
        self._in_hand: list[int] = []  # descriptors of the request that is being obeyed
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        # Before this process forgets how to load code.
        self._workshop = Workshop(self._leave)

    def forbid_imports(self) -> None:
        """Load no code any more."""
        self._workshop.forbid_imports()

    def run(self) -> NoReturn:
        """Serve until the engine lets go."""
        while True:
            ready = self._poll.poll(_IDLE_MS if self._spare is None else None)
            # When nothing else is to be done: not beside a start.
            if not ready:
                self._spare = open_pair(self._leave_all, self._filters, is_spare=True)
            for fd, _ in ready:
                if fd == self._control.fileno():
                    self._take_request()
                else:
                    self._take_lesson(fd)

    def _take_request(self) -> None:
        data, fds, flags, _ = socket.recv_fds(self._control, MAX_REQUEST, MAX_FDS)
        if not data:
            os._exit(0)
        whole = not flags & socket.MSG_TRUNC
        self._obey(json.loads(data) if whole else _TOO_LONG, data, fds)

    def _take_lesson(self, fd: int) -> None:
        """Hear what a pair has learnt; nothing is its end."""
        lesson = b""
        with contextlib.suppress(ConnectionResetError):
            lesson = self._pairs[fd].recv(MAX_LESSON)
        if lesson:
            learn(lesson, self._filters)
        else:
            self._poll.unregister(fd)
            self._pairs.pop(fd).close()

    def _obey(self, request: dict[str, object], data: bytes, fds: list[int]) -> None:
        self._in_hand = fds
        try:
            if request is _TOO_LONG:
                why = f"{MAX_REQUEST} bytes"
                raise StorageError("a request to the launcher is cut", why=why)
            if request["op"] == "container":
                self._launch(data, fds)
            else:
                self._workshop.pass_on(data, fds)
        except OcimagicError as err:
            _answer(fds[0], err)
        except OSError as err:
            _answer(fds[0], StorageError("the launcher cannot do this", why=str(err)))
        finally:
            self._in_hand = []
            for fd in fds:
                os.close(fd)

    def _launch(self, data: bytes, fds: list[int]) -> None:
        pair, self._spare = self._spare, None
        if pair is not None:
            try:
                socket.send_fds(pair, [data], fds)
            except OSError:  # somebody has killed it
                pair.close()
                pair = None
        if pair is None:
            pair = open_pair(self._leave_all, self._filters)
            socket.send_fds(pair, [data], fds)
        self._pairs[pair.fileno()] = pair
        self._poll.register(pair, select.POLLIN)

    def _leave_all(self) -> None:
        """Close, in a pair, what is ours and the workshop's door."""
        self._leave()
        self._workshop.close()

    def _leave(self) -> None:
        """Close, in the workshop, what is ours."""
        for fd in self._in_hand:  # or a client's end would never be seen: a holder lives long
            os.close(fd)
        self._control.close()
        for each in (*self._pairs.values(), self._spare):
            if each is not None:
                each.close()


def _answer(fd: int, err: OcimagicError) -> None:
    with socket.socket(fileno=os.dup(fd)) as reply:
        worker.refuse(reply, err)


if __name__ == "__main__":
    main()
