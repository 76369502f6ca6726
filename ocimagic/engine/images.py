"""Images: the local image repository and the way to the registries."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.engine.comparing import Comparing
from ocimagic.engine.lineage import base_layers, parent_of, step_ids, title, users_of
from ocimagic.engine.making import Making
from ocimagic.engine.remote import Remote
from ocimagic.engine.removal import Removal
from ocimagic.errors import ContentError, ImageNotFound, InvalidReference, NotFound
from ocimagic.model.accounts import ImageLine
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.result import (
    HistoryLine,
    ImageDetails,
    ImageSummary,
    LayerInfo,
    LayerReport,
)
from ocimagic.spec.annotation import BASE_DIGEST, BASE_NAME
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference
from ocimagic.store.images import unnamed
from ocimagic.store.naming import Whole

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from ocimagic.model.difference import ImageDiff
    from ocimagic.model.distribution import ImageTree
    from ocimagic.model.report import Verified
    from ocimagic.store.images import StoredImage


class Images(Making, Remote, Comparing, Removal):
    """Verbs on images; ``name`` is a reference or an image ID, whole or its first digits."""

    # -- making ---------------------------------------------------------------

    def assemble(self, name: str = "ocimagic/base") -> ImageDetails:
        """Make a base image of this machine's own programs, for want of a registry.

        The same machine gives the same image ID.

        Raises:
            InvalidReference: not a name.
            HostLacks: this machine has no programs that Linux could run.
        """
        from ocimagic.build.homemade import make_base

        reference = Reference.parse(name)
        if reference.digest:
            raise InvalidReference("a tag cannot have a digest", hint="leave out what follows @")
        made = make_base(self._store, reference)
        return self.inspect(str(made.image_id))

    # -- looking ---------------------------------------------------------------

    def list(
        self,
        name: str | None = None,
        *,
        all: bool = False,  # noqa: A002  docker's word
    ) -> tuple[ImageSummary, ...]:
        """List images, newest first; ``name`` keeps one repository or reference.

        Args:
            name: a repository or a reference.
            all: what build steps came to, too.
        """
        self._store.layout.refresh()
        images = self._store.images.all()
        if all:
            images += [unnamed(each) for each in self._store.results.all()]
            images.sort(key=lambda image: image.added, reverse=True)
        parts = set(self._store.images.wholes())
        alone = {each.run: each.index for each in self._store.images.nameless()}
        parts |= {part.manifest for each in self._store.images.nameless() for part in each.parts}
        uses = Counter(diff_id for image in images for diff_id in set(image.config.diff_ids))
        known = self._store.images.layer_sizes()
        rows = [
            row
            for image in images
            # Of several platforms one is shown: what their name stands for.
            if image.names or image.manifest.digest not in parts or image.manifest.digest in alone
            for row in self._rows(image, alone.get(image.manifest.digest), uses, known)
        ]
        if name is None:
            return tuple(rows)
        wanted = Reference.parse(name)
        tagged = ":" in name.rpartition("/")[2]
        return tuple(
            row
            for row in rows
            if row.repository == wanted.familiar_name and (not tagged or row.tag == wanted.tag)
        )

    def _rows(
        self,
        image: StoredImage,
        index: Digest | None,
        uses: Mapping[Digest, int],
        known: Mapping[str, int],
    ) -> Sequence[ImageSummary]:
        sizes = {each: known.get(each, 0) for each in image.config.diff_ids}
        shared = sum(size for diff_id, size in sizes.items() if uses[diff_id] > 1)
        names = [(n.reference.familiar_name, n.reference.tag, n.target) for n in image.names]
        if not names:
            names = [("<none>", None, index or image.manifest.digest)]
        return [
            ImageSummary(
                repository=repository,
                tag=tag or "<none>",
                image_id=image.image_id,
                digest=target,
                created=image.config.created,
                size_bytes=sum(sizes.values()),
                shared_bytes=shared,
                labels=image.config.config.labels,
            )
            for repository, tag, target in names
        ]

    def trees(self) -> tuple[ImageTree, ...]:
        """Return what each name points at, with all platforms that it names."""
        from ocimagic.engine.trees import trees

        self._store.layout.refresh()
        rows = self._store.database.rows("SELECT DISTINCT manifest FROM containers")
        return trees(self._store, (Digest(str(row[0])) for row in rows))

    def inspect(self, name: str) -> ImageDetails:
        """Return everything known of one image."""
        image = self._store.images.find(name)
        annotations = image.manifest.annotations
        targets = {f"{each.reference.familiar_name}@{each.target}": None for each in image.names}
        sizes = self._store.images.layer_sizes()
        return ImageDetails(
            image_id=image.image_id,
            tags=tuple(n.reference.familiar for n in image.names if n.reference.tag),
            digests=tuple(targets),
            config=image.config,
            manifest=image.manifest,
            layers=self.layer_infos(image),
            size_bytes=sum(sizes.get(each, 0) for each in image.config.diff_ids),
            base_name=annotations.get(BASE_NAME, ""),
            base_digest=annotations.get(BASE_DIGEST, ""),
            parent=parent_of(self._store, image),
        )

    def history(self, name: str) -> tuple[HistoryLine, ...]:
        """Return how an image was made, newest step first."""
        image = self._store.images.find(name)
        layers = iter(self.layer_infos(image))
        ids = step_ids(self._store, image)
        lines = []
        for number, entry in enumerate(image.config.history, start=1):
            layer = None if entry.empty_layer else next(layers, None)
            lines.append(
                HistoryLine(
                    image_id=ids.get(number),
                    created=entry.created,
                    created_by=entry.created_by,
                    size_bytes=layer.size_bytes if layer else 0,
                    comment=entry.comment,
                    diff_id=layer.diff_id if layer else None,
                    from_base=layer.from_base if layer else False,
                )
            )
        return tuple(reversed(lines))

    def layers(self, *names: str) -> LayerReport:
        """Compare the layers of one or more images; all images here if none is named."""
        everything = self._store.images.all()
        chosen = [self._store.images.find(name) for name in names] if names else everything
        asked = names or [""] * len(chosen)
        titled = [(title(each, name), each) for name, each in zip(asked, chosen, strict=True)]
        # An image of the report is called there as it was asked for, and counted once.
        said = {image.image_id: name for name, image in reversed(titled)}
        wanted = {diff_id for _, image in titled for diff_id in image.config.diff_ids}
        users = users_of(wanted, everything, said)
        shown = [(name, self._layers(image, everything, users)) for name, image in titled]
        each = {layer.chain_id: layer.size_bytes for _, layers in shown for layer in layers}
        return LayerReport(
            images=tuple(shown),
            total_bytes=sum(layer.size_bytes for _, layers in shown for layer in layers),
            stored_bytes=sum(each.values()),
            lines=self._lines(names[0]) if len(names) == 1 else (),
        )

    def diff(self, first: str, second: str) -> ImageDiff:
        """Say why two images are not the same: config, layers, and files with their attributes.

        Raises:
            ImageNotFound: there is none of this name.
            BlobNotFound: a layer is gone.
        """
        found = super().diff(first, second)
        return replace(found, stacks=self.layers(first, second))

    def _lines(self, name: str) -> tuple[ImageLine, ...]:
        """Say what each line of an image's history did, oldest first."""
        try:
            accounts = self.waste(name).layers
        except (NotFound, ContentError):
            accounts = ()  # a layer is gone, or was never fetched: the rest is still known
        layer, lines = 0, []
        for number, each in enumerate(reversed(self.history(name)), 1):
            made = layer if each.diff_id else None
            layer += each.diff_id is not None
            lines.append(
                ImageLine(
                    number=number,
                    created_by=each.created_by,
                    from_base=each.from_base,
                    layer=made,
                    size_bytes=each.size_bytes,
                    account=accounts[made] if made is not None and made < len(accounts) else None,
                )
            )
        # Some histories leave layers out: better none of it than some at a wrong line.
        return tuple(lines) if layer == len(self._store.images.find(name).config.diff_ids) else ()

    def layer_infos(self, image: StoredImage) -> tuple[LayerInfo, ...]:
        """Describe the layers of an image, lowest first."""
        wanted = set(image.config.diff_ids)
        related = self._store.images.sharing(wanted)
        return self._layers(image, related, users_of(wanted, related, {}))

    def _layers(
        self,
        image: StoredImage,
        everything: Sequence[StoredImage],
        users: Mapping[Digest, Mapping[Digest, str]],
    ) -> tuple[LayerInfo, ...]:
        """List an image's layers; ``users`` says what they are shared with.

        ``everything`` holds all images that have a layer of it.
        """
        base, sizes = base_layers(image, everything), self._store.images.layer_sizes()
        made_by = [each.created_by for each in image.config.history if not each.empty_layer]
        made_by += [""] * (len(image.config.diff_ids) - len(made_by))
        return tuple(
            LayerInfo(
                diff_id=diff_id,
                chain_id=chain_id,
                digest=blob.digest,
                media_type=blob.media_type,
                size_bytes=sizes.get(diff_id, 0),
                blob_bytes=blob.size,
                created_by=created_by,
                from_base=number < base,
                shared_with=tuple(
                    sorted(
                        (
                            name
                            for image_id, name in users.get(diff_id, {}).items()
                            if image_id != image.image_id
                        ),
                        key=lambda name: (":" not in name, name),  # IDs after names
                    )
                ),
            )
            for number, (diff_id, chain_id, blob, created_by) in enumerate(
                zip(
                    image.config.diff_ids,
                    image.chain_ids,
                    image.manifest.layers,
                    made_by,
                    strict=False,
                )
            )
        )

    def verify(
        self,
        *names: str,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Verified:
        """Recheck every byte of images, all of them if none is named; nothing is changed.

        Raises:
            ImageNotFound: there is none of a name.
            Cancelled: ``cancelled`` was set.
        """
        from ocimagic.engine.verify import verify

        return verify(self._store, names, on_event=on_event, cancelled=cancelled)

    # -- naming ------------------------------------------------------------

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name.

        Raises:
            ImageNotFound: there is no ``source``.
            InvalidReference: ``target`` is no name, or has a digest.
        """
        reference = Reference.parse(target)
        if reference.digest:
            raise InvalidReference("a tag cannot have a digest", hint="leave out what follows @")
        with self._store.in_use():  # or a sweep could come between finding and naming it
            images = self._store.images
            image = images.find(source)
            name = images.name_of(image, source)
            alone = [each for each in images.nameless() if each.run == image.manifest.digest]
            if name and name.manifest == image.manifest.digest:
                images.tag(name, image.manifest, reference)
            elif alone:
                parts = [(images.load(p.manifest).manifest, p.platform) for p in alone[0].parts]
                images.add_index(Whole(alone[0].index, parts, image.manifest, [reference]))
            else:  # without a name, or one part of an index that was meant by its digest
                images.add(image.manifest, [(reference, image.manifest.digest)])
            self._store.layout.publish()
        self._store.note("image", "tag", str(image.image_id), {"name": reference.familiar})

    # -- for the rest of this room ---------------------------------------------

    def parse_id(self, text: str) -> Digest:
        """Return an image ID that a record holds."""
        return Digest.parse(text)

    def size_of(self, image_id: str) -> int:
        """Return the size in bytes of an image unpacked, 0 if it is gone."""
        try:
            return self._size(self._store.images.find(image_id))
        except ImageNotFound:
            return 0
