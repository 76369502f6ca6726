"""One request and its answer: whole, in pieces, or the connection itself for both to use."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.api.http import Gone
from ocimagic.errors import InvalidDocument, InvalidOption
from ocimagic.wire.reading import Query

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    from ocimagic.api.gone import Watcher
    from ocimagic.api.http import Body, Request, Stream

_TOGETHER = 1 << 17
MAX_JSON = 16 << 20
JSON = "application/json"
RAW, MULTIPLEXED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"
TAR = "application/x-tar"
MULTIPLEXED_SINCE = (1, 42)


class Answer(NamedTuple):
    """A whole answer.

    Attributes:
        document: what is written as JSON; None for no body.
    """

    status: int = 200
    document: object = None
    headers: Mapping[str, str] = {}


class Exchange:
    """One request and its answer.

    Args:
        request: its head.
        body: what follows the head.
        stream: of the client.
        version: of the API that was asked for.
        usual: headers of every answer.
        watcher: who notices that a client goes.

    Attributes:
        has_begun: an answer is on its way: no other one can be given.
        is_taken: the connection was taken over, and is of no more use for requests.
        status: of the answer, as far as it is known.
        container_id: which container the request is about, if its path does not say so.
        exec_id: and which command in it.
        told: what is worth keeping of its body.
    """

    def __init__(
        self,
        request: Request,
        body: Body,
        stream: Stream,
        version: tuple[int, int],
        usual: Mapping[str, str],
        watcher: Watcher,
    ) -> None:
        self.request = request
        self.query = Query(request.query)
        self.body = body
        self.version = version
        self.has_begun = False
        self.is_taken = False
        self.status = 200
        self.container_id = ""
        self.exec_id = ""
        self.told: Mapping[str, object] = {}
        self._stream = stream
        self._usual = usual
        self._watcher = watcher

    # -- what is asked ---------------------------------------------------------

    def json(self) -> dict[str, object]:
        """Return the body, an object of JSON; nothing for no body.

        Raises:
            InvalidOption: it is none.
        """
        data = bytearray()
        while piece := self.body.read(1 << 18):
            data += piece
            if len(data) > MAX_JSON:
                raise InvalidOption(f"the body has more than {MAX_JSON} bytes")
        if not data.strip():
            return {}
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as err:
            raise InvalidDocument(f"invalid JSON: {err}") from err
        if found is None:  # which docker 20.10 sends for nothing
            return {}
        if not isinstance(found, dict):
            raise InvalidDocument("the body is no JSON object")
        if b"\\u" in data and not all(_is_text(each) for each in _texts(found)):
            raise InvalidDocument("invalid JSON: NUL and half a character are no text")
        return found

    @contextmanager
    def watched(self, gone: threading.Event | None = None) -> Iterator[threading.Event]:
        """Yield what is set when the client goes, for answers that nobody may wait for."""
        gone = gone or threading.Event()
        with self._watcher.watching(self._stream.door, gone, half_closed=not self.is_taken):
            yield gone

    # -- what is answered ------------------------------------------------------

    def send(self, answer: Answer) -> None:
        """Send a whole answer.

        Raises:
            Gone: nobody is there.
        """
        body = b"" if answer.document is None else json.dumps(answer.document).encode() + b"\n"
        headers = dict(answer.headers)
        if answer.document is not None:
            headers["Content-Type"] = JSON
        if answer.status not in (204, 304):
            headers["Content-Length"] = str(len(body))
        head = self._head(answer.status, headers)
        self.has_begun = True
        self._send(head if self.request.method == "HEAD" else head + body)

    def plain(self, text: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole answer that is text."""
        kind = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text))}
        self.has_begun = True
        head = self._head(200, {**headers, **kind})
        self._send(head if self.request.method == "HEAD" else head + text)

    def begin(
        self, content_type: str = JSON, headers: Mapping[str, str] = {}, status: int = 200
    ) -> Pieces:
        """Send the head of an answer whose length nobody knows; it goes out at once."""
        kind = {"Content-Type": content_type} if content_type else {}
        self.has_begun = True
        is_old = self.request.is_old  # its answer ends with the connection
        coding = {} if is_old else {"Transfer-Encoding": "chunked"}
        self._send(self._head(status, {**headers, **kind, **coding}))
        is_silent = self.request.method == "HEAD"
        return Pieces(self._send, is_silent=is_silent, is_chunked=not is_old)

    def take_over(self, *, tty: bool) -> socket.socket:
        """Leave the connection to both sides as they like, which is how streams are attached.

        Returns:
            The socket; what the client sent after its request is ``early``.
        """
        self.body.drain(MAX_JSON)
        is_split = not tty and self.version >= MULTIPLEXED_SINCE
        kind = {"Content-Type": MULTIPLEXED if is_split else RAW}
        wanted = self.request.header("upgrade")
        if wanted:
            upgrade = {"Connection": "Upgrade", "Upgrade": wanted}
            return self.switch(kind | upgrade, "UPGRADED")
        self.has_begun = self.is_taken = True
        self._send(self._head(200, kind))
        self._stream.be_patient(0)
        return self._stream.door

    def switch(self, headers: Mapping[str, str], phrase: str = "") -> socket.socket:
        """Leave the connection to another protocol, which the headers name; return the socket."""
        self.has_begun = self.is_taken = True
        self.status = 101
        self._send(self._head(101, headers, phrase))
        self._stream.be_patient(0)
        return self._stream.door

    def early(self) -> bytes:
        """Return what the client sent right after its request."""
        return self._stream.taken()

    def _head(self, status: int, headers: Mapping[str, str], phrase: str = "") -> bytes:
        words = phrase or HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {words}"]
        lines += [f"{name}: {value}" for name, value in {**self._usual, **headers}.items()]
        if self.request.is_last and status != 101:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def _send(self, data: bytes) -> None:
        try:
            self._stream.door.sendall(data)
        except OSError as err:
            raise Gone(str(err)) from err


def _texts(found: object) -> Iterator[str]:
    """Yield every text of a document."""
    left = [found]
    while left:
        match left.pop():
            case str(text):
                yield text
            case dict(members):
                left += [*members, *members.values()]
            case list(each):
                left += each


def _is_text(text: str) -> bool:
    """Say whether a text can be written: JSON can name NUL and halves of surrogates."""
    return not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text)


class Pieces:
    """An answer in pieces; ``close`` says that it is whole."""

    def __init__(self, send: Callable[[bytes], None], *, is_silent: bool, is_chunked: bool) -> None:
        self._send = send
        self._is_silent = is_silent
        self._is_chunked = is_chunked

    def write(self, data: bytes) -> int:
        """Send a piece.

        Raises:
            Gone: nobody is there.
        """
        if data and not self._is_silent:
            self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        return len(data)

    @contextmanager
    def gathered(self) -> Iterator[Callable[[bytes], None]]:
        """Yield what takes small pieces, which are sent together: for what nobody waits for."""
        waiting = bytearray()

        def take(data: bytes) -> None:
            waiting.extend(data)
            if len(waiting) >= _TOGETHER:
                self.write(bytes(waiting))
                waiting.clear()

        yield take
        self.write(bytes(waiting))

    def line(self, document: object) -> None:
        """Send one document of a stream of JSON."""
        self.write(json.dumps(document, separators=(",", ":")).encode() + b"\r\n")

    def close(self) -> None:
        """Say that all was sent."""
        if self._is_chunked and not self._is_silent:
            self._send(b"0\r\n\r\n")
