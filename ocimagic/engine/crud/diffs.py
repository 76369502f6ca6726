"""Layers out of snapshots: what one has over the one it stands on."""

from __future__ import annotations

import gzip
import hashlib
import os
from typing import TYPE_CHECKING

from ocimagic.engine.crud.images import Target
from ocimagic.engine.crud.room import Part, check_labels
from ocimagic.engine.crud.snapshots import VIEW, Snapshots
from ocimagic.errors import HostLacks, NotBuiltYet
from ocimagic.home.disk import storage_errors
from ocimagic.spec.digest import Digest
from ocimagic.spec.mediatype import OCI_LAYER, OCI_LAYER_GZIP
from ocimagic.store import objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ocimagic.engine.containers import Containers
    from ocimagic.engine.crud.snapshots import MountPoint
    from ocimagic.engine.images import Images
    from ocimagic.store.objects import Object

_CHUNK = 1 << 20
_UNCOMPRESSED = "containerd.io/uncompressed"
_LEVEL = 6


class Diffs(Part):
    """Differences between snapshots.

    Args:
        containers: the engine's.
        images: the engine's.
        snapshots: of the same namespaces.
    """

    def __init__(self, containers: Containers, images: Images, snapshots: Snapshots) -> None:
        super().__init__(containers, images)
        self._snapshots = snapshots

    def compare(
        self,
        namespace: str,
        left: Sequence[MountPoint],
        right: Sequence[MountPoint],
        media_type: str,
        labels: Mapping[str, str],
        *,
        lease: str = "",
    ) -> Target:
        """Make a layer of what ``right`` has over ``left``; it is content from then on.

        Args:
            namespace: whose snapshots they are.
            left: of the older one; none for nothing.
            right: of the newer one, which stands on it.
            media_type: of a plain layer or one with gzip; "" for gzip.
            labels: of the content.
            lease: what keeps it, "" for none.

        Raises:
            ObjectNotFound: the mounts are of no snapshot here.
            NotBuiltYet: one does not stand on the other, or another media type.
        """
        newer = self._newer(namespace, left, right)
        kind = media_type or OCI_LAYER_GZIP
        if kind not in (OCI_LAYER, OCI_LAYER_GZIP):
            raise NotBuiltYet(f"a difference cannot be {media_type}", hint=OCI_LAYER_GZIP)
        part = self._store.home.ingest / f"object-diff-{os.urandom(8).hex()}.part"
        with self._store.in_use(), storage_errors(self._store.home.data):
            try:
                diff_id = self._pack(self._snapshots.directory(newer), part)
                if kind == OCI_LAYER_GZIP:
                    _compress(part)
                digest, size = _measured(part)
                self._store.blobs.adopt_file(part, digest, size)
            finally:
                part.unlink(missing_ok=True)
            known = check_labels({**labels, _UNCOMPRESSED: str(diff_id)})
            self._objects.put(namespace, objects.CONTENT, digest, {"labels": known})
            self.keep(namespace, lease, "content", digest)
        return Target(kind, digest, size, {})

    def _newer(
        self, namespace: str, left: Sequence[MountPoint], right: Sequence[MountPoint]
    ) -> Object:
        """Return the snapshot whose own files are the difference."""
        newer = self._snapshots.of_mounts(namespace, right)
        if newer.document["kind"] == VIEW:
            newer = self._snapshots.stat(namespace, str(newer.document["parent"]))
        older = self._snapshots.of_mounts(namespace, left).document["parent"] if left else ""
        if older != newer.document["parent"]:
            raise NotBuiltYet(f"snapshot {newer.name!r} does not stand on the other one")
        return newer

    def _pack(self, directory: Path, part: Path) -> Digest:
        launcher = self._unpacker.launcher
        if launcher is None or self._unpacker.copies:
            raise HostLacks("nothing can be packed here", why="nothing can be mounted")
        table = part.with_suffix(".toc.part")
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            told = launcher.work(
                {
                    "op": "diff",
                    "upper": str(directory / "fs"),
                    "userxattr": self._unpacker.rootless,
                    "clamp_mtime": None,
                    "recorded": self._unpacker.records,
                    "toc": str(table),
                },
                [fd],
            )
        finally:
            os.close(fd)
            table.unlink(missing_ok=True)
        return Digest.parse(str(told["diff_id"]))


def _compress(part: Path) -> None:
    smaller = part.with_suffix(".gz.part")
    try:
        with part.open("rb") as file, gzip.open(smaller, "wb", _LEVEL) as out:
            while chunk := file.read(_CHUNK):
                out.write(chunk)
        smaller.replace(part)
    finally:
        smaller.unlink(missing_ok=True)


def _measured(part: Path) -> tuple[Digest, int]:
    with part.open("rb") as file:
        return Digest.of_hash(hashlib.file_digest(file, "sha256")), part.stat().st_size
