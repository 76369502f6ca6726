"""Between the local image repository and the registries: pull and push."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ocimagic.engine.arrivals import Arrival
from ocimagic.engine.logins import Logins
from ocimagic.errors import ImageNotFound, InvalidReference, PlatformNotFound
from ocimagic.layers.compress import Compression
from ocimagic.model.event import Notice, OnEvent, ignore
from ocimagic.model.result import PullResult, PullsLeft, PushResult
from ocimagic.spec.reference import Reference
from ocimagic.transfer.pull import Pulled, pull

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.store.images import StoredImage
    from ocimagic.store.nameless import Part
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker


class Exchange(Logins):
    """Verbs that talk to a registry."""

    def __init__(self, store: Store, unpacker: Unpacker, environment: Mapping[str, str]) -> None:
        super().__init__(store, environment)
        self._unpacker = unpacker
        self.arrivals: dict[str, Mapping[str, object]] = {}  # by image_id, what came last

    def pull(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> PullResult:
        """Fetch an image from its registry, verify and unpack it.

        Raises:
            InvalidReference: not a name.
            ImageNotFound, Unauthorized, RateLimited, RegistryError: what the registry said.
            PlatformNotFound, ContentError, InvalidDocument: it cannot be used; the store is
                as before.
        """
        return self._pulled(Reference.parse(reference), platform, on_event, cancelled)

    def pull_all(
        self,
        name: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> tuple[PullResult, ...]:
        """Pull every tag of a repository; those that are for other platforms only are passed over.

        Returns:
            One result per tag, in the registry's order.

        Raises:
            InvalidReference: not a repository's name, or one with a tag or a digest.
            PlatformNotFound: none of the tags is for the platform.
            ImageNotFound: no such repository, or one without tags; see ``pull`` for the rest.
        """
        reference = Reference.parse(name)
        if reference.digest or name.rpartition("/")[2].count(":"):
            raise InvalidReference("all tags are wanted, so the name can have none", where=name)
        client = self.registry_client()
        tags = client.anywhere(reference, client.tags)
        if not tags:
            raise ImageNotFound(f"{reference.familiar_name} has no tags")
        done: list[PullResult] = []
        missing: PlatformNotFound | None = None
        for tag in tags:
            try:
                wanted = Reference.parse(f"{reference.name}:{tag}")
                done.append(self._pulled(wanted, platform, on_event, cancelled))
            except PlatformNotFound as err:
                missing = err
                on_event(Notice(f"{reference.familiar_name}:{tag} passed over: {err.what}"))
        if missing and not done:
            raise missing
        return tuple(done)

    def _pulled(
        self,
        parsed: Reference,
        platform: Platform | None,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> PullResult:
        began = time.monotonic()
        done = self._pull(parsed, platform, on_event, cancelled)
        limit = self.registry_client().rate_limit(done.registry)
        return PullResult(
            reference=str(parsed),
            image_id=done.image.image_id,
            digest=done.target,
            up_to_date=done.up_to_date,
            downloaded_bytes=done.downloaded_bytes,
            layers=len(done.image.manifest.layers),
            size_bytes=self._size(done.image),
            seconds=time.monotonic() - began,
            pulls_left=PullsLeft(
                left=limit.remaining,
                limit=limit.limit,
                window_s=limit.window_s,
                is_anonymous=limit.is_anonymous,
            )
            if limit
            else None,
        )

    def _pull(
        self,
        reference: Reference,
        platform: Platform | None,
        on_event: OnEvent,
        cancelled: threading.Event | None = None,
    ) -> Pulled:
        arrival = Arrival(str(reference), on_event)
        done = pull(
            self._store,
            self._unpacker,
            self.registry_client().telling(arrival.answered),
            reference,
            platform=platform,
            on_event=arrival,
            cancelled=cancelled,
        )
        image = done.image
        self._remember(image.image_id, image.manifest.digest, arrival.document(done))
        self._note("pull", reference)
        return done

    def _note(self, action: str, reference: Reference) -> None:
        said = {"name": reference.familiar_name}
        self._store.note("image", action, reference.familiar, said)

    def _remember(self, image_id: Digest, manifest: Digest, told: Mapping[str, object]) -> None:
        """Note how an image came to be here."""
        self.arrivals[str(image_id)] = told
        if not told.get("up_to_date"):
            self._store.timelines.put(manifest, told)

    def push(
        self,
        name: str,
        *,
        all_tags: bool = False,
        platform: Platform | None = None,
        compression: str = "gzip",
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> tuple[PushResult, ...]:
        """Bring an image to the registry that its name begins with.

        Args:
            name: a reference; its tag is what the image gets there.  Of a name for several
                platforms all that are here go, and the index that names them; ``on_event``
                hears of those that are missing.
            all_tags: push every tag that the repository has here; ``name`` has none then.
            platform: push the image for this one alone, under the name.
            compression: ``gzip`` or ``zstd``, for layers that were built here.
            on_event: is told how far it is.
            cancelled: stops it when set.

        Returns:
            One result per tag.

        Raises:
            InvalidReference: not a name, or one with a digest.
            ImageNotFound: nothing here has that name, or the registry has no such repository.
            PlatformNotFound: the name has nothing here for the platform.
            Unauthorized, RateLimited, RegistryError: what the registry said.
        """
        reference = Reference.parse(name)
        if reference.digest:
            raise InvalidReference(
                "cannot push a digest reference", hint="name a tag: what follows @ is left out"
            )
        wanted = self._tags(reference) if all_tags else [reference.tagged()]
        kind = Compression(compression)
        done = []
        for each in wanted:
            done.append(self._push(each, platform, kind, on_event, cancelled))
            self._note("push", each)
        return tuple(done)

    def _tags(self, reference: Reference) -> list[Reference]:
        found = [
            each.reference
            for each in self._store.images.names()
            if each.reference.name == reference.name and each.reference.tag
        ]
        if not found:
            raise ImageNotFound(
                f"an image does not exist locally with the tag: {reference.familiar_name}",
                hint="%image_ls shows what there is",
            )
        return found

    def _push(
        self,
        reference: Reference,
        platform: Platform | None,
        compression: Compression,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> PushResult:
        from ocimagic.transfer.assemble import push_part
        from ocimagic.transfer.push import push

        began = time.monotonic()
        try:
            image = self._store.images.find(str(reference))
        except ImageNotFound as err:
            raise ImageNotFound(
                f"an image does not exist locally with the tag: {reference.familiar_name}",
                why=f"nothing here is called {reference.familiar}",
                hint=f"give it that name first: %image_tag IMAGE {reference.familiar}",
            ) from err
        if platform is not None:
            image = self._for_platform(reference, platform)
        else:
            self._tell_missing(reference, image, on_event)
            if len(parts := self._store.images.parts(reference)) > 1:
                return self._push_index(reference, parts, compression, on_event, cancelled)
        send = push if platform is None else push_part
        done = send(
            self._store,
            self.registry_client(),
            image,
            reference,
            compression=compression,
            on_event=on_event,
            cancelled=cancelled,
        )
        return PushResult(
            reference=str(reference),
            digest=done.manifest.digest,
            manifest_bytes=done.manifest.size,
            layers=len(image.manifest.layers),
            there=done.there,
            mounted=done.mounted,
            sent_bytes=done.sent_bytes,
            seconds=time.monotonic() - began,
        )

    def _for_platform(self, reference: Reference, platform: Platform) -> StoredImage:
        images = self._store.images
        if found := images.of_platform(str(reference), platform):
            return found
        here = {str(each) for each in self._platforms(reference)}
        raise PlatformNotFound(
            f"nothing here of {reference.familiar} is for {platform}",
            why=f"here is {', '.join(sorted(here))}",
            hint=f"%image_pull --platform {platform} {reference.familiar}",
        )

    def _platforms(self, reference: Reference) -> list[Platform]:
        """Return what the images are for that a name has here."""
        images, name = self._store.images, self._store.images.name(reference)
        known = {part.manifest: part.platform for part in images.parts(reference)}
        if name and not known:
            known = {name.manifest: None}
        return [its or images.documents(each)[1].platform for each, its in known.items()]

    def _tell_missing(self, reference: Reference, image: StoredImage, on_event: OnEvent) -> None:
        """Say which platforms of an index are not here, and so are not pushed."""
        missing = self._store.images.missing(reference)
        if not missing:
            return
        here = {each.canonical for each in self._platforms(reference)} | {
            image.config.platform.canonical
        }
        left = [str(each) for each in missing if each.canonical not in here]
        if left:
            name = reference.familiar
            on_event(
                Notice(
                    f"{name} is pushed without {', '.join(left)}: its index names them, and they "
                    f"are not here; %image_pull --platform brings one, and --platform pushes one"
                )
            )

    def _push_index(
        self,
        reference: Reference,
        parts: Sequence[Part],
        compression: Compression,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> PushResult:
        """Push all images that a name has for its platforms, then their index under the name."""
        from ocimagic.transfer.assemble import push_index

        began = time.monotonic()
        done = push_index(
            self._store,
            self.registry_client(),
            parts,
            reference,
            compression=compression,
            on_event=on_event,
            cancelled=cancelled,
        )
        return PushResult(
            reference=str(reference),
            digest=done.index.digest,
            manifest_bytes=len(done.index.raw),
            layers=done.layers,
            there=done.there,
            mounted=done.mounted,
            sent_bytes=done.sent_bytes,
            seconds=time.monotonic() - began,
        )

    def _layer_bytes(self, diff_id: Digest) -> int:
        record = self._store.images.layer(diff_id)
        return record.unpacked_bytes if record else 0

    def _size(self, image: StoredImage) -> int:
        return sum(self._layer_bytes(each) for each in image.config.diff_ids)
