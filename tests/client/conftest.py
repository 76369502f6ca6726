"""A client of our own API, and an API that says what a test wants."""

import socket
import threading
from contextlib import suppress

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


class Talker:
    """Listens at a socket and goes on talking: each request is answered by a function of it."""

    def __init__(self, path, answer):
        self.url = f"unix://{path}"
        self.heard, self.connections = [], 0
        self._answer = answer
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(path))
        self._door.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with suppress(OSError):
            while True:
                client = self._door.accept()[0]
                self.connections += 1
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client, suppress(OSError):
            held = b""
            while data := client.recv(65536):
                held += data
                while b"\r\n\r\n" in held:
                    head, _, held = held.partition(b"\r\n\r\n")
                    self.heard.append(
                        head.decode("latin-1").splitlines()[0].removesuffix(" HTTP/1.1")
                    )
                    self._answer(self.heard[-1], client)

    def close(self):
        self._door.close()


@pytest.fixture
def talker(tmp_path):
    """Make a Talker of a function: a request and the socket to write its answer to."""
    made = []

    def make(answer):
        def whole(asked, client):
            if asked == "GET /_ping":
                client.sendall(http("200 OK", b"OK", Api_Version="1.41", Connection="keep-alive"))
            else:
                answer(asked, client)

        made.append(Talker(tmp_path / "talk", whole))
        return made[-1]

    yield make
    for each in made:
        each.close()


def http(status, body=b"", **headers):
    headers.setdefault("Connection", "close")
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture(name="http")
def _http():
    return http
