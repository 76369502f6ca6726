"""This Python's own program, so that nobody in a container can write it (CVE-2019-5736).

A process on its way into a container still shows the runtime's program as /proc/PID/exe, and a
container may bring its runtime to execute that.  Through what is returned here the program can
be executed and read, and not be written.
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import NoReturn

from ocimagic.errors import HostLacks
from ocimagic.linux import mounting

_CHUNK = 1 << 24
_MFD_EXEC = 0x10  # Linux 6.3
# F_SEAL_EXEC is left out: older kernels refuse it, and a mode is nobody's way to write.
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_executable() -> int:
    """Return a descriptor of this Python's program that nobody can write through.

    The caller closes it, after executing ``/proc/self/fd/N`` with ``sys.executable`` as the
    first word, by which Python finds its library.

    Raises:
        HostLacks: the program can be found no more.
    """
    try:
        program = os.path.realpath(f"/proc/{os.getpid()}/exe")
        try:
            return _bound(program)
        except OSError:
            return _copied(program)
    except OSError as err:
        raise HostLacks("the runtime cannot protect its own program", why=str(err)) from err


def _bound(program: str) -> int:
    """Show the file through a mount of its own, read-only and attached nowhere."""
    tree = mounting.open_tree(program)
    try:
        mounting.set_attributes(tree, mounting.MOUNT_ATTR_RDONLY | mounting.MOUNT_ATTR_NOSUID)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _copied(program: str) -> int:
    """Copy the file into memory and seal that; 4 ms for Debian's Python."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        copy = os.memfd_create("ocimagic-runtime", flags | _MFD_EXEC)
    except OSError:
        copy = os.memfd_create("ocimagic-runtime", flags)
    source = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.sendfile(copy, source, None, _CHUNK):
            continue
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(copy)
        raise
    finally:
        os.close(source)
    return copy


def execute_sealed(code: str, arguments: list[str]) -> NoReturn:
    """Go on as a fresh, bare Python that runs ``code``, from a program nobody can write.

    Raises:
        HostLacks: it cannot be.
    """
    fd = sealed_executable()
    words = [sys.executable, "-I", "-S", "-c", code, *arguments]
    try:
        os.execve(f"/proc/self/fd/{fd}", words, os.environ)  # noqa: S606  no shell is the point
    except OSError as err:
        raise HostLacks("the runtime cannot execute itself", why=err.strerror) from err
