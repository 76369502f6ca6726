"""A git server of our own: git's http-backend behind Python's web server, or plain files."""

import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

WHEN = "2020-02-02T02:02:02+0000"
WHEN_NS = 1_580_608_922 * 10**9
AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in {"NAME": "a", "EMAIL": "a@b", "DATE": WHEN}.items()
}
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "file",
    **AUTHOR,
}


def git(directory, *words, **environment):
    done = subprocess.run(
        ["git", "-C", directory, *words],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class Repository:
    """One repository below the server's directory: write, commit, serve."""

    def __init__(self, root, name):
        self.path = root / name
        self.path.mkdir(parents=True)
        git(self.path, "init", "-q", "-b", "main")
        git(self.path, "config", "http.uploadpack", "true")

    def commit(self, files, *tags, branch=None):
        """Commit texts by name; ``x`` in front makes it executable, ``>`` a link."""
        if branch:
            git(self.path, "checkout", "-q", "-B", branch)
        for name, text in files.items():
            path = self.path / name.lstrip(">*")
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.startswith(">"):
                os.symlink(text, path)
            else:
                path.write_text(text)
                path.chmod(0o755 if name.startswith("*") else 0o640)
        git(self.path, "add", "--all", "--force")
        git(self.path, "commit", "-q", "--allow-empty", "-m", "c")
        for tag in tags:
            git(self.path, "tag", *(["-a", "-m", "t", tag[1:]] if tag[0] == "@" else [tag]))
        git(self.path, "update-server-info")
        return git(self.path, "rev-parse", "HEAD")


class GitServer:
    """``URL/name/.git`` for each repository; ``dumb`` serves files and no protocol."""

    def __init__(self, root):
        self.root = root
        self.is_dumb = False
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self, b"")

            def do_POST(self):
                outer.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

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

    def packs(self):
        """Return how often files were fetched since the last time."""
        found = [path for path in self.asked if path.endswith(("upload-pack", ".pack", "/HEAD"))]
        self.asked.clear()
        return len([path for path in found if "?" not in path])

    def answer(self, request, body):
        path, _, query = request.path.partition("?")
        self.asked.append(request.path)
        if self.is_dumb:
            file = self.root / unquote(path).lstrip("/")
            request.send_response(200 if file.is_file() else 404)
            request.end_headers()
            request.wfile.write(file.read_bytes() if file.is_file() else b"")
            return
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=True,
            env={
                **ENVIRONMENT,
                "GIT_PROJECT_ROOT": str(self.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": request.command,
                "PATH_INFO": unquote(path),
                "QUERY_STRING": query,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        request.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
