"""A registry that fetches what it has not: from another one, once, for everybody behind it.

Tags are asked for again each time; what they name, and blobs, are kept.  While the other
registry is away, what is kept is served.

Spec: distribution-spec "Pull"; the idea is docker's registry mirror.
"""

from __future__ import annotations

import io
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from ocimagic.errors import (
    BlobNotFound,
    ImageNotFound,
    InvalidOption,
    OcimagicError,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
)
from ocimagic.registry.contents import Contents
from ocimagic.registry.origin import HUB_HOST
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.reference import DEFAULT_REGISTRY, Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.registry.client import RegistryClient
    from ocimagic.registry.directory import RegistryDirectory
    from ocimagic.registry.inbox import Upload
    from ocimagic.spec.digest import Digest

AWAY_S = 15.0
_TRIES = 3
_CLOSING_S = 1.0
_HUB = frozenset({HUB_HOST, "docker.io", "index.docker.io"})


def upstream(url: str) -> tuple[str, bool]:
    """Read the address of a registry: its name in references, and whether it has no TLS.

    Raises:
        InvalidOption: not http or https, or more than a host and a port.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    more = parts.path.rstrip("/") not in {"", "/v2"} or parts.query or "@" in parts.netloc
    if parts.scheme not in {"http", "https"} or not parts.hostname or more:
        raise InvalidOption(
            f"{url!r} is no registry to mirror",
            hint="https://HOST[:PORT], for example https://registry-1.docker.io",
        )
    is_hub = parts.hostname in _HUB
    return DEFAULT_REGISTRY if is_hub else parts.netloc, parts.scheme == "http"


class MirrorSource:
    """A ContentSource: a directory before another registry.

    Args:
        kept: what was fetched; not closed here.
        client: fetches.
        registry: where from, as in a reference.
        away_s: how long a registry that did not answer is not asked again.
    """

    def __init__(
        self,
        kept: RegistryDirectory,
        client: RegistryClient,
        registry: str,
        *,
        away_s: float = AWAY_S,
    ) -> None:
        self._kept = kept
        self._cancelled = threading.Event()
        self._client = client.until(self._cancelled)
        self._registry = registry
        self._away_s = away_s
        self._away_until = 0.0
        self._lock = threading.Lock()
        self._fetches: dict[Digest, _Fetch] = {}

    def close(self) -> None:
        """End what is being fetched; what hangs on a silent line is left to its time limit."""
        self._cancelled.set()
        with self._lock:
            left = list(self._fetches.values())
        for fetch in left:
            fetch.thread.join(_CLOSING_S)

    def repositories(self) -> list[str]:
        """List the repositories of which something is kept."""
        return self._kept.repositories()

    def tags(self, repository: str) -> dict[str, Digest] | None:
        """Return the tags that are kept."""
        return self._kept.tags(repository)

    def referrers(self, repository: str, subject: Digest) -> Sequence[tuple[Descriptor, str]]:
        """Return the manifests about a subject that are kept."""
        return self._kept.referrers(repository, subject)

    def resolve(self, repository: str, tag: str) -> Digest | None:
        """Ask what a tag names now; if nobody answers, return what it named last.

        Raises:
            RegistryError: nobody answers, and nothing is kept.
        """
        kept = self._kept.resolve(repository, tag)
        if kept is not None and time.monotonic() < self._away_until:
            return kept
        try:
            found = self._client.resolve(self._reference(repository, tag=tag)).digest
            if self.manifest(repository, found) is None:
                return None
        except ImageNotFound:
            return None
        except RegistryError as err:
            if isinstance(err, RegistryUnreachable | RateLimited):
                self._away_until = time.monotonic() + self._away_s
            if kept is None:
                raise
            return kept
        self._kept.keep_tag(repository, tag, found)
        return found

    def manifest(self, repository: str, digest: Digest) -> tuple[bytes, str] | None:
        """Return a manifest; one that is not kept is fetched.

        Raises:
            RegistryError: it cannot be.
        """
        kept = self._kept.manifest(repository, digest)
        if kept is not None:
            return kept
        try:
            fetched = self._client.manifest(self._reference(repository, digest=digest))
        except ImageNotFound:
            return None
        contents = Contents.parse(fetched.raw, fetched.content_type)
        # Not whole: what it names is fetched when somebody wants it.
        self._kept.keep_manifest(
            repository, fetched.raw, contents, digest=digest, tag=None, whole=False
        )
        return fetched.raw, contents.media_type

    def open_blob(self, repository: str, digest: Digest) -> tuple[int, BinaryIO] | None:
        """Open a blob; one that is not kept can be read while it is fetched.

        Raises:
            RegistryError: it cannot be fetched.
        """
        found = self._kept.open_blob(repository, digest)
        if found is None and self._kept.mount(repository, digest, origin=None):
            found = self._kept.open_blob(repository, digest)
        size = self._kept.part_bytes(repository, digest)
        if found is not None or size is None:
            return found
        fetch = self._fetch(repository, Descriptor("application/octet-stream", digest, size))
        try:
            fetch.wait_for(0)
            return size, cast("BinaryIO", _Growing(fetch))
        except BlobNotFound:
            return None
        except FileNotFoundError:  # it has its name by now, or was thrown away
            found = self._kept.open_blob(repository, digest)
            if found is None:
                fetch.wait_for(size)  # raises what was wrong
            return found

    def _reference(
        self, repository: str, *, tag: str | None = None, digest: Digest | None = None
    ) -> Reference:
        """Say what the other registry calls it; at Docker Hub ``alpine`` is ``library/alpine``."""
        if self._registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        return Reference(self._registry, repository, tag, digest)

    def _fetch(self, repository: str, blob: Descriptor) -> _Fetch:
        """Return the fetch of a blob: the one at work, or a new one."""
        with self._lock:
            fetch = self._fetches.get(blob.digest)
            if fetch is None:
                name = self._kept.uploads.begin(repository)
                upload = self._kept.uploads.find(repository, name)
                reference = self._reference(repository, digest=blob.digest)
                fetch = _Fetch(self._client, reference, blob, upload, self._cancelled)
                self._fetches[blob.digest] = fetch
                fetch.start(lambda: self._keep(repository, name, blob.digest))
        return fetch

    def _keep(self, repository: str, name: str, digest: Digest) -> None:
        fetch = self._fetches[digest]
        try:
            if fetch.is_complete:
                self._kept.keep_upload(repository, name, digest)
        finally:
            self._kept.uploads.forget(name)
            with self._lock:
                del self._fetches[digest]


class _Fetch:
    """One blob on its way here, for any number of readers."""

    def __init__(
        self,
        client: RegistryClient,
        reference: Reference,
        blob: Descriptor,
        upload: Upload,
        cancelled: threading.Event,
    ) -> None:
        self._client = client
        self._reference = reference
        self._cancelled = cancelled
        self._news = threading.Condition()
        self._error: OcimagicError | None = None
        self._is_over = False
        self.blob = blob
        self.upload = upload
        self.thread = threading.Thread(name=f"mirror-{blob.digest.short}", daemon=True)

    @property
    def is_complete(self) -> bool:
        """Say whether all bytes are here."""
        return self.upload.written == self.blob.size

    def start(self, keep: Callable[[], None]) -> None:
        """Fetch in a thread; ``keep`` is called once, at the end."""
        self.thread = threading.Thread(
            target=self._work, args=(keep,), name=self.thread.name, daemon=True
        )
        self.thread.start()

    def wait_for(self, offset: int) -> int:
        """Wait until there are bytes at an offset; return where they end.

        The last byte waits until the digest is known to be right.

        Raises:
            OcimagicError: there will be none.
        """
        with self._news:
            while True:
                end = self.upload.written - (self.is_complete and not self._is_over)
                if self._error is not None and end <= offset:
                    raise self._error
                if end > offset or self._is_over:
                    return end
                self._news.wait()

    def _work(self, keep: Callable[[], None]) -> None:
        error: OcimagicError | None = None
        try:
            with self.upload.alone():
                self._download()
        except OcimagicError as err:
            error = err
        try:
            keep()
        except OcimagicError as err:
            error = error or err
        with self._news:
            self._error, self._is_over = error, error is None
            self._news.notify_all()

    def _download(self) -> None:
        tries = 0
        while not self.is_complete:
            before = self.upload.written
            try:
                self._go_on()
            except RegistryUnreachable:
                tries = 0 if self.upload.written > before else tries + 1
                if tries >= _TRIES or self._cancelled.is_set():
                    raise

    def _go_on(self) -> None:
        offset = self.upload.written
        with self._client.open_blob(self._reference, self.blob, offset=offset) as stream:
            if stream.start_offset != offset:
                self.upload.cut(stream.start_offset)
            for chunk in stream.chunks:
                with self._news:
                    self.upload.append(chunk)
                    self._news.notify_all()


class _Growing(io.RawIOBase):
    """A file that waits for its bytes."""

    def __init__(self, fetch: _Fetch) -> None:
        self._fetch = fetch
        self._file = fetch.upload.path.open("rb")

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; bytes need not be there yet."""
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """Return what is there, at least a byte; nothing at the end, or if it never comes."""
        offset = self._file.tell()
        try:
            end = self._fetch.wait_for(offset)
        except OcimagicError:
            return b""  # the connection is cut; the client sees that bytes are missing
        return self._file.read(min(size, max(0, end - offset)) if size >= 0 else end - offset)

    def close(self) -> None:
        """Close it; the fetch goes on, for the next one."""
        self._file.close()
        super().close()
