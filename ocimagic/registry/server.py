"""A small real registry on this machine, read-only: for class, and for tests.

docker, podman and skopeo can pull from it.

Spec: distribution-spec "Pull", "Content Discovery" and "Error Codes"; RFC 9110 section 14.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Self
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from ocimagic.errors import InvalidDigest, InvalidOption
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from ocimagic.registry.source import ContentSource

MAX_PAGE = 1000
_IDLE_S = 60.0
_PIECE_BYTES = 256 << 10
_ROUTE = re.compile(
    r"/v2/(?P<name>[a-z0-9]+(?:[/._-]+[a-z0-9]+)*)/"
    r"(?P<kind>manifests|blobs|tags)/(?P<last>[A-Za-z0-9_.:+-]{1,300})"
)
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_log = logging.getLogger(__name__)


class RegistryServer:
    """Serves a ContentSource from threads of this process while its ``with`` block runs.

    Args:
        source: what to serve.
        address: a loopback address; there is no login, so nobody else may reach it.
        port: 0 takes a free one.
        on_request: called from the serving threads with method, path and status.

    Raises:
        InvalidOption: the address is not a loopback address, or the port is taken.
    """

    def __init__(
        self,
        source: ContentSource,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        on_request: Callable[[str, str, int], None] | None = None,
    ) -> None:
        if not _is_loopback(address):
            raise InvalidOption(
                f"the class registry cannot listen on {address}",
                why="it has no login, so it stays on this machine",
                hint="use 127.0.0.1",
            )
        try:
            self._http = _HTTPServer(address, port, source, on_request)
        except OSError as err:
            raise InvalidOption(
                f"the class registry cannot listen on {address} port {port}", why=err.strerror
            ) from err
        bound = self._http.server_address[1]
        self.host = f"[{address}]:{bound}" if ":" in address else f"{address}:{bound}"
        self.url = f"http://{self.host}"
        self._bell, self._ringer = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=f"registry-{bound}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end all connections; a second call does nothing."""
        self._ringer.close()
        self._thread.join()
        self._http.server_close()
        self._http.close_connections()

    def _serve(self) -> None:
        """Take requests until the bell rings; asleep in between, as ``serve_forever`` is not."""
        with self._bell:
            bell = self._bell.fileno()
            while bell not in select.select([self._http.fileno(), bell], [], [])[0]:
                self._http.handle_request()


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    timeout: float | None = 0  # of ``handle_request``: there is one, or it has gone away again
    # On Windows this flag would let a second server take the port over.
    allow_reuse_address = os.name != "nt"

    def __init__(
        self,
        address: str,
        port: int,
        source: ContentSource,
        on_request: Callable[[str, str, int], None] | None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.source = source
        self.on_request = on_request
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without the name lookup that HTTPServer adds and that may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Remember the connection, so that closing the server can end it."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Forget a connection that is over."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the connections that clients keep open."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                _log.debug("a client was faster to close its connection")

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Take note of a client that went away; nothing is printed into a notebook."""
        _log.debug("request of %s failed", client_address, exc_info=True)


class _Refusal(Exception):
    """An error answer of the distribution spec."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ocimagic"
    sys_version = ""
    timeout: ClassVar[float | None] = _IDLE_S
    disable_nagle_algorithm = True

    @property
    def _registry(self) -> _HTTPServer:
        assert isinstance(self.server, _HTTPServer)
        return self.server

    def do_GET(self) -> None:
        """Answer a GET or a HEAD."""
        try:
            self._route(urlsplit(self.path))
        except _Refusal as refusal:
            error = {"code": refusal.code, "message": str(refusal), "detail": None}
            self._send_json({"errors": [error]}, status=refusal.status, headers=refusal.headers)

    do_HEAD = do_GET  # noqa: N815  the name is http.server's

    def do_POST(self) -> None:
        """Refuse a write; the body is not read, so the connection cannot go on."""
        self.close_connection = True
        error = {
            "code": "UNSUPPORTED",
            "message": "this registry is read-only: it can be pulled from, not pushed to",
            "detail": None,
        }
        headers = {"Allow": "GET, HEAD", "Connection": "close"}
        self._send_json({"errors": [error]}, status=405, headers=headers)

    do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815  the names are http.server's

    def log_request(self, code: object = "-", size: object = "-") -> None:  # noqa: ARG002
        """Tell who wants to see the requests."""
        if self._registry.on_request:
            self._registry.on_request(self.command, self.path, int(str(code)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """Print nothing."""

    def _route(self, url: SplitResult) -> None:
        query = parse_qs(url.query)
        if url.path in {"/v2", "/v2/"}:
            return self._send_json({})
        if url.path == "/v2/_catalog":
            return self._send_page("repositories", self._registry.source.repositories(), query, {})
        found = _ROUTE.fullmatch(url.path)
        if not found:
            raise _Refusal(404, "NOT_FOUND", "there is nothing at this path")
        name, kind, last = found["name"], found["kind"], found["last"]
        if kind == "manifests":
            return self._send_manifest(name, last)
        if kind == "blobs":
            return self._send_blob(name, _digest(last))
        if last != "list":
            raise _Refusal(404, "NOT_FOUND", "there is nothing at this path")
        return self._send_page("tags", self._tags(name), query, {"name": name})

    def _tags(self, repository: str) -> Mapping[str, Digest]:
        tags = self._registry.source.tags(repository)
        if tags is None:
            raise _Refusal(404, "NAME_UNKNOWN", f"there is no repository {repository}")
        return tags

    def _send_page(
        self,
        field_name: str,
        names: Iterable[str],
        query: Mapping[str, list[str]],
        more: Mapping[str, object],
    ) -> None:
        """Send a sorted list, or the part of it that ``n`` and ``last`` ask for."""
        said = query.get("n", [str(MAX_PAGE)])[0]
        if not re.fullmatch(r"[0-9]{1,9}", said):
            raise _Refusal(400, "PAGINATION_NUMBER_INVALID", "n must be a whole number")
        count, last = min(int(said), MAX_PAGE), query.get("last", [""])[0]
        left = sorted(name for name in names if name > last)
        page = left[:count]
        headers = {}
        if page and len(left) > len(page):
            path = urlsplit(self.path).path
            headers["Link"] = f'<{path}?n={count}&last={quote(page[-1], safe="")}>; rel="next"'
        self._send_json({**more, field_name: page}, headers=headers)

    def _send_manifest(self, repository: str, tag_or_digest: str) -> None:
        tags = self._tags(repository)
        digest = _digest(tag_or_digest) if ":" in tag_or_digest else tags.get(tag_or_digest)
        found = self._registry.source.manifest(repository, digest) if digest else None
        if digest is None or found is None:
            raise _Refusal(404, "MANIFEST_UNKNOWN", f"{repository} has no manifest {tag_or_digest}")
        raw, media_type = found
        self._send_head(200, _content_headers(digest, len(raw), media_type))
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _send_blob(self, repository: str, digest: Digest) -> None:
        blob = self._registry.source.open_blob(repository, digest)
        if blob is None:
            raise _Refusal(404, "BLOB_UNKNOWN", f"{repository} has no blob {digest}")
        size, opened = blob
        with opened as file:
            part = _range(self.headers.get("Range", ""), size)
            count = size if part is None else len(part)
            headers = _content_headers(digest, count, "application/octet-stream")
            headers["Accept-Ranges"] = "bytes"
            if part is not None:
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
            self._send_head(200 if part is None else 206, headers)
            if self.command != "HEAD" and count:
                self._send_file(file, part.start if part else 0, count)

    def _send_file(self, file: BinaryIO, start: int, count: int) -> None:
        try:
            file.fileno()
        except OSError:
            # Bytes in memory: the socket's own way would send them in pieces of 8 KiB.
            file.seek(start)
            while count > 0 and (piece := file.read(min(count, _PIECE_BYTES))):
                self.connection.sendall(piece)
                count -= len(piece)
        else:
            self.connection.sendfile(file, start, count)

    def _send_json(
        self,
        document: Mapping[str, object],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = json.dumps(document).encode()
        basic = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        self._send_head(status, {**basic, **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidDigest as err:
        raise _Refusal(400, "DIGEST_INVALID", err.what) from err


def _content_headers(digest: Digest, length: int, media_type: str) -> dict[str, str]:
    return {
        "Content-Type": media_type,
        "Content-Length": str(length),
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }


def _range(header: str, size: int) -> range | None:
    """Return the bytes a Range header asks for, None for all of them.

    Several ranges, or a header we cannot read, ask for all, as the RFC allows.
    """
    found = _RANGE.fullmatch(header.strip())
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, stop = max(0, size - int(found[2])), size
    else:
        start, stop = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    if found[1] and found[2] and int(found[2]) < int(found[1]):
        return None
    if start >= stop:
        raise _Refusal(
            416, "RANGE_INVALID", "the blob ends before that", Content_Range=f"bytes */{size}"
        )
    return range(start, stop)
