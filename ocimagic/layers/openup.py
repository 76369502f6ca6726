"""What an account without privileges does before it reads or removes a tree of its own.

Root reads what nobody may read; who only stands for root in a container has to be let in first.
"""

from __future__ import annotations

import os
import stat

_DIRECTORY, _FILE = 0o700, 0o600


def open_up(path: str) -> None:
    """Let the owner into all directories and files of a tree; nothing for root.

    Links are not followed, and what belongs to others is left as it is.

    Raises:
        OSError: it cannot be looked at.
    """
    me = os.geteuid()
    if me == 0:
        return
    pending = [os.fsencode(path)]
    while pending:
        here = pending.pop()
        told = os.lstat(here)
        is_directory = stat.S_ISDIR(told.st_mode)
        needed = _DIRECTORY if is_directory else _FILE if stat.S_ISREG(told.st_mode) else 0
        if told.st_uid == me and told.st_mode & needed != needed:
            os.chmod(here, stat.S_IMODE(told.st_mode) | needed)
        if is_directory:
            pending += (os.path.join(here, name) for name in os.listdir(here))
