"""A client of BuildKit's made of grpcio: on its session it is the server, and does as told."""

import http.client
import itertools
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlencode

from ocimagic.api.buildkit.splice import Junction
from ocimagic.wire.buildkit import FILE_SYNC, GET_SECRET, messages

NAMES = (f"session-{number}" for number in itertools.count())
STAT, REQ, DATA, FIN, ERR = range(5)
GO_DIR, GO_LINK = 1 << 31, 1 << 27


def fsutil():
    return messages()["fsutil.types"]


def stat(path, mode=0o644, **fields):
    kinds = fsutil()
    return kinds.Packet(type=STAT, stat=kinds.Stat(path=path, mode=mode, **fields))


def end():
    """Return what ends the list of files."""
    return fsutil().Packet(type=STAT)


def data(number, content=b""):
    return fsutil().Packet(type=DATA, ID=number, data=content)


def honest(files):
    """Return what serves files by name, as docker's client does."""

    def serve(asked):
        contents = dict(enumerate(sorted(files)))
        for name in contents.values():
            yield stat(name, size=len(files[name]))
        yield end()
        for packet in asked:
            if packet.type == FIN:
                yield fsutil().Packet(type=FIN)
                return
            if content := files[contents[packet.ID]]:
                yield data(packet.ID, content)
            yield data(packet.ID)

    return serve


def context_of(sender):
    """Return what serves an empty list for what is looked for first, then the given packets."""
    left = [honest({}), sender]

    def serve(packets):
        yield from left.pop(0)(packets)

    return serve


class Peer:
    """What is served of a client.

    Args:
        directories: by the name that is asked for; each takes the packets of the builder, and
            yields what it sends.
        secrets: by id.
    """

    def __init__(self, directories, secrets=None):
        self.directories, self.secrets = directories, secrets or {}
        self.asked = []

    def sync(self, packets, context):
        told = context.invocation_metadata()
        name = next(value for key, value in told if key == "dir-name")
        self.asked.append({key: value for key, value in told if key == "followpaths"} | {"": name})
        yield from self.directories[name](packets)

    def secret(self, request, context):
        import grpc

        if request.ID not in self.secrets:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such secret")
        kinds = messages()["moby.buildkit.secrets.v1"]
        return kinds.GetSecretResponse(data=self.secrets[request.ID])

    @contextmanager
    def connected(self, path, room):
        """Be a session of a server of ours; yields its name, and the connection."""
        name = next(NAMES)
        with ExitStack() as undo:
            server = self._server(f"{room}/{name}")
            undo.callback(lambda: server.stop(None).wait())
            near = undo.enter_context(socket.socket(socket.AF_UNIX))
            near.connect(f"{room}/{name}")
            far = undo.enter_context(socket.socket(socket.AF_UNIX))
            far.connect(path)
            far.sendall(head(name, FILE_SYNC, GET_SECRET))
            said = b""
            while not said.endswith(b"\r\n\r\n"):
                piece = far.recv(1)
                assert piece, said
                said += piece
            assert said.startswith(b"HTTP/1.1 101 "), said
            junction = Junction(far, near, b"")
            undo.callback(junction.close)
            yield name, junction

    def _server(self, path):
        import grpc

        server = grpc.server(ThreadPoolExecutor(8))
        secrets = messages()["moby.buildkit.secrets.v1"]
        for method, handler in (
            (
                FILE_SYNC,
                grpc.stream_stream_rpc_method_handler(
                    self.sync, fsutil().Packet.FromString, lambda each: each.SerializeToString()
                ),
            ),
            (
                GET_SECRET,
                grpc.unary_unary_rpc_method_handler(
                    self.secret,
                    secrets.GetSecretRequest.FromString,
                    lambda each: each.SerializeToString(),
                ),
            ),
        ):
            _, service, name = method.split("/")
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {name: handler}),)
            )
        server.add_insecure_port(f"unix:{path}")
        server.start()
        return server


def head(name, *methods, upgrade="h2c"):
    """Return the head of a request for a session."""
    lines = ["POST /v1.41/session HTTP/1.1", "Host: d"]
    lines += ["Connection: Upgrade", f"Upgrade: {upgrade}"] if upgrade else []
    lines += [f"X-Docker-Expose-Session-Uuid: {name}"]
    lines += [f"X-Docker-Expose-Session-Grpc-Method: {each}" for each in methods]
    return "\r\n".join([*lines, "", ""]).encode()


def build(path, session, **query):
    """Return the lines of a build, or the sentence of a refusal."""
    asked = {"version": "2", "remote": "client-session", "session": session} | query
    connection = http.client.HTTPConnection("d", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    try:
        connection.request("POST", f"/v1.41/build?{urlencode(asked)}")
        raw = connection.getresponse().read()
    finally:
        connection.close()
    return [json.loads(line) for line in raw.splitlines()]
