"""One directory of one cgroup hierarchy, and what is written into its files.

Spec: kernel Documentation/admin-guide/cgroup-v1/cgroups.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ocimagic import errors
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    # Returns the text of a controller's file in the container's directory, None without one.
    Reader = Callable[[str, str], str | None]

_READ_BYTES = 1 << 16
_LACKING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOENT}
_LACKING |= {524}  # ENOTSUPP, the kernel's own: in no header of libc


@dataclass(frozen=True, slots=True)
class Write:
    """One value for one file.

    Attributes:
        asked: the field of the runtime configuration it comes from.
        relaxes: it takes a limit away, so nothing is missing where there is no such file.
        without: what to warn of where there is no such file; "" makes that an error.
    """

    controller: str
    file: str
    value: str
    asked: str
    relaxes: bool = False
    without: str = ""


@dataclass(slots=True)
class Plan:
    """What to write, in order, and what to say.

    Attributes:
        read: gives the values of now, by controller and file.
    """

    read: Reader
    writes: list[Write] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(
        self,
        controller: str,
        file: str,
        value: object,
        asked: str,
        *,
        relaxes: bool = False,
        without: str = "",
    ) -> None:
        """Append one write."""
        self.writes.append(Write(controller, file, str(value), asked, relaxes, without))


@dataclass(frozen=True, slots=True)
class Directory:
    """A cgroup directory; it need not be there yet, or any more.

    It holds no descriptor: through its path a file is opened in 9 µs, through a descriptor of
    the directory in 8, and most files are opened once in a container's life.
    """

    path: str

    def make(self) -> bool:
        """Make the directory and those above it; return False if it was there.

        Raises:
            OSError: the kernel does not let it be made.
        """
        try:
            os.mkdir(self.path, 0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # Not makedirs: it would give those above whatever the caller's umask leaves, and who
            # may write there may make cgroups.
            self.parent.make()
            return self.make()
        return True

    def open(self) -> int:
        """Return a new descriptor of it, for CLONE_INTO_CGROUP and for bpf(2)."""
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_file(self, name: str, flags: int) -> int:
        """Return a new descriptor of one of its files."""
        return os.open(f"{self.path}/{name}", flags | os.O_CLOEXEC)

    @property
    def parent(self) -> Directory:
        """Return the cgroup right above it."""
        return Directory(os.path.dirname(self.path))

    def read(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            OSError: there is no such file, or the kernel does not tell.
        """
        fd = self.open_file(name, os.O_RDONLY)
        try:
            parts = []
            while part := os.read(fd, _READ_BYTES):
                parts.append(part)
        finally:
            os.close(fd)
        return b"".join(parts).decode()

    def find(self, name: str) -> str | None:
        """Return the text of a file, or None if this kernel has no such file or value here."""
        try:
            return self.read(name)
        except OSError as err:
            if err.errno in _LACKING:
                return None
            raise

    def table(self, name: str) -> dict[str, int]:
        """Return the pairs of a file of ``key value`` lines; empty without the file."""
        pairs = (line.split() for line in (self.find(name) or "").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def write(self, name: str, value: str) -> None:
        """Write a value in one call, as the kernel wants it.

        Raises:
            OSError: there is no such file, or the kernel refuses.
        """
        fd = self.open_file(name, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def write_all(self, name: str, values: Iterable[str]) -> Iterator[OSError | None]:
        """Write values one after the other; yield for each what the kernel had against it."""
        fd = self.open_file(name, os.O_WRONLY)
        try:
            for value in values:
                try:
                    os.write(fd, value.encode())
                except OSError as err:
                    yield err
                else:
                    yield None
        finally:
            os.close(fd)

    def children(self) -> Iterator[Directory]:
        """Yield the directories right below it."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for each in entries:
                if each.is_dir(follow_symlinks=False):
                    yield Directory(each.path)

    def processes(self) -> list[int]:
        """Return the pids in it and in all below it, as this pid namespace sees them."""
        # One of threads only cannot be read, and the one above it lists its processes too.
        text = self.find("cgroup.procs") or ""
        found = [pid for pid in map(int, text.split()) if pid]  # 0 is one of elsewhere
        for child in self.children():
            found += child.processes()
        return found


def refusal(directory: Directory, write: Write, err: OSError) -> errors.OcimagicError:
    """Return the error for a value that the kernel does not take."""
    what = f"the kernel refuses {write.asked} = {write.value.strip()}"
    why = f"writing to {directory.path}/{write.file}: {err.strerror}"
    if err.errno == errno.EBUSY:
        return errors.InvalidState(what, why=why, hint=_in_use(directory, write))
    if err.errno in _LACKING:
        return errors.HostLacks(what, why=why)
    return errors.InvalidOption(what, why=why, hint=_limits(directory, write))


def _in_use(directory: Directory, write: Write) -> str | None:
    """Say what is used now, for a memory limit below it."""
    if not write.file.startswith("memory."):
        return None
    usage = "memory.memsw.usage_in_bytes" if "memsw" in write.file else "memory.usage_in_bytes"
    used = directory.find(usage)
    return f"{used.strip()} bytes are in use now" if used else None


def _limits(directory: Directory, write: Write) -> str | None:
    """Say what would be taken, where the kernel tells."""
    if write.file == "memory.limit_in_bytes":
        memsw = directory.find("memory.memsw.limit_in_bytes")
        return f"memory.swap is {memsw.strip()} bytes now; raise it too" if memsw else None
    if not write.file.startswith("cpuset."):
        return None
    effective = f"{write.file.removesuffix('.effective')}.effective"
    allowed = directory.parent.find(effective) or directory.parent.find(write.file)
    return f"{allowed.strip() or 'none'} are to be had here" if allowed else None
