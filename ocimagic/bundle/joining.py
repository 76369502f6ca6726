"""Fill in at the start what was not known before: namespaces of containers that run now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.bundle.mounts import SHM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.runtime import RuntimeConfig


def join(config: RuntimeConfig, paths: Mapping[str, str], shm_path: str) -> RuntimeConfig:
    """Return the config with other namespaces and, if it is given, another /dev/shm.

    Args:
        config: as it was made.
        paths: namespace type to the path to join.
        shm_path: the directory of the host that the containers share, or "".
    """
    mounts = tuple(
        replace(mount, source=shm_path)
        if shm_path and mount.destination == SHM and mount.type == "bind"
        else mount
        for mount in config.mounts
    )
    return replace(config, namespaces={**config.namespaces, **paths}, mounts=mounts)
