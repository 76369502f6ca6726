"""A bundle as the runtime needs it: read, checked, and its filter compiled.

Spec: runtime-spec bundle.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.bundle.directory import CONFIG_NAME, ROOTFS_NAME, VIEWS_JSON
from ocimagic.model.rootfs import Rootfs, View
from ocimagic.runtime.seccomp_filter import SeccompFilter, make_filter
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass, field
from ocimagic.spec.runtime import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one container is made from.

    Attributes:
        path: absolute.
        document: config.json as JSON.
        root_path: absolute path of the root directory.
        rootfs: what to mount there first; None when it is a ready tree.
        seccomp: None for no filter.
        views: of other roots, to be shown in the bundle first.
    """

    path: str
    config: RuntimeConfig
    document: Mapping[str, object] = field(repr=False)
    root_path: str
    rootfs: Rootfs | None
    seccomp: SeccompFilter | None = field(repr=False)
    views: tuple[View, ...] = ()


def load_bundle(path: str, filters: MutableMapping[bytes, bytes]) -> Bundle:
    """Read a bundle directory.

    Args:
        path: absolute.
        filters: compiled filters by their JSON, kept by the caller between containers.

    Raises:
        InvalidDocument: a file of it breaks its form.
        OSError: it cannot be read.
    """
    document = decode(_read(path, CONFIG_NAME), what="runtime config")
    config = RuntimeConfig.from_fields(document)
    rootfs = None
    if os.path.exists(os.path.join(path, ROOTFS_NAME)):
        rootfs = Rootfs.from_fields(decode(_read(path, ROOTFS_NAME), what="rootfs.json"))
    root_path = os.path.join(path, config.root_path)
    if rootfs and rootfs.copied:
        root_path, rootfs = rootfs.upper, None
    return Bundle(
        path,
        config,
        document.value,
        root_path,
        rootfs,
        make_filter(config.seccomp, filters),
        _views(path),
    )


def _views(path: str) -> tuple[View, ...]:
    if not os.path.exists(os.path.join(path, VIEWS_JSON)):
        return ()
    listed = decode(_read(path, VIEWS_JSON), what=VIEWS_JSON).children("views")
    return tuple(View.from_fields(each) for each in listed)


def _read(path: str, name: str) -> bytes:
    with open(os.path.join(path, name), "rb") as file:
        return file.read()
