"""Containers attached by a websocket, with the client that docker-py uses."""

import json
import os
from contextlib import closing, contextmanager, suppress

import docker
import pytest
import websocket
from talk import PATIENCE_S, connected, rest, serving, whole

from ocimagic.api.server import Address, Server

STREAMS = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
ALL = "stream=1&stdin=1&stdout=1&stderr=1"
OUT = "stream=1&stdout=1&stderr=1"


@pytest.fixture(scope="module")
def server(shared, tmp_path_factory):
    with serving(shared, tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.fixture
def made(shared, server):
    """Make containers over the API; they are removed."""
    names = []

    def make(command, *, starts=False, **more):
        config = {"Image": "busybox", "Cmd": ["sh", "-c", command]} | more
        names.append(call(server, "POST", "/containers/create", config)["Id"])
        if starts:
            call(server, "POST", f"/containers/{names[-1]}/start")
        return names[-1]

    yield make
    for each in names:
        shared.containers.remove(each, force=True)


def call(server, method, path, document=None):
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"{method} /v1.41{path} HTTP/1.1", "Host: d", f"Content-Length: {len(body)}"]
    with closing(connected(server)) as client:
        client.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        [(status, _, answer)] = whole(rest(client))
    assert status < 300, answer
    return json.loads(answer) if answer.strip() else None


@contextmanager
def opened(server, container, query, version="1.41"):
    """Yield a websocket over the server's own socket; nothing is said at its end."""
    url = f"ws://localhost/v{version}/containers/{container}/attach/ws?{query}"
    with closing(connected(server)) as client:
        yield websocket.create_connection(url, timeout=PATIENCE_S, socket=client)


def refused():
    return pytest.raises(websocket.WebSocketBadStatusException)


def everything(web):
    """Return all that comes until the server says goodbye, and its goodbye."""
    said = b""
    while True:
        frame = web.recv_frame()
        if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
            with suppress(BrokenPipeError):  # perhaps it was an answer already
                web.send_close()
            return said, frame.data
        said += frame.data


def test_a_websocket_from_the_start_to_the_end(server, made):
    name = made("read a; echo got $a; echo no >&2; read b; echo $b; exit 3", **STREAMS)
    with opened(server, name, ALL) as web:
        web.ping("are you there")
        assert web.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"are you there")
        call(server, "POST", f"/containers/{name}/start")
        web.send_binary(b"this\n")
        first = b""
        while first.count(b"\n") < 2:
            first += web.recv()  # outputs are in no order
        assert sorted(first.splitlines()) == [b"got this", b"no"]
        web.send("text is input as well\n")
        assert everything(web) == (b"text is input as well\n", b"\x03\xe8")
    assert call(server, "POST", f"/containers/{name}/wait")["StatusCode"] == 3


@pytest.mark.parametrize(
    ("version", "query", "said"),
    [
        ("1.41", "stream=1&stdout=1", {b"out", b"err"}),  # the older API means all of them
        ("1.42", "stream=1&stdout=1", {b"out"}),
        ("1.42", "stream=1&stderr=1", {b"err"}),
        ("1.42", "stream=1", set()),
    ],
)
def test_which_streams_come(server, made, version, query, said):
    name = made("echo out; echo err >&2")
    with opened(server, name, query, version) as web:
        call(server, "POST", f"/containers/{name}/start")
        assert set(everything(web)[0].split()) == said


def test_what_was_said_before(server, made):
    """``logs`` alone is what there is, and then goodbye; text is for clients before 1.28."""
    name = made("echo hello", starts=True)
    call(server, "POST", f"/containers/{name}/wait")
    with opened(server, name, "logs=1&stdout=1") as web:
        assert web.recv_data() == (websocket.ABNF.OPCODE_BINARY, b"hello\n")
        assert everything(web) == (b"", b"\x03\xe8")
    with opened(server, name, "logs=1", "1.27") as web:
        assert web.recv_data() == (websocket.ABNF.OPCODE_TEXT, b"hello\n")


