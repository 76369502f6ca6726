"""The bundle on disk: config.json, and how its root is stacked.

Spec: runtime-spec bundle.md.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ocimagic.model.rootfs import Rootfs
    from ocimagic.spec.runtime import RuntimeConfig

CONFIG_NAME = "config.json"
ROOTFS_NAME = "rootfs.json"  # ours: the mounts a snapshotter returned, done inside the container


def write_bundle(path: Path, config: RuntimeConfig, rootfs: Rootfs) -> None:
    """Make a bundle directory; ``rootfs`` is the empty directory the stack is mounted on."""
    path.mkdir(mode=0o700)
    (path / config.root_path).mkdir()
    (path / CONFIG_NAME).write_bytes(config.encode())
    (path / ROOTFS_NAME).write_text(json.dumps(rootfs.to_json()), encoding="utf-8")
