"""What the real docker client makes of a command line: it talks to a server of ours.

The server answers only what ``docker create`` asks, and keeps the body of the request.
"""

import json
import shutil
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass

    def answer(self, status, content):
        body = json.dumps(content).encode() if content is not None else b""
        self.send_response(status)
        for name, value in (("Api-Version", self.server.api), ("Ostype", "linux"),
                            ("Content-Type", "application/json"),
                            ("Content-Length", str(len(body)))):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.answer(200, None)

    def do_GET(self):
        self.server.paths.append(f"GET {self.path}")
        self.answer(200, {"OSType": "linux"})

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            raw = b""
            while size := int(self.rfile.readline(), 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.paths.append(f"POST {self.path}")
        self.server.bodies.append(json.loads(raw))
        self.answer(201, {"Id": "0" * 64, "Warnings": []})


class DockerClient:
    """``create(words)`` returns the request, or the message with which docker refuses it."""

    def __init__(self, directory, api="1.50"):
        self.program = shutil.which("docker")
        self.major = int(self.version(self.program).partition(".")[0])
        self.path = str(Path(directory) / "docker.sock")
        self.config = str(directory)
        self.server = socketserver.ThreadingUnixStreamServer(self.path, _Handler)
        self.server.daemon_threads = True
        self.server.api = api
        self.server.bodies = []
        self.server.paths = []
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @staticmethod
    def version(program):
        told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
        return told.stdout.split()[2].strip(",").partition("+")[0]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def create(self, words, cwd=None):
        return self.ask(["create", *words], cwd)

    def ask(self, words, cwd=None):
        """Return the body of the first request that a command sends."""
        del self.server.bodies[:], self.server.paths[:]
        done = subprocess.run(
            [self.program, "--config", self.config, "-H", f"unix://{self.path}", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "HOME": self.config, "LANG": "C.UTF-8"},
        )
        if self.server.bodies:
            return self.server.bodies[0]
        return done.stderr.strip()
