"""What comes back: plain values that every front room shows in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.host import HostFacts
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ocimagic.model.accounts import ImageLine
    from ocimagic.model.network import NetworkChoice, NetworkEndpoint, NetworkReport
    from ocimagic.model.options import RunOptions, VolumeMount
    from ocimagic.model.policy import HealthOptions
    from ocimagic.model.report import ContainerSize, Health, PortBinding
    from ocimagic.model.state import Status
    from ocimagic.spec.config import ImageConfig
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSummary:
    """One row of ``image ls``.

    Attributes:
        repository: as docker shows it, or ``<none>``.
        tag: or ``<none>``.
        digest: of the manifest as pulled or built; None where an API does not tell it.
        size_bytes: all layers unpacked.
        shared_bytes: the part that other images here use too.
        labels: of its config.
    """

    repository: str
    tag: str
    image_id: Digest
    digest: Digest | None
    created: datetime | None
    size_bytes: int
    shared_bytes: int
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Return ``repository:tag``."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """One layer of one image.

    Attributes:
        digest: of the blob as stored.
        size_bytes: of the uncompressed tar.
        blob_bytes: of the blob as stored.
        created_by: the history line that made it.
        from_base: it came with the base image.
        shared_with: names of other images here that have the same layer.
    """

    diff_id: Digest
    chain_id: Digest
    digest: Digest
    media_type: str
    size_bytes: int
    blob_bytes: int
    created_by: str
    from_base: bool
    shared_with: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDetails:
    """Everything ``image inspect`` shows.

    Attributes:
        tags: familiar references that name it.
        digests: ``repository@digest`` it was pulled as.
        manifest: None where an API does not tell it.
        layers: bottom first; none where an API does not tell of them.
        base_name: ``org.opencontainers.image.base.name``, or "".
        base_digest: ``org.opencontainers.image.base.digest``, or "".
        parent: the image that it was made of here: a build step's, or the container's; None if
            nobody knows.
        document: docker's, as another engine gave it; None for one of this engine.
    """

    image_id: Digest
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    config: ImageConfig
    manifest: Manifest | None
    layers: tuple[LayerInfo, ...]
    size_bytes: int
    base_name: str
    base_digest: str
    parent: Digest | None = None
    document: Mapping[str, object] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One row of ``image history``, newest first.

    Attributes:
        image_id: what it came to; known of the newest row, of steps that were built here and
            are still in the build cache, and of a base that is here.
        diff_id: the layer it made, None for none.
        from_base: it came with the base image.
    """

    image_id: Digest | None
    created: datetime | None
    created_by: str
    size_bytes: int
    comment: str
    diff_id: Digest | None
    from_base: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """The layers of several images, to see what they share.

    Attributes:
        images: names in the order asked for, each with its layers bottom first.
        total_bytes: if nothing were shared.
        stored_bytes: each layer once.
        lines: if one image was asked for, how it was made, oldest first.
    """

    images: tuple[tuple[str, tuple[LayerInfo, ...]], ...]
    total_bytes: int
    stored_bytes: int
    lines: tuple[ImageLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PullsLeft:
    """What a registry that counts pulls still gives.

    Attributes:
        limit: pulls in one window.
        window_s: length of the window in seconds, 0 when not said.
        is_anonymous: they are counted for the network address; None when not said.
    """

    left: int
    limit: int
    window_s: int = 0
    is_anonymous: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullResult:
    """What ``image pull`` did.

    Attributes:
        reference: full name with tag.
        digest: of the manifest or index the name pointed at.
        up_to_date: everything was here already.
        downloaded_bytes: compressed, over the network.
        layers: number of layers.
        pulls_left: what the registry says is left; None when it does not count.
    """

    reference: str
    image_id: Digest
    digest: Digest
    up_to_date: bool
    downloaded_bytes: int
    layers: int
    size_bytes: int
    seconds: float
    pulls_left: PullsLeft | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What ``image push`` did.

    Attributes:
        reference: full name with tag.
        digest: of the manifest in the registry.
        manifest_bytes: size of that manifest.
        layers: number of layers.
        there: how many of them the registry had already.
        mounted: how many it took over from another of its repositories.
        sent_bytes: compressed, over the network.
    """

    reference: str
    digest: Digest
    manifest_bytes: int
    layers: int
    there: int
    mounted: int
    sent_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """What ``login`` did.

    Attributes:
        registry: host, ``docker.io`` for Docker Hub.
        kept_in: the file or the helper program that has the login now.
        is_readable: it lies there as plain text.
    """

    registry: str
    username: str
    kept_in: str
    is_readable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOut:
    """What ``logout`` did.

    Attributes:
        was_there: there was a login.
    """

    registry: str
    was_there: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What ``image rm`` took away.

    Attributes:
        untagged: names that are gone.
        deleted: image IDs and layer digests that are gone.
        freed_bytes: on disk; None where an API does not tell it.
    """

    untagged: tuple[str, ...]
    deleted: tuple[Digest, ...]
    freed_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a container ended.

    Attributes:
        code: 0-255 as docker gives it; 128+n when signal n killed it.
        signal: that n, or None.
        oom_killed: the kernel killed one of its processes for want of memory.
        error: why it could not be started, or "".
    """

    code: int
    signal: int | None
    finished: datetime
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSummary:
    """One row of ``container ls``.

    Attributes:
        image: as the user typed it.
        command: what runs, entrypoint included.
        pid: of the init process on the host, while it runs.
        exit: None until it has exited.
        network: what it really got.
        health: None when nobody checks it.
        restart_count: how often its restart policy started it again.
        mounts: of each volume and directory that it sees, the volume's name or the directory's
            path, and where.
        volumes: names of the volumes among them.
        volume_mounts: the same with all that was asked for.
        exposed_ports: ``port/protocol``.
        size: only if it was asked for.
        networks: those it is to be in, by name.
        choices: the same with all that was asked for.
        places: where it is in them, while it runs.
        ports: of the machine that lead to it, while it runs.
        annotations: as asked for.
        linked_as: what others call it, as ``OTHER/NAME``; in lists only.
        memory_bytes: what it uses, while it runs, without pages of files that could be dropped at
            once; None where no cgroup of its own counts it.  It makes no two rows differ.
    """

    container_id: str
    name: str
    image: str
    image_id: Digest
    command: tuple[str, ...]
    created: datetime
    started: datetime | None
    status: Status
    pid: int | None
    exit: ExitStatus | None
    network: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    health: Health | None = None
    restart_count: int = 0
    mounts: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    size: ContainerSize | None = None
    networks: tuple[str, ...] = ()
    places: tuple[NetworkEndpoint, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    choices: tuple[NetworkChoice, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    linked_as: tuple[str, ...] = ()
    memory_bytes: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDetails:
    """Everything ``container inspect`` shows.

    Attributes:
        runtime_config: the bundle's config.json as a JSON object.
        lower_dirs: layer directories, top first.
        image_config: of its image; empty when that is gone.
        health: the check that is made, all filled in; None for none.
        files: paths in the container to the engine's own files that are shown there.
        exec_ids: of commands that run in it besides its own.
        links: names of other containers, each with what this one calls it.
        linked_env: of its environment what links have put there.
        document: docker's, as another engine gave it; None for one of this engine.
    """

    summary: ContainerSummary
    options: RunOptions
    hostname: str
    bundle_path: str
    log_path: str
    upper_dir: str
    lower_dirs: tuple[str, ...]
    runtime_config: Mapping[str, object]
    image_config: ContainerConfig = field(default_factory=ContainerConfig)
    health: HealthOptions | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    exec_ids: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    linked_env: tuple[str, ...] = ()
    document: Mapping[str, object] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A container that was run to its end in the foreground.

    A non-zero exit code is a result, not an exception.

    Attributes:
        stdout: all bytes it wrote there.
        duration_s: from the call to the exit.
        network: what it really got.
        isolated: False where it had nothing of its own but its files.
    """

    container_id: str
    name: str
    image: str
    exit_code: int
    stdout: bytes
    stderr: bytes
    duration_s: float
    removed: bool
    network: str
    isolated: bool = True

    def __str__(self) -> str:
        return self.stdout.decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemInfo:
    """What ``system info`` shows.

    Attributes:
        isolation: the mode chosen by probing, a value of ``model.isolation.Mode``.
        lacks: what this machine cannot give, a sentence each.
        not_yet: what this version cannot do yet, a sentence each.
        store_bytes: what all blobs and layers take; None where an API does not tell it.
        free_bytes: left on that disk; None likewise.
        networks: what networks containers can have.
        paused: how many of those that run stand still.
        host: the machine around it.
    """

    version: str
    data_root: str
    run_root: str
    isolation: str
    snapshotter: str
    runtime: str
    kernel: str
    operating_system: str
    architecture: str
    cpus: int
    memory_bytes: int
    images: int
    containers: int
    running: int
    store_bytes: int | None
    free_bytes: int | None
    lacks: tuple[str, ...]
    not_yet: tuple[str, ...]
    networks: NetworkReport
    paused: int = 0
    host: HostFacts = field(default_factory=HostFacts)
