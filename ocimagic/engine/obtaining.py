"""The image that a container is made of: from the local image repository, or pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import ImageNotFound, RegistryError
from ocimagic.model.event import Notice, OnEvent
from ocimagic.model.options import PullPolicy
from ocimagic.spec.reference import Reference
from ocimagic.store.images import looks_like_id

if TYPE_CHECKING:
    import threading

    from ocimagic.model.options import RunOptions
    from ocimagic.spec.platform import Platform
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store
    from ocimagic.transfer.pull import Pulled

_MOST_NAMED = 5


class Obtaining:
    """Finds images here, or has them pulled."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _pull(
        self,
        reference: Reference,
        platform: Platform | None,
        on_event: OnEvent,
        cancelled: threading.Event | None = None,
    ) -> Pulled:
        raise NotImplementedError

    def obtain(self, options: RunOptions, on_event: OnEvent) -> StoredImage:
        """Return the image to run: from the store, or pulled as the options say.

        Raises:
            ImageNotFound, RegistryError: it is nowhere; the hint names one of this repository
                that is here.
        """
        missing: ImageNotFound | None = None
        if options.pull is not PullPolicy.ALWAYS:
            try:
                return self._local(options)
            except ImageNotFound as err:
                if options.pull is PullPolicy.NEVER or looks_like_id(options.image):
                    raise
                missing = err
        reference = Reference.parse(options.image)
        if options.pull is PullPolicy.MISSING:
            on_event(Notice(f"unable to find image '{reference.familiar}' locally: pulling it"))
        try:
            return self._pull(reference, options.platform, on_event).image
        except (ImageNotFound, RegistryError) as err:
            if missing and (here := self._others(reference)):
                err.hint = f"{here} here: name one of them\n{err.hint or ''}".rstrip()
            raise

    def _others(self, reference: Reference) -> str:
        """Say which other tags of a repository are here; "" if none."""
        names = [each.reference for each in self._store.images.names()]
        found = sorted(each.familiar for each in names if each.name == reference.name)
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        said = ", ".join(found[:_MOST_NAMED]) + more
        return f"{said} {'is' if len(found) == 1 else 'are'}" if found else ""

    def _local(self, options: RunOptions) -> StoredImage:
        """Return the image to run that is here.

        Raises:
            ImageNotFound: there is none, or none for the platform that was asked for.
        """
        images = self._store.images
        if options.platform is None:
            return images.find(options.image)
        found = images.of_platform(options.image, options.platform)
        if found is None:
            there = images.find(options.image).config.platform
            raise ImageNotFound(
                f"no such image: {options.image} for {options.platform}",
                why=f"the one that is here is for {there}",
                hint=f"%image_pull --platform {options.platform} {options.image}",
            )
        return found
