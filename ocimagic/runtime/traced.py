"""A command under a tracer, where nobody may change the root: it is shown other paths.

The container's first process becomes the tracer, proot, which runs the command and rewrites each
path in its system calls.  Whoever wants to can step around that: it is no isolation.

See also: proot(1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.runtime.user import Identity

# What no account that is not root can make: the machine's is shown.
_SHOWN = ("/dev", "/proc", "/sys")


def traced(
    tracer: str, root_path: str, cwd: str, who: Identity, command: str, args: Sequence[str]
) -> list[str]:
    """Return the words that run a command under the tracer.

    Args:
        tracer: path of proot.
        root_path: of the container, as the machine sees it.
        cwd: in the container.
        who: the command believes to be.
        command: where it is in the container.
        args: its words; the first, its name for itself, is lost.
    """
    words = [tracer, "-v", "-1", "-r", root_path, "-w", cwd, "-i", f"{who.uid}:{who.gid}"]
    for each in _SHOWN:
        words += ["-b", each]
    return [*words, command, *args[1:]]
