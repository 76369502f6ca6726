"""``--init``: a small process as pid 1, that passes signals on and waits for orphans.

A static docker-init or tini of this machine is shown to the container and runs the command.
Where there is none, the runtime's own process stays in front of it.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from ocimagic.spec.record import replace
from ocimagic.spec.runtime import INIT_ANNOTATION, Mount

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.runtime.bundle import Bundle

PROGRAMS = (
    "/usr/libexec/docker/docker-init",
    "/usr/bin/docker-init",
    "/usr/sbin/docker-init",
    "/usr/local/bin/docker-init",
    "/usr/bin/tini-static",
    "/sbin/tini-static",
)
DESTINATION = "/sbin/docker-init"
_ELF_HEADER = struct.Struct("<4sBB26xQ14xHH")  # magic, class, byte order; program headers
_PT_INTERP = 3


def with_init(bundle: Bundle, programs: Iterable[str] = PROGRAMS) -> Bundle:
    """Return the bundle with a process in front of its command.

    Args:
        bundle: as it was asked for.
        programs: where to look for one that needs nothing of the container.
    """
    config = bundle.config
    found = next(filter(_is_static, programs), None)
    if found is None:
        notes = {**config.annotations, INIT_ANNOTATION: "stay"}
        return replace(bundle, config=replace(config, annotations=notes))
    mount = Mount(destination=DESTINATION, source=found, options=("bind", "ro", "nosuid", "nodev"))
    process = replace(config.process, args=(DESTINATION, "--", *config.process.args))
    config = replace(config, process=process, mounts=(*config.mounts, mount))
    return replace(bundle, config=config)


def _is_static(path: str) -> bool:
    """Say whether a program runs in any root: it names no loader, which would want libraries.

    Spec: System V ABI, "ELF header", "Program header".
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_ELF_HEADER.size)
            magic, width, order, offset, size, count = _ELF_HEADER.unpack(head)
            if (magic, width, order) != (b"\x7fELF", 2, 1) or not os.access(path, os.X_OK):
                return False
            file.seek(offset)
            table = file.read(size * count)
    except (OSError, struct.error):
        return False
    kinds = [table[at : at + 4] for at in range(0, len(table), size or 1)]
    return bool(kinds) and _PT_INTERP.to_bytes(4, "little") not in kinds