def test_much_goes_both_ways(server, made):
    name = made("cat", **STREAMS)
    data = bytes(range(256)) * 4000
    with opened(server, name, ALL) as web:
        call(server, "POST", f"/containers/{name}/start")
        back = b""
        for at in range(0, len(data), 70_000):
            web.send_binary(data[at : at + 70_000])
        while len(back) < len(data):
            back += web.recv()
        assert back == data
        web.send_close()  # the end of the input, too
        assert everything(web)[1] == b"\x03\xe8"
    assert call(server, "POST", f"/containers/{name}/wait")["StatusCode"] == 0


def test_a_client_that_says_goodbye_lets_the_container_go_on(server, made):
    name = made("sleep 100", starts=True)
    with opened(server, name, OUT) as web:
        web.send_close(4000, b"enough")
        assert everything(web) == (b"", b"\x0f\xa0")
    assert call(server, "GET", f"/containers/{name}/json")["State"]["Running"]


def test_keys_that_let_go_of_a_terminal(server, made):
    name = made("cat", starts=True, Tty=True, OpenStdin=True)
    with opened(server, name, f"{ALL}&detachKeys=ctrl-x,y") as web:
        web.send_binary(b"hi\n")
        said = b""
        while said.count(b"hi") < 2:  # the terminal's echo, and cat's
            said += web.recv()
        web.send_binary(b"\x18")
        web.send_binary(b"y")
        assert everything(web)[1] == b"\x03\xe8"
    assert call(server, "GET", f"/containers/{name}/json")["State"]["Running"]


def test_a_bad_frame_ends_the_connection_and_nothing_else(server, made):
    name = made("cat", starts=True, OpenStdin=True)
    with opened(server, name, ALL) as web:
        web.sock.sendall(b"\x82\x03bad")  # without a mask
        assert everything(web) == (b"", b"\x03\xea")
    assert call(server, "GET", f"/containers/{name}/json")["State"]["Running"]


def test_who_vanishes_before_the_start_is_forgotten(server, made):
    name = made("echo hi")
    with opened(server, name, OUT):
        pass
    call(server, "POST", f"/containers/{name}/start")
    assert call(server, "POST", f"/containers/{name}/wait")["StatusCode"] == 0


def test_who_cannot_be_attached(server, made):
    """They are told in HTTP, before there is a websocket."""
    with refused() as nobody, opened(server, "nobody", OUT):
        pass
    assert nobody.value.status_code == 404
    name = made("sleep 100", starts=True)
    if os.geteuid() == 0:  # others may have no cgroup with a freezer
        call(server, "POST", f"/containers/{name}/pause")
        with refused() as paused, opened(server, name, OUT):
            pass
        assert paused.value.status_code == 409
        call(server, "POST", f"/containers/{name}/unpause")
    with closing(connected(server)) as client:
        client.sendall(f"GET /containers/{name}/attach/ws HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        [(status, _, _)] = whole(rest(client))
    assert status == 400


def test_docker_py_attaches_by_a_websocket(shared):
    """As it does: over TCP, for it knows no websocket on a unix socket."""
    with (
        Server(shared, Address(host="127.0.0.1", port=0)) as server,
        closing(docker.APIClient(server.url, version="1.41")) as client,
    ):
        made = client.create_container("busybox", "printf 'hi there'")
        web = client.attach_socket(made, {"stdout": 1, "stream": 1, "logs": 1}, ws=True)
        client.start(made)
        assert web.recv() == b"hi there"
        web.shutdown()
        client.remove_container(made, force=True)


def test_a_page_of_another_place_is_told_to_go(server, made):
    """A browser reaches this machine's own address for any page, and says for which."""
    name = made("sleep 100", starts=True)
    url = f"ws://localhost/containers/{name}/attach/ws"
    with refused() as foreign, closing(connected(server)) as client:
        websocket.create_connection(url, origin="http://elsewhere.example", socket=client)
    assert foreign.value.status_code == 403
