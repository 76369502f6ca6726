"""What is on disk and who needs it; taking away what nobody does.

Sizes are those of layers as they came, and of their files where they are unpacked; as recorded
when they were made, for walking them would take long.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ocimagic.build.cache_mounts import CacheMounts
from ocimagic.engine.lineage import title
from ocimagic.engine.volumes import Volumes
from ocimagic.model.report import (
    CachePruned,
    ContainerUsage,
    DiskUsage,
    ImagesPruned,
    ImageUsage,
    KeptImage,
    KeptLayer,
    SystemPruned,
    VolumeUsage,
)
from ocimagic.model.state import ALIVE
from ocimagic.model.volume import VolumesPruned
from ocimagic.spec.digest import Digest
from ocimagic.store import gc
from ocimagic.store.snapshots import copied_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ocimagic.engine.containers import Containers
    from ocimagic.engine.images import Images
    from ocimagic.model.result import ImageSummary
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker


class Disk:
    """The verbs of ``system df`` and ``prune``."""

    def __init__(
        self, store: Store, unpacker: Unpacker, images: Images, containers: Containers
    ) -> None:
        self._store = store
        self._unpacker = unpacker
        self._images = images
        self._containers = containers
        self._volumes = Volumes(containers)

    # -- looking -----------------------------------------------------------------

    def usage(self) -> DiskUsage:
        """Add up what images, containers and the build cache take."""
        # An image may be here with two manifests: as it was built, and as a registry has it.
        images = list({each.image_id: each for each in self._store.images.all()}.values())
        sizes = self._layer_sizes(images)
        users: Counter[Digest] = Counter()
        for each in images:
            users.update(set(each.config.diff_ids))
        made = Counter(str(each.image_id) for each in self._containers.list(all=True))
        needed = {
            diff_id
            for each in images
            if made[str(each.image_id)]
            for diff_id in each.config.diff_ids
        }
        free = [each for each in users if each not in needed]
        cached = self._cached() - set(users)
        return DiskUsage(
            images=tuple(_image_usage(each, sizes, users, made) for each in images),
            images_bytes=sum(sizes.get(each, 0) for each in users),
            images_reclaimable_bytes=sum(sizes.get(each, 0) for each in free),
            containers=tuple(self._container_usage()),
            cache_steps=int(str(self._store.database.rows("SELECT COUNT(*) FROM steps")[0][0])),
            cache_bytes=sum(sizes.get(each, 0) for each in cached)
            + self._bytes_below(CacheMounts(self._store.home).all()),
            volumes=tuple(
                VolumeUsage(
                    name=each.name,
                    size_bytes=self._volumes.size_bytes(each.name),
                    containers=len(each.users),
                )
                for each in self._volumes.all()
            ),
        )

    def _layer_sizes(self, images: list[StoredImage]) -> dict[Digest, int]:
        """Return what each layer takes: its blobs, and its files where they are unpacked."""
        rows = self._store.database.rows(
            "SELECT diff_id, SUM(blob_bytes), MAX(unpacked_bytes) FROM layers GROUP BY diff_id"
        )
        keys = {str(row[0]) for row in self._store.database.rows("SELECT key FROM snapshots")}
        unpacked = {
            diff_id
            for image in images
            for diff_id, chain_id in zip(image.config.diff_ids, image.chain_ids, strict=True)
            if not keys.isdisjoint({diff_id, chain_id, copied_key(chain_id)})
        }
        return {
            Digest(diff_id): int(str(blobs))
            + (int(str(files)) if diff_id in unpacked or diff_id in keys else 0)
            for diff_id, blobs, files in ((str(row[0]), row[1], row[2]) for row in rows)
        }

    def _cached(self) -> set[Digest]:
        used = "SELECT diff_id FROM steps_use UNION SELECT diff_id FROM results_use"
        rows = self._store.database.rows(used)
        return {Digest(str(row[0])) for row in rows}

    def _container_usage(self) -> list[ContainerUsage]:
        records = {each.container_id: each for each in self._store.containers.all()}
        return [
            ContainerUsage(
                name=each.name,
                container_id=each.container_id,
                image=each.image,
                size_bytes=self._containers.changed_bytes(records[each.container_id]),
                active=each.status in ALIVE,
            )
            for each in self._containers.list(all=True)
            if each.container_id in records
        ]

    # -- taking away -----------------------------------------------------------------

    def prune_images(
        self,
        *,
        all: bool = False,  # noqa: A002  docker's word
        keep: Callable[[ImageSummary], bool] = lambda _: False,
    ) -> ImagesPruned:
        """Take images away that nobody needs.

        Args:
            all: those with a name, too, that no container was made from.
            keep: says of an image that it stays.
        """
        kept = {each.image_id for each in self._images.list() if keep(each)}
        wholes = self._store.images.wholes()
        alone: dict[Digest, set[str]] = {}
        for each in self._store.images.nameless():
            for part in each.parts:
                alone.setdefault(part.manifest, set()).add(each.index)
        wanted: set[str] = set()  # names, and digests of what has none
        images: list[tuple[StoredImage, set[str]]] = []
        stay: list[KeptImage] = []
        for image in self._store.images.all():
            names = {str(name.reference) for name in image.names}
            names |= set(wholes.get(image.manifest.digest, ()))
            called = names or alone.get(image.manifest.digest) or {str(image.manifest.digest)}
            images.append((image, called))
            users = self._containers.users_of(image.manifest.digest)
            if image.image_id in kept or users or (names and not all):
                wanted |= called
                if image.image_id not in kept:
                    made = users[0].name if users else ""
                    stay.append(KeptImage(name=title(image), container=made))
        # All platforms of one name stay or go together.
        doomed = [image for image, called in images if not called & wanted]
        with self._store.in_use():  # no sweep comes between the names and the view
            gone = self._store.images.delete(doomed)
            self._store.layout.publish()
        for image in gone:
            for name in image.names:
                said = {"name": name.reference.familiar}
                self._store.note("image", "untag", str(image.image_id), said)
            self._store.note("image", "delete", str(image.image_id))
        deleted = [each.image_id for each in gone]
        freed = self._images.sweep(gone)
        return ImagesPruned(
            untagged=tuple(name.reference.familiar for each in gone for name in each.names),
            deleted=tuple(dict.fromkeys((*deleted, *freed[0]))),
            freed_bytes=freed[1],
            images=len(gone),
            kept=tuple(self._kept(gone)),
            stay=tuple(stay),
        )

    def _kept(self, gone: Sequence[StoredImage]) -> Iterator[KeptLayer]:
        """Return layers of images that are gone which others still need."""
        users: dict[Digest, StoredImage] = {}
        for image in self._store.images.all():
            users.update(dict.fromkeys(image.config.diff_ids, image))
        for each in dict.fromkeys(layer for image in gone for layer in image.config.diff_ids):
            record = self._store.images.layer(each)
            if each in users and record is not None:
                size = record.unpacked_bytes
                yield KeptLayer(diff_id=each, size_bytes=size, used_by=title(users[each]))

    def prune_cache(self) -> CachePruned:
        """Forget all build steps; images stay, and the next build does everything anew."""
        with self._store.alone() as held:
            if not held:  # somebody builds, and needs them
                return CachePruned(steps=0, freed_bytes=0)
            steps = self._store.steps.forget_all()
            mounts = CacheMounts(self._store.home).all()
            freed = self._bytes_below(mounts)
            self._unpacker.remove_trees(mounts)
            swept = gc.sweep(self._store, self._unpacker.remove_trees)
        return CachePruned(steps=steps, freed_bytes=swept.freed_bytes + freed)

    def _bytes_below(self, directories: list[Path]) -> int:
        """Add up what is in directories that others than this account may have filled."""
        launcher = self._unpacker.launcher
        if launcher is None:
            return 0
        requests = ({"op": "files", "job": "measure", "path": str(each)} for each in directories)
        return sum(int(str(launcher.work(each)["bytes"])) for each in requests)

    def prune(
        self,
        *,
        all: bool = False,  # noqa: A002  docker's word
        volumes: bool = False,
    ) -> SystemPruned:
        """Take what is not used away: containers, volumes, images, the build cache, in this order.

        Args:
            all: images with a name, too.
            volumes: those that nobody named.
        """
        return SystemPruned(
            containers=self._containers.prune(),
            volumes=self._volumes.prune() if volumes else VolumesPruned(),
            images=self.prune_images(all=all),
            cache=self.prune_cache(),
        )


def _image_usage(
    image: StoredImage, sizes: dict[Digest, int], users: Counter[Digest], made: Counter[str]
) -> ImageUsage:
    own = {each for each in image.config.diff_ids if users[each] == 1}
    shared = set(image.config.diff_ids) - own
    return ImageUsage(
        name=title(image),
        image_id=image.image_id,
        created=image.config.created,
        shared_bytes=sum(sizes.get(each, 0) for each in shared),
        unique_bytes=sum(sizes.get(each, 0) for each in own),
        containers=made[str(image.image_id)],
    )
