"""A bundle as the runtime needs it: read, checked, and its filter compiled.

Spec: runtime-spec bundle.md.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.bundle.directory import CONFIG_NAME, ROOTFS_NAME
from ocimagic.model.rootfs import OverlayRootfs
from ocimagic.spec.codec import decode, encode
from ocimagic.spec.runtime import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import MutableMapping


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one container is made from.

    Attributes:
        root_path: absolute path of the root directory.
        rootfs: what to mount there first; None when it is a ready tree.
        seccomp_filter: BPF program, empty for none.
    """

    path: str
    config: RuntimeConfig
    root_path: str
    rootfs: OverlayRootfs | None
    seccomp_filter: bytes = field(repr=False)


def load_bundle(path: str, filters: MutableMapping[bytes, bytes]) -> Bundle:
    """Read a bundle directory.

    Args:
        path: absolute.
        filters: compiled filters by their JSON, kept by the caller between containers.

    Raises:
        InvalidDocument: config.json or rootfs.json breaks its form.
        OSError: it cannot be read.
    """
    config = RuntimeConfig.parse(_read(path, CONFIG_NAME))
    rootfs = None
    if os.path.exists(os.path.join(path, ROOTFS_NAME)):
        rootfs = OverlayRootfs.from_fields(decode(_read(path, ROOTFS_NAME), what="rootfs.json"))
    root_path = os.path.join(path, config.root_path)
    return Bundle(path, config, root_path, rootfs, _filter(config, filters))


def _filter(config: RuntimeConfig, filters: MutableMapping[bytes, bytes]) -> bytes:
    if config.seccomp is None:
        return b""
    key = encode(config.seccomp)
    if key not in filters:
        from ocimagic.runtime.seccomp import compile_filter

        filters[key] = compile_filter(config.seccomp, platform.machine())
    return filters[key]


def _read(path: str, name: str) -> bytes:
    with open(os.path.join(path, name), "rb") as file:
        return file.read()
