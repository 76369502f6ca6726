"""Images that the bench makes: OCI image layouts, written layer by layer."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

try:
    from isal import isal_zlib as quick
except ImportError:  # there is none for this machine
    quick = zlib

KIND = "application/vnd.oci.image"
MIB = 1 << 20


class Layout:
    """An OCI image layout with one image in it, tagged ``latest``.

    Args:
        path: is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blobs = path / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._layers: list[dict[str, object]] = []
        self._diff_ids: list[str] = []

    def add_layer(self, pieces: Iterable[bytes], *, is_quick: bool = False) -> Path:
        """Add a layer of these pieces of a tar, as gzip; return its blob.

        Args:
            pieces: of the tar.
            is_quick: pack with the fast packer instead of zlib's usual level.
        """
        library, level = (quick, 1) if is_quick else (zlib, 6)
        packer = library.compressobj(level, zlib.DEFLATED, 31)
        tar, blob, size = hashlib.sha256(), hashlib.sha256(), 0
        unnamed = self._blobs / "unnamed"
        with unnamed.open("wb") as file:

            def put(packed: bytes) -> None:
                blob.update(packed)
                file.write(packed)

            for piece in pieces:
                tar.update(piece)
                put(packer.compress(piece))
            put(packer.flush())
            size = file.tell()
        self._diff_ids.append(f"sha256:{tar.hexdigest()}")
        name = blob.hexdigest()
        self._layers.append(_described("layer.v1.tar+gzip", name, size))
        return unnamed.rename(self._blobs / name)

    def finish(self) -> None:
        """Write the documents."""
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        config = {
            "os": "linux",
            "architecture": machine,
            "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": self._diff_ids},
            "history": [{"created_by": "bench"} for _ in self._diff_ids],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{KIND}.manifest.v1+json",
            "config": self._put("config.v1+json", config),
            "layers": self._layers,
        }
        entry = self._put("manifest.v1+json", manifest)
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        index = {"schemaVersion": 2, "manifests": [entry]}
        (self._path / "index.json").write_text(json.dumps(index))
        (self._path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def _put(self, kind: str, document: dict[str, object]) -> dict[str, object]:
        content = json.dumps(document).encode()
        name = hashlib.sha256(content).hexdigest()
        (self._blobs / name).write_bytes(content)
        return _described(kind, name, len(content))


def _described(kind: str, name: str, size: int) -> dict[str, object]:
    return {"mediaType": f"{KIND}.{kind}", "digest": f"sha256:{name}", "size": size}


def of_tar(path: Path, tar: bytes) -> Path:
    """Make an image of one layer; return its blob."""
    layout = Layout(path)
    blob = layout.add_layer([tar])
    layout.finish()
    return blob


def of_many_layers(path: Path, root: bytes, *, layers: int, files: int) -> None:
    """Make an image of a root and layers on it, each with some hundred small files."""
    layout, content = Layout(path), programs()
    layout.add_layer([root])
    for layer in range(1, layers):
        names = [f"srv/{layer}/{each // 50}/{each}" for each in range(files)]
        sizes = [200 + each * 977 % 12_000 for each in range(files)]
        layout.add_layer(_tar(zip(names, sizes, strict=True), content))
    layout.finish()


def of_few_files(path: Path, root: bytes, *, files: int, file_bytes: int) -> None:
    """Make an image of a root and one layer of large files that pack as programs do."""
    layout = Layout(path)
    layout.add_layer([root])
    names = [(f"srv/{each}", file_bytes) for each in range(files)]
    layout.add_layer(_tar(names, programs()), is_quick=True)
    layout.finish()


def of_random_files(path: Path, *, layers: int, layer_bytes: int) -> None:
    """Make an image whose layers are about as long as what is in them."""
    layout, content = Layout(path), iter(lambda: os.urandom(MIB), None)
    for layer in range(layers):
        layout.add_layer(_tar([(f"{layer}", layer_bytes)], content), is_quick=True)
    layout.finish()


def _tar(files: Iterable[tuple[str, int]], content: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a tar of files of these names and sizes, filled with content.

    Directories are listed before what is in them, as every builder does.
    """
    made = set()
    for name, size in files:
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if parent not in made:
                made.add(parent)
                directory = tarfile.TarInfo(f"{parent}/")
                directory.type, directory.mode = tarfile.DIRTYPE, 0o755
                yield directory.tobuf()
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o644
        yield entry.tobuf()
        left = size
        while left:
            piece = next(content)[:left]
            left -= len(piece)
            yield piece
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def programs() -> Iterator[bytes]:
    """Yield bytes that pack as those of images do: those of this machine's programs, endlessly."""
    paths = [
        path
        for place in ("/usr/bin", "/usr/lib")
        for path in sorted(Path(place).rglob("*"))
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
    ]
    while True:
        for path in paths:
            with path.open("rb") as file:
                while piece := file.read(MIB):
                    yield piece
