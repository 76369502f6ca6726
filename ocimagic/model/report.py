"""What containers that were made already tell of themselves: plain values, as in ``result``."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ocimagic.model.volume import VolumesPruned
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from datetime import datetime

    from ocimagic.model.state import Status
    from ocimagic.model.usage import ResourceUse
    from ocimagic.spec.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthProbe:
    """One run of a health check.

    Attributes:
        exit_code: 0 is healthy.
        output: the first few KiB it wrote.
    """

    started: datetime
    finished: datetime
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What health checks say of a container.

    Attributes:
        status: ``starting``, ``healthy`` or ``unhealthy``.
        failing_streak: failures in a row, up to now.
        log: the last probes, oldest first.
    """

    status: str
    failing_streak: int = 0
    log: tuple[HealthProbe, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSize:
    """How much a container takes on disk.

    Attributes:
        changed_bytes: what it wrote.
        total_bytes: that and its image.
    """

    changed_bytes: int
    total_bytes: int


class ChangeKind(Enum):
    """What became of a file since the container was made; docker's letters."""

    CHANGED = "C"
    ADDED = "A"
    DELETED = "D"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One line of ``container diff``.

    Attributes:
        path: absolute, in the container; undecodable bytes are surrogates.
    """

    kind: ChangeKind
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathInfo:
    """What a path in a container is.

    Attributes:
        name: its last component, as it is really called.
        mode: type and permission bits, as in ``st_mode``.
        modified_ns: since 1970.
        link_target: a symlink's text, else "".
    """

    name: str
    size_bytes: int
    mode: int
    modified_ns: int
    link_target: str

    @property
    def is_directory(self) -> bool:
        """Say whether it is a directory."""
        return (self.mode & 0o170000) == 0o040000


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """What ``container top`` shows: the processes as ``ps`` of the machine sees them."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStats:
    """What a container uses; one row of ``container stats``.

    Attributes:
        status: figures of what does not run are all zero.
        cpu_percent: of one processor, so up to 100 times their number.
        memory_bytes: without pages of files that could be dropped at once.
        memory_limit_bytes: its own, else the machine's.
        received_bytes: over its own network, since it began; None when it has the machine's.
        sent_bytes: as ``received_bytes``.
        read_bytes: from block devices, since it began.
        written_bytes: as ``read_bytes``.
        processes: threads counted, as the kernel does for a limit.
        taken: when.
        now: the kernel's own figures; None of what does not run.
        before: the same a moment earlier; None when nobody had looked.
    """

    container_id: str
    name: str
    status: Status
    taken: datetime
    cpu_percent: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    received_bytes: int | None = None
    sent_bytes: int | None = None
    read_bytes: int = 0
    written_bytes: int = 0
    processes: int = 0
    now: ResourceUse | None = field(default=None, repr=False)
    before: ResourceUse | None = field(default=None, repr=False)

    @property
    def memory_percent(self) -> float:
        """Return how much of its limit a container uses."""
        limit = self.memory_limit_bytes
        return 100.0 * self.memory_bytes / limit if limit else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What ``container prune`` took away: container IDs and what they had written."""

    containers: tuple[str, ...]
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesPruned:
    """What ``image prune`` took away.

    Attributes:
        untagged: names that are gone.
        deleted: image IDs, and digests of layers that only they needed.
        freed_bytes: on disk.
        images: how many images it were.
        kept: their layers that are still there, and why.
        stay: images that were not taken, and why; not those that a filter has kept.
    """

    untagged: tuple[str, ...]
    deleted: tuple[Digest, ...]
    freed_bytes: int
    images: int = 0
    kept: tuple[KeptLayer, ...] = ()
    stay: tuple[KeptImage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """An image that a prune leaves.

    Attributes:
        name: one of its names, or its short ID.
        container: who was made from it; "" if only its name keeps it.
    """

    name: str
    container: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLayer:
    """A layer of an image that went, which others have as well.

    Attributes:
        size_bytes: unpacked.
        used_by: the name of one of them, or its short ID.
    """

    diff_id: Digest
    size_bytes: int
    used_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePruned:
    """What ``builder prune`` took away.

    Attributes:
        steps: how many build steps will be done anew.
        freed_bytes: on disk; a layer that an image has stays.
    """

    steps: int
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPruned:
    """What ``system prune`` took away."""

    containers: Pruned
    images: ImagesPruned
    cache: CachePruned
    volumes: VolumesPruned = field(default_factory=VolumesPruned)

    @property
    def freed_bytes(self) -> int:
        """Return all that is free again."""
        parts = (self.containers, self.volumes, self.images, self.cache)
        return sum(each.freed_bytes for each in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something of an image that is not what its digest says.

    Attributes:
        digest: of the manifest or the layer.
        what: is so, in one sentence.
    """

    image: str
    digest: Digest
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What ``image verify`` found.

    Attributes:
        images: how many were checked.
        checked_bytes: of layers that were read, each once.
    """

    images: int
    checked_bytes: int
    faults: tuple[Fault, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 when all is well, for scripts."""
        return 1 if self.faults else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """What one image takes on disk, each layer as it came and unpacked.

    Attributes:
        shared_bytes: of layers that other images have as well.
        unique_bytes: of its own layers: what its removal would free.
        containers: how many were made from it.
    """

    name: str
    image_id: Digest
    created: datetime | None
    shared_bytes: int
    unique_bytes: int
    containers: int

    @property
    def size_bytes(self) -> int:
        """Return both."""
        return self.shared_bytes + self.unique_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUsage:
    """What one container wrote.

    Attributes:
        active: it runs, or is paused or waits to be started again.
    """

    name: str
    container_id: str
    image: str
    size_bytes: int
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeUsage:
    """What one volume holds.

    Attributes:
        containers: how many were made with it.
    """

    name: str
    size_bytes: int
    containers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """What ``system df`` shows.

    Attributes:
        images_bytes: of all images, each layer counted once.
        images_reclaimable_bytes: of layers that no container needs.
        cache_steps: build steps that are remembered.
        cache_bytes: of layers that only they need, and of caches that RUN mounts.
    """

    images: tuple[ImageUsage, ...]
    images_bytes: int
    images_reclaimable_bytes: int
    containers: tuple[ContainerUsage, ...]
    cache_steps: int
    cache_bytes: int
    volumes: tuple[VolumeUsage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What ``container cp`` did.

    Attributes:
        source: as asked for.
        target: as asked for.
        size_bytes: of the tar that went over.
    """

    source: str
    target: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The image that ``container commit`` made.

    Attributes:
        reference: its name, "" for none.
        size_bytes: of the new layer unpacked.
    """

    image_id: Digest
    reference: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """One line of ``container port``.

    Attributes:
        container_port: with its protocol: ``80/tcp``.
    """

    container_port: str
    host_ip: str
    host_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """A command that was run in a container to its end.

    A non-zero exit code is a result, not an exception.

    Attributes:
        exec_id: of the command, for ``explain``.
    """

    container_id: str
    name: str
    exit_code: int
    stdout: bytes
    stderr: bytes
    duration_s: float
    exec_id: str = ""

    def __str__(self) -> str:
        return self.stdout.decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrapped:
    """The image that ``image bootstrap`` made.

    Attributes:
        packages: name and version of each, sorted.
        mirrors: URL and suite of each place they came from.
        signed_by: fingerprints of the keys that vouch for them; none if nobody looked.
        fetched_bytes: now; what was here from before is not counted.
        size_bytes: of its files.
        cached: the same packages were configured here before.
    """

    image_id: Digest
    tags: tuple[str, ...]
    packages: tuple[str, ...]
    mirrors: tuple[str, ...]
    signed_by: tuple[str, ...]
    fetched_bytes: int
    size_bytes: int
    cached: bool
    seconds: float
