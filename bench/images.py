"""Images beside the peers': push, save, load, and a pull of what is here already."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import peers
from peers import measure

from ocimagic import Engine
from ocimagic.model.options import BuildOptions
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.reference import Reference
from ocimagic.store.images import LayerRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.store.store import Store

NEW_LAYER = "FROM scratch\nCOPY file /file\n"
LAYER_BYTES = 60 << 20
CHUNK = 1 << 20
IMAGES, LAYERS, LOOKS = 1000, 20, 15


def push_times(
    engine: Engine, registry: str, others: list[peers.Peer], scratch: Path, runs: int
) -> dict[str, float]:
    """Push a layer of 60 MiB of programs that was built a moment ago and is nowhere else."""
    context = scratch / "pushed"
    context.mkdir()
    programs = _programs()

    def timed(build: Callable[[], object], push: Callable[[], object]) -> float:
        (context / "file").write_bytes(os.urandom(CHUNK) + programs)
        build()
        peers.settle()
        began = time.perf_counter()
        push()
        return time.perf_counter() - began

    def ours() -> float:
        name = f"{registry}/pushed/ours:1"
        wanted = BuildOptions(dockerfile=NEW_LAYER, context=str(context), tags=(name,))
        return timed(lambda: engine.images.build(wanted), lambda: engine.images.push(name))

    def theirs(peer: peers.Peer) -> float:
        name = f"{registry}/pushed/{peer.name}:1"
        (context / "Dockerfile").write_text(NEW_LAYER)
        return timed(
            lambda: peer.call("build", "-q", "-t", name, str(context)),
            lambda: peer.call("push", "-q", name),
        )

    ways: dict[str, Callable[[], object]] = {"ocimagic": ours}
    ways |= {peer.name: lambda peer=peer: theirs(peer) for peer in others}
    return measure(ways, runs)


def _programs() -> bytes:
    """Return bytes that pack as those of images do: those of this machine's programs."""
    content = bytearray()
    for path in sorted(Path("/usr/bin").iterdir()):
        if path.is_file() and os.access(path, os.R_OK):
            content += path.read_bytes()
        if len(content) >= LAYER_BYTES - CHUNK:
            break
    return bytes(content[: LAYER_BYTES - CHUNK])


def again_times(
    engine: Engine, image: str, others: list[peers.Peer], runs: int
) -> dict[str, float]:
    """Pull an image that is here and has not changed."""
    ways: dict[str, Callable[[], object]] = {"ocimagic": lambda: engine.images.pull(image)}
    for peer in others:
        peer.call("pull", image)
        ways[peer.name] = lambda peer=peer: peer.call("pull", image)
    return measure(ways, runs)


def look_times(scratch: Path) -> dict[str, float]:
    """Look at 1,000 images of 20 layers each, in a process that has looked before."""
    with Engine(scratch / "many", environment={}) as engine:
        store = engine.containers.store
        for number in range(IMAGES):
            _describe(store, number)
        name = f"many/{IMAGES // 2}:1"
        assert len(engine.images.list()) == IMAGES
        listed = measure({"list": engine.images.list}, LOOKS)
        inspected = measure({"inspect": lambda: engine.images.inspect(name)}, LOOKS)
    return listed | inspected


def _describe(store: Store, number: int) -> None:
    """Put an image there that has names, documents and sizes, but no bytes of layers."""
    diff_ids = [Digest.of(f"{number} {layer}".encode()) for layer in range(LAYERS)]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}
    config["rootfs"]["diff_ids"] = diff_ids
    raw = json.dumps(config).encode()
    described = Descriptor(mediatype.OCI_CONFIG, store.blobs.put(raw), len(raw))
    layers = [Descriptor(mediatype.OCI_LAYER, each, 1000) for each in diff_ids]
    manifest = Manifest.build(described, layers)
    store.blobs.put(manifest.raw)
    for each in diff_ids:
        store.images.add_layer(LayerRecord(each, each, 1000, 1000, 1000))
    reference = Reference.parse(f"many/{number}:1")
    store.images.add(manifest, [(reference, manifest.digest)], durable=False)


def archive_times(
    engine: Engine, image: str, others: list[peers.Peer], scratch: Path, runs: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Save an image to a file, and load that into a store without it; all load the same file."""

    def save() -> float:
        target = scratch / "ocimagic.tar"
        began = time.perf_counter()
        with target.open("wb") as file:
            engine.images.save([image], file.write)
        return time.perf_counter() - began

    def save_theirs(peer: peers.Peer) -> float:
        target = scratch / f"{peer.name}.tar"
        target.unlink(missing_ok=True)
        began = time.perf_counter()
        peer.call("save", "-o", str(target), image)
        return time.perf_counter() - began

    saves: dict[str, Callable[[], object]] = {"ocimagic": save}
    saves |= {peer.name: lambda peer=peer: save_theirs(peer) for peer in others}
    saved = measure(saves, runs, before=peers.settle)
    archive = scratch / f"{others[0].name if others else 'ocimagic'}.tar"

    def load() -> float:
        root = Path(tempfile.mkdtemp(dir=scratch))
        with Engine(root, environment={}) as empty, archive.open("rb") as file:
            began = time.perf_counter()
            empty.images.load(file)
            return time.perf_counter() - began

    def load_theirs(peer: peers.Peer) -> float:
        peer.forget(image)
        peers.settle()
        began = time.perf_counter()
        peer.call("load", "-i", str(archive))
        return time.perf_counter() - began

    loads: dict[str, Callable[[], object]] = {"ocimagic": load}
    loads |= {peer.name: lambda peer=peer: load_theirs(peer) for peer in others}
    return saved, measure(loads, runs, before=peers.settle)
