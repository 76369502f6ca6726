"""Home-made base images: put together from the programs of this machine, without a registry.

A static busybox if there is one, else the shell, the core utilities, their loader and their
libraries, found by reading ELF headers.  The same machine gives the same image ID.

Stand-ins have the names and shapes of public images, for a class without a network; a label
and ``/etc/ocimagic-standin`` say what they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.build.layer_file import LayerFile
from ocimagic.build.machine import Machine
from ocimagic.build.rootitem import CREATED, Item, skeleton, text_file, with_parents
from ocimagic.home.disk import storage_errors
from ocimagic.spec import mediatype
from ocimagic.spec.config import DEFAULT_PATH, ContainerConfig, HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import Manifest
from ocimagic.store.blobs import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ocimagic.layers.tarheader import Entry
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.spec.reference import Reference
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store


STAND_IN_FOR = "dev.ocimagic.stand-in-for"
STAND_IN_FILE = "etc/ocimagic-standin"
_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "learner:x:1000:1000:learner:/home/learner:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nlearner:x:1000:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What distinguishes one image from the home-made base.

    Attributes:
        stands_for: the public image it stands in for; "" for the base itself.
        in_parts: three layers instead of one.
        files: path to content, in a layer of their own unless ``in_parts``; all executable.
    """

    stands_for: str = ""
    in_parts: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    cmd: tuple[str, ...] = ("sh",)
    exposed_ports: tuple[str, ...] = ()
    working_dir: str = ""


BASE = Variant()


@dataclass(frozen=True, slots=True)
class HomeLayer:
    """A layer not yet written: what is in it, by path.

    Attributes:
        created_by: its line in the image's history.
    """

    created_by: str
    items: Mapping[str, Item]

    def entries(self) -> Iterator[tuple[Entry, Iterable[bytes]]]:
        """Yield each entry and its content, in the order of the tar."""
        for path in sorted(self.items):
            entry, content = self.items[path]
            yield entry, _chunks(content) if isinstance(content, Path) else [content]


@dataclass(frozen=True, slots=True)
class HomeImage:
    """An image not yet stored."""

    variant: Variant
    platform: Platform
    layers: tuple[HomeLayer, ...]

    def config(self, diff_ids: Sequence[Digest]) -> ImageConfig:
        """Return the image's config over these layers."""
        variant = self.variant
        labels = {
            "org.opencontainers.image.title": variant.stands_for or "ocimagic/base",
            "org.opencontainers.image.description": _what_it_is(variant),
        }
        if variant.stands_for:
            labels[STAND_IN_FOR] = variant.stands_for
        container = ContainerConfig(
            env=(f"PATH={DEFAULT_PATH}",),
            cmd=variant.cmd,
            exposed_ports=variant.exposed_ports,
            working_dir=variant.working_dir,
            labels=labels,
        )
        history = [
            HistoryEntry(created=CREATED, created_by=each.created_by) for each in self.layers
        ]
        command = HistoryEntry(
            created=CREATED, created_by=f"CMD {json.dumps(variant.cmd)}", empty_layer=True
        )
        return ImageConfig(
            platform=self.platform,
            created=CREATED,
            config=container,
            diff_ids=tuple(diff_ids),
            history=(*history, command),
        ).encoded()


def make_base(
    store: Store, reference: Reference, *, variant: Variant = BASE, machine: Machine | None = None
) -> StoredImage:
    """Put an image together, keep it and name it; a second time changes nothing.

    Args:
        store: where; the layers are unpacked when somebody needs them.
        reference: its name.
        variant: what it has besides.
        machine: whose programs; this one's if not given.

    Raises:
        HostLacks: this machine has no programs that Linux could run.
        DiskFull, StorageError: it cannot be kept.
    """
    image = assemble(variant, machine)
    with store.in_use(), storage_errors(store.home.data):
        layers = [_keep(store, layer) for layer in image.layers]
        config = image.config([layer.digest for layer in layers])
        store.blobs.put(config.raw)
        described = Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw))
        manifest = Manifest.build(described, layers)
        store.blobs.put(manifest.raw)
        store.sync()
        store.images.add(manifest, [(reference, manifest.digest)])
        store.layout.publish()
        return store.images.load(manifest.digest)


def assemble(variant: Variant = BASE, machine: Machine | None = None) -> HomeImage:
    """Choose what goes into an image; nothing is stored yet.

    Raises:
        HostLacks: this machine has no programs that Linux could run.
    """
    machine = machine or Machine()
    shell, utilities = machine.tree()
    settings = {path: text_file(path, text) for path, text in _ETC.items()}
    settings["etc/os-release"] = text_file("etc/os-release", _os_release())
    own = {path: text_file(path, text, 0o755) for path, text in variant.files.items()}
    if variant.stands_for:
        own[STAND_IN_FILE] = text_file(STAND_IN_FILE, _what_it_is(variant) + "\n")
    if variant.in_parts:
        parts = [
            ("the shell, its loader and its libraries", skeleton(shell, utilities) | shell),
            ("the utilities and their libraries", utilities),
            ("the settings and what is special to this image", settings | own),
        ]
    else:
        everything = skeleton(shell, utilities) | shell | utilities | settings
        parts = [("the programs, loader and libraries of one machine", everything)]
        if variant.files:
            parts.append((f"the stand-in of {variant.stands_for}", own))
        else:
            everything |= own
    layers = [HomeLayer(f"ocimagic: {what}", with_parents(items)) for what, items in parts]
    return HomeImage(variant, machine.platform, tuple(layers))


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            yield chunk


def _keep(store: Store, layer: HomeLayer) -> Descriptor:
    """Write a layer's tar as a blob and return its descriptor; its digest is its diff_id."""
    with LayerFile(store) as file:
        for entry, content in layer.entries():
            file.add(entry, content)
        record = file.finish()
    return Descriptor(mediatype.OCI_LAYER, record.digest, record.blob_bytes)


def _what_it_is(variant: Variant) -> str:
    made = f"made by ocimagic from the programs of one machine ({_machine_name()})"
    if not variant.stands_for:
        return f"home-made base, {made}"
    return f"stand-in for {variant.stands_for}, {made}; it is not the real image"


def _os_release() -> str:
    name = f"home-made base of ocimagic from this machine ({_machine_name()})"
    return f'NAME="ocimagic home-made base"\nID=ocimagic\nPRETTY_NAME="{name}"\n'


def _machine_name() -> str:
    import platform

    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = platform.system()
    return re.sub(r'["\\$`\n]', "", name)
