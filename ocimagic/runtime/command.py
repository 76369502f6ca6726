"""Find what to execute, inside the container's root and nowhere else."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import CommandNotExecutable, CommandNotFound
from ocimagic.linux.paths import open_in_root
from ocimagic.spec.config import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_HERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_SHEBANG_BYTES = 256


def find_command(name: str, environment: Mapping[str, str], cwd: str, root_fd: int) -> str:
    """Return the path that execve is to run.

    A name without a slash is looked up along PATH, any other is relative to ``cwd``.

    Raises:
        CommandNotFound: nothing of that name.
        CommandNotExecutable: a directory, a file without an x bit, or something on procfs.
    """
    if "/" in name:
        path = os.path.join(cwd, name)
        if not _is_command(path, name, root_fd):
            raise _not_found(name, f"no such file or directory in the image: {path}")
        return path
    search = environment.get("PATH") or DEFAULT_PATH
    for directory in search.split(":"):
        path = os.path.join(cwd, directory, name)
        if name and _is_command(path, name, root_fd, ignore_bad=True):
            return path
    raise _not_found(name, f"executable file not found in $PATH: {search}")


def _is_command(path: str, name: str, root_fd: int, *, ignore_bad: bool = False) -> bool:
    try:
        fd = open_in_root(root_fd, path, os.O_PATH)
    except OSError as err:
        if err.errno in _NOT_HERE or ignore_bad:
            return False
        raise CommandNotExecutable(f"cannot run {name!r}", why=f"{path}: {err.strerror}") from err
    try:
        found = os.fstat(fd)
        reason = _why_not(found, fd, root_fd)
    finally:
        os.close(fd)
    if reason and not ignore_bad:
        raise CommandNotExecutable(
            f"cannot run {name!r}: permission denied", why=f"{path} {reason}"
        )
    return not reason


def _why_not(found: os.stat_result, fd: int, root_fd: int) -> str | None:
    if stat.S_ISDIR(found.st_mode):
        return "is a directory"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if not found.st_mode & 0o111:
        return "has no permission to execute (try RUN chmod +x)"
    procfs = _device_of_proc(root_fd)
    if found.st_dev == procfs or _shebang_device(fd, root_fd) == procfs:
        # CVE-2019-5736: /proc/self/exe is this runtime's own program at this moment.
        return "leads into /proc"
    return None


def _device_of_proc(root_fd: int) -> int:
    try:
        fd = open_in_root(root_fd, "proc", os.O_PATH)
    except OSError:
        return -1
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def _shebang_device(fd: int, root_fd: int) -> int:
    """Return the device of a script's interpreter, -2 when it is no script."""
    try:
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -2
    try:
        head = os.read(reader, _SHEBANG_BYTES)
    finally:
        os.close(reader)
    words = head[2:].split(b"\n")[0].split()
    if not head.startswith(b"#!") or not words:
        return -2
    if words[0].startswith(b"/proc/"):
        return _device_of_proc(root_fd)
    try:
        target = open_in_root(root_fd, words[0], os.O_PATH)
    except OSError as err:
        # A magic link of procfs is refused by the door itself.
        return _device_of_proc(root_fd) if err.errno == errno.ELOOP else -2
    try:
        return os.fstat(target).st_dev
    finally:
        os.close(target)


def _not_found(name: str, why: str) -> CommandNotFound:
    return CommandNotFound(
        f"cannot run {name!r}",
        why=why,
        hint="check the spelling, and that the image has it (a small image may have no shell)",
    )
