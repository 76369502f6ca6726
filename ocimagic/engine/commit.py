"""``container commit``: what a container changed becomes a layer, and that an image.

Spec: image-spec config.md.  Source for what goes into the config: Docker CLI reference,
``docker container commit``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.build import state as stages
from ocimagic.build.config_steps import applied
from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.parse import parse
from ocimagic.dockerfile.scope import Scope
from ocimagic.errors import DockerfileError, InvalidOption, InvalidReference
from ocimagic.home.disk import storage_errors
from ocimagic.spec import mediatype
from ocimagic.spec.annotation import BASE_DIGEST, BASE_LAYERS, BASE_NAME
from ocimagic.spec.config import HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.reference import Reference
from ocimagic.store.images import LayerRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ocimagic.engine.record import Document
    from ocimagic.model.request import CommitOptions
    from ocimagic.spec.config import ContainerConfig
    from ocimagic.spec.platform import Platform
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store

_CHANGES = (
    ins.Cmd,
    ins.Entrypoint,
    ins.Env,
    ins.Expose,
    ins.Healthcheck,
    ins.Label,
    ins.OnBuild,
    ins.StopSignal,
    ins.User,
    ins.Volume,
    ins.Workdir,
)


def parse_name(text: str) -> Reference | None:
    """Return an image's name as a value, None for none.

    Raises:
        InvalidReference: it is not a name.
    """
    if not text:
        return None
    name = Reference.parse(text)
    if name.digest:
        raise InvalidReference("a tag cannot have a digest", hint="leave out what follows @")
    return name


@dataclass(frozen=True, slots=True)
class Origin:
    """The container that an image is made of.

    Attributes:
        image: it was made from.
        document: what was asked for.
        env: its environment.
    """

    container_id: str
    image: StoredImage
    document: Document
    env: Sequence[str]

    @property
    def config(self) -> ContainerConfig:
        """Return its config: its image's, and what was asked for."""
        options, config = self.document.options, self.image.config.config
        cmd = options.command or (None if options.entrypoint is not None else config.cmd)
        return replace(
            config,
            env=tuple(each for each in self.env if not each.startswith("HOSTNAME=")),
            cmd=cmd or None,
            entrypoint=(
                config.entrypoint if options.entrypoint is None else options.entrypoint or None
            ),
            user=config.user if options.user is None else options.user,
            working_dir=options.working_dir or config.working_dir,
            labels=self.document.labels,
            stop_signal=options.stop_signal or config.stop_signal,
            exposed_ports=self.document.exposed_ports or config.exposed_ports,
        )

    @property
    def written(self) -> dict[str, object]:
        """Return what docker writes of it into an image's config."""
        said = {"Hostname": self.document.hostname, "Image": self.document.options.image}
        return said | self.config.to_json()


def with_changes(
    config: ContainerConfig, platform: Platform, changes: Sequence[str]
) -> ContainerConfig:
    """Return a config behind Dockerfile lines: ``--change`` of commit and import.

    Raises:
        InvalidOption: a line that is no instruction, or not one for this.
    """
    scope = Scope.of_env(config.env)
    origin = stages.Origin()
    state = stages.StageState(
        config=config, scope=scope, platform=platform, origin=origin, has_own_cmd=True
    )
    for text in changes:
        try:
            instruction = state.scope.expanded(_instruction(text))
            state = applied(state, instruction)
        except DockerfileError as err:
            raise InvalidOption(f"--change {text!r} cannot be understood", why=err.what) from err
    return state.config


def _instruction(text: str) -> ins.Instruction:
    """Read one Dockerfile line.

    Raises:
        InvalidOption: more than one, or one that does not change the config.
    """
    stage = parse(f"FROM scratch\n{text}\n").stages[0]
    if len(stage.instructions) != 1 or not isinstance(stage.instructions[0], _CHANGES):
        words = ", ".join(each.__name__.upper() for each in _CHANGES)
        raise InvalidOption(f"--change {text!r} is not a valid change", hint=f"there are: {words}")
    return stage.instructions[0]


def store_layer(store: Store, pack: Callable[[int, str], Mapping[str, object]]) -> LayerRecord:
    """Write a container's changes as a layer blob and return what it holds.

    Args:
        store: gets it.
        pack: writes the tar to a descriptor and its table of contents to a path, and tells
            what a worker's ``pack`` does.
    """
    path = store.home.ingest / f"commit-{os.getpid()}-{os.urandom(6).hex()}.tar"
    toc = path.with_suffix(".toc")
    with storage_errors(store.home.data):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                result = pack(fd, str(toc))
            finally:
                os.close(fd)
            diff_id = Digest.parse(str(result["diff_id"]))
            size, unpacked = (int(str(result[key])) for key in ("tar_bytes", "unpacked_bytes"))
            if int(str(result["entries"])):
                store.blobs.adopt_file(path, diff_id, size)
        finally:
            path.unlink(missing_ok=True)
            toc.unlink(missing_ok=True)
    record = LayerRecord(diff_id, diff_id, size, size, unpacked)
    if int(str(result["entries"])):
        store.images.add_layer(record)
        return record
    return replace(record, blob_bytes=0, tar_bytes=0)


def store_image(
    store: Store,
    origin: Origin,
    config: ContainerConfig,
    layer: LayerRecord,
    options: CommitOptions,
) -> Manifest:
    """Publish the image of a container: that of its own, with one layer more if it has any."""
    is_empty, image = not layer.blob_bytes, origin.image
    now = datetime.now(UTC)
    entry = HistoryEntry(
        created=now,
        created_by=" ".join(origin.document.command),
        comment=options.message,
        author=options.author,
        empty_layer=is_empty,
    )
    new = ImageConfig(
        platform=image.config.platform,
        created=now,
        author=options.author or image.config.author,
        config=config,
        diff_ids=(*image.config.diff_ids, *(() if is_empty else (layer.diff_id,))),
        history=(*image.config.history, entry),
        container=origin.container_id,
        container_config=origin.written,
    ).encoded()
    added = Descriptor(mediatype.OCI_LAYER, layer.digest, layer.blob_bytes)
    manifest = Manifest.build(
        Descriptor(mediatype.OCI_CONFIG, new.image_id, len(new.raw)),
        [*image.manifest.as_oci().layers, *(() if is_empty else (added,))],
        _annotations(image),
    )
    name = parse_name(options.reference)
    store.blobs.put(new.raw)
    store.blobs.put(manifest.raw)
    store.sync()
    store.images.add(manifest, [(name, manifest.digest)] if name else [])
    store.layout.publish()
    return manifest


def _annotations(image: StoredImage) -> dict[str, str]:
    said = {BASE_LAYERS: str(len(image.config.diff_ids)), BASE_DIGEST: str(image.manifest.digest)}
    if image.names:
        said[BASE_NAME] = str(image.names[0].reference)
    return said
