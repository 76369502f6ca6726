"""Where nothing can be mounted and no namespace made: may the root be changed, or a tracer run?"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

_NULL = os.makedev(1, 3)


def try_changed_root() -> None:
    """Try what a container needs that is a changed root and no more; in a child, for good.

    Raises:
        OSError: chroot(2), or mknod(2) of the null device, is refused.
    """
    import shutil  # not for all processes of an engine: most machines never come here
    import tempfile

    directory = tempfile.mkdtemp(prefix="ocimagic-")
    try:
        os.mknod(f"{directory}/null", 0o666 | stat.S_IFCHR, _NULL)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    os.chroot("/")


def find_tracer() -> str:
    """Return the path of proot; "" if there is none."""
    found = (f"{each}/proot" for each in os.environ.get("PATH", "").split(":") if each)
    return next((each for each in found if os.access(each, os.X_OK)), "")


def try_tracer(tracer: str) -> NoReturn:
    """Run something under a tracer; in a child, which becomes it.

    Raises:
        OSError: it cannot be executed.
    """
    os.execve(tracer, [tracer, "-v", "-1", "-r", "/", "/bin/sh", "-c", ":"], {})  # noqa: S606
