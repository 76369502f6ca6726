"""The registry client: names become descriptors, descriptors become bytes.

Spec: distribution-spec "Pull" and "Content Discovery"; ``upload`` is the other direction.
"""

from __future__ import annotations

import copy
import hashlib
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ocimagic.errors import (
    DigestMismatch,
    InvalidDigest,
    InvalidDocument,
    RegistryAnswered,
)
from ocimagic.registry.auth import Authenticator, Subject
from ocimagic.registry.blobs import BlobStream, check_length, check_range, chunks_of
from ocimagic.registry.message import Request
from ocimagic.registry.origin import Origin, resolve_step
from ocimagic.registry.ranges import Lanes, Spread, Spreading
from ocimagic.registry.refusal import RateLimit, login_refusal, refusal
from ocimagic.registry.transport import Transport
from ocimagic.registry.upload import AGENT, Uploader
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_MANIFEST_BYTES, decode
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence

    from ocimagic.errors import OcimagicError
    from ocimagic.registry.cloudlogins import CloudLogins
    from ocimagic.registry.credentials import Credentials
    from ocimagic.registry.message import Answer
    from ocimagic.registry.settings import RegistrySettings
    from ocimagic.spec.reference import Reference

# Old registries answer with schema 1 when they are not told what we can read.
ACCEPT = (*mediatype.INDEXES, *mediatype.MANIFESTS)
MAX_TAG_PAGES = 100
MAX_TAGS = 100_000
_TAGS_PER_PAGE = 1000


class FetchedManifest(NamedTuple):
    """A manifest or index as the registry sent it, its digest checked.

    Attributes:
        raw: the bytes.
        content_type: what the registry calls them; ``parse_manifest`` compares the two.
    """

    raw: bytes
    content_type: str


