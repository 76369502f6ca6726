"""A container with one id that looks as if it had all: the process that answers its calls.

It runs beside one container, as root of the same user namespace, and does nothing for it that
the container could not do itself with this account's rights.  What it does not answer, the
kernel does as ever.

::

    runtime   loads the filter, sends its listener here, and lets the command begin
    this      question -> who asks, of which file -> answer, or "go on" for the kernel
    the end   no process has the filter any more: what cannot have attributes is written down

Source: seccomp_unotify(2).
"""

from __future__ import annotations

import json
import os
import select
import socket
from typing import TYPE_CHECKING

from ocimagic.errors import StartFailed
from ocimagic.layers.ownership import LEAVES_NAME, leaves_to_bytes
from ocimagic.linux import syscalls
from ocimagic.linux.notify import Listener, Memory
from ocimagic.runtime.syscall_table import syscall_numbers
from ocimagic.shim.pretence.askers import Askers
from ocimagic.shim.pretence.credentials import Refused
from ocimagic.shim.pretence.identity import IdentityCalls
from ocimagic.shim.pretence.leaves import LeafOwners
from ocimagic.shim.pretence.makers import DONE, MakerCalls
from ocimagic.shim.pretence.owners import OwnerCalls
from ocimagic.shim.pretence.places import Gone, Places, Records
from ocimagic.shim.pretence.programs import ProgramCalls

if TYPE_CHECKING:
    from ocimagic.layers.ownership import Leaves
    from ocimagic.linux.notify import Question
    from ocimagic.shim.pretence.identity import Answer

Request = dict[str, object]
# By platform.machine(): the ABI that is answered, and its AUDIT_ARCH_; a program of 32 bits
# sees what there really is.
ABIS = {
    "x86_64": ("SCMP_ARCH_X86_64", 0xC000_003E),
    "aarch64": ("SCMP_ARCH_AARCH64", 0xC000_00B7),
}
_MAX_WORDS = 1 << 20
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def pretend(request: Request, fds: list[int]) -> Request:
    """Answer for one container until it is over.

    Request: ``snapshots`` (directories of its layers) and ``place``, a directory with ``fs``
    where its changes are: it gets the list of leaves.  Descriptors: the socket that the runtime
    connects to, and one whose other end is closed when the container is over or nobody waits
    for it any more.  Result: ``asked``, how many calls there were.

    Raises:
        StartFailed: the runtime sends something else.
    """
    syscalls.set_process_name("ocimagic-owners")
    door, control = socket.socket(fileno=fds[0]), fds[1]
    # Held open: this process will have another root.
    place_fd = os.open(str(request["place"]), _DIRECTORY)
    try:
        come = _wait_for(door, control)
        work = _begin(come, request, place_fd) if come else None
        asked = work.run(control) if work else 0
        _write(work.leaves() if work else {}, place_fd)
    finally:
        os.close(place_fd)
    return {"asked": asked}


def _write(leaves: Leaves, place_fd: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(LEAVES_NAME, flags, 0o600, dir_fd=place_fd), "wb") as file:
        file.write(leaves_to_bytes(leaves))


def _begin(come: tuple[Listener, int], request: Request, place_fd: int) -> _Answering | None:
    """Open the files of a container; None if it has ended already."""
    listener, pid = come
    try:
        root_fd = os.open(f"/proc/{pid}/root", _DIRECTORY)
    except (FileNotFoundError, ProcessLookupError):
        return None
    snapshots = request["snapshots"]
    assert isinstance(snapshots, list)
    upper_fd = os.open("fs", _DIRECTORY, dir_fd=place_fd)
    leaves = LeafOwners(root_fd)
    leaves.load(map(str, snapshots), str(request["place"]))
    return _Answering(listener, root_fd, upper_fd, leaves)


def _wait_for(door: socket.socket, control: int) -> tuple[Listener, int] | None:
    """Take the listener and a process's pid from the runtime; None if no container comes."""
    ready = select.poll()
    ready.register(door, select.POLLIN)
    ready.register(control, select.POLLIN)
    with door:
        if any(fd == control for fd, _ in ready.poll()):
            return None
        visitor, _ = door.accept()
    with visitor:
        words, fds, _, _ = socket.recv_fds(visitor, _MAX_WORDS, 1, socket.MSG_CMSG_CLOEXEC)
        while more := visitor.recv(_MAX_WORDS):
            words += more
    if len(fds) != 1:
        raise StartFailed("the runtime sent no seccomp listener")
    return Listener(fds[0]), int(json.loads(words)["pid"])


class _Answering:
    """One container and the files it sees."""

    def __init__(self, listener: Listener, root_fd: int, upper_fd: int, leaves: LeafOwners) -> None:
        self._listener = listener
        self._upper = upper_fd
        self._leaves = leaves
        memory, askers, records = Memory(), Askers(), Records(leaves)
        self._places = Places(listener, memory, os.open("/proc", _DIRECTORY), root_fd)
        arch, self._arch = ABIS[os.uname().machine]
        numbers = syscall_numbers(arch)
        answers: dict[str, Answer] = {
            **IdentityCalls(askers, memory).answers(),
            **OwnerCalls(askers, memory, self._places, records).answers(),
            **MakerCalls(listener, askers, memory, self._places, records).answers(),
            **ProgramCalls(askers, self._places, records).answers(),
        }
        self._answers = {numbers[name]: answers[name] for name in answers if name in numbers}

    def run(self, control: int) -> int:
        """Answer until nobody can ask any more; return how often."""
        self._places.enter()
        self._listener.wake_on_this_processor()
        ready = select.poll()
        ready.register(self._listener.fd, select.POLLIN)
        ready.register(control, select.POLLIN)
        asked = 0
        while True:
            for fd, events in ready.poll():
                if fd == control or events & select.POLLHUP:
                    return asked
                question = self._listener.receive()
                if question is not None:
                    asked += 1
                    self._answer(question)

    def _answer(self, question: Question) -> None:
        answer = self._answers.get(question.number)
        if answer is None or question.arch != self._arch:
            self._listener.let_go_on(question)
            return
        try:
            value = answer(question)
        except Refused as err:
            value = -err.number
        except Gone:
            return
        except OSError as err:
            value = -(err.errno or 0)
        if value is None:
            self._listener.let_go_on(question)
        elif value != DONE:
            self._listener.answer(question, value)

    def leaves(self) -> Leaves:
        """Return what is to be known of the changes' leaves."""
        return self._leaves.below(self._upper)
