"""What a new process is handed by the caller: a console socket, descriptors, a pid file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.runtime.cli.words import Flag
from ocimagic.spec.record import replace

if TYPE_CHECKING:
    from ocimagic.runtime.cli.words import Words
    from ocimagic.runtime.create import Init
    from ocimagic.spec.process import Process

STDIO = (0, 1, 2)
_FIRST_FD = 3

HANDED_FLAGS = (
    Flag("console-socket", "socket that gets the master of the terminal", "PATH"),
    Flag("pid-file", "file that gets the process's pid", "PATH"),
    Flag("preserve-fds", "descriptors after stderr that the command keeps", "N"),
)


def check_console(process: Process, words: Words, *, detach: bool) -> None:
    """Refuse a terminal that nobody would have, and a receiver without a terminal."""
    wants = bool(words.text("console-socket"))
    if detach and process.terminal and not wants:
        raise InvalidOption(
            "a terminal of a detached process needs a console socket",
            hint="give --console-socket, or set process.terminal to false",
        )
    if wants and not (detach and process.terminal):
        raise InvalidOption(
            "a console socket is only for a detached process with a terminal",
            hint="leave --console-socket out",
        )


def preserved(words: Words, process: Process) -> tuple[int, Process]:
    """Return how many descriptors are kept, and the process told of those of $LISTEN_FDS."""
    listening = os.environ.get("LISTEN_FDS", "")
    count = int(listening) if listening.isascii() and listening.isdigit() else 0
    if count:
        env = (*process.env, f"LISTEN_FDS={count}", "LISTEN_PID=1")
        process = replace(process, env=env)
    kept = words.number("preserve-fds") + count
    for fd in range(_FIRST_FD, _FIRST_FD + kept):
        try:
            os.fstat(fd)
        except OSError as err:
            raise InvalidOption(f"descriptor {fd} is to be preserved, but it is not open") from err
        os.set_inheritable(fd, True)
    return kept, process


def write_pid(words: Words, init: Init) -> None:
    """Write the pid where the caller wants it, as a whole."""
    path = words.text("pid-file")
    if not path:
        return
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    try:
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(init.pid))
        os.rename(temporary, path)
    except OSError as err:
        raise InvalidOption(
            "the pid file cannot be written", why=f"{path}: {err.strerror}"
        ) from err
