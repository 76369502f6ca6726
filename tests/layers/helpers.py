"""What the layer tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocimagic.layers.apply import AppliedLayer, IdPolicy, WhiteoutStyle, apply_layer

IS_ROOT = os.geteuid() == 0
IDS = IdPolicy.REAL if IS_ROOT else IdPolicy.SINGLE
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def _can_mknod() -> bool:
    if not IS_ROOT:
        return False
    probe = Path(f"/dev/shm/ocimagic-probe-{os.getpid()}")
    try:
        os.mknod(probe, 0o020600, os.makedev(1, 3))
    except OSError:
        return False
    probe.unlink()
    return True


CAN_MKNOD = _can_mknod()


def apply(tar: bytes, root: Path, style: WhiteoutStyle, **options) -> AppliedLayer:
    options.setdefault("userxattr", not IS_ROOT)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return apply_layer([tar], fd, style=style, ids=options.pop("ids", IDS), **options)
    finally:
        os.close(fd)


def paths_in(root: Path) -> set[str]:
    found = set()
    for base, directories, files in os.walk(root):
        found |= {os.path.relpath(os.path.join(base, name), root) for name in directories + files}
    return found
