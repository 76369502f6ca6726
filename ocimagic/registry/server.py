"""A small real registry: for class, for tests, and to keep images in.

docker, podman, skopeo and buildah can pull from it and, over a source that keeps, push to it.

Spec: distribution-spec.
"""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.registry import pulling, pushing
from ocimagic.registry.body import Limits
from ocimagic.registry.exchange import Exchange
from ocimagic.registry.reply import Refusal
from ocimagic.registry.scope import CATALOG, Scope, needed
from ocimagic.registry.source import ContentKeeper
from ocimagic.registry.tokens import TOKEN_PATH, realm_at
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ocimagic.registry.passwords import Passwords
    from ocimagic.registry.source import ContentSource
    from ocimagic.registry.tokens import TokenServer

    OnRequest = Callable[[str, str, int], None]

_ROUTE = re.compile(
    r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs/uploads|blobs|tags|referrers)/(?P<last>[^/]{0,300})"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_MAX_NAME = 255
_CATALOG = "/v2/_catalog"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_PULLS = {
    "manifests": pulling.send_manifest,
    "blobs": pulling.send_blob,
    "referrers": pulling.send_referrers,
}
_UPLOADS = {
    "GET": pushing.send_upload_status,
    "HEAD": pushing.send_upload_status,
    "PATCH": pushing.continue_upload,
    "PUT": pushing.finish_upload,
    "DELETE": pushing.cancel_upload,
}
_DELETES = {"manifests": pushing.delete_manifest, "blobs": pushing.delete_blob}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may do what at a registry server.

    Attributes:
        passwords: whoever wants anything must be in there; None asks nobody who they are.
        tokens: gives logins tokens and wants these, in place of ``passwords``.
        is_open: other machines may come without a login.
        tls: makes it speak HTTPS.
        read_only: nobody may push, whatever the source could keep.
        may_delete: manifests, tags and blobs may be deleted.
        limits: what is borne.
    """

    passwords: Passwords | None = None
    tokens: TokenServer | None = None
    is_open: bool = False
    tls: ssl.SSLContext | None = None
    read_only: bool = False
    may_delete: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def has_login(self) -> bool:
        """Say whether strangers are kept out, or from changing anything."""
        return bool(self.passwords or self.tokens)


class RegistryServer:
    """Serves a ContentSource from threads of this process while its ``with`` block runs.

    Args:
        source: what to serve; it can be pushed to if it is a ContentKeeper.
        address: a loopback address, unless the rules keep strangers out or let them in.
        port: 0 takes a free one.
        on_request: called from the serving threads with method, path and status.
        rules: who may do what.

    Raises:
        InvalidOption: the address is not a loopback address and nothing keeps strangers out,
            or the port is taken.
    """

    def __init__(
        self,
        source: ContentSource,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        on_request: OnRequest | None = None,
        rules: Rules | None = None,
    ) -> None:
        rules = rules or Rules()
        if not _is_loopback(address) and not rules.has_login and not rules.is_open:
            raise InvalidOption(
                f"a registry without a login does not listen on {address}",
                why="everybody on that network could take, replace and fill up what is in it",
                hint="use 127.0.0.1; or name users with --htpasswd FILE; or say --open, in a "
                "class network where that is meant",
            )
        try:
            self._http = _HTTPServer(address, port, source, on_request, rules)
        except OSError as err:
            raise InvalidOption(
                f"a registry cannot listen on {address} port {port}",
                why=err.strerror,
                hint="another port may be free; 0 takes one that is",
            ) from err
        bound = self._http.server_address[1]
        self.host = self._http.host
        self.url = f"{'https' if rules.tls else 'http'}://{self.host}"
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
    request_queue_size = 128
    # On Windows this flag would let a second server take the port over.
    allow_reuse_address = os.name != "nt"

    def __init__(
        self,
        address: str,
        port: int,
        source: ContentSource,
        on_request: OnRequest | None,
        rules: Rules,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.source = source
        self.keeper: ContentKeeper | None = None
        if isinstance(source, ContentKeeper) and not rules.read_only:
            self.keeper = source
        self.on_request = on_request
        self.rules = rules
        self.turn = threading.Semaphore(rules.limits.parsed_manifests)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((address, port), _Handler)
        shown = f"[{address}]" if ":" in address else address
        self.host = f"{shown}:{self.server_address[1]}"
        if rules.tls:
            # The greeting is left to the thread of the connection: a client that does not
            # greet must not keep others waiting.
            self.socket = rules.tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def server_bind(self) -> None:
        """Bind, without the name lookup that HTTPServer adds and that may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Remember the connection, so that closing the server can end it."""
        with self._lock:
            is_full = len(self._connections) >= self.rules.limits.connections
            if not is_full:
                self._connections.add(request)
        if is_full:
            with suppress(OSError):
                if not self.rules.tls:
                    request.settimeout(0)
                    request.send(_BUSY)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Greet, if that is to be, and answer requests; in the connection's own thread."""
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(self.rules.limits.idle_s)
            request.do_handshake()
        super().finish_request(request, client_address)

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


