"""A web server of our own for ADD: it says what it is told to and remembers who asked."""

import hashlib
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = b"0123456789abcdef" * 4096


@dataclass
class Page:
    """What the server answers for a path."""

    body: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    claimed: int | None = None  # the length it says; less comes
    is_endless: bool = False
    has_etag: bool = True
    no_head: bool = False
    login: str = ""  # NAME:PASSWORD

    @property
    def etag(self):
        return f'"{hashlib.md5(self.body).hexdigest()}"' if self.has_etag else ""


class WebServer:
    """Pages by path, and the requests that came: ``("GET", "/path")``."""

    def __init__(self):
        self.pages = {}
        self.asked = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                outer.answer(self)

            do_GET = do_HEAD  # noqa: N815  what http.server looks for

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def gets(self):
        """Return the paths that were fetched since the last time."""
        found = [path for method, path in self.asked if method == "GET"]
        self.asked.clear()
        return found

    def answer(self, request):
        path = request.path
        self.asked.append((request.command, path))
        page = self.pages.get(path.partition("?")[0], Page(b"no such page", 404))
        if page.no_head and request.command == "HEAD":
            page = Page(status=405)
        login = f"Basic {b64encode(page.login.encode()).decode()}"
        if page.login and request.headers.get("Authorization") != login:
            page = Page(status=401)
        seen = request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")
        same_tag = page.etag and seen[0] == page.etag
        same_time = seen[1] and seen[1] == page.headers.get("Last-Modified")
        if page.status == 200 and (same_tag or same_time):
            request.send_response(304)
            request.end_headers()
            return
        request.send_response(page.status)
        if page.status == 200 and page.etag:
            request.send_header("ETag", page.etag)
        for name, value in page.headers.items():
            request.send_header(name, value)
        if page.is_endless or page.claimed:
            request.close_connection = True
        if not page.is_endless:
            request.send_header("Content-Length", str(page.claimed or len(page.body)))
        request.end_headers()
        if request.command == "HEAD":
            return
        request.wfile.write(page.body)
        try:
            while page.is_endless:
                self.sent += request.wfile.write(PIECE)
        except OSError:
            pass
