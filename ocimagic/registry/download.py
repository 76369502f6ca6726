"""A file from a web server, for whoever imports one: streamed, and resumed after a break.

No login is sent but what the caller adds; redirects, proxies and certificates are those of
registries.

Spec: RFC 9110 section 14 (ranges) and 13.1.5 (If-Range).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import NotFound, RegistryAnswered, RegistryUnreachable
from ocimagic.registry.message import Request, refuse_cancelled
from ocimagic.registry.origin import shown_url
from ocimagic.registry.upload import AGENT

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from ocimagic.registry.message import Answer
    from ocimagic.registry.transport import Transport

_TRIES_WITHOUT_PROGRESS = 3
_PROGRESS_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")


class Download:
    """One file on its way.

    Args:
        transport: connections.
        url: http or https.
        cancelled: stops it when set.
        headers: besides our own; Authorization goes to the origin of ``url`` only.

    Attributes:
        done_bytes: how many have come.
        total_bytes: how many there will be, 0 while that is not known.
        etag: what the server calls this version of the file; "" while it has not said so.
        modified: its Last-Modified, in the same way.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        *,
        cancelled: threading.Event | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = transport
        self._url = url
        self._cancelled = cancelled
        self._headers = {"User-Agent": AGENT, **(headers or {})}
        self._validator = ""
        self.done_bytes = 0
        self.total_bytes = 0
        self.etag = ""
        self.modified = ""

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; a connection that breaks is opened again where the server can go on.

        Raises:
            NotFound: the server has no such file.
            RegistryUnreachable: no connection, or it breaks again and again.
            RegistryAnswered: something else than the file.
        """
        tries = 0
        while True:
            before = self.done_bytes
            try:
                yield from self._go_on()
            except RegistryUnreachable:
                refuse_cancelled(self._cancelled, self._url)
                tries = 0 if self.done_bytes - before >= _PROGRESS_BYTES else tries + 1
                if tries >= _TRIES_WITHOUT_PROGRESS or (self.done_bytes and not self._validator):
                    raise
            else:
                return

    def _go_on(self) -> Iterator[bytes]:
        headers = self._headers
        if self.done_bytes:
            headers = headers | {"Range": f"bytes={self.done_bytes}-", "If-Range": self._validator}
        request = Request("GET", self._url, headers)
        with self._transport.open(request, cancelled=self._cancelled) as answer:
            self._check(answer)
            for piece in answer.pieces():
                refuse_cancelled(self._cancelled, self._url)
                self.done_bytes += len(piece)
                yield piece

    def _check(self, answer: Answer) -> None:
        """See that what follows is the file, or the rest of it."""
        if self.done_bytes:
            found = _CONTENT_RANGE.fullmatch(answer.header("content-range"))
            if answer.status != 206 or not found or int(found[1]) != self.done_bytes:
                raise RegistryAnswered(
                    f"{shown_url(self._url)} changed while it was fetched",
                    why=f"the connection broke after {self.done_bytes} bytes",
                    hint="try again",
                )
            return
        if answer.status in {404, 410}:
            raise NotFound(f"there is no {shown_url(self._url)}", hint="check the address")
        if answer.status != 200:
            raise RegistryAnswered(
                f"{answer.origin.shown} does not give {shown_url(self._url)}",
                why=f"HTTP {answer.status}",
                hint="fetch it with a program that can log in, and name the file",
            )
        length = answer.header("content-length")
        self.total_bytes = int(length) if re.fullmatch(r"[0-9]{1,19}", length) else 0
        self.etag, self.modified = answer.header("etag"), answer.header("last-modified")
        if answer.header("accept-ranges").lower() == "bytes" and not self.etag.startswith("W/"):
            self._validator = self.etag or self.modified
