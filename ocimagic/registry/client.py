"""The registry client: names become descriptors, descriptors become bytes.

Spec: distribution-spec "Pull" and "Content Discovery"; ``upload`` is the other direction.
"""

from __future__ import annotations

import copy
import hashlib
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote

from ocimagic.errors import (
    ContentError,
    DigestMismatch,
    ImageNotFound,
    NotFound,
    RegistryError,
    SizeMismatch,
)
from ocimagic.registry import discovery
from ocimagic.registry.auth import Authenticator, Subject
from ocimagic.registry.blobs import BlobStream, check_length, check_range, chunks_of
from ocimagic.registry.manifest_answer import (
    ACCEPT,
    announced_digest,
    descriptor_in,
    media_type,
    mismatch,
    refuse_encoded,
    verify_manifest,
)
from ocimagic.registry.message import Request
from ocimagic.registry.ranges import Lanes, Spread, Spreading
from ocimagic.registry.refusal import (
    RateLimit,
    catalog_refusal,
    login_refusal,
    no_catalog,
    refusal,
)
from ocimagic.registry.transport import Transport
from ocimagic.registry.upload import AGENT, Uploader
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, parse_manifest, schema1
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ocimagic.errors import OcimagicError
    from ocimagic.registry.cloudlogins import CloudLogins
    from ocimagic.registry.credentials import Credentials
    from ocimagic.registry.message import Answer
    from ocimagic.registry.settings import RegistrySettings
    from ocimagic.spec.reference import Reference

    OnAnswer = Callable[[str, str, int, float], None]

T = TypeVar("T")


class FetchedManifest(NamedTuple):
    """A manifest or index as the registry sent it, its digest checked.

    Attributes:
        raw: the bytes.
        content_type: what the registry calls them; ``parse_manifest`` compares the two.
    """

    raw: bytes
    content_type: str


