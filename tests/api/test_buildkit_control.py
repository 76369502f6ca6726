"""``POST /grpc``: a client of grpcio calls what docker buildx was measured to call, in its order.

No buildx is to be had here: neither Debian nor PyPI nor npm has one.
"""

import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")

import grpc
from buildkit_peer import Peer, context_of, honest

from ocimagic.api.buildkit.sessions import _dialled
from ocimagic.api.buildkit.splice import Junction
from ocimagic.api.server import Address, Server
from ocimagic.wire.buildkit import FILE_SYNC, GET_SECRET, messages

CONTROL, BRIDGE = "moby.buildkit.v1.Control", "moby.buildkit.v1.frontend.LLBBridge"
TEXT = b"FROM busybox AS one\nARG V\nCOPY a /a\nRUN cat /a; echo $V\nFROM one\nLABEL x=y\n"


@pytest.fixture(scope="module")
def served(shared, tmp_path_factory):
    room = tmp_path_factory.mktemp("s")
    with Server(shared, Address(path=str(room / "s"))) as server:
        server.path = str(room / "s")
        yield server


@contextmanager
def channel(path):
    """Yield a channel of grpcio on a connection that was taken over."""
    with socket.socket(socket.AF_UNIX) as far:
        far.connect(path)
        lines = ["POST /grpc HTTP/1.1", "Host: d", "Connection: Upgrade", "Upgrade: h2c", "", ""]
        far.sendall("\r\n".join(lines).encode())
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            said += far.recv(1)
        assert said.startswith(b"HTTP/1.1 101 "), said
        made, near = _dialled()
        junction = Junction(far, near, b"")
        try:
            yield Calls(made)
        finally:
            made.close()
            junction.close()
            near.close()


class Calls:
    """Methods of BuildKit, by service and name."""

    def __init__(self, made):
        self.channel = made

    def one(self, service, name, answer=None, /, **fields):
        return self.later(service, name, answer, **fields).result(30)

    def later(self, service, name, answer=None, /, metadata=(), **fields):
        kinds = messages()[service.rpartition(".")[0]]
        kind = getattr(kinds, answer or f"{name}Response")
        call = self.channel.unary_unary(
            f"/{service}/{name}", lambda each: each.SerializeToString(), kind.FromString
        )
        return call.future(getattr(kinds, f"{name}Request")(**fields), metadata=metadata)

    def status(self, reference):
        kinds = messages()["moby.buildkit.v1"]
        call = self.channel.unary_stream(
            f"/{CONTROL}/Status",
            lambda each: each.SerializeToString(),
            kinds.StatusResponse.FromString,
        )
        return call(kinds.StatusRequest(Ref=reference))


def client_of(text=TEXT):
    return Peer({
        "dockerfile": honest({"Dockerfile": text}), "context": context_of(honest({"a": b"hi\n"})),
    })  # fmt: skip


def test_the_calls_of_buildx_build_an_image(served, shared, tmp_path):
    with client_of().connected(served.path, tmp_path) as (name, _), channel(served.path) as calls:
        [worker] = calls.one(CONTROL, "ListWorkers").record
        assert worker.platforms[0].OS == "linux"
        assert calls.one(CONTROL, "Info").buildkitVersion.package == "ocimagic"
        told = calls.status("r1")
        solving = calls.later(
            CONTROL, "Solve", Ref="r1", Session=name, ExporterDeprecated="moby",
            ExporterAttrsDeprecated={"name": "docker.io/library/bx:1,docker.io/library/bx:2"},
        )  # fmt: skip
        here = [("buildkit-controlapi-buildid", "r1")]
        pong = calls.one(BRIDGE, "Ping", "PongResponse", metadata=here)
        assert "solve.base" in {each.ID for each in pong.FrontendAPICaps}
        attributes = {"build-arg:V": "seven", "filename": "Dockerfile", "label:q": "r"}
        solved = calls.one(
            BRIDGE, "Solve", metadata=here, Frontend="dockerfile.v0", FrontendOpt=attributes,
            allowResultReturn=True,
        )  # fmt: skip
        assert not solving.done()
        calls.one(BRIDGE, "Return", metadata=here, result=solved.result)
        response = solving.result(10).ExporterResponse
        heard = list(told)
    image = shared.images.inspect("bx:2")
    assert response["containerimage.digest"] == str(image.image_id)
    assert image.config.config.labels == {"x": "y", "q": "r"}
    names = {vertex.name for each in heard for vertex in each.vertexes}
    assert "[one 3/3] RUN cat /a; echo $V" in names
    written = b"".join(log.msg for each in heard for log in each.logs)
    assert written.split() == [b"hi", b"seven"]
    ended = {
        vertex.name for each in heard for vertex in each.vertexes if vertex.HasField("completed")
    }
    assert ended == names