class _Handler(Exchange):
    @property
    def _registry(self) -> _HTTPServer:
        assert isinstance(self.server, _HTTPServer)
        return self.server

    def setup(self) -> None:
        """Take over what the server bears."""
        self.limits = self._registry.rules.limits
        super().setup()

    def _answer(self) -> None:
        """Answer whatever was asked."""
        try:
            self.begin()
            self._respond(unquote(self.url.path))
        except Refusal as refusal:
            self.refuse(refusal)
        except OcimagicError as err:
            self.refuse(Refusal.of(err))
        if self.close_connection:
            self.linger()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_request(self, code: object = "-", size: object = "-") -> None:  # noqa: ARG002
        """Tell who wants to see the requests."""
        if self._registry.on_request:
            path = getattr(self, "path", "")
            self._registry.on_request(self.command, path, int(str(code)))

    def _respond(self, path: str) -> None:
        if not self._looks and "Origin" in self.headers:
            # Only browsers say that: any page could fill up a registry on its reader's machine.
            raise Refusal(403, "DENIED", "a web page may not push")
        tokens = self._registry.rules.tokens
        found = _ROUTE.fullmatch(path)
        try:
            if tokens and path == TOKEN_PATH:
                return tokens.answer(self)
            if tokens:
                self._want_token(tokens, path, found)
            else:
                self._want_password()
        except InvalidOption as err:
            _log.debug("%s: %s", err.what, err.why)
            words = "this registry cannot read its list of users"
            raise Refusal(500, "UNKNOWN", words) from err
        return self._route(path, found)

    def _want_password(self) -> None:
        passwords = self._registry.rules.passwords
        if passwords and not passwords.admits(self.headers.get("Authorization", "")):
            raise Refusal(
                401,
                "UNAUTHORIZED",
                "this registry wants a login",
                WWW_Authenticate='Basic realm="ocimagic registry"',
            )

    def _want_token(self, tokens: TokenServer, path: str, found: re.Match[str] | None) -> None:
        wanted: list[Scope] = []
        if path == _CATALOG:
            wanted = [CATALOG]
        elif found and _is_name(found["name"]):
            origin = self.asked("from") if self.asked("mount") is not None else None
            if origin is None or not _is_name(origin):
                # To take a blob over from anywhere would be to pull from everywhere.
                self.query = {key: each for key, each in self.query.items() if key != "mount"}
                origin = None
            wanted = needed(self.command, found["name"], found["kind"], origin)
        realm = realm_at(
            self.headers.get("Host", ""),
            self._registry.host,
            is_secure=self._registry.rules.tls is not None,
        )
        tokens.admit(self.headers.get("Authorization", ""), wanted, realm)

    @property
    def _looks(self) -> bool:
        return self.command in {"GET", "HEAD"}

    def _route(self, path: str, found: re.Match[str] | None) -> None:
        source, keeper = self._registry.source, self._registry.keeper
        if not self._looks and keeper is None:
            raise _read_only()
        if path in {"/v2", "/v2/", _CATALOG} and self._looks:
            return pulling.send_catalog(self, source) if path == _CATALOG else self.send_json({})
        if not found:
            raise Refusal(404, "NOT_FOUND", "there is nothing at this path")
        name, kind, last = found["name"], found["kind"], found["last"]
        if not _is_name(name):
            raise Refusal(400, "NAME_INVALID", "this is no name of a repository")
        if kind == "tags":
            if last != "list" or not self._looks:
                raise Refusal(404, "NOT_FOUND", "there is nothing at this path")
            return pulling.send_tags(self, source, name)
        if kind in _PULLS and self._looks:
            return _PULLS[kind](self, source, name, last)
        if keeper is None:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "nothing is uploaded here")
        return self._change(keeper, name, kind, last)

    def _change(self, keeper: ContentKeeper, name: str, kind: str, last: str) -> None:
        method = self.command
        if kind == "blobs/uploads":
            if method == "POST" and not last:
                return pushing.begin_upload(self, keeper, name)
            if method in _UPLOADS and last:
                return _UPLOADS[method](self, keeper, name, last)
        elif method == "PUT" and kind == "manifests":
            return pushing.put_manifest(self, keeper, name, last, self._registry.turn)
        elif method == "DELETE" and kind in _DELETES and self._registry.rules.may_delete:
            return _DELETES[kind](self, keeper, name, last)
        raise Refusal(405, "UNSUPPORTED", f"{method} is not allowed here", Allow="GET, HEAD")


def server_tls(cert: str, key: str) -> ssl.SSLContext:
    """Read the certificate a server shows, and its key.

    Raises:
        InvalidOption: they cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ValueError) as err:
        raise InvalidOption(
            "the certificate of the registry cannot be used",
            why=str(err),
            where=f"{cert}, {key}",
            hint="both files are PEM, and the key has no password",
        ) from err
    return context


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME and _NAME.fullmatch(text) is not None


def _read_only() -> Refusal:
    words = "this registry is read-only: it can be pulled from, not pushed to"
    return Refusal(405, "UNSUPPORTED", words, Allow="GET, HEAD")


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False
