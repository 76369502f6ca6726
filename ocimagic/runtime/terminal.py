"""A terminal for a process: a pair from the container's own devpts.

The slave is never opened by its name, which somebody in the container might have changed
(CVE-2025-52565), and the multiplexer only after a look at what it is.

Spec: runtime-spec config.md, "Process" (terminal); config-linux.md, "Default Devices".
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, StartFailed
from ocimagic.linux import mounting, syscalls
from ocimagic.linux.paths import make_file, open_in_root

if TYPE_CHECKING:
    from ocimagic.runtime.channel import Channel

_DEVPTS_MAGIC = 0x1CD1
_PTMX_INODE = 2  # fs/devpts/inode.c
_PTMX = (5, 2)
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_MASTER_NAME = b"/dev/ptmx"  # what whoever receives a master may print


def open_terminal(root_fd: int, own_fds: int) -> tuple[int, int]:
    """Return master and slave of a new terminal of the container's devpts.

    Args:
        root_fd: the container's root.
        own_fds: /proc/self/fd, opened where /proc is the machine's.

    Raises:
        StartFailed: there is no devpts at /dev/pts, or what is there is something else.
    """
    try:
        found = open_in_root(root_fd, "dev/pts/ptmx", os.O_PATH | os.O_NOFOLLOW)
    except OSError as err:
        raise StartFailed(
            "no terminal can be made", why=f"/dev/pts/ptmx: {err.strerror}",
            hint="config.json needs a mount of type devpts at /dev/pts",
        ) from err  # fmt: skip
    try:
        there = os.fstat(found)
        is_devpts = syscalls.file_system_magic(found) == _DEVPTS_MAGIC
        if not is_devpts or there.st_ino != _PTMX_INODE or there.st_rdev != os.makedev(*_PTMX):
            raise StartFailed("no terminal can be made", why="/dev/pts/ptmx is something else")
        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        master = os.open(str(found), flags, dir_fd=own_fds)
    finally:
        os.close(found)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return master, fcntl.ioctl(master, _TIOCGPTPEER, flags)


def show_console(root_fd: int, slave: int) -> None:
    """Make the terminal the container's /dev/console."""
    spot = make_file(root_fd, "dev/console", 0o600)
    try:
        tree = mounting.open_tree("", dir_fd=slave)
        try:
            mounting.move_mount(tree, spot)
        finally:
            os.close(tree)
    finally:
        os.close(spot)


def resize(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal its size; its foreground processes get SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def take_control(slave: int) -> None:
    """Make the terminal this session's own and its three streams."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number, inheritable=True)


def connect_console(path: str) -> socket.socket:
    """Connect to who wants the master.

    Raises:
        InvalidOption: nobody listens there.
    """
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    head, tail = os.path.split(path)
    directory = -1
    try:
        directory = os.open(head or ".", os.O_PATH | os.O_CLOEXEC)
        # Through the descriptor, since an address has 107 bytes only.
        door.connect(f"/proc/self/fd/{directory}/{tail}")
    except OSError as err:
        door.close()
        raise InvalidOption(
            "cannot connect to the console socket", why=f"{path}: {err.strerror}"
        ) from err
    finally:
        if directory >= 0:
            os.close(directory)
    return door


def send_master(door: socket.socket, master: int) -> None:
    """Give the master away."""
    socket.send_fds(door, [_MASTER_NAME], [master])


def offer(channel: Channel, root_fd: int, own_fds: int, size: tuple[int, int] | None) -> int:
    """Make a terminal, give its master to the creator, and return the slave."""
    master, slave = open_terminal(root_fd, own_fds)
    try:
        if size:
            resize(slave, *size)
        channel.say("console", master)
    finally:
        os.close(master)
    return slave
