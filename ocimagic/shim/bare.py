"""Where nothing can be mounted and no namespace made: is a change of the root allowed?"""

from __future__ import annotations

import os
import stat

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
