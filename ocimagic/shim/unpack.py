"""What a worker does with layers: a blob becomes a directory or an image of one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.layers.apply import IdPolicy, NeedsParent, WhiteoutStyle, apply_layer
from ocimagic.layers.compress import decompressed
from ocimagic.layers.copytree import copy_tree
from ocimagic.layers.erofs.image import write_image
from ocimagic.layers.ownership import LEAVES_NAME, leaves_to_bytes
from ocimagic.layers.pack import Meter
from ocimagic.layers.toc import toc_to_bytes
from ocimagic.linux import mounting, syscalls
from ocimagic.model.rootfs import IMAGE_SUFFIX, Rootfs
from ocimagic.runtime.rootfs import make_private, mount_overlay
from ocimagic.shim.ahead import read_ahead
from ocimagic.shim.removal import remove_path
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.layers.apply import AppliedLayer

_BLOB_CHUNK = 1 << 17  # a decompressor copies what it has not used yet, again and again
TOC_NAME = "toc"
SIZE_NAME = "size"


def unpack_layer(request: dict[str, object], blob_fd: int) -> dict[str, object]:
    """Unpack one layer blob into ``directory/fs``, with its table of contents beside it.

    Request: ``directory``, ``max_bytes``, ``userxattr``, ``single_id``, ``recorded`` (with one
    id only: record the owners), ``image`` (make it an image beside an empty directory, if it can
    be unpacked alone) and ``parent``, the JSON of a Rootfs whose upper is ``directory/fs``, or
    null to unpack it alone.
    Result: ``diff_id``, ``tar_bytes``, ``unpacked_bytes``; or ``needs_parent`` with the reason
    when it cannot be unpacked alone.
    """
    directory = str(request["directory"])
    meter = Meter()
    limit = int(str(request["max_bytes"]))
    chunks = read_ahead(meter.watch(decompressed(_read(blob_fd), max_bytes=limit)))
    ids = IdPolicy.here(single=bool(request["single_id"]), recorded=bool(request["recorded"]))
    try:
        if request["image"] and request["parent"] is None:
            applied = _write_image(directory, chunks, meter)
        else:
            applied = _apply(request, directory, chunks, ids)
    except NeedsParent as err:
        remove_path(f"{directory}/fs{IMAGE_SUFFIX}")
        remove_path(f"{directory}/fs")
        os.mkdir(f"{directory}/fs", 0o755)
        return {"needs_parent": str(err)}
    _write(f"{directory}/{TOC_NAME}", toc_to_bytes(applied.toc))
    _write(f"{directory}/{SIZE_NAME}", str(applied.size_bytes).encode())
    if ids is IdPolicy.RECORDED:
        _write(f"{directory}/{LEAVES_NAME}", leaves_to_bytes(applied.leaves))
    return {
        "diff_id": meter.diff_id,
        "tar_bytes": meter.total,
        "unpacked_bytes": applied.size_bytes,
        "skipped": [f"{each}" for each in applied.skipped[:20]],
    }


def _write_image(directory: str, chunks: Iterable[bytes], meter: Meter) -> AppliedLayer:
    """Write the layer as an image, and let the empty directory look like its root."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(f"{directory}/fs{IMAGE_SUFFIX}", flags, 0o600)
    try:
        applied = write_image(chunks, fd, uuid=lambda: meter.hasher.digest()[:16])
    finally:
        os.close(fd)
    for line in applied.toc:
        if not line.path:
            os.chmod(f"{directory}/fs", line.mode)
    return applied


def _apply(
    request: dict[str, object], directory: str, chunks: Iterable[bytes], ids: IdPolicy
) -> AppliedLayer:
    userxattr = bool(request["userxattr"])
    parent = request["parent"]
    root, style = f"{directory}/fs", WhiteoutStyle.OVERLAY
    below = Rootfs.from_fields(Fields(parent, "parent")) if isinstance(parent, dict) else None
    if below and below.copied:
        style = WhiteoutStyle.MERGE
        copy_tree(f"{below.base}/{below.lowers[0]}", root)
    elif below:
        # Deletions and copy-up are the kernel's work then: the upper directory says the rest.
        syscalls.unshare(syscalls.CLONE_NEWNS)
        make_private()
        root, style = f"{directory}/root", WhiteoutStyle.MERGE
        os.mkdir(root)
        mount_overlay(below, root)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        applied = apply_layer(chunks, fd, style=style, ids=ids, userxattr=userxattr)
    finally:
        os.close(fd)
    if below and not below.copied:
        mounting.umount(root)
        os.rmdir(root)
        remove_path(f"{directory}/work")
    return applied


def _read(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, _BLOB_CHUNK):
        yield chunk


def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