def solve(calls, session, reference, **more):
    fields = {"Frontend": "dockerfile.v0", "ExporterDeprecated": "moby"} | more
    return calls.later(CONTROL, "Solve", Ref=reference, Session=session, **fields)


def test_a_solve_that_fails_says_so_to_all(served, tmp_path):
    text = b"FROM busybox\nRUN echo before; exit 7\n"
    with (
        client_of(text).connected(served.path, tmp_path) as (name, _),
        channel(served.path) as calls,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            solve(calls, name, "r2").result(30)
        words = "executor failed running [/bin/sh -c echo before; exit 7]: exit code: 7"
        assert caught.value.details() == words
        heard = list(calls.status("r2"))  # it is over, and is told all the same
    assert words in {vertex.error for each in heard for vertex in each.vertexes}


def test_a_solve_that_is_cancelled_ends(served, tmp_path):
    text = b"FROM busybox\nRUN echo begun; sleep 30\n"
    with (
        client_of(text).connected(served.path, tmp_path) as (name, _),
        channel(served.path) as calls,
    ):
        told = calls.status("r3")
        solving = solve(calls, name, "r3")
        for each in told:
            if any(b"begun" in log.msg for log in each.logs):
                break
        began = time.monotonic()
        solving.cancel()
        rest = list(told)
        assert time.monotonic() - began < 2
    errors = {vertex.error for each in rest for vertex in each.vertexes}
    assert errors == {"context canceled"}


def test_a_session_may_come_over_the_same_connection(served, shared, tmp_path):
    peer, name = client_of(), "within"
    kinds = messages()["moby.buildkit.v1"]
    server = peer._server(f"{tmp_path}/within")
    with channel(served.path) as calls, socket.socket(socket.AF_UNIX) as near:
        near.connect(f"{tmp_path}/within")

        def sent():
            while piece := near.recv(1 << 14):
                yield kinds.BytesMessage(data=piece)

        call = calls.channel.stream_stream(
            f"/{CONTROL}/Session", lambda each: each.SerializeToString(),
            kinds.BytesMessage.FromString,
        )  # fmt: skip
        metadata = [("x-docker-expose-session-uuid", name)]
        metadata += [
            ("x-docker-expose-session-grpc-method", each) for each in (FILE_SYNC, GET_SECRET)
        ]
        carried = call(sent(), metadata=metadata)

        def take():
            try:
                for each in carried:
                    near.sendall(each.data)
            except (OSError, grpc.RpcError):
                near.close()

        thread = threading.Thread(target=take)
        thread.start()
        attributes = {"name": "carried"}
        made = solve(calls, name, "r4", ExporterAttrsDeprecated=attributes).result(30)
        near.shutdown(socket.SHUT_RDWR)
        carried.cancel()
        thread.join()
    server.stop(None).wait()
    assert made.ExporterResponse["containerimage.digest"] == str(
        shared.images.inspect("carried").image_id
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Frontend": "gateway.v0"}, "frontend gateway.v0 is not built yet"),
        ({"ExporterDeprecated": "oci"}, "an output of type oci"),
        ({"FrontendAttrs": {"requestid": "frontend.outline"}}, "frontend.outline is not built"),
        ({"FrontendAttrs": {"context": "/etc"}}, "neither a repository nor a URL"),
        ({"FrontendAttrs": {"context:a": "local:a"}}, "named contexts"),
    ],
)
def test_what_is_not_built_is_refused_in_words(served, tmp_path, fields, words):
    with (
        client_of().connected(served.path, tmp_path) as (name, _),
        channel(served.path) as calls,
        pytest.raises(grpc.RpcError) as caught,
    ):
        solve(calls, name, f"r-{name}", **fields).result(30)
    assert words in caught.value.details()


def test_nothing_is_left_of_connections_that_ended(served):
    def threads():
        return {each.name for each in threading.enumerate() if "ocimagic-api-grpc" in each.name}

    with channel(served.path) as calls:
        calls.one(CONTROL, "Info")
    deadline = time.monotonic() + 10
    while threads() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not threads()


def test_docker_without_an_upgrade_is_refused(served):
    words = ["curl", "-s", "--unix-socket", served.path, "-X", "POST", "http://d/grpc"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("curl is not installed")
    assert "Upgrade: h2c" in said
