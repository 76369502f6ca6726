"""What a registry server can serve: the seam between HTTP and where content is kept.

The store implements ContentSource without importing this room; so it speaks in plain tuples.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable

from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocimagic.registry.contents import Contents
    from ocimagic.registry.inbox import Inbox
    from ocimagic.spec.descriptor import Descriptor


class ContentSource(Protocol):
    """Repositories, manifests and blobs; called from many threads at once."""

    def repositories(self) -> Iterable[str]:
        """List the repositories, in any order."""

    def tags(self, repository: str) -> Mapping[str, Digest] | None:
        """Return the tags of a repository; None when there is no such repository."""

    def resolve(self, repository: str, tag: str) -> Digest | None:
        """Return what a tag names now; None when it names nothing."""

    def manifest(self, repository: str, digest: Digest) -> tuple[bytes, str] | None:
        """Return the bytes and media type of a manifest or index; None when there is none."""

    def open_blob(self, repository: str, digest: Digest) -> tuple[int, BinaryIO] | None:
        """Open a config or layer: its size and a file at its start; None when there is none.

        The file can seek and is closed by whoever receives it.
        """


@runtime_checkable
class ReferrersSource(ContentSource, Protocol):
    """A source that knows which manifests say something about another one."""

    def referrers(self, repository: str, subject: Digest) -> Sequence[tuple[Descriptor, str]]:
        """Return the manifests about a subject with their artifact types, by digest."""


@runtime_checkable
class ContentKeeper(ReferrersSource, Protocol):
    """A source that can be pushed to; what a method has returned survives a power cut."""

    @property
    def uploads(self) -> Inbox:
        """Return the blobs on their way."""

    def keep_upload(self, repository: str, name: str, digest: Digest) -> None:
        """Give a finished upload its digest, in this repository.

        Raises:
            DigestMismatch: it is not what ``digest`` says; the upload is taken away.
        """

    def mount(self, repository: str, digest: Digest, *, origin: str | None) -> bool:
        """Take a blob over from another repository, from any when ``origin`` is None."""

    def keep_manifest(
        self, repository: str, raw: bytes, contents: Contents, *, digest: Digest, tag: str | None
    ) -> None:
        """Keep a manifest and let a tag name it.

        Raises:
            BlobNotFound: something it names is not in this repository.
            SizeMismatch: something it names has another size.
        """

    def remove_tag(self, repository: str, tag: str) -> bool:
        """Take a tag away; says whether it was there."""

    def remove_manifest(self, repository: str, digest: Digest) -> bool:
        """Take a manifest and its tags away; says whether it was there."""

    def remove_blob(self, repository: str, digest: Digest) -> bool:
        """Take a blob away; says whether it was there.

        Raises:
            ImageInUse: a manifest of this repository names it.
        """


@dataclass(slots=True)
class MemorySource:
    """A ContentSource in memory; fill it before serving, or between requests."""

    names: dict[str, dict[str, Digest]] = field(default_factory=dict)
    manifests: dict[Digest, tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)

    def add_blob(self, content: bytes) -> Digest:
        """Keep a blob; every repository has it."""
        digest = Digest.of(content)
        self.blobs[digest] = content
        return digest

    def add_manifest(
        self, repository: str, raw: bytes, media_type: str, *, tags: Sequence[str] = ()
    ) -> Digest:
        """Keep a manifest or index under its digest and these tags."""
        digest = Digest.of(raw)
        self.manifests[digest] = (raw, media_type)
        self.names.setdefault(repository, {}).update(dict.fromkeys(tags, digest))
        return digest

    def repositories(self) -> Iterable[str]:
        """List the repositories."""
        return list(self.names)

    def tags(self, repository: str) -> Mapping[str, Digest] | None:
        """Return the tags of a repository."""
        return self.names.get(repository)

    def resolve(self, repository: str, tag: str) -> Digest | None:
        """Return what a tag names."""
        return self.names.get(repository, {}).get(tag)

    def manifest(self, repository: str, digest: Digest) -> tuple[bytes, str] | None:
        """Return a manifest by its digest."""
        return self.manifests.get(digest) if repository in self.names else None

    def open_blob(self, repository: str, digest: Digest) -> tuple[int, BinaryIO] | None:
        """Open a blob."""
        content = self.blobs.get(digest) if repository in self.names else None
        return None if content is None else (len(content), io.BytesIO(content))
