"""From a mirror into the store: documents, and files whose digest is known.

Files lie among the blobs, as part of the build cache: a second bootstrap fetches nothing, a
broken one goes on where it was, ``builder prune`` takes them away.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from ocimagic.build.cache import Made, StepCache, cache_key, now
from ocimagic.errors import (
    BlobNotFound,
    Cancelled,
    DigestMismatch,
    RegistryAnswered,
    RegistryUnreachable,
    SizeMismatch,
    Unauthorized,
)
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.registry.message import Request
from ocimagic.registry.origin import Origin, shown_url
from ocimagic.registry.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.build.debian.aptconf import AptConfig
    from ocimagic.model.event import OnEvent
    from ocimagic.registry.message import Answer
    from ocimagic.spec.digest import Digest
    from ocimagic.store.blobs import BlobWriter
    from ocimagic.store.store import Store

_AT_ONCE = 6
_TRIES = 3
_DOCUMENT_S = 120.0
_TOLD_EVERY_BYTES = 1 << 20
_HINT = "try again; if it comes back, the mirror is being updated or damaged: name another"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a mirror should have.

    Attributes:
        name: for people.
        urls: where to ask, in turn.
    """

    name: str
    urls: tuple[str, ...]
    size: int
    digest: Digest


@dataclass(slots=True)
class _Count:
    """How far a batch is; threads add to it."""

    digest: Digest
    total: int
    on_event: OnEvent
    lock: threading.Lock
    done: int = 0
    fetched: int = 0
    told: int = 0

    def add(self, count: int, *, fetched: bool) -> None:
        with self.lock:
            self.done += count
            self.fetched += count if fetched else 0
            if self.done - self.told < _TOLD_EVERY_BYTES:
                return
            self.told = self.done
            # Events come one after the other, as whoever hears them expects.
            self._tell(LayerPhase.DOWNLOADING)

    def finish(self) -> None:
        self._tell(LayerPhase.DONE if self.fetched else LayerPhase.EXISTS)

    def _tell(self, phase: LayerPhase) -> None:
        self.on_event(LayerProgress(self.digest, phase, min(self.done, self.total), self.total))


