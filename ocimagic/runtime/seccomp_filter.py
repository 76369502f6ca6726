"""A process's seccomp filter: the compiled program and how it is loaded.

Spec: runtime-spec config-linux.md, "Seccomp", "The Container Process State".
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, InvalidDocument, StartFailed
from ocimagic.linux import syscalls
from ocimagic.spec.codec import Fields, encode
from ocimagic.spec.record import dataclass, field
from ocimagic.spec.version import OCI_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

# SECCOMP_FILTER_FLAG_*
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_TSYNC, _NEW_LISTENER, _WAIT_KILLABLE = 1, 8, 32
_NOTIFY = "SCMP_ACT_NOTIFY"


@dataclass(frozen=True, slots=True)
class SeccompFilter:
    """What ``linux.seccomp`` came to.

    Attributes:
        program: array of ``struct sock_filter``.
        flags: SECCOMP_FILTER_FLAG_ bits.
        listener_path: socket that gets the listener; "" where no rule asks another process.
    """

    program: bytes = field(repr=False)
    flags: int = 0
    listener_path: str = ""
    listener_metadata: str = ""

    def load(self) -> int:
        """Load it for this thread; return the listener's descriptor, -1 without one.

        Raises:
            StartFailed: the kernel does not take it.
        """
        flags = self.flags
        if self.listener_path:
            # There is one thread only, and the kernel takes TSYNC and a listener not together.
            flags = flags & ~_TSYNC | _NEW_LISTENER
        else:
            flags &= ~_WAIT_KILLABLE  # about the wait for a listener
        try:
            listener = syscalls.load_seccomp_filter(self.program, flags)
        except OSError as err:
            raise StartFailed("the seccomp filter cannot be loaded", why=err.strerror) from err
        return listener if self.listener_path else -1


def make_filter(
    seccomp: Mapping[str, object] | None, compiled: MutableMapping[bytes, bytes]
) -> SeccompFilter | None:
    """Make the filter of ``linux.seccomp``; None for none.

    Args:
        seccomp: as JSON.
        compiled: programs by their JSON, kept by the caller between containers.

    Raises:
        InvalidDocument: it breaks the specification.
        HostLacks: this kernel cannot have it.
    """
    if seccomp is None:
        return None
    fields = Fields(seccomp, "seccomp profile")
    path, metadata = fields.text("listenerPath", ""), fields.text("listenerMetadata", "")
    if metadata and not path:
        raise InvalidDocument("seccomp has listenerMetadata, but no listenerPath")
    is_notifying = _check_notify(fields, path)
    rules = {
        key: value
        for key, value in seccomp.items()
        if key in ("defaultAction", "defaultErrnoRet", "architectures", "syscalls")
    }
    key = encode(rules)
    if key not in compiled:
        from ocimagic.runtime.seccomp import compile_filter

        compiled[key] = compile_filter(rules, os.uname().machine)
    return SeccompFilter(
        compiled[key],
        sum(_flag(name) for name in set(fields.texts("flags"))),
        path if is_notifying else "",
        metadata,
    )


def _flag(name: str) -> int:
    if name not in FLAGS:
        raise InvalidDocument(f"{name!r} is not a seccomp flag")
    return FLAGS[name]


def _check_notify(fields: Fields, path: str) -> bool:
    """Say whether any rule asks another process; refuse what could never work."""
    if fields.text("defaultAction") == _NOTIFY:
        raise InvalidDocument("seccomp cannot ask about every system call (defaultAction)")
    asking = [each for each in fields.children("syscalls") if each.text("action") == _NOTIFY]
    if asking and not path:
        raise InvalidDocument("seccomp rules with SCMP_ACT_NOTIFY need a listenerPath")
    if any("write" in each.texts("names") for each in asking):
        # The process writes to its creator where the listener is, before anybody can answer.
        raise InvalidDocument("SCMP_ACT_NOTIFY cannot be used for the write system call")
    return bool(asking)


def send_listener(
    filter_: SeccompFilter, listener: int, pid: int, state: Mapping[str, object]
) -> None:
    """Give the listener to who is to answer, with the container process state.

    Raises:
        HostLacks: nobody takes it.
    """
    document = {
        "ociVersion": OCI_VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": filter_.listener_metadata,
        "state": state,
    }
    packet = json.dumps(document).encode()
    path = filter_.listener_path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as door:
            _connect(door, path)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [listener]))]
            sent = door.sendmsg([packet], rights)
            if rest := packet[sent:]:  # who has all may have gone
                door.sendall(rest)
    except OSError as err:
        raise HostLacks(
            "the seccomp listener cannot be handed over", why=f"{path}: {err.strerror}"
        ) from err
    finally:
        os.close(listener)


def _connect(door: socket.socket, path: str) -> None:
    """Connect through a descriptor of the directory: a socket's path may have 107 bytes only."""
    parent, name = os.path.split(path)
    directory = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        door.connect(f"/proc/self/fd/{directory}/{name}")
    finally:
        os.close(directory)
