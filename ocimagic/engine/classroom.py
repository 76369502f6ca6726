"""The class registry: the images of the class notes, for a room without a network.

What it serves are stand-ins, made from this machine's own programs.  They have the names and
the shapes of the public images: layers, tags, an index for several platforms; and they say
what they are in a label and in ``/etc/ocimagic-standin``.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Self

from ocimagic.build.homemade import STAND_IN_FILE, STAND_IN_FOR, HomeLayer, Variant, assemble
from ocimagic.build.machine import Machine
from ocimagic.build.rootitem import CREATED, text_file, with_parents
from ocimagic.layers.tarstream import TarWriter
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.codec import encode
from ocimagic.spec.config import ContainerConfig, HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.platform import Platform
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAIT = """#!/bin/sh
# The first process of a container gets only the signals it asked for.
trap 'echo "{name}: stopped"; exit 0' TERM INT
echo "{name}: a stand-in made by ocimagic from one machine; it answers nobody"
echo "{name}: waiting until somebody stops it"
while :; do
    sleep 3600 &
    wait $!
done
"""
_APT = """#!/bin/sh
# A stand-in for apt: this image was made by ocimagic from one machine and has no packages.
if [ "$1" = update ]; then
    echo "apt: a stand-in made by ocimagic: it fetches nothing and writes one small file,"
    echo "apt: so that there is a layer to look at: /var/lib/apt/lists/stand-in"
    mkdir -p /var/lib/apt/lists
    echo "the package lists would be here" > /var/lib/apt/lists/stand-in
else
    echo "apt: a stand-in made by ocimagic: '$*' needs the real image" >&2
    exit 100
fi
"""


@dataclass(frozen=True, slots=True)
class _StandIn:
    """One repository of the class.

    Attributes:
        foreign: also there, with a note inside, for platforms this machine is not.
    """

    repository: str
    tags: tuple[str, ...]
    variant: Variant
    foreign: tuple[Platform, ...] = ()


_STAND_INS = (
    _StandIn(
        "alpine",
        ("latest",),
        Variant(stands_for="alpine:latest"),
        (
            Platform("linux", "amd64"),
            Platform("linux", "arm64", "v8"),
            Platform("linux", "riscv64"),
        ),
    ),
    # Not of the notes: it is what greetings and help try first.
    _StandIn("busybox", ("latest",), Variant(stands_for="busybox:latest")),
    _StandIn(
        "ubuntu",
        ("latest",),
        Variant(
            stands_for="ubuntu:latest",
            in_parts=True,
            files={"usr/bin/apt": _APT, "usr/bin/apt-get": _APT},
        ),
    ),
    _StandIn(
        "httpd",
        ("latest",),
        Variant(
            stands_for="httpd:latest",
            files={"usr/local/bin/httpd-foreground": _WAIT.format(name="httpd")},
            cmd=("httpd-foreground",),
            exposed_ports=("80/tcp",),
        ),
    ),
    _StandIn(
        "redis",
        ("latest",),
        Variant(
            stands_for="redis:latest",
            files={"usr/local/bin/redis-server": _WAIT.format(name="redis")},
            cmd=("redis-server",),
            exposed_ports=("6379/tcp",),
        ),
    ),
    _StandIn(
        "tomcat",
        ("8", "latest"),
        Variant(
            stands_for="tomcat:8",
            files={"usr/local/bin/catalina.sh": _WAIT.format(name="tomcat")},
            cmd=("catalina.sh", "run"),
            exposed_ports=("8080/tcp",),
        ),
    ),
)


class ClassRegistry:
    """A registry on this machine with ubuntu, alpine, busybox, redis, tomcat and httpd: stand-ins.

    Each has its short name and ``library/`` before it, as on Docker Hub.  It serves until
    ``close``, or the end of its with-block.

    Args:
        machine: whose programs; this one's if not given.

    Raises:
        HostLacks: this machine has no programs that Linux could run.

    Example::

        with Engine() as engine, ClassRegistry() as registry:
            engine.images.pull(f"{registry.host}/ubuntu:latest")
    """

    def __init__(self, *, machine: Machine | None = None) -> None:
        self.source = MemorySource()
        machine = machine or Machine()
        for stand_in in _STAND_INS:
            _add(self.source, stand_in, machine)
        self._server = RegistryServer(self.source)
        self.host = self._server.host
        self.url = self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def names(self) -> tuple[str, ...]:
        """List what can be pulled from here, each name whole."""
        return tuple(
            f"{self.host}/{each.repository}:{tag}" for each in _STAND_INS for tag in each.tags
        )

    def close(self) -> None:
        """Stop serving; a second call does nothing."""
        self._server.close()


def _add(source: MemorySource, stand_in: _StandIn, machine: Machine) -> None:
    """Put one repository's images into the registry, under both its names."""
    home = assemble(stand_in.variant, machine)
    layers = [_compressed(source, each) for each in home.layers]
    config = home.config([each.diff_id for each in layers])
    top = _add_image(source, stand_in.repository, config, layers)
    if stand_in.foreign:
        others = [each for each in stand_in.foreign if each.canonical != home.platform.canonical]
        entries = [replace(top, platform=home.platform)]
        entries += [_add_foreign(source, stand_in, each) for each in others]
        document = {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_INDEX,
            "manifests": [entry.to_json() for entry in entries],
        }
        raw = encode(document)
        top = Descriptor(mediatype.OCI_INDEX, Digest.of(raw), len(raw))
        source.add_manifest(stand_in.repository, raw, top.media_type)
    for repository in (stand_in.repository, f"library/{stand_in.repository}"):
        tags = source.names.setdefault(repository, {})
        tags.update(dict.fromkeys(stand_in.tags, top.digest))


