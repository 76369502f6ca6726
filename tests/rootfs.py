"""Images made for tests: a static busybox as a layer, and documents around layers."""

import gzip
import io
import json
import shutil
import subprocess
import tarfile

import pytest

from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
GROUP = b"root:x:0:\nwheel:x:10:root,alice\nalice:x:1000:\n"


def tar_of(*entries):
    """Make a tar of ``(name, content or None for a directory, options)``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, *rest in entries:
            options = rest[0] if rest else {}
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if content is None else 0o644
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            for key, value in options.items():
                setattr(info, key, value)
            if info.type == tarfile.REGTYPE:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                tar.addfile(info)
    return out.getvalue()


def busybox_tar():
    """Make the tar of a root with a static busybox in it."""
    program = shutil.which("busybox")
    if not program:
        pytest.skip("busybox-static is not installed")
    with open(program, "rb") as file:
        content = file.read()
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    links = [
        (f"bin/{name}", None, {"type": tarfile.SYMTYPE, "linkname": "busybox", "mode": 0o777})
        for name in names.stdout.split()
        if name != "busybox"
    ]
    return tar_of(
        ("bin", None),
        ("bin/busybox", content, {"mode": 0o755}),
        *links,
        ("etc", None),
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("root", None, {"mode": 0o700}),
        ("tmp", None, {"mode": 0o1777}),
        ("home", None),
    )


class MadeImage:
    """A manifest, its config, and all blobs by digest."""

    def __init__(self, layers, config=None, *, docker=False, compress=True, **document):
        blobs = [gzip.compress(layer, 1, mtime=0) if compress else layer for layer in layers]
        kind = mediatype.DOCKER_LAYER_GZIP if docker else mediatype.OCI_LAYER_GZIP
        self.diff_ids = [Digest.of(layer) for layer in layers]
        self.config_raw = json.dumps(
            {
                "os": "linux",
                "architecture": "amd64",
                "config": config or {},
                "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
                "history": [{"created_by": f"layer {n}"} for n in range(len(layers))],
            }
            | document
        ).encode()
        config_type = mediatype.DOCKER_CONFIG if docker else mediatype.OCI_CONFIG
        descriptors = [Descriptor(kind, Digest.of(blob), len(blob)) for blob in blobs]
        self.manifest_raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": mediatype.DOCKER_MANIFEST if docker else mediatype.OCI_MANIFEST,
                "config": Descriptor(
                    config_type, Digest.of(self.config_raw), len(self.config_raw)
                ).to_json(),
                "layers": [each.to_json() for each in descriptors],
            }
        ).encode()
        self.media_type = mediatype.DOCKER_MANIFEST if docker else mediatype.OCI_MANIFEST
        self.layers = descriptors
        self.blobs = {Digest.of(blob): blob for blob in (*blobs, self.config_raw)}

    @property
    def digest(self):
        return Digest.of(self.manifest_raw)

    def serve(self, source, repository, *tags):
        """Put it into a MemorySource."""
        for content in self.blobs.values():
            source.add_blob(content)
        source.add_manifest(repository, self.manifest_raw, self.media_type, tags=tags)

    def manifest(self):
        from ocimagic.spec.manifest import parse_manifest

        parsed = parse_manifest(self.manifest_raw)
        assert isinstance(parsed, Manifest)
        return parsed