class Fetcher:
    """Asks mirrors; close it, or leave its with-block.

    Args:
        store: gets the files.
        apt: of this machine: proxies and logins.
        environment: where proxies are said if apt says none.
        on_event: is told how far it is.
        cancelled: set it to stop.
    """

    def __init__(
        self,
        store: Store,
        apt: AptConfig,
        environment: Mapping[str, str],
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> None:
        self._store = store
        self._apt = apt
        self._environment = environment
        self._on_event = on_event
        self._cancelled = cancelled
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._transports: dict[Origin, Transport] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def document(self, url: str, *, max_bytes: int) -> bytes | None:
        """Return a document, None if the mirror has none there.

        Raises:
            RegistryError: the mirror cannot be reached, or answers nonsense.
        """
        with self._open(url) as answer:
            if answer.status in (403, 404, 410):  # some keep silent about what is not there
                return None
            _expect(answer, 200)
            return answer.read(max_bytes=max_bytes, within_s=_DOCUMENT_S, what="Release file")

    def files(self, wanted: Sequence[RemoteFile], title: str) -> int:
        """Have files in the store; return how many bytes were fetched.

        Raises:
            RegistryError: the mirror cannot be reached; what came whole is kept.
            DigestMismatch, SizeMismatch, BlobNotFound: it has not what its index says.
            Cancelled: what came is kept.
        """
        total = sum(each.size for each in wanted)
        name = cache_key("files", digests=sorted(str(each.digest) for each in wanted))
        self._on_event(TransferStarted(title, None, ((name, total),), verb="fetching"))
        count = _Count(name, total, self._on_event, threading.Lock())
        stop = threading.Event()
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            # Large ones first: a large one at the end would be waited for alone.
            order = sorted(wanted, key=lambda each: -each.size)
            jobs = [threads.submit(self._file, each, count, stop) for each in order]
            try:
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                stop.set()
                for job in jobs:
                    job.cancel()
                raise
        count.finish()
        cache = StepCache(self._store, enabled=True)
        cache.remember(name, Made(None, now()), [each.digest for each in wanted])
        return count.fetched

    def _file(self, wanted: RemoteFile, count: _Count, stop: threading.Event) -> None:
        store = self._store.blobs
        if store.has(wanted.digest):
            count.add(wanted.size, fetched=False)
            return
        try:
            with store.ingest(wanted.digest, wanted.size) as writer:
                if store.has_held(wanted.digest):
                    count.add(wanted.size, fetched=False)
                    return
                for piece in writer.resume():
                    count.add(len(piece), fetched=False)
                self._fetch(wanted, writer, count, stop)
                writer.commit()
        except (DigestMismatch, SizeMismatch) as err:
            err.what = f"{wanted.name} is not what the mirror's index says"
            err.where, err.hint = shown_url(wanted.urls[0]), _HINT
            raise

    def _fetch(
        self, wanted: RemoteFile, writer: BlobWriter, count: _Count, stop: threading.Event
    ) -> None:
        """Write what is missing, going on where a connection broke."""
        for attempt in range(1, _TRIES + 1):
            try:
                if writer.written < wanted.size:
                    self._rest(wanted, writer, count, stop)
            except RegistryUnreachable:
                if attempt == _TRIES:
                    raise
            if writer.written >= wanted.size:
                return

    def _rest(
        self, wanted: RemoteFile, writer: BlobWriter, count: _Count, stop: threading.Event
    ) -> None:
        headers = {"Range": f"bytes={writer.written}-"} if writer.written else {}
        for url in wanted.urls:
            with self._open(url, headers) as answer:
                if answer.status == 404:
                    continue
                if writer.written and answer.status != 206:
                    count.add(-writer.written, fetched=False)
                    writer.restart()
                _expect(answer, 206 if writer.written else 200)
                for piece in answer.pieces():
                    self._check(stop)
                    writer.write(piece)
                    count.add(len(piece), fetched=True)
                return
        raise BlobNotFound(
            f"the mirror has no {wanted.name}", where=shown_url(wanted.urls[-1]), hint=_HINT
        )

    def _check(self, stop: threading.Event | None = None) -> None:
        if (stop and stop.is_set()) or (self._cancelled and self._cancelled.is_set()):
            raise Cancelled("the bootstrap was stopped", hint="what was fetched whole is kept")

    def _open(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        self._check()
        said = dict(headers or {})
        if login := self._apt.login(url):
            said["Authorization"] = "Basic " + b64encode(":".join(login).encode()).decode()
        return self._transport(url).open(Request("GET", url, said))

    def _transport(self, url: str) -> Transport:
        """Return the connections to a mirror: each may have a proxy of its own."""
        origin = Origin.of(url)
        with self._lock:
            if origin not in self._transports:
                environment = dict(self._environment)
                if proxy := self._apt.proxy(origin.scheme, origin.host):
                    name = f"{origin.scheme}_proxy"
                    environment.pop(name.upper(), None)
                    environment[name] = "" if proxy.upper() == "DIRECT" else proxy
                plain = {f"{origin.host}:{origin.port}"} if origin.scheme == "http" else ()
                transport = Transport(insecure=frozenset(plain), env=environment)
                self._transports[origin] = self._stack.enter_context(transport)
            return self._transports[origin]


def _expect(answer: Answer, status: int) -> None:
    if answer.status == status:
        return
    url = answer.request.url
    host = urlsplit(url).hostname
    if answer.status in (401, 407):
        raise Unauthorized(
            f"the mirror {host} wants a login",
            where=shown_url(url),
            hint="put it where apt looks: /etc/apt/auth.conf.d/",
        )
    raise RegistryAnswered(
        f"the mirror {host} answered {answer.status}", where=shown_url(url), hint="name another"
    )
