"""One connection to the registry: requests are read, answers are written.

What is asked for and what is answered is in ``pulling`` and ``pushing``; here is HTTP.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import ssl
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import SplitResult, parse_qs, urlsplit

from ocimagic.registry.body import PIECE_BYTES, Body, Limits, PatientSocket
from ocimagic.registry.reply import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINGER_S = 2.0
_BUFFER_BYTES = 16 << 10  # of each connection; a body is read past it
_TOO_MUCH = 64 << 10  # bytes of a body that nobody wants
_log = logging.getLogger(__name__)


class Exchange(BaseHTTPRequestHandler):
    """Requests of one client, one after the other.

    Attributes:
        limits: what is borne.
        body: of the request at hand; None until ``begin``, and when its frame is wrong.
        url: of the request at hand.
        query: what follows the question mark.
    """

    protocol_version = "HTTP/1.1"
    server_version = "ocimagic"
    sys_version = ""
    disable_nagle_algorithm = True
    limits: Limits
    body: Body | None = None
    url: SplitResult = SplitResult("", "", "", "", "")
    query: Mapping[str, list[str]]
    _expects = False

    def setup(self) -> None:
        """Put our patience between the socket and what reads from it."""
        super().setup()
        self.connection.settimeout(self.limits.idle_s)
        self.rfile.close()
        self._patience = PatientSocket(self.connection, self.limits.idle_s)
        self.rfile = io.BufferedReader(self._patience, _BUFFER_BYTES)

    def handle_one_request(self) -> None:
        """Answer one request, if its head comes in time."""
        self._patience.deadline = time.monotonic() + self.limits.idle_s
        self.body, self._expects = None, False
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True  # gone before it was answered

    def handle_expect_100(self) -> bool:
        """Wait with "go on" until somebody wants the body: it may be refused unsent."""
        self._expects = True
        return True

    def begin(self) -> None:
        """Read what the head of the request says.

        Raises:
            Refusal: where its body ends cannot be told, or the address is none.
        """
        self.body = Body(
            self.headers, cast("BinaryIO", self.rfile), self._patience, self.limits, self._go_on
        )
        try:
            self.url = urlsplit(self.path)
            self.query = parse_qs(self.url.query, keep_blank_values=True, max_num_fields=32)
        except ValueError as err:
            raise Refusal(400, "UNSUPPORTED", f"the address is none: {err}") from err

    def asked(self, name: str) -> str | None:
        """Return a parameter of the address."""
        return self.query.get(name, [None])[0]

    def finish_body(self) -> None:
        """Leave the connection where the next request begins, or end it."""
        body = self.body
        if (
            body
            and not body.is_done
            and not self._expects
            and (body.length or _TOO_MUCH) < _TOO_MUCH
        ):
            with suppress(Refusal):
                for _ in body.pieces():
                    pass
        if body is None or not body.is_done:
            self.close_connection = True

    def linger(self) -> None:
        """Read what a client still sends after it was refused.

        If the connection were closed with bytes unread, the client's system would throw our
        answer away (RFC 9112 section 9.6).
        """
        if self.body is None or self.body.is_done or self.body.is_broken:
            return
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self._patience.deadline = time.monotonic() + _LINGER_S
            while self.rfile.read1(PIECE_BYTES):
                pass

    def _go_on(self) -> None:
        if self._expects:
            self._expects = False
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # -- answers ---------------------------------------------------------------

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error of the spec."""
        self.send_json(refusal.document(), status=refusal.status, headers=refusal.headers)

    def send_json(
        self,
        document: Mapping[str, object],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a JSON document."""
        raw = json.dumps(document).encode()
        self.send_bytes(
            raw, status=status, headers={"Content-Type": "application/json"} | dict(headers or {})
        )

    def send_bytes(
        self, content: bytes = b"", *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with all there is; to a HEAD, with how much that would be."""
        self.send_head(status, {"Content-Length": str(len(content))} | dict(headers or {}))
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""
        self.finish_body()
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_file(self, file: BinaryIO, start: int, count: int) -> None:
        """Send a part of a file."""
        if _is_on_disk(file) and not isinstance(self.connection, ssl.SSLSocket):
            self.close_connection |= self.connection.sendfile(file, start, count) < count
            return
        # Bytes in memory, still on their way or to be ciphered: the socket's own way sends 8 KiB
        # at a time.
        file.seek(start)
        while count > 0 and (piece := file.read(min(count, PIECE_BYTES))):
            self.connection.sendall(piece)
            count -= len(piece)
        self.close_connection |= count > 0

    # -- http.server's own -----------------------------------------------------

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what http.server itself cannot read in the form of all other errors."""
        self.close_connection = True
        self.command = cast("str | None", getattr(self, "command", None)) or "GET"
        kind = "UNSUPPORTED" if code in {405, 501, 505} else "UNKNOWN"
        self.refuse(Refusal(code, kind, (message or "this request cannot be read")[:200]))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """Print nothing."""


def _is_on_disk(file: BinaryIO) -> bool:
    try:
        file.fileno()
    except OSError:
        return False
    return True
