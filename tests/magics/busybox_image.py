"""An image of this machine's busybox, served by our own registry."""

import gzip
import io
import tarfile
from pathlib import Path

from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.config import ContainerConfig, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.platform import host_platform

BUSYBOX = Path("/bin/busybox")
WORDS = ("sh", "echo", "cat", "sleep", "ls", "id", "true", "false", "tr", "printf")


def layer() -> bytes:
    """Return a tar with busybox and a link for each word."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name in ("bin", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        binary = tarfile.TarInfo("bin/busybox")
        content = BUSYBOX.read_bytes()
        binary.size, binary.mode = len(content), 0o755
        tar.addfile(binary, io.BytesIO(content))
        for word in WORDS:
            link = tarfile.TarInfo(f"bin/{word}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
    return raw.getvalue()


def source() -> MemorySource:
    """Return a registry's content: ``busybox:latest``."""
    content = MemorySource()
    tar = layer()
    blob = gzip.compress(tar, mtime=0)
    config = ImageConfig(
        platform=host_platform(),
        config=ContainerConfig(cmd=("sh",), env=("PATH=/bin",)),
        diff_ids=(Digest.of(tar),),
    ).encoded()
    content.add_blob(config.raw)
    manifest = Manifest.build(
        Descriptor(mediatype.OCI_CONFIG, content.add_blob(config.raw), len(config.raw)),
        [Descriptor(mediatype.OCI_LAYER_GZIP, content.add_blob(blob), len(blob))],
    )
    content.add_manifest("busybox", manifest.raw, mediatype.OCI_MANIFEST, tags=("latest",))
    return content
