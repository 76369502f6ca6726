"""Pushing: blobs and manifests on their way to a registry.

A blob that is there already is not sent, one that another repository of the registry has is
taken over from there, and one whose connection breaks goes on where the registry has it.

Spec: distribution-spec "Push": "Pushing Blobs", "Mounting a blob from another repository",
"Pushing Manifests".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from ocimagic.errors import DigestMismatch, RegistryAnswered, RegistryUnreachable
from ocimagic.registry.auth import Subject
from ocimagic.registry.message import Request, refuse_cancelled
from ocimagic.registry.origin import check_step, resolve_step
from ocimagic.registry.refusal import RegistryWords, refusal
from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from ocimagic.registry.auth import Authenticator
    from ocimagic.registry.message import Answer
    from ocimagic.registry.transport import Transport
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.reference import Reference

AGENT = "ocimagic"
_TRIES_WITHOUT_PROGRESS = 3
_AT_ONCE_BYTES = 64 << 10  # up to this a blob goes along with the request that ends its upload
_TAKEN = frozenset({200, 201, 202, 204})
# A registry may still be writing what a broken connection brought when it is asked how far it is.
_NOT_THERE_YET = frozenset({409, 416})
_UNSETTLED = frozenset({"DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"})
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a blob's bytes come from.

    Attributes:
        read: yields them from an offset on; called again when they have to be sent again.
        on_sent: is told how many of them the registry has been sent so far.
    """

    read: Callable[[int], Iterable[bytes]]
    on_sent: Callable[[int], None]


class PutManifest(NamedTuple):
    """What became of a manifest.

    Attributes:
        knows_subject: the registry lists it with what it says something about.
    """

    digest: Digest
    knows_subject: bool


