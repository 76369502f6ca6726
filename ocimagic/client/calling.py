"""Requests to one API, in its version, over connections that are used again."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ocimagic.client.address import SSH
from ocimagic.client.connection import Connection, Stopped, never
from ocimagic.client.failures import STREAMED, failure
from ocimagic.client.tunnel import Tunnel
from ocimagic.errors import Cancelled, InvalidDocument, NeighbourError, NeighbourUnreachable
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from http.client import HTTPMessage, HTTPResponse

    from ocimagic.client.address import Address
    from ocimagic.client.connection import IsOver

    Query = Mapping[str, str | Sequence[str]]
    Body = Mapping[str, object] | Iterable[bytes] | None

NEWEST, OLDEST = (1, 50), (1, 24)
_MAX_DOCUMENT_BYTES = 256 << 20
_MAX_MESSAGE_BYTES = 64 << 10
_MOST_IDLE = 8
_PING_S = 20.0
_NO_CHANGE = 304  # what was to be stopped does not run, and the like: no error
_MAX_LINE_BYTES = 16 << 20


class Caller:
    """Asks one API; for many threads at a time.

    Args:
        address: where it is.
        tls: for TCP; None for none.

    Attributes:
        is_podman: it is podman's service; known once ``version`` is.
    """

    def __init__(self, address: Address, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self._tls = tls
        self._tunnel = Tunnel(address) if address.kind == SSH else None
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._version: tuple[int, int] | None = None
        self._is_closed = False
        self.is_podman = False

    def close(self) -> None:
        """Let go of all connections, and of ssh."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._is_closed = True
        for each in idle:
            each.close()
        if self._tunnel is not None:
            self._tunnel.close()

    # -- which version -------------------------------------------------------------

    @property
    def version(self) -> tuple[int, int]:
        """Return the version of the API that is spoken: the newest that both sides know.

        Raises:
            NeighbourUnreachable: nobody is there.
            NeighbourError: it is no Docker API, or one that is too old.
        """
        if self._version is None:
            self._version = self._negotiated()
        return self._version

    def _negotiated(self) -> tuple[int, int]:
        url = self.address.url
        theirs = self._pinged()
        try:
            major, _, minor = theirs.partition(".")
            found = (int(major), int(minor))
        except ValueError:
            raise NeighbourError(f"{url} has an unknown version {theirs[:40]!r}") from None
        if found < OLDEST:
            raise NeighbourError(
                f"{url} is too old", why=f"it speaks version {theirs}, the oldest known is 1.24"
            )
        return min(found, NEWEST)

    def _pinged(self) -> str:
        """Return the version that a ping is answered with; docker took some time to say one."""
        url = self.address.url
        deadline = time.monotonic() + _PING_S
        try:
            with self._answer(
                "GET", "/_ping", {}, None, "", lambda: time.monotonic() > deadline
            ) as (connection, answer):
                said = b"".join(connection.pieces(answer))[:100]
        except Stopped as err:
            why = f"it accepts a connection, and says nothing to a ping for {_PING_S:g} s"
            raise NeighbourUnreachable(f"{url} does not answer", why=why) from err
        except NeighbourError as err:
            if self._tunnel and (by_ssh := self._tunnel.said()):
                err.why = by_ssh  # such as: connect failed: No such file or directory
            raise
        theirs = answer.headers.get("Api-Version", "")
        self.is_podman = "Libpod-Api-Version" in answer.headers
        if not theirs and said.strip() != b"OK":
            raise NeighbourError(
                f"{url} is no Docker API",
                why=f"it answers {said.decode(errors='replace')!r} to a ping",
                hint="is it docker or podman that listens there?",
            )
        return theirs or "1.24"

    # -- asking --------------------------------------------------------------------

    def document(
        self,
        method: str,
        path: str,
        *,
        kind: str = "",
        query: Query | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fields:
        """Ask for one JSON object; null is an empty one.

        Raises:
            OcimagicError: what the API says went wrong.
        """
        value = self._value(method, path, kind=kind, query=query, body=body, headers=headers)
        if value is None:
            return Fields({}, path)
        if not isinstance(value, dict):
            raise self._no_document(path)
        return Fields(value, path)

    def documents(
        self, path: str, *, method: str = "GET", kind: str = "", query: Query | None = None
    ) -> list[Fields]:
        """Ask for a list of JSON objects; null is an empty one."""
        value = self._value(method, path, kind=kind, query=query)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self._no_document(path)
        return [Fields(each, path) for each in value]

    def done(
        self,
        method: str,
        path: str,
        *,
        kind: str = "",
        query: Query | None = None,
        body: Body = None,
    ) -> int:
        """Ask for something that has no answer but its status; return that."""
        with self.asked(method, path, kind=kind, query=query, body=body) as (connection, answer):
            for _ in connection.pieces(answer):
                continue
            return answer.status

    def headers(self, path: str, *, kind: str, query: Query | None = None) -> HTTPMessage:
        """Ask for the head of an answer only."""
        with self.asked("HEAD", path, kind=kind, query=query) as (connection, answer):
            for _ in connection.pieces(answer):
                continue  # there is no body, and with that the answer is whole
            return answer.headers

    def _value(self, method: str, path: str, **how: Any) -> object:  # noqa: ANN401  as asked
        with self.asked(method, path, **how) as (connection, answer):
            raw = bytearray()
            for piece in connection.pieces(answer):
                raw += piece
                if len(raw) > _MAX_DOCUMENT_BYTES:
                    raise self._no_document(path)
        try:
            found: object = json.loads(bytes(raw)) if raw.strip() else None
        except (ValueError, RecursionError) as err:
            raise self._no_document(path) from err
        return found

    def _no_document(self, path: str) -> NeighbourError:
        return NeighbourError(f"{self.address.url} answers nonsense to {path.partition('?')[0]}")

    @contextmanager
    def asked(
        self,
        method: str,
        path: str,
        *,
        kind: str = "",
        query: Query | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[Connection, HTTPResponse]]:
        """Ask, and give a good answer with the connection that its body is read from.

        Args:
            method: of HTTP.
            path: without version and query.
            kind: of what is asked about, see ``failures.failure``.
            query: texts, several for one name where they are in a list.
            body: a JSON object, or pieces of bytes.
            headers: more of them.
            cancelled: ends it when set.

        Raises:
            OcimagicError: what the API says went wrong.
            Cancelled: it was set.
        """
        whole = self.path(path, query)
        sent, more = _body(body)
        is_over = cancelled.is_set if cancelled else never
        try:
            with self._answer(
                method, whole, {**more, **(headers or {})}, sent, kind, is_over
            ) as found:
                yield found
        except Stopped as err:
            raise Cancelled("stopped by you") from err

    def path(self, path: str, query: Query | None = None) -> str:
        """Return a path with version and query."""
        major, minor = self.version
        text = urlencode(query, doseq=True, errors="surrogateescape") if query else ""
        return f"/v{major}.{minor}{path}" + (f"?{text}" if text else "")

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        kind: str,
        is_over: IsOver = never,
    ) -> Iterator[tuple[Connection, HTTPResponse]]:
        connection = self._connection()
        try:
            connection.is_over = is_over
            answer = connection.ask(method, path, headers, body)
            if not 200 <= answer.status < 300 and answer.status != _NO_CHANGE:
                raise self._failed(connection, answer, kind)
            yield connection, answer
        finally:
            self._give_back(connection)

    def taken_over(
        self, path: str, *, kind: str, query: Query | None = None, body: Body = None
    ) -> Connection:
        """Have the API give a connection away for streams; the caller closes it.

        Raises:
            OcimagicError: what the API says went wrong.
        """
        whole = self.path(path, query)
        sent, more = _body(body)
        connection = self._connection()
        try:
            headers = {"Connection": "Upgrade", "Upgrade": "tcp", **more}
            answer = connection.ask("POST", whole, headers, sent)
            if answer.status not in (101, 200):
                raise self._failed(connection, answer, kind)  # noqa: TRY301  closed below
        except BaseException:
            connection.close()
            raise
        return connection

    def begun(
        self, method: str, path: str, *, kind: str, query: Query | None = None
    ) -> tuple[Connection, HTTPResponse]:
        """Ask for what is answered later; its head has come.  The caller closes the connection.

        Raises:
            OcimagicError: what the API says went wrong.
        """
        whole = self.path(path, query)
        connection = self._connection()
        try:
            answer = connection.ask(method, whole, {}, None)
            if answer.status != 200:
                raise self._failed(connection, answer, kind)  # noqa: TRY301  closed below
        except BaseException:
            connection.close()
            raise
        return connection, answer

    def _connection(self) -> Connection:
        with self._lock:
            if self._is_closed:
                raise NeighbourUnreachable(f"{self.address.url} was let go of")
            while self._idle:
                found = self._idle.pop()
                if found.is_fresh:
                    return found
                found.close()
        return Connection(self.address, self._tunnel.path() if self._tunnel else "", self._tls)

    def _give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, if there can be one."""
        connection.is_over = never
        with self._lock:
            if connection.is_free and not self._is_closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _failed(self, connection: Connection, answer: HTTPResponse, kind: str) -> Exception:
        raw = b""
        with suppress(NeighbourError):
            for piece in connection.pieces(answer):
                raw += piece
                if len(raw) > _MAX_MESSAGE_BYTES:
                    break
        return failure(answer.status, _message(raw), kind, self.address.url)

    # -- answers that come line by line ----------------------------------------------

    def lines(
        self, connection: Connection, answer: HTTPResponse, *, kind: str = ""
    ) -> Iterator[Fields]:
        """Yield JSON objects as they come, one after another.

        Raises:
            OcimagicError: one of them says that it went wrong.
        """
        for line in self.values(connection, answer):
            if error := line.value.get("error"):
                raise failure(STREAMED, str(error), kind, self.address.url)
            yield line

    def values(self, connection: Connection, answer: HTTPResponse) -> Iterator[Fields]:
        """Yield JSON objects as they come, whatever they say."""
        decoder, left = json.JSONDecoder(), ""
        held = b""
        for piece in connection.pieces(answer):
            text, held = _decoded(held + piece)
            left = (left + text).lstrip()
            while left:
                try:
                    value, end = decoder.raw_decode(left)
                except ValueError:
                    if len(left) > _MAX_LINE_BYTES:
                        raise self._no_document("a stream") from None
                    break
                left = left[end:].lstrip()
                if not isinstance(value, dict):
                    raise self._no_document("a stream")
                yield Fields(value, "answer")
        if left:
            raise self._no_document("a stream")


def _decoded(raw: bytes) -> tuple[str, bytes]:
    """Return text, and the bytes of a letter whose end has not come."""
    for cut in range(min(4, len(raw) + 1)):
        try:
            return raw[: len(raw) - cut].decode(), raw[len(raw) - cut :]
        except UnicodeDecodeError:
            continue
    return raw.decode(errors="replace"), b""


def _body(body: Body) -> tuple[bytes | Iterable[bytes] | None, dict[str, str]]:
    if body is None:
        return None, {}
    if isinstance(body, dict):
        return json.dumps(body).encode(), {"Content-Type": "application/json"}
    pieces: Iterable[bytes] = body  # type: ignore[assignment]  # mappings are dicts here
    return pieces, {"Content-Type": "application/x-tar"}


def _message(raw: bytes) -> str:
    """Return the sentence of an error: docker's field, podman's, or all of it."""
    try:
        value = json.loads(raw)
        fields = Fields(value if isinstance(value, dict) else {}, "error")
        return fields.text("message", "") or fields.text("cause", "")
    except (ValueError, InvalidDocument):
        return raw[:500].decode(errors="replace")


def part(text: str, *, slashes: bool = False) -> str:
    """Write a name as a part of a path; images' names keep their slashes."""
    return quote(text, safe="/:@" if slashes else ":", errors="surrogateescape")


def filters(conditions: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Write conditions as the query has them."""
    wanted = {key: dict.fromkeys(values, True) for key, values in conditions.items()}
    return {"filters": json.dumps(wanted)}