class RegistryClient:
    """Reads from any number of registries; thread-safe.

    Each method takes a Reference; those about a repository pass over its tag and digest.

    Args:
        transport: connections; shared with other clients if you like.
        credentials: where logins are; None reads public images only.
        clouds: where more are, for clouds' own registries.
        settings: what this machine says of registries: mirrors, token servers to trust.
        spreading: when a blob comes over several connections; blobs and twins share them.
    """

    def __init__(
        self,
        transport: Transport | None = None,
        credentials: Credentials | None = None,
        *,
        clouds: CloudLogins | None = None,
        settings: RegistrySettings | None = None,
        spreading: Spreading | None = None,
    ) -> None:
        self._transport = transport or Transport()
        self._settings = settings
        trusted = settings.trusted_realms if settings else frozenset()
        self._auth = Authenticator(
            self._transport, credentials, clouds=clouds, trusted_realms=trusted
        )
        # Shared by all twins; setting and reading an item are atomic.
        self._limits: dict[str, RateLimit] = {}
        self._lanes = Lanes(spreading)
        self._cancelled: threading.Event | None = None

    def until(self, cancelled: threading.Event) -> RegistryClient:
        """Return this client, tokens and connections shared, stopping when the event is set.

        A stopped call raises RegistryUnreachable.
        """
        twin = copy.copy(self)
        twin._cancelled = cancelled  # noqa: SLF001  its own class
        return twin

    def rate_limit(self, registry: str) -> RateLimit | None:
        """Return the pulls that a registry still gives; None when it has not said."""
        return self._limits.get(registry)

    def places(self, reference: Reference) -> list[Reference]:
        """Return where to ask for what a reference names, in turn: mirrors, then its own place.

        Raises:
            InvalidOption: this machine's settings forbid to ask.
        """
        return self._settings.places(reference) if self._settings else [reference]

    def resolve(self, reference: Reference, *, accept: Sequence[str] = ACCEPT) -> Descriptor:
        """Ask what a reference names now, without fetching it if that can be avoided.

        A HEAD does not count as a pull at Docker Hub.  It is trusted for the digest only:
        fetch the content by that digest.

        Raises:
            ImageNotFound: no such tag, digest or repository.
            Unauthorized: a login is needed, or this one is refused.
            RateLimited: no pulls left.
            RegistryError: unreachable, or an answer that breaks the spec.
        """
        with self._ask("HEAD", reference, _manifest_path(reference), accept) as answer:
            self._remember(answer, reference)
            if answer.status in {404, 429}:
                raise self._refused(answer, reference, what="image")
            described = _described(answer) if answer.status == 200 else None
        if described is None:
            raw, content_type = self.manifest(reference, accept=accept)
            digest = reference.digest or Digest.of(raw)
            return Descriptor(_media_type(content_type), digest, len(raw))
        if reference.digest and described.digest != reference.digest:
            raise _mismatch(reference, reference.digest, described.digest)
        return described

    def manifest(self, reference: Reference, *, accept: Sequence[str] = ACCEPT) -> FetchedManifest:
        """Fetch a manifest or index; this counts as a pull at Docker Hub.

        Raises:
            DigestMismatch: not the bytes that were asked for or announced.
            ImageNotFound, Unauthorized, RateLimited, RegistryError: see ``resolve``.
        """
        patience = self._transport.patience
        with self._ask("GET", reference, _manifest_path(reference), accept) as answer:
            self._remember(answer, reference)
            if answer.status != 200:
                raise self._refused(answer, reference, what="image")
            _refuse_encoded(answer)
            raw = answer.read(
                max_bytes=MAX_MANIFEST_BYTES, within_s=patience.body_s, what="manifest"
            )
            announced = _announced_digest(answer)
            content_type = answer.header("content-type")
        for expected in (reference.digest, announced):
            if expected is not None:
                _verify(raw, expected, reference)
        return FetchedManifest(raw, content_type)

    @contextmanager
    def open_blob(
        self, reference: Reference, descriptor: Descriptor, *, offset: int = 0
    ) -> Iterator[BlobStream]:
        """Open a blob for reading from ``offset`` on; hashing it is up to the caller.

        Raises:
            BlobNotFound: the repository has no such blob.
            SizeMismatch: the registry announces another size.
            Unauthorized, RateLimited, RegistryError: see ``resolve``.
        """
        if offset == descriptor.size > 0:
            yield BlobStream(offset, iter(()))
            return
        offset = offset if 0 < offset < descriptor.size else 0
        answer = self._ask_blob(reference, descriptor, offset, descriptor.size, self._cancelled)
        if answer.status == 416:
            answer.close()
            offset = 0
            answer = self._ask_blob(reference, descriptor, 0, descriptor.size, self._cancelled)
        with answer:
            if answer.status == 206 and offset:
                check_range(answer, descriptor, offset, descriptor.size)
            elif answer.status == 200:
                check_length(answer, descriptor)
            else:
                raise self._refused(answer, reference, what="blob")

            def part(start: int, end: int, stop: threading.Event | None) -> Answer:
                found = self._ask_blob(reference, descriptor, start, end, stop)
                if found.status not in {200, 206}:
                    raise self._refused(found, reference, what="blob")
                return found

            with Spread(descriptor, part, self._lanes, cancelled=self._cancelled) as spread:
                yield BlobStream(offset, chunks_of(spread.pieces(answer, offset)))

    def tags(self, reference: Reference) -> list[str]:
        """List the tags of a repository, in the registry's order.

        Raises:
            ImageNotFound: no such repository.
            RegistryAnswered: pages that do not end or lead elsewhere.
            Unauthorized, RateLimited, RegistryError: see ``resolve``.
        """
        path = f"tags/list?n={_TAGS_PER_PAGE}"
        found: dict[str, None] = {}
        for _ in range(MAX_TAG_PAGES):
            with self._ask("GET", reference, path, ("application/json",)) as answer:
                if answer.status != 200:
                    raise self._refused(answer, reference, what="tags")
                page = self._tag_page(answer)
                following = _next_page(answer)
            news = [tag for tag in page if tag not in found]
            found.update(dict.fromkeys(page))
            if not following or len(found) >= MAX_TAGS:
                return list(found)[:MAX_TAGS]
            if not news:
                break
            path = following
        raise RegistryAnswered(
            f"the list of tags of {reference.familiar_name} does not end",
            where=reference.registry,
        )

    def uploader(self, reference: Reference) -> Uploader:
        """Return what pushes to a repository."""
        return Uploader(self._transport, self._auth, reference, self._cancelled)

    def check_login(self, registry: str) -> None:
        """Ask a registry whether it takes the login there is for it.

        Raises:
            Unauthorized: it does not.
            RegistryError: unreachable, or no registry.
        """
        base = self._transport.base_url(registry, cancelled=self._cancelled)
        subject = Subject(registry, "")
        request = Request("GET", f"{base}/v2/", {"User-Agent": AGENT})
        with self._auth.open(request, subject, cancelled=self._cancelled) as answer:
            if answer.status != 200:
                raise login_refusal(
                    answer,
                    registry,
                    within_s=self._transport.patience.error_body_s,
                    notes=self._auth.notes(subject),
                )

    def _tag_page(self, answer: Answer) -> list[str]:
        limits = self._transport.patience
        raw = answer.read(max_bytes=MAX_MANIFEST_BYTES, within_s=limits.body_s, what="tags")
        try:
            tags = decode(raw, what="list of tags", max_bytes=MAX_MANIFEST_BYTES).texts("tags")
        except InvalidDocument as err:
            raise RegistryAnswered(f"{answer.origin.shown}: {err.what}", why=err.why) from err
        return [tag for tag in tags if tag.isprintable()]

    def _ask(
        self,
        method: str,
        reference: Reference,
        path: str,
        accept: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask about a repository; ``path`` is what follows its name."""
        base = self._transport.base_url(reference.registry, cancelled=self._cancelled)
        url = f"{base}/v2/{reference.repository}/{path}"
        sent = {"User-Agent": AGENT, **(headers or {})}
        if accept:
            sent["Accept"] = ", ".join(accept)
        subject = Subject(reference.registry, reference.repository)
        return self._auth.open(Request(method, url, sent), subject, cancelled=self._cancelled)

    def _ask_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        start: int,
        end: int,
        stop: threading.Event | None,
    ) -> Answer:
        is_part = start > 0 or end < descriptor.size
        headers = {"Range": f"bytes={start}-{end - 1}"} if is_part else {}
        twin = self.until(stop) if stop else self
        return twin._ask(  # noqa: SLF001  its own class
            "GET", reference, f"blobs/{descriptor.digest}", headers=headers
        )

    def _refused(self, answer: Answer, reference: Reference, *, what: str) -> OcimagicError:
        subject = Subject(reference.registry, reference.repository)
        return refusal(
            answer,
            reference,
            what=what,
            within_s=self._transport.patience.error_body_s,
            notes=self._auth.notes(subject),
        )

    def _remember(self, answer: Answer, reference: Reference) -> None:
        limit = RateLimit.of(answer)
        if limit:
            self._limits[reference.registry] = limit


def _manifest_path(reference: Reference) -> str:
    return f"manifests/{reference.digest or reference.tag}"


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _described(answer: Answer) -> Descriptor | None:
    """Read a descriptor out of the headers; None when they do not make one."""
    digest = _announced_digest(answer)
    size = answer.header("content-length")
    media_type = _media_type(answer.header("content-type"))
    known = media_type in ACCEPT
    if digest is None or not known or not re.fullmatch(r"[1-9][0-9]{0,9}", size):
        return None
    return Descriptor(media_type, digest, int(size))


def _announced_digest(answer: Answer) -> Digest | None:
    said = answer.header("docker-content-digest")
    if not said:
        return None
    try:
        return Digest.parse(said)
    except InvalidDigest as err:
        raise RegistryAnswered(
            f"{answer.origin.shown} announces a digest that is none", why=err.what
        ) from err


def _refuse_encoded(answer: Answer) -> None:
    encoding = answer.header("content-encoding").lower()
    if encoding not in {"", "identity"}:
        raise RegistryAnswered(
            f"{answer.origin.shown} packs its answer though it was asked not to",
            why=f"Content-Encoding: {encoding[:40]}",
        )


def _verify(raw: bytes, expected: Digest, reference: Reference) -> None:
    actual = Digest.of_hash(hashlib.new(expected.algorithm, raw))
    if actual != expected:
        raise _mismatch(reference, expected, actual)


def _mismatch(reference: Reference, expected: Digest, actual: Digest) -> DigestMismatch:
    return DigestMismatch(
        f"the manifest of {reference.familiar}",
        expected=expected,
        actual=actual,
        where=reference.registry,
    )


def _next_page(answer: Answer) -> str | None:
    """Return the path of the next page below the repository's name, None after the last.

    Raises:
        RegistryAnswered: the Link leads to another host or another list.
    """
    found = re.search(r"<([^>]{1,4000})>\s*;[^,]*\brel=\"?next\"?", answer.header("link"))
    if not found:
        return None
    url = resolve_step(answer.request.url, found[1])
    here, there = urlsplit(answer.request.url), urlsplit(url)
    if Origin.of(url) != answer.origin or there.path != here.path:
        raise RegistryAnswered(
            f"{answer.origin.shown} continues its list of tags elsewhere",
            why="a next page must be on the same host, below the same name",
        )
    return f"tags/list?{there.query}"