class Uploader:
    """Pushes to one repository; thread-safe.

    Args:
        transport: connections.
        auth: logs us in.
        reference: the repository; the tag is that of ``put_manifest``.
        cancelled: stops what is under way.
    """

    def __init__(
        self,
        transport: Transport,
        auth: Authenticator,
        reference: Reference,
        cancelled: threading.Event | None,
    ) -> None:
        self._transport = transport
        self._auth = auth
        self._reference = reference
        self._cancelled = cancelled
        self._base = transport.base_url(reference.registry, cancelled=cancelled)
        self._root = f"{self._base}/v2/{reference.repository}"

    def has(self, digest: Digest) -> bool:
        """Ask whether the repository has a blob.

        Raises:
            Unauthorized, RegistryError: what the registry said.
        """
        with self._ask("HEAD", f"{self._root}/blobs/{digest}") as answer:
            if answer.status in {200, 404}:
                return answer.status == 200
            # Some answer so to what they do not know; the upload will tell what is wrong.
            if answer.status in {400, 405}:
                return False
            raise self._refused(answer)

    def has_manifest(self, digest: Digest, *, tag: str | None = None) -> bool:
        """Ask whether the repository has a manifest, and with it all that it names.

        Args:
            digest: which.
            tag: it must be what this names.

        Raises:
            Unauthorized, RegistryError: what the registry said.
        """
        accept = ", ".join((*mediatype.INDEXES, *mediatype.MANIFESTS))
        url = f"{self._root}/manifests/{tag or digest}"
        with self._ask("HEAD", url, {"Accept": accept}) as answer:
            if answer.status == 200:
                return tag is None or answer.header("docker-content-digest") == digest
            if answer.status in {400, 404, 405}:
                return False
            raise self._refused(answer)

    def upload(self, blob: Descriptor, source: Source, *, mount_from: str = "") -> bool:
        """Bring a blob there; say whether it was only taken over from another repository.

        Args:
            blob: what it is.
            source: its bytes.
            mount_from: a repository of the same registry that probably has it, or "".

        Raises:
            Unauthorized, RateLimited, RegistryError: what the registry said.
            ImageNotFound: it wants the repository to be made first.
        """
        location = self._begin(blob, mount_from)
        if location is None:
            return True
        if blob.size <= _AT_ONCE_BYTES:
            self._send_at_once(location, blob, b"".join(source.read(0)))
            source.on_sent(blob.size)
            return False
        _Upload(self, blob, source, location).run()
        return False

    def _send_at_once(self, location: str, blob: Descriptor, body: bytes) -> None:
        try:
            self._end(location, blob, body)
        except RegistryAnswered:
            # Over two connections, the first of which broke, some of it may have arrived twice.
            self._end(self.again(blob), blob, body)

    def put_manifest(
        self, raw: bytes, media_type: str, *, tag: str | None = None, digest: Digest | None = None
    ) -> PutManifest:
        """Publish a manifest or index under a tag, or by its digest only.

        Args:
            raw: its bytes.
            media_type: what they are.
            tag: its name.
            digest: what others call it by; None is its SHA-256.

        Raises:
            DigestMismatch: the registry keeps something else.
            Unauthorized, RegistryError: what the registry said.
        """
        digest = digest or Digest.of(raw)
        url = f"{self._root}/manifests/{tag or digest}"
        with self._ask_until_settled(url, {"Content-Type": media_type}, raw) as answer:
            if answer.status not in _TAKEN:
                raise self._refused(answer)
            said = answer.header("docker-content-digest")
            knows_subject = bool(answer.header("oci-subject"))
        if said and said != digest and said.startswith(f"{digest.algorithm}:"):
            raise DigestMismatch(
                f"the manifest of {self._reference.familiar}",
                expected=digest,
                actual=Digest.parse(said),
                where=self._reference.registry,
            )
        return PutManifest(digest, knows_subject)

    # -- for the upload of one blob ----------------------------------------------

    def _begin(self, blob: Descriptor, mount_from: str) -> str | None:
        """Open an upload and return where it is; None if the blob was taken over."""
        url = f"{self._root}/blobs/uploads/"
        if mount_from:
            wish = f"?mount={quote(blob.digest, safe='')}&from={quote(mount_from, safe='')}"
            # Whatever a registry dislikes about the wish, it may still take the blob itself.
            with self._ask("POST", url + wish, source=mount_from) as answer:
                if answer.status == 201:
                    return None
                if answer.status == 202:
                    return self.step(answer)
        with self._ask("POST", url) as answer:
            if answer.status != 202:
                raise self._refused(answer)
            return self.step(answer)

    def patch(self, location: str, blob: Descriptor, source: Source, start: int) -> str:
        """Send a blob from an offset on, and return where its upload is then."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(blob.size - start),
        }
        if start:
            headers["Content-Range"] = f"{start}-{blob.size - 1}"
        body = _counted(source, start, self._cancelled, location)
        with self._ask("PATCH", location, headers, body, is_once=True) as answer:
            if start and answer.status in _NOT_THERE_YET:
                raise RegistryUnreachable(
                    f"{answer.origin.shown} is still at work on what came before",
                    why=f"HTTP {answer.status}: the upload is not at byte {start} any more",
                )
            if answer.status not in _TAKEN:
                raise self._refused(answer)
            return self.step(answer)

    def pause(self, location: str, number: int) -> None:
        """Wait before another try, each time twice as long."""
        seconds = self._transport.patience.backoff_s * 2 ** (number - 1)
        self._transport.pause(seconds, location, self._cancelled)

    def state(self, location: str) -> tuple[str, int] | None:
        """Ask how much of an upload has arrived: where it is now and that; None if nobody knows.

        Who says nothing may still be writing what a broken connection brought: it is asked again.
        """
        told = self._progress(location)
        if told is not None and told[1] <= 1:
            self.pause(location, 1)
            told = self._progress(location)
        return None if told is not None and told[1] == 1 else told

    def _progress(self, location: str) -> tuple[str, int] | None:
        """Ask once; one byte is what some say of none."""
        with self._ask("GET", location) as answer:
            if answer.status not in {200, 202, 204}:
                return None
            found = _RANGE.fullmatch(answer.header("range"))
            return self.step(answer, location), int(found[1]) + 1 if found else 0

    def end(self, location: str, blob: Descriptor) -> None:
        """Close an upload whose bytes are all there."""
        self._end(location, blob, b"")

    def again(self, blob: Descriptor) -> str:
        """Open another upload in place of one that is gone."""
        location = self._begin(blob, "")
        assert location is not None
        return location

    def _end(self, location: str, blob: Descriptor, body: bytes) -> None:
        joint = "&" if urlsplit(location).query else "?"
        url = f"{location}{joint}digest={quote(blob.digest, safe='')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        with self._ask("PUT", url, headers, body) as answer:
            # Sent again because its answer was lost, it ends an upload that has ended.
            if answer.status not in _TAKEN and not (answer.status == 404 and self.has(blob.digest)):
                raise self._refused(answer)

    def step(self, answer: Answer, fallback: str = "") -> str:
        """Return where an answer sends us for the rest of an upload.

        Raises:
            RegistryAnswered: nowhere, or to where no registry may send us.
        """
        said = answer.header("location")
        if not said and fallback:
            return fallback
        if not said:
            raise RegistryAnswered(
                f"{answer.origin.shown} does not say where the upload goes on",
                why=f"HTTP {answer.status} without Location",
            )
        url = resolve_step(answer.request.url, said)
        check_step(url, asked_by=answer.origin, insecure=self._transport.insecure)
        return url

    def _ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        body: bytes | Callable[[], Iterable[bytes]] | None = None,
        *,
        source: str = "",
        is_once: bool = False,
    ) -> Answer:
        sent = {"User-Agent": AGENT, **(headers or {})}
        request = Request(method, url, sent, body, is_movable=True, is_once=is_once)
        if not url.startswith(f"{self._base}/"):
            # Another host, which has its own way to know us: our login is none of its business.
            return self._transport.open(request, cancelled=self._cancelled)
        subject = Subject(self._reference.registry, self._reference.repository, "pull,push", source)
        return self._auth.open(request, subject, cancelled=self._cancelled)

    def _ask_until_settled(self, url: str, headers: dict[str, str], raw: bytes) -> Answer:
        """Put a manifest, again if the registry misses what it just took.

        Distribution (docker-registry 2.8) reads its link to a blob while another upload of the
        same blob writes it anew, finds it empty, and calls the digest invalid.
        """
        for number in range(1, _TRIES_WITHOUT_PROGRESS + 1):
            answer = self._ask("PUT", url, headers, raw)
            if answer.status not in {400, 404}:
                return answer
            body = answer.error_text(within_s=self._transport.patience.error_body_s)
            if RegistryWords.parse(body).code not in _UNSETTLED:
                return answer
            answer.close()
            self.pause(url, number)
        return self._ask("PUT", url, headers, raw)

    def _refused(self, answer: Answer) -> Exception:
        subject = Subject(self._reference.registry, self._reference.repository)
        return refusal(
            answer,
            self._reference,
            what="upload",
            within_s=self._transport.patience.error_body_s,
            notes=self._auth.notes(subject),
        )


class _Upload:
    """One large blob on its way, over as many connections as it takes."""

    def __init__(self, uploader: Uploader, blob: Descriptor, source: Source, location: str) -> None:
        self._uploader = uploader
        self._blob = blob
        self._source = source
        self._location = location
        self._arrived = 0

    def run(self) -> None:
        tries = 0
        while True:
            try:
                self._location = self._uploader.patch(
                    self._location, self._blob, self._source, self._arrived
                )
                break
            except RegistryUnreachable:
                tries += 1
                if tries > _TRIES_WITHOUT_PROGRESS:
                    raise
                if tries > 1:
                    self._uploader.pause(self._location, tries - 1)
                if self._find_out():
                    tries = 0
                if self._arrived >= self._blob.size:
                    break
        self._uploader.end(self._location, self._blob)

    def _find_out(self) -> bool:
        """Ask how much the registry has; say whether that is more than before."""
        before = self._arrived
        state = self._uploader.state(self._location)
        if state is None:
            self._location, self._arrived = self._uploader.again(self._blob), 0
        else:
            self._location, self._arrived = state
        return self._arrived > before


def _counted(
    source: Source, start: int, cancelled: threading.Event | None, url: str
) -> Callable[[], Iterator[bytes]]:
    def body() -> Iterator[bytes]:
        sent = start
        for piece in source.read(start):
            refuse_cancelled(cancelled, url)
            yield piece
            sent += len(piece)
            source.on_sent(sent)

    return body
