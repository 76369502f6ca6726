"""Archives of images as other programs write them, made by no code under test."""

import hashlib
import io
import json
import tarfile

from rootfs import MadeImage, tar_of

ONE = tar_of(("etc", None), ("etc/a", b"a" * 5000))
TWO = tar_of(("etc", None), ("etc/b", b"b" * 3000))
OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def made(*layers, compress=True, **config):
    return MadeImage(list(layers or (ONE, TWO)), config, compress=compress)


def tarred(files, links=None, kind=tarfile.SYMTYPE):
    """Make a tar of files by name, in their order, and links after them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return out.getvalue()


def docker_files(image, *tags, layers=None):
    """Return the files of ``docker save`` before version 25: plain layers, the list last."""
    files = {f"{each.hex}/layer.tar": layer for each, layer in _plain(image, layers)}
    config = hashlib.sha256(image.config_raw).hexdigest() + ".json"
    item = {"Config": config, "RepoTags": list(tags) or None, "Layers": list(files)}
    return {config: image.config_raw} | files | {"manifest.json": json.dumps([item]).encode()}


def _plain(image, layers):
    return zip(image.diff_ids, layers or (ONE, TWO), strict=True)


def oci_files(*entries):
    """Return the files of an OCI layout with a descriptor for each image and its annotations."""
    files, described = {}, []
    for image, said in entries:
        files |= {f"blobs/sha256/{name.hex}": blob for name, blob in image.blobs.items()}
        files |= {f"blobs/sha256/{image.digest.hex}": image.manifest_raw}
        described.append(descriptor(image.manifest_raw, image.media_type, **said))
    return files | {"index.json": index(described), "oci-layout": OCI_LAYOUT}


def index(described):
    return json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": described}
    ).encode()


def descriptor(raw, media_type, **said):
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    return {"mediaType": media_type, "digest": digest, "size": len(raw)} | said


def named(text):
    return {"annotations": {"org.opencontainers.image.ref.name": text}}


def nested(images):
    """An index in an index: one name, several platforms."""
    entries = [
        descriptor(
            image.manifest_raw,
            image.media_type,
            platform={"os": "linux", "architecture": architecture},
        )
        for architecture, image in images.items()
    ]
    inner = index(entries)
    files = oci_files(*((image, {}) for image in images.values()))
    files[f"blobs/sha256/{hashlib.sha256(inner).hexdigest()}"] = inner
    return files, entries, descriptor(inner, INDEX_TYPE, **named("docker.io/library/many:1"))