class Referrers(NamedTuple):
    """What says something about a manifest.

    Attributes:
        manifests: described by those who made them; ``artifact_type`` says what each is.
        is_listed: the registry keeps the list; else it is what stands under a tag.
    """

    manifests: tuple[Descriptor, ...]
    is_listed: bool


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
        self._on_answer: OnAnswer = _tell_nobody

    def telling(self, on_answer: OnAnswer) -> RegistryClient:
        """Return this client, tokens and connections shared, that tells of each answer it gets.

        Args:
            on_answer: is given method, URL, status and the seconds until the answer began; from
                any thread.
        """
        twin = copy.copy(self)
        twin._on_answer = on_answer  # noqa: SLF001  its own class
        return twin

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

    def anywhere(self, reference: Reference, ask: Callable[[Reference], T]) -> T:
        """Ask the mirrors in turn, then a reference's own place; return the first answer.

        Raises:
            InvalidOption: this machine's settings forbid to ask.
            NotFound, ContentError, RegistryError: what its own place says.
        """
        *mirrors, own = self.places(reference)
        for place in mirrors:
            with suppress(NotFound, ContentError, RegistryError):
                return ask(place)
        return ask(own)

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
            described = descriptor_in(answer) if answer.status == 200 else None
        if described is None:
            raw, content_type = self.manifest(reference, accept=accept)
            digest = reference.digest or Digest.of(raw)
            return Descriptor(media_type(content_type), digest, len(raw))
        if reference.digest and described.digest != reference.digest:
            raise mismatch(reference, reference.digest, described.digest)
        return described

    def manifest(self, reference: Reference, *, accept: Sequence[str] = ACCEPT) -> FetchedManifest:
        """Fetch a manifest or index; this counts as a pull at Docker Hub.

        Raises:
            DigestMismatch: not the bytes that were asked for or announced.
            InvalidDocument: a docker schema 1 manifest.
            ImageNotFound, Unauthorized, RateLimited, RegistryError: see ``resolve``.
        """
        patience = self._transport.patience
        with self._ask("GET", reference, _manifest_path(reference), accept) as answer:
            self._remember(answer, reference)
            if answer.status != 200:
                raise self._refused(answer, reference, what="image")
            refuse_encoded(answer)
            raw = answer.read(
                max_bytes=MAX_MANIFEST_BYTES, within_s=patience.body_s, what="manifest"
            )
            announced = announced_digest(answer)
            content_type = answer.header("content-type")
        if media_type(content_type) in mediatype.DOCKER_SCHEMA1:
            raise schema1()  # its digest leaves its signatures out
        for expected in (reference.digest, announced):
            if expected is not None:
                verify_manifest(raw, expected, reference)
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

    def small_blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Fetch a config whole, its digest checked.

        Raises:
            SizeMismatch: it is too large for one, or not as large as it is said to be.
            DigestMismatch, BlobNotFound, Unauthorized, RegistryError: see ``open_blob``.
        """
        if descriptor.size > MAX_CONFIG_BYTES:
            raise SizeMismatch(
                "the image config", expected=MAX_CONFIG_BYTES, actual=descriptor.size
            )
        with self.open_blob(reference, descriptor) as stream:
            raw = b"".join(stream.chunks)
        actual = Digest.of_hash(hashlib.new(descriptor.digest.algorithm, raw))
        if actual != descriptor.digest:
            raise DigestMismatch(
                f"a blob of {reference.familiar}",
                expected=descriptor.digest,
                actual=actual,
                where=reference.registry,
            )
        return raw

    def tags(self, reference: Reference) -> list[str]:
        """List the tags of a repository, in the registry's order.

        Raises:
            ImageNotFound: no such repository.
            RegistryAnswered: pages that do not end or lead elsewhere.
            Unauthorized, RateLimited, RegistryError: see ``resolve``.
        """
        question = self._question(reference, "tags", f"list of tags of {reference.familiar_name}")
        return discovery.names(question, f"tags/list?n={discovery.PER_PAGE}", "tags")

    def catalog(self, registry: str) -> list[str]:
        """List the repositories of a registry, in its own order.

        Raises:
            RegistryAnswered: it does not tell, as Docker Hub and most clouds, or its pages do
                not end or lead elsewhere.
            Unauthorized: a login is needed, or this one is refused.
            RateLimited, RegistryError: see ``resolve``.
        """
        if registry == DEFAULT_REGISTRY:
            raise no_catalog(registry, "Docker Hub keeps no such list for anybody")
        base = self._transport.base_url(registry, cancelled=self._cancelled)
        subject = Subject(registry, "")

        def ask(path: str) -> Answer:
            headers = {"User-Agent": AGENT, "Accept": "application/json"}
            request = Request("GET", f"{base}/v2/{path}", headers)
            return self._auth.open(request, subject, cancelled=self._cancelled)

        def refused(answer: Answer) -> OcimagicError:
            within_s = self._transport.patience.error_body_s
            notes = self._auth.notes(subject)
            return catalog_refusal(answer, registry, within_s=within_s, notes=notes)

        body_s = self._transport.patience.body_s
        question = discovery.Question(ask, refused, f"list of repositories of {registry}", body_s)
        return discovery.names(question, f"_catalog?n={discovery.PER_PAGE}", "repositories")

    def referrers(
        self, reference: Reference, subject: Digest, *, artifact_type: str = ""
    ) -> Referrers:
        """List what says something about a manifest: signatures, bills of materials and such.

        Args:
            reference: the repository.
            subject: the manifest.
            artifact_type: keeps those of one type.

        Raises:
            Unauthorized, RateLimited, RegistryError: see ``resolve``.
        """
        what = f"list of referrers of {reference.familiar_name}"
        wish = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
        question = self._question(reference, "referrers", what)
        found = discovery.referrers(question, f"referrers/{subject}{wish}")
        is_listed = found is not None
        if found is None:
            found = self._tagged_referrers(reference, subject)
        # A registry need not know how to filter.
        kept = [each for each in found if artifact_type in {"", each.artifact_type}]
        return Referrers(tuple(kept), is_listed=is_listed)

    def _tagged_referrers(self, reference: Reference, subject: Digest) -> list[Descriptor]:
        """Read the index that stands under a tag where a registry keeps no list itself."""
        place = replace(reference, tag=discovery.referrers_tag(subject), digest=None)
        try:
            fetched = self.manifest(place)
        except ImageNotFound:
            return []
        document = parse_manifest(fetched.raw, content_type=fetched.content_type)
        return list(document.manifests) if isinstance(document, Index) else []

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

    def _question(self, reference: Reference, what: str, shown: str) -> discovery.Question:
        """Say how to ask for a list of a repository."""
        accept = (mediatype.OCI_INDEX,) if what == "referrers" else ("application/json",)
        return discovery.Question(
            lambda path: self._ask("GET", reference, path, accept),
            lambda answer: self._refused(answer, reference, what=what),
            shown,
            self._transport.patience.body_s,
        )

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
        began = time.monotonic()
        answer = self._auth.open(Request(method, url, sent), subject, cancelled=self._cancelled)
        self._on_answer(method, url, answer.status, time.monotonic() - began)
        return answer

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


def _tell_nobody(_method: str, _url: str, _status: int, _seconds: float) -> None:
    """Take an answer that nobody wants to hear of."""


def _manifest_path(reference: Reference) -> str:
    return f"manifests/{reference.digest or reference.tag}"
