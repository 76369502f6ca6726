"""Images behind an API.

Spec: Docker Engine API v1.41, "Image".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ocimagic.client.archives import Archives
from ocimagic.client.calling import filters, part
from ocimagic.client.refusing import undone
from ocimagic.errors import ImageNotFound, InvalidOption
from ocimagic.model.distribution import SearchHit
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.result import ImageSummary, LoggedIn, PullResult, PushResult, Removed
from ocimagic.spec.reference import Reference
from ocimagic.wire.read_image import deleted, history_lines, image_details, image_rows
from ocimagic.wire.read_progress import TransferReader

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from ocimagic.model.registry import RegistryLogin
    from ocimagic.model.result import HistoryLine, ImageDetails
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform

_KIND = "image"
_SEARCHED = 25


class RemoteImages(Archives):
    """Verbs on images that change what is there, and that look."""

    # -- to and from registries ------------------------------------------------------

    def pull(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> PullResult:
        """Have an image fetched from its registry."""
        began = time.monotonic()
        meant = Reference.parse(reference)
        tag = str(meant.digest or meant.tag or "latest")
        query = {"fromImage": meant.name, "tag": tag}
        query |= {"platform": str(platform)} if platform else {}
        reader = TransferReader(reference, "pulling")
        self._streamed("/images/create", query, reader, on_event, cancelled, reference=meant)
        made = self.inspect(reference)
        return PullResult(
            reference=str(meant if meant.tag or meant.digest else meant.tagged()),
            image_id=made.image_id,
            digest=reader.digest or self._digest_of(meant, made),
            up_to_date=reader.up_to_date,
            downloaded_bytes=0 if reader.up_to_date else reader.moved_bytes,
            layers=len(made.config.diff_ids),
            size_bytes=made.size_bytes,
            seconds=time.monotonic() - began,
        )

    @staticmethod
    def _digest_of(meant: Reference, made: ImageDetails) -> Digest:
        """Return the digest under which an image was pulled, as its document has it."""
        from ocimagic.spec.digest import Digest

        for each in made.digests:
            name, _, value = each.partition("@")
            if name in (meant.familiar_name, meant.name):
                return Digest.parse(value)
        return made.image_id

    def pull_all(
        self,
        name: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> tuple[PullResult, ...]:
        """Refuse: what came of which tag an API does not say."""
        del platform, on_event, cancelled
        raise undone(f"pull all tags of {name} and say what came", "pull them one by one")

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
        """Have an image brought to its registry."""
        if all_tags:
            return tuple(
                self.push(each.name, on_event=on_event, cancelled=cancelled)[0]
                for each in self.list(name)
            )
        if compression != "gzip":
            raise undone(f"push with {compression}")
        if platform is not None:
            raise undone("push one platform of an image")
        began = time.monotonic()
        meant = Reference.parse(name)
        reader = TransferReader(name, "pushing")
        path = f"/images/{part(meant.name, slashes=True)}/push"
        tag = meant.tag or "latest"
        self._streamed(path, {"tag": tag}, reader, on_event, cancelled, reference=meant)
        if reader.digest is None:
            raise InvalidOption(f"nothing was said of what became of {name}")
        phases = [each.phase.value for each in reader.layers]
        there, mounted = phases.count("already exists"), 0
        mounted = sum(each.startswith("mounted") for each in phases)
        return (
            PushResult(
                reference=f"{meant.name}:{tag}",
                digest=reader.digest,
                manifest_bytes=reader.manifest_bytes,
                layers=len(phases),
                there=there,
                mounted=mounted,
                sent_bytes=reader.moved_bytes,
                seconds=time.monotonic() - began,
            ),
        )

    def search(
        self, term: str, *, limit: int = _SEARCHED, cancelled: threading.Event | None = None
    ) -> tuple[SearchHit, ...]:
        """Have Docker Hub searched."""
        del cancelled
        query = {"term": term, "limit": str(limit)}
        return tuple(
            SearchHit(
                name=each.text("name", ""),
                description=each.text("description", ""),
                stars=each.number("star_count", 0),
                is_official=each.flag("is_official"),
                is_automated=each.flag("is_automated"),
            )
            for each in self._caller.documents("/images/search", query=query)
        )

    def login(self, registry: str, username: str, password: str, *, keep: bool = True) -> LoggedIn:
        """Have a login tried; an API keeps none, docker's own client does."""
        if keep:
            raise undone("keep a login", "%login of this notebook's own engine keeps it for both")
        body = {"username": username, "password": password, "serveraddress": registry}
        self._caller.document("POST", "/auth", kind="pull", body=body)
        return LoggedIn(
            registry=registry or "docker.io", username=username, kept_in="", is_readable=False
        )

    def with_logins(self, logins: Mapping[str, RegistryLogin]) -> RemoteImages:
        """Return the same verbs with other logins, by registry."""
        return RemoteImages(self._caller, self._environment, logins)

    # -- looking ---------------------------------------------------------------------

    def list(self, name: str | None = None, *, all: bool = False) -> tuple[ImageSummary, ...]:  # noqa: A002
        """List images, newest first; ``name`` keeps one repository or reference."""
        query = {"all": "1"} if all else {}
        query |= {"shared-size": "1"}
        query |= filters({"reference": [name]}) if name else {}
        return image_rows(self._caller.documents("/images/json", query=query))

    def inspect(self, name: str) -> ImageDetails:
        """Return everything that the API says of one image."""
        if not name:
            raise ImageNotFound("no such image: a name is missing")
        return image_details(self._caller.document("GET", self._at(name, "json"), kind=_KIND))

    def history(self, name: str) -> tuple[HistoryLine, ...]:
        """Return how an image was made, newest step first."""
        return history_lines(self._caller.documents(self._at(name, "history"), kind=_KIND))

    # -- names -----------------------------------------------------------------------

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name."""
        meant = Reference.parse(target)
        query = {"repo": meant.name, "tag": meant.tag or "latest"}
        self._caller.done("POST", self._at(source, "tag"), kind=_KIND, query=query)

    def remove(self, *names: str, force: bool = False) -> Removed:
        """Take names away, and images that have none left."""
        untagged: tuple[str, ...] = ()
        gone: tuple[Digest, ...] = ()
        query = {"force": "1"} if force else {}
        for name in names:
            path = self._at(name, "").rstrip("/")
            said = deleted(self._caller.documents(path, method="DELETE", kind=_KIND, query=query))
            untagged, gone = (*untagged, *said[0]), (*gone, *said[1])
        return Removed(untagged=untagged, deleted=gone, freed_bytes=None)
