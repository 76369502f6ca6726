"""Find what to execute, inside the container's root and nowhere else."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import CommandNotExecutable, CommandNotFound
from ocimagic.linux import syscalls
from ocimagic.linux.paths import open_in_root
from ocimagic.spec.process import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_HERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_SHEBANG_BYTES = 256  # BINPRM_BUF_SIZE
_SCRIPTS = 6  # scripts in a row, then the kernel says ELOOP
_MAX_STRING = 131072  # MAX_ARG_STRLEN: execve(2) would refuse a longer one


def find_command(name: str, environment: Mapping[str, str], cwd: str, root_fd: int) -> str:
    """Return the path that execve is to run.

    A name without a slash is looked up along PATH, any other is relative to ``cwd``.

    Raises:
        CommandNotFound: nothing of that name.
        CommandNotExecutable: a directory, a file without an x bit, or something on procfs.
    """
    if "/" in name:
        path = os.path.join(cwd, name)
        if not _is_command(path, name, cwd, root_fd):
            raise _not_found(name, f"no such file or directory in the image: {path}")
        return path
    search = environment.get("PATH") or DEFAULT_PATH
    if len(search) >= _MAX_STRING:
        raise CommandNotExecutable(f"cannot run {name!r}: argument list too long", why="$PATH")
    for directory in search.split(":"):
        path = os.path.join(cwd, directory, name)
        if name and _is_command(path, name, cwd, root_fd, ignore_bad=True):
            return path
    raise _not_found(name, f"executable file not found in $PATH: {search}")


def _is_command(path: str, name: str, cwd: str, root_fd: int, *, ignore_bad: bool = False) -> bool:
    try:
        fd = open_in_root(root_fd, path, os.O_PATH)
    except OSError as err:
        if err.errno in _NOT_HERE or ignore_bad:
            return False
        raise CommandNotExecutable(f"cannot run {name!r}", why=f"{path}: {err.strerror}") from err
    try:
        reason = _why_not(fd, cwd, root_fd)
    finally:
        os.close(fd)
    if reason and not ignore_bad:
        raise CommandNotExecutable(
            f"cannot run {name!r}: permission denied", why=f"{path} {reason}"
        )
    return not reason


def _why_not(fd: int, cwd: str, root_fd: int) -> str | None:
    found = os.fstat(fd)
    if stat.S_ISDIR(found.st_mode):
        return "is a directory"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if not found.st_mode & 0o111:
        return "has no permission to execute (try RUN chmod +x)"
    if _leads_into_proc(fd, cwd, root_fd):
        # CVE-2019-5736: /proc/self/exe is this runtime's own program at this moment.
        return "leads into /proc"
    return None


def _leads_into_proc(program: int, cwd: str, root_fd: int) -> bool:
    """Follow the ``#!`` lines as the kernel does: a script's interpreter may be a script."""
    fd = os.dup(program)
    try:
        for _ in range(_SCRIPTS):
            if syscalls.file_system_magic(fd) == syscalls.PROC_SUPER_MAGIC:
                return True
            interpreter = _interpreter(fd)
            if not interpreter:
                return False
            path = os.path.join(os.fsencode(cwd), interpreter)
            found = open_in_root(root_fd, path, os.O_PATH)
            os.close(fd)
            fd = found
    except OSError as err:
        # A magic link of procfs is refused by the door itself.
        return err.errno == errno.ELOOP
    finally:
        os.close(fd)
    return False  # more than the kernel follows


def _interpreter(fd: int) -> bytes:
    """Return what the first line of a script names, b"" when it is no script.

    Source: Linux fs/binfmt_script.c: spaces, tabs and NUL end it; the path may be relative.
    """
    try:
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        head = os.read(reader, _SHEBANG_BYTES)
    finally:
        os.close(reader)
    if not head.startswith(b"#!"):
        return b""
    line = head[2:].partition(b"\n")[0].lstrip(b" \t")
    return line.replace(b"\t", b" ").replace(b"\0", b" ").partition(b" ")[0]


def _not_found(name: str, why: str) -> CommandNotFound:
    return CommandNotFound(
        f"cannot run {name!r}",
        why=why,
        hint="check the spelling, and that the image has it (a small image may have no shell)",
    )
