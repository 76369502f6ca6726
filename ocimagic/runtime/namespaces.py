"""The namespaces of a process: new ones it is born into, others' that it joins.

One clone does it all where no user namespace and no clocks are in play, and the creator is the
machine's root: what is joined, its next child is born into (pid) or joins by itself.  Else a second
process, the *stage*, joins and clones the first process as a child of its own parent, so that
the creator keeps it.

Spec: runtime-spec config-linux.md, "Namespaces", "Offset for Time Namespace".
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Self

from ocimagic.errors import HostLacks, InvalidDocument
from ocimagic.linux import syscalls
from ocimagic.linux.process import namespace_kind
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.isolation import TimeOffset

CLONE_FLAGS = {
    "user": syscalls.CLONE_NEWUSER,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "network": syscalls.CLONE_NEWNET,
    "pid": syscalls.CLONE_NEWPID,
    "time": syscalls.CLONE_NEWTIME,
    "mount": syscalls.CLONE_NEWNS,
}
_PRIVILEGED = ("user", "time")
FILES = {kind: {"network": "net", "mount": "mnt"}.get(kind, kind) for kind in CLONE_FLAGS}
_CLOCK_FILE = "/proc/self/timens_offsets"


@dataclass(slots=True)
class Namespaces:
    """Where a process is to be.

    Attributes:
        new: kinds to make.
        joined: kind to the open descriptor of another's; ``close`` lets go of them.
        pidfd: of the process that all joined ones are of, -1 for none; not owned.
        offsets: of the clocks of a new time namespace.
    """

    new: frozenset[str]
    joined: dict[str, int] = field(default_factory=dict)
    offsets: Mapping[str, TimeOffset] = field(default_factory=dict)
    pidfd: int = -1

    @classmethod
    def of_process(cls, pid: int, pidfd: int) -> Self:
        """Open all namespaces of a process that this one is not in.

        Args:
            pid: of the process.
            pidfd: of the same; what is joined in the end is what it means.

        Raises:
            HostLacks: this process may not look at that one.
        """
        found = cls(frozenset(), {}, pidfd=pidfd)
        try:
            for kind, name in FILES.items():
                with contextlib.suppress(FileNotFoundError):  # an older kernel has fewer
                    fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
                    if is_own(kind, fd):
                        os.close(fd)
                    else:
                        found.joined[kind] = fd
        except OSError as err:
            found.close()
            raise HostLacks("cannot enter the container", why=err.strerror) from err
        return found

    @classmethod
    def open(cls, paths: Mapping[str, str], offsets: Mapping[str, TimeOffset]) -> Self:
        """Open those to join.

        Args:
            paths: kind to path, "" for a new one.
            offsets: by clock.

        Raises:
            InvalidDocument: a path is no namespace of its kind.
        """
        found = cls(frozenset(kind for kind, path in paths.items() if not path), {}, offsets)
        try:
            for kind, path in paths.items():
                if path:
                    found.joined[kind] = _open(kind, path)
        except BaseException:
            found.close()
            raise
        return found

    def close(self) -> None:
        """Let go of the descriptors."""
        while self.joined:
            os.close(self.joined.popitem()[1])

    @property
    def needs_stage(self) -> bool:
        """Say whether one clone is not enough."""
        order_matters = not self.joined.keys().isdisjoint(_PRIVILEGED)
        order_matters |= bool(self.joined) and not self.new.isdisjoint(_PRIVILEGED)
        return order_matters or bool(self.offsets)

    def flags(self, *without: str) -> int:
        """Return the CLONE_NEW flags of the new ones."""
        return sum(CLONE_FLAGS[kind] for kind in self.new if kind not in without)

    def join(self) -> None:
        """Move this process into the others' namespaces; a pid namespace gets its children.

        What a joined user namespace owns can be joined only from inside of it, what its owner
        owns only before: so first what is possible, then the user namespace, then the rest.

        Raises:
            HostLacks: the kernel does not let us in.
        """
        if self.pidfd >= 0 and self._join_at_once():
            return
        late = []
        for kind, fd in self.joined.items():
            if kind != "user" and not _try_join(kind, fd):
                late.append((kind, fd))
        if "user" in self.joined:
            _join("user", self.joined["user"])
        for kind, fd in late:
            _join(kind, fd)

    def _join_at_once(self) -> bool:
        """Join all or none of a process's; return False where Linux is older than 5.8."""
        try:
            syscalls.setns(self.pidfd, sum(CLONE_FLAGS[kind] for kind in self.joined))
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise HostLacks("cannot enter the container", why=err.strerror) from err
            return False
        return True


def _open(kind: str, path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        raise InvalidDocument(
            f"cannot join the {kind} namespace", why=f"{path}: {err.strerror}"
        ) from err
    try:
        found = namespace_kind(fd)
    except OSError:
        found = 0
    if found != CLONE_FLAGS[kind]:
        os.close(fd)
        raise InvalidDocument(f"{path} is not a {kind} namespace")
    return fd


def _try_join(kind: str, fd: int) -> bool:
    try:
        syscalls.setns(fd, CLONE_FLAGS[kind])
    except PermissionError:
        return False
    except OSError as err:
        raise _refused(kind, err) from err
    return True


def _join(kind: str, fd: int) -> None:
    try:
        syscalls.setns(fd, CLONE_FLAGS[kind])
    except OSError as err:
        # Nobody can join the user namespace that it is in already.
        if not (kind == "user" and err.errno == errno.EINVAL and is_own(kind, fd)):
            raise _refused(kind, err) from err


def is_own(kind: str, fd: int) -> bool:
    """Say whether this process is in that namespace."""
    return os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{FILES[kind]}"))


def _refused(kind: str, err: OSError) -> HostLacks:
    return HostLacks(f"cannot join the {kind} namespace", why=f"setns: {err.strerror}")


def write_offsets(offsets: Mapping[str, TimeOffset]) -> None:
    """Set the clocks of the time namespace that this process's children will be in.

    Raises:
        HostLacks: the kernel does not take them.
    """
    text = "".join(f"{clock} {each.secs} {each.nanosecs}\n" for clock, each in offsets.items())
    try:
        fd = os.open(_CLOCK_FILE, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as err:
        raise HostLacks("the clocks cannot be set", why=f"{_CLOCK_FILE}: {err.strerror}") from err
