"""ADD of a URL: one file from a web server, which the cache knows without fetching it again.

What was fetched once is remembered by URL with its digest and with what the server said of it
(ETag, Last-Modified); the next build asks for the headers alone.  With ``--checksum`` nobody is
asked.  The file has mode 0600 and the server's time, and the URL alone decides its name:
Content-Disposition does not.

Source: facts/build.md section 1.2 (ADD); RFC 9110 sections 8.8 and 13.1.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ocimagic.build.cache import cache_key
from ocimagic.build.limits import frame
from ocimagic.build.selection import Selected
from ocimagic.build.spooled import SPARE_BYTES, Spooled
from ocimagic.build.tree import File
from ocimagic.errors import BuildFailed, NotFound, RegistryError
from ocimagic.layers.tarheader import Kind
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.registry.origin import shown_url
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.dockerfile.instructions import Add
    from ocimagic.registry.download import Download
    from ocimagic.registry.transport import Transport

_MODE = 0o600
_EVENT_GAP_S = 0.1
_SETTLED_S = 60.0  # RFC 9110 8.8.2.2: a younger Last-Modified may stand for two contents
_URL_MARKS: Final = "!#$%&'()*+,/:;=?@[]~"


@dataclass(slots=True)
class FetchedFile:
    """One URL of an ADD; ``close`` takes away what was fetched.

    Args:
        bench: of this build.
        add: the instruction, expanded.
        url: http or https.
        needs_name: the destination is a directory.

    Raises:
        DockerfileError: no URL, no checksum, or no name for the file.
    """

    bench: Bench
    add: Add
    url: str
    needs_name: bool
    _name: str = ""
    _digest: str = ""
    _mtime_ns: int = 0
    _file: Spooled = field(init=False)
    _tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what was given, and find the name."""
        self._file = Spooled(self.bench, shown_url(self.url))
        try:
            self._name = _file_name(self.url)
        except ValueError as err:
            raise self.add.source.error(
                "this address cannot be read", at=self.url, why=str(err)
            ) from None
        checksum = self.add.checksum
        if checksum and not re.fullmatch("sha256:[0-9a-f]{64}", checksum, re.ASCII):
            raise self.add.source.error(
                f"invalid checksum: {checksum}",
                at=checksum if checksum in self.add.source.text else "--checksum",
                hint="it is sha256: and 64 digits from 0 to f, as sha256sum prints them",
            )
        if self.needs_name and not self._name:
            raise self.add.source.error(
                f"cannot tell the file's name from {shown_url(self.url)}",
                at=self.url,
                why="the destination is a directory, and the URL's path ends without a name",
                hint="give the file a name: ADD URL /directory/name",
            )

    @property
    def may_unpack(self) -> bool:
        """Whether it is unpacked if it is an archive; a remote one only when asked for."""
        return self.add.unpack is True

    @property
    def modified_ns(self) -> int:
        """When the server says that it was changed; 0 where it does not, or was not asked."""
        return self._mtime_ns

    def key(self) -> list[object]:
        """Return its name and digest; it is fetched now if the digest is not known.

        Raises:
            DockerfileError: there is no such file.
            BuildFailed: it cannot be fetched.
        """
        if self.add.checksum:
            return ["url", self._name, self.add.checksum]
        if not self._is_as_remembered():
            self._fetch()
        return ["url", self._name, self._digest, self._mtime_ns]

    def tree(self) -> Spooled:
        """Return the place of one file."""
        return self._file

    def selected(self) -> Sequence[Selected]:
        """Return the file, fetched and verified.

        Raises:
            DockerfileError: there is no such file, or it is another than ``--checksum`` says.
            BuildFailed: it cannot be fetched, or changed since the server was asked.
        """
        known = self._digest
        if not self._file.is_here:
            self._fetch()
        if known and known != self._digest:
            raise BuildFailed(
                f"{shown_url(self.url)} changed while it was built with",
                where=frame(self.add.source, self.url),
                hint="build again",
            )
        identity = (0,)
        return [
            Selected(
                self._name,
                File(
                    self._name or shown_url(self.url),
                    Kind.FILE,
                    _MODE,
                    0,
                    0,
                    self._mtime_ns,
                    self._file.size,
                    "",
                    identity,
                ),
            )
        ]

    def close(self) -> None:
        """Remove the file that was fetched."""
        self._file.close()

    # -- what is known ---------------------------------------------------------------

    @property
    def _memory(self) -> Digest:
        return cache_key("url", url=self.url)

    def _is_as_remembered(self) -> bool:
        """Ask the server whether the file is what it was; True if it says so."""
        if self.bench.cache.is_anew:
            return False
        known = self.bench.store.steps.find(self._memory)
        if not known:
            return False
        tags = {name: str(known.get(name, "")) for name in ("etag", "modified", "length")}
        headers = {}
        if tags["etag"]:
            headers["If-None-Match"] = tags["etag"]
        elif tags["modified"]:
            headers["If-Modified-Since"] = tags["modified"]
        if not headers or not self._is_unchanged(headers, tags):
            return False
        self._digest = str(known["sha256"])
        self._mtime_ns = int(str(known["mtime_ns"]))
        return True

    def _is_unchanged(self, headers: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        from ocimagic.registry.message import Request
        from ocimagic.registry.upload import AGENT

        address, login = _address(self.url)
        request = Request("HEAD", address, {"User-Agent": AGENT, **login, **headers})
        try:
            with (
                self._transport() as transport,
                transport.open(request, cancelled=self.bench.cancelled) as answer,
            ):
                if answer.status == 304:
                    return True
                if answer.status != 200:
                    return False
                if tags["etag"]:
                    return _opaque(answer.header("etag")) == _opaque(tags["etag"])
                same_time = answer.header("last-modified") == tags["modified"]
                return same_time and answer.header("content-length") == tags["length"]
        except RegistryError:
            self.bench.check_cancelled()
            return False  # GET says it in words

    def _remember(self) -> None:
        document = {"sha256": self._digest, "mtime_ns": self._mtime_ns, **self._tags}
        self.bench.store.steps.put(self._memory, document, [])

    # -- fetching --------------------------------------------------------------------

    def _transport(self) -> Transport:
        assert self.bench.web is not None
        return self.bench.web()

    def _fetch(self) -> None:
        from ocimagic.registry.download import Download

        try:
            with self._transport() as transport:
                address, login = _address(self.url)
                download = Download(
                    transport, address, cancelled=self.bench.cancelled, headers=login
                )
                self._file.take(self._told(download), lambda: _left(download))
        except NotFound as err:
            raise self.add.source.error(
                err.what, at=self.url, why="the server said so", hint=err.hint
            ) from err
        except RegistryError as err:
            self.bench.check_cancelled()
            raise BuildFailed(
                err.what, why=err.why, hint=err.hint, where=frame(self.add.source, self.url)
            ) from err
        self._digest = self._file.sha256
        self._verify()
        self._mtime_ns = _time_ns(download.modified)
        self._tags = {
            "etag": download.etag,
            "modified": download.modified if _is_settled(self._mtime_ns) else "",
            "length": str(self._file.size),
        }
        self._remember()

    def _told(self, download: Download) -> Iterator[bytes]:
        """Yield what comes, and tell how far it is."""
        label = Digest.of(self.url.encode("utf-8", "surrogateescape"))
        told = 0.0
        for piece in download.pieces():
            done, total = download.done_bytes, download.total_bytes
            if not told:
                sizes = ((label, total),)
                self.bench.on_event(TransferStarted(shown_url(self.url), None, sizes, "fetching"))
            if time.monotonic() - told > _EVENT_GAP_S:
                told = time.monotonic()
                phase = LayerPhase.DOWNLOADING
                self.bench.on_event(LayerProgress(label, phase, done, total, name="file"))
            yield piece
        if told:
            size = download.done_bytes
            self.bench.on_event(LayerProgress(label, LayerPhase.DONE, size, size, name="file"))

    def _verify(self) -> None:
        wanted = self.add.checksum
        if wanted and wanted != f"sha256:{self._digest}":
            raise self.add.source.error(
                f"digest mismatch for {shown_url(self.url)}",
                at=wanted,
                why=f"it is sha256:{self._digest}",
                hint="if that is the file you mean, change --checksum",
            )


def _left(download: Download) -> int:
    """Return how many bytes are still to come."""
    total = download.total_bytes
    return total - download.done_bytes if total else SPARE_BYTES


def _file_name(url: str) -> str:
    """Return the last component of a URL's path, "" if it has none that a file can have."""
    name = unquote(urlsplit(url).path, errors="surrogateescape").rstrip("/").rpartition("/")[2]
    return "" if name in (".", "..") or "\0" in name else name


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL as HTTP wants it, and the header that logs in where it has a name in it."""
    parts = urlsplit(url)
    login, at, place = parts.netloc.rpartition("@")
    plain = quote(
        urlunsplit(parts._replace(netloc=place)), safe=_URL_MARKS, errors="surrogateescape"
    )
    if not at:
        return plain, {}
    name, _, password = login.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    return plain, {"Authorization": f"Basic {b64encode(pair).decode()}"}


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")


def _time_ns(modified: str) -> int:
    """Return what a Last-Modified says; 1970 if it says nothing, as BuildKit has it."""
    try:
        return max(0, int(parsedate_to_datetime(modified).timestamp())) * 1_000_000_000
    except (ValueError, OverflowError, OSError):
        return 0


def _is_settled(mtime_ns: int) -> bool:
    return 0 < mtime_ns < (time.time() - _SETTLED_S) * 1e9
