"""``ocimagic-runtime``: runc's command line over this room.

Those commands that let a process into a container go on in a second Python, executed from a
program nobody can write (``sealed``).  What a command needs is imported when it is known: all
of it together takes longer than most commands.

Spec: the OCI runtime command line that docker, containerd and podman call.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_SEALED = ("create", "run", "exec")
_START = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
from ocimagic.runtime.commandline import main_sealed
main_sealed()
"""


def main() -> NoReturn:
    """Run the command in ``sys.argv`` and exit."""
    words = sys.argv[1:]
    if _may_enter(words):
        _seal(words)
    from ocimagic.runtime.cli.commands import run

    run(words)


def main_sealed() -> NoReturn:
    """Do the same as the second Python."""
    from ocimagic.runtime.cli.commands import run

    run(sys.argv[1:])


def _may_enter(words: Sequence[str]) -> bool:
    """Say whether one of the words is a command that has to be sealed; it may be a mere value."""
    return any(word in _SEALED for word in words)


def _seal(words: list[str]) -> NoReturn:
    from ocimagic.errors import HostLacks
    from ocimagic.runtime.sealed import execute_sealed

    room = os.path.dirname(os.path.abspath(__file__))
    try:
        execute_sealed(_START, [os.path.dirname(os.path.dirname(room)), *words])
    except HostLacks as err:
        sys.stderr.write(f"{err}\n")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
