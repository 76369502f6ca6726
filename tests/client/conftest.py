"""A client of our own API, and an API that says what a test wants."""

import socket
import threading

import pytest

from ocimagic.api.server import Address, Server
from ocimagic.client import ApiClient


@pytest.fixture(scope="module")
def remote(shared, tmp_path_factory):
    """Our own engine, over a socket."""
    path = tmp_path_factory.mktemp("serve") / "api.sock"
    with Server(shared, Address(path=str(path))) as server, ApiClient(server.url) as client:
        yield client


class Babbler:
    """Listens at a socket and answers each request with the next of some bytes."""

    def __init__(self, path, answers):
        self.url = f"unix://{path}"
        self.heard = []
        self._answers = list(answers)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(path))
        self._door.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while self._answers:
            try:
                client = self._door.accept()[0]
            except OSError:
                return
            with client:
                self.heard.append(client.recv(65536).decode("latin-1").splitlines()[0])
                client.sendall(self._answers.pop(0))

    def close(self):
        self._door.close()


@pytest.fixture
def babbler(tmp_path):
    made = []

    def make(*answers):
        made.append(Babbler(tmp_path / f"babble{len(made)}", answers))
        return made[-1]

    yield make
    for each in made:
        each.close()


def http(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture(name="http")
def _http():
    return http