@dataclass(frozen=True, slots=True)
class _Layer:
    diff_id: Digest
    blob: Descriptor


def _compressed(source: MemorySource, layer: HomeLayer) -> _Layer:
    """Write a layer as registries have it: gzip over the tar."""
    tar = io.BytesIO()
    writer = TarWriter(tar.write)
    for entry, content in layer.entries():
        writer.add(entry, content)
    writer.finish()
    blob = _gzip(tar.getvalue())
    digest = source.add_blob(blob)
    return _Layer(
        Digest.of(tar.getvalue()), Descriptor(mediatype.OCI_LAYER_GZIP, digest, len(blob))
    )


def _add_image(
    source: MemorySource, repository: str, config: ImageConfig, layers: Sequence[_Layer]
) -> Descriptor:
    source.add_blob(config.raw)
    described = Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw))
    manifest = Manifest.build(described, [each.blob for each in layers])
    source.add_manifest(repository, manifest.raw, manifest.media_type)
    return manifest.descriptor


def _add_foreign(source: MemorySource, stand_in: _StandIn, platform: Platform) -> Descriptor:
    """Add an image for a platform this machine has no programs of: one note, nothing to run."""
    name = stand_in.variant.stands_for
    note = f"stand-in for {name} on {platform}, made by ocimagic; there is nothing in it to run"
    items = with_parents({STAND_IN_FILE: text_file(STAND_IN_FILE, f"{note}\n")})
    layer = _compressed(source, HomeLayer("ocimagic: a note", items))
    config = ImageConfig(
        platform=platform,
        created=CREATED,
        config=ContainerConfig(labels={STAND_IN_FOR: name}),
        diff_ids=(layer.diff_id,),
        history=(HistoryEntry(created=CREATED, created_by="ocimagic: a note"),),
    )
    described = _add_image(source, stand_in.repository, config.encoded(), [layer])
    return replace(described, platform=platform)


def _gzip(content: bytes) -> bytes:
    """Compress with nothing of the clock in the header, so that digests stay."""
    try:
        from isal import igzip
    except ImportError:
        import gzip

        return gzip.compress(content, compresslevel=6, mtime=0)
    compressed: bytes = igzip.compress(content, mtime=0)
    return compressed
