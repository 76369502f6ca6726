"""What is done in registries without bringing it here: copy, lists, referrers, search."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.engine.exchange import Exchange
from ocimagic.errors import InvalidOption, InvalidReference
from ocimagic.model.distribution import (
    SEARCH_LIMIT,
    SEARCH_MOST,
    CopyResult,
    Referrer,
    ReferrerReport,
    RegistryListing,
)
from ocimagic.model.event import OnEvent, ignore
from ocimagic.spec.annotation import CREATED
from ocimagic.spec.manifest import Index, parse_manifest
from ocimagic.spec.platform import host_platform
from ocimagic.spec.reference import DEFAULT_REGISTRY, Reference, is_host

if TYPE_CHECKING:
    import threading

    from ocimagic.model.distribution import SearchHit
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform


class Remote(Exchange):
    """Verbs on what is in registries."""

    def copy(
        self,
        source: str,
        target: str,
        *,
        all: bool = False,  # noqa: A002  skopeo's word
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> CopyResult:
        """Copy an image from registry to registry, past the store; digests stay.

        Args:
            source: a reference.
            target: a reference with the tag it gets there.
            all: all images of an index, and the index itself.
            platform: the one image of an index; None is this machine's.
            on_event: is told how far it is.
            cancelled: stops it when set.

        Raises:
            InvalidReference: not a name, or a target with a digest.
            PlatformNotFound: the index has no image for the platform.
            ImageNotFound, Unauthorized, RateLimited, RegistryError: what a registry said.
            ContentError, InvalidDocument: what came is not what it was said to be; the target's
                tag is as before.
        """
        from ocimagic.transfer.copy import copy

        began = time.monotonic()
        origin, goal = Reference.parse(source), Reference.parse(target)
        if goal.digest:
            raise InvalidReference(
                "cannot copy to a digest", hint="name a tag: what follows @ is left out"
            )
        done = copy(
            self.registry_client(),
            origin,
            goal,
            platform=None if all else platform or host_platform(),
            on_event=on_event,
            cancelled=cancelled,
        )
        return CopyResult(
            source=str(origin),
            reference=str(goal),
            digest=done.manifest.digest,
            manifests=done.documents,
            blobs=done.blobs,
            there=done.there,
            mounted=done.mounted,
            sent_bytes=done.sent_bytes,
            seconds=time.monotonic() - began,
        )

    def list_registry(self, name: str) -> RegistryListing:
        """List the repositories of a registry, or the tags of a repository.

        Args:
            name: ``HOST[:PORT]``, or a repository's name.

        Raises:
            InvalidReference: neither, or a name with a tag or a digest.
            RegistryAnswered: this registry does not list its repositories.
            ImageNotFound, Unauthorized, RateLimited, RegistryError: what the registry said.
        """
        host = name.rstrip("/")
        if host in {DEFAULT_REGISTRY, "index.docker.io"} or is_host(host):
            names = self.registry_client().catalog(host)
            return RegistryListing(place=host, kind="repository", names=tuple(sorted(names)))
        reference = Reference.parse(name)
        if reference.digest or ":" in name.rpartition("/")[2]:
            raise InvalidReference(
                "all tags are listed, so the name can have none", where=name, hint="HOST/REPOSITORY"
            )
        tags = self.registry_client().tags(reference)
        return RegistryListing(place=reference.familiar_name, kind="tag", names=tuple(sorted(tags)))

    def search(
        self, term: str, *, limit: int = SEARCH_LIMIT, cancelled: threading.Event | None = None
    ) -> tuple[SearchHit, ...]:
        """Search Docker Hub, or the registry that a term begins with, for images.

        Args:
            term: words, or ``HOST/words``.
            limit: at most so many, from 1 to 100.
            cancelled: stops it when set.

        Raises:
            InvalidOption: no term, or a limit that is none.
            RegistryAnswered: the registry cannot be searched.
            RateLimited, RegistryError: it does not answer.
        """
        from ocimagic.registry.search import search

        if not 1 <= limit <= SEARCH_MOST:
            raise InvalidOption(f"limit {limit} is outside the range of [1, {SEARCH_MOST}]")
        host, slash, words = term.partition("/")
        registry = host if slash and is_host(host) else DEFAULT_REGISTRY
        words = words if registry == host else term.removeprefix("library/")
        if not words.strip():
            raise InvalidOption("there is nothing to search for", hint="docker search TERM")
        with self.web() as transport:
            return tuple(search(transport, registry, words, limit, cancelled=cancelled))

    def referrers(
        self, name: str, *, artifact_type: str = "", platform: Platform | None = None
    ) -> ReferrerReport:
        """List what a registry has about an image: signatures, bills of materials and such.

        Args:
            name: a reference.
            artifact_type: keeps those of one type.
            platform: asks about this image of an index; None about what the name names.

        Raises:
            InvalidReference: not a name.
            PlatformNotFound: the index has no image for the platform.
            ImageNotFound, Unauthorized, RateLimited, RegistryError: what the registry said.
        """
        reference = Reference.parse(name)
        client = self.registry_client()
        subject = client.resolve(reference).digest
        if platform is not None:
            subject = self._of_platform(reference, subject, platform)
        found = client.referrers(reference, subject, artifact_type=artifact_type)
        return ReferrerReport(
            reference=str(reference),
            subject=subject,
            referrers=tuple(_referrer(each) for each in found.manifests),
            is_listed=found.is_listed,
        )

    def _of_platform(self, reference: Reference, digest: Digest, platform: Platform) -> Digest:
        fetched = self.registry_client().manifest(reference.pinned(digest))
        document = parse_manifest(fetched.raw, content_type=fetched.content_type)
        return document.choose(platform).digest if isinstance(document, Index) else digest


def _referrer(described: Descriptor) -> Referrer:
    created: datetime | None = None
    with suppress(ValueError, OverflowError):
        created = datetime.fromisoformat(described.annotations.get(CREATED, "")).astimezone(UTC)
    return Referrer(
        digest=described.digest,
        media_type=described.media_type,
        artifact_type=described.artifact_type,
        size_bytes=described.size,
        created=created,
        annotations=described.annotations,
    )
