"""A server of the API on a real socket, and a client of it with nothing in between."""

import http.client
import json
import socket
from urllib.parse import urlencode

import pytest

from ocimagic.api.server import Address, Server


class Client:
    """Asks over a connection of its own each time."""

    def __init__(self, path, version="1.41"):
        self.path, self._version = path, version

    def ask(self, method, path, body=None, /, **query):
        """Return the status and the answer's bytes."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.path)
        raw, headers = body, {}
        if body is not None and not isinstance(body, bytes):
            raw, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        asked = f"/v{self._version}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            connection.request(method, asked, raw, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path, /, **query):
        """Return a document."""
        status, raw = self.ask("GET", path, **query)
        assert status == 200, raw
        return json.loads(raw)

    def post(self, path, body=None, /, **query):
        """Return a document, None where there is none."""
        status, raw = self.ask("POST", path, body, **query)
        assert status < 300, raw
        return json.loads(raw) if raw.strip() else None

    def refused(self, method, path, body=None, /, **query):
        """Return the status and the sentence of a refusal."""
        status, raw = self.ask(method, path, body, **query)
        assert status >= 400
        return status, json.loads(raw)["message"]

    def create(self, *command, **config):
        """Make a container of busybox; return its ID."""
        return self.post("/containers/create", {"Image": "busybox", "Cmd": command} | config)["Id"]

    def run(self, *command, **config):
        """Make and start a container, wait for its end; return its ID."""
        made = self.create(*command, **config)
        self.post(f"/containers/{made}/start")
        self.post(f"/containers/{made}/wait")
        return made

    def output(self, container):
        """Return what a container without a terminal wrote."""
        _, raw = self.ask("GET", f"/containers/{container}/logs", stdout=1, stderr=1)
        return unframed(raw)


def unframed(raw):
    """Return the bytes of a stream in pieces, without their heads."""
    said = b""
    while raw:
        length = int.from_bytes(raw[4:8], "big")
        said, raw = said + raw[8 : 8 + length], raw[8 + length :]
    return said


@pytest.fixture
def daemon(shared, tmp_path):
    """A server over an engine with busybox; what a test made in it is removed."""
    with Server(shared, Address(path=str(tmp_path / "s"))) as server:
        yield server
        for each in shared.containers.list(all=True):
            shared.containers.remove(each.container_id, force=True)
        shared.networks.prune()


@pytest.fixture
def api(daemon, tmp_path):
    return Client(str(tmp_path / "s"))
