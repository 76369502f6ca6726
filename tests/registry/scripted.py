"""A registry that does what a test tells it to, for everything an honest one would not do."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """A request as the server saw it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client_port: int = 0

    @property
    def host(self):
        return self.headers["host"]


@dataclass
class Reply:
    """What to answer.

    ``framed`` sends Content-Length, unless the headers name one or chunked; ``raw`` replaces
    all of it; ``then`` goes on with the bare socket.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    framed: bool = True
    raw: bytes | None = None
    then: object = None


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def drip(connection, stop, *, piece=b"x", every_s=0.02):
    """Send a little now and then, without end."""
    while not stop.wait(every_s):
        try:
            connection.sendall(piece)
        except OSError:
            return


class ScriptedServer:
    """Answers ``/v2/`` with 200, unless it is ``guarded``, and the rest with ``script(seen)``.

    With ``stands_for`` it is a proxy that answers itself, over TLS, for whatever host it is asked
    to connect to: so a whole cloud can be met under its own names.
    """

    def __init__(self, script, *, address="127.0.0.1", tls=None, guarded=False, stands_for=None):
        self.script = script
        self.guarded = guarded
        self.seen: list[Seen] = []
        self.probes: list[Seen] = []
        self.stop = threading.Event()
        self._open: set[socket.socket] = set()
        owner = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request, client_address):
                owner._open.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request):
                owner._open.discard(request)
                super().shutdown_request(request)

            def handle_error(self, request, client_address):
                pass

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self):
                owner._answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def do_CONNECT(self):
                self.send_response(200)
                self.end_headers()
                self.connection = stands_for.wrap_socket(self.connection, server_side=True)
                owner._open.add(self.connection)
                self.rfile = self.connection.makefile("rb")
                self.wfile = self.connection.makefile("wb", buffering=0)
                self.close_connection = False

            def finish(self):
                super().finish()
                owner._open.discard(self.connection)
                self.connection.close()

            def log_message(self, *args):
                pass

        self._http = Server((address, 0), Handler)
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self.host = f"{address}:{self.port}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        seen = Seen(handler.command, handler.path, headers, body, handler.client_address[1])
        if handler.path == "/v2/" and not self.guarded:
            self.probes.append(seen)
            reply = Reply()
        else:
            self.seen.append(seen)
            reply = self.script(seen)
        if reply.raw is not None:
            handler.wfile.write(reply.raw)
            handler.close_connection = True
        else:
            self._send(handler, reply)
        if reply.then:
            reply.then(handler.connection, self.stop)
            handler.close_connection = True

    @staticmethod
    def _send(handler, reply):
        handler.send_response(reply.status)
        names = set()
        for name, value in reply.headers:
            names.add(name.lower())
            handler.send_header(name, value)
        if reply.framed and not names & {"content-length", "transfer-encoding"}:
            handler.send_header("Content-Length", str(len(reply.body)))
        if not reply.framed:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(reply.body)

    def close(self):
        self.stop.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
