"""Taking names and images away, and what only they needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.engine.exchange import Exchange
from ocimagic.engine.lineage import title
from ocimagic.errors import ImageInUse
from ocimagic.model.result import Removed
from ocimagic.model.state import ALIVE
from ocimagic.spec.reference import Reference
from ocimagic.store import gc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.engine.containers import Containers
    from ocimagic.spec.digest import Digest
    from ocimagic.store.images import StoredImage


class Removal(Exchange):
    """Verbs that take images away."""

    containers: Containers

    def remove(self, *names: str, force: bool = False) -> Removed:
        """Take names away, and images that have none left, with what only they needed.

        Raises:
            ImageNotFound: no such image.
            ImageInUse: a container was made from it, or it has several names and only its ID
                was given; ``force`` overrides all but a running container.
        """
        untagged: list[str] = []
        deleted: list[StoredImage] = []
        forgotten: list[Digest] = []
        # No sweep comes between the names and the view: who reads the layout must not be led to
        # what is gone.
        with self._store.in_use():
            for name in names:
                image = self._store.images.find(name)
                by_id = name.removeprefix("sha256:") == image.image_id.hex[: len(name)] or (
                    name.startswith("sha256:")
                )
                reference = None if by_id else Reference.parse(name)
                gone = self._names_to_go(image, reference, force=force)
                parts = {each.manifest for name in gone for each in self._store.images.parts(name)}
                if not image.names:
                    parts |= {each.manifest for each in self._store.images.siblings(image)}
                known = [image, *map(self._store.images.load, parts - {image.manifest.digest})]
                lost = self._store.images.untag(image.manifest.digest, gone)
                deleted += [each for each in known if each.manifest.digest in lost]
                if not lost and not image.names:  # a build step came to it
                    self._store.results.forget([image.image_id])
                    forgotten.append(image.image_id)
                untagged += [each.familiar for each in gone]
                for each in gone:
                    said = {"name": each.familiar}
                    self._store.note("image", "untag", str(image.image_id), said)
            self._store.layout.publish()
        for image in deleted:
            self._store.note("image", "delete", str(image.image_id))
        freed = self.sweep(deleted)
        ids = (*(each.image_id for each in deleted), *forgotten)
        return Removed(untagged=tuple(untagged), deleted=(*ids, *freed[0]), freed_bytes=freed[1])

    def _names_to_go(
        self, image: StoredImage, reference: Reference | None, *, force: bool
    ) -> Sequence[Reference]:
        """Choose one name, or all of them when the image was named by its ID."""
        gone = [
            name.reference
            for name in image.names
            if reference is None
            or name.reference == reference.tagged()
            or (reference.digest and name.reference.name == reference.name)
        ]
        if len({each.name for each in gone}) > 1 and not force:
            names = ", ".join(each.familiar for each in gone)
            raise ImageInUse(
                f"image {image.image_id.short} has several names",
                why=f"it is known as {names}",
                hint="remove it by name, or add -f to remove them all",
            )
        wholes = self._store.images.wholes().get(image.manifest.digest, ())
        if not image.names and wholes:
            name = Reference.parse(wholes[0]).familiar
            raise ImageInUse(
                f"image {image.image_id.short} is the {image.config.platform} part of {name}",
                hint=f"%image_rm {name} removes all its platforms",
            )
        for each in self._store.images.nameless():
            others = {part.manifest for part in each.parts} - {each.run}
            if not image.names and image.manifest.digest in others:
                run = self._store.images.load(each.run).image_id.short
                raise ImageInUse(
                    f"image {image.image_id.short} is the {image.config.platform} part of an index "
                    "without a name",
                    hint=f"%image_rm {run} removes all its platforms",
                )
        if len(gone) == len(image.names):
            self._refuse_used(image, force=force)
        return gone

    def _refuse_used(self, image: StoredImage, *, force: bool) -> None:
        parts = [self._store.images.parts(name.reference) for name in image.names]
        parts += [] if image.names else [list(self._store.images.siblings(image))]
        manifests = {image.manifest.digest, *(each.manifest for found in parts for each in found)}
        for user in [user for each in manifests for user in self.containers.users_of(each)]:
            running = user.status in ALIVE
            if running or not force:
                kind = "running" if running else "stopped"
                raise ImageInUse(
                    f"image {title(image)} is being used by {kind} container {user.name}",
                    hint=f"%container_rm {'-f ' if running else ''}{user.name}"
                    + ("" if running else ", or add -f to remove the name all the same"),
                )

    def sweep(self, deleted: Sequence[StoredImage]) -> tuple[Sequence[Digest], int]:
        """Free what no image, container or build step needs; later if somebody works.

        Build steps that made layers of these images alone, or stand on them, go with them;
        others stay until the build cache is pruned.

        Args:
            deleted: images that are gone; for none, nothing is done.

        Returns:
            Digests of layers that are gone, and the bytes that are free again.
        """
        if not deleted:
            return [], 0
        kept = {each for image in self._store.images.all() for each in image.config.diff_ids}
        stale = {each for image in deleted for each in image.config.diff_ids} - kept
        self._store.results.forget([image.image_id for image in deleted])
        self._store.steps.forget(list(stale))
        with self._store.alone() as held:
            if not held:
                return [], 0
            swept = gc.sweep(self._store, self._unpacker.remove_trees)
        return [each for each in swept.blobs if each in stale], swept.freed_bytes
