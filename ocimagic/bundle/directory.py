"""The bundle on disk: config.json, and how its root is stacked.

Spec: runtime-spec bundle.md.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ocimagic.model.rootfs import Rootfs, View
    from ocimagic.spec.runtime import RuntimeConfig

CONFIG_NAME = "config.json"
ROOTFS_NAME = "rootfs.json"  # ours: the mounts a snapshotter returned, done inside the container
VIEWS_JSON = "views.json"  # ours: other roots, for binds whose source is below ``views``


def write_bundle(
    path: Path, config: RuntimeConfig, rootfs: Rootfs, views: Sequence[View] = ()
) -> None:
    """Make a bundle directory; ``rootfs`` is the empty directory the stack is mounted on."""
    path.mkdir(mode=0o700)
    (path / config.root_path).mkdir()
    (path / CONFIG_NAME).write_bytes(config.encode())
    (path / ROOTFS_NAME).write_text(json.dumps(rootfs.to_json()), encoding="utf-8")
    if views:
        listed = {"views": [each.to_json() for each in views]}
        (path / VIEWS_JSON).write_text(json.dumps(listed), encoding="utf-8")
