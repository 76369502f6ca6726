"""Connections to an API: used again, stopped at any moment, and wrong in words."""

import os
import struct
import threading
import time
import tracemalloc

import pytest

from ocimagic.client import ApiClient, calling
from ocimagic.client.address import address_of
from ocimagic.client.attachment import Frames
from ocimagic.client.calling import Caller
from ocimagic.client.context import packed
from ocimagic.client.together import asked_together
from ocimagic.errors import (
    Cancelled,
    ContainerNotFound,
    InvalidOption,
    NeighbourError,
    NeighbourUnreachable,
    NotFound,
)
from ocimagic.model.options import BuildOptions

PATIENCE_S = 10


@pytest.fixture
def caller(talker):
    made = []

    def make(answer):
        api = talker(answer)
        made.append(Caller(address_of(api.url)))
        return made[-1], api

    yield make
    for each in made:
        each.close()


def test_one_connection_for_all_answers_that_came_whole(caller, http):
    def answer(asked, client):
        kind = asked.rpartition("/")[2]
        status = {"nothing": "204 No Content", "missing": "404 Not Found"}.get(kind, "200 OK")
        body = {"nothing": b"", "missing": b'{"message":"x"}'}.get(kind, b"{}")
        whole = http(status, body, Connection="keep-alive")
        if kind == "chunked":
            whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        client.sendall(whole.removesuffix(b"{}") if asked.startswith("HEAD") else whole)

    asked, api = caller(answer)
    for _ in range(2):
        asked.document("GET", "/known")
        asked.document("GET", "/chunked")
        assert asked.done("POST", "/nothing") == 204
        assert asked.headers("/head", kind="")["content-length"] == "2"
        with pytest.raises(NotFound):
            asked.document("GET", "/missing")
    assert (len(api.heard), api.connections) == (11, 1)


def test_a_connection_that_is_to_be_closed_is_not_used_again(caller, http):
    asked, api = caller(lambda _, client: client.sendall(http("200 OK", b"{}")))
    asked.document("GET", "/a")
    asked.document("GET", "/b")
    assert api.connections == 2


def test_a_name_of_dots_or_none_is_not_found_and_not_done(talker, http):
    """Go's servers answer a path that is not clean with the clean one: 301."""
    moved = b'<a href="/v1.41/containers/json">Moved Permanently</a>.'
    api = talker(
        lambda _, client: client.sendall(http("301 Moved Permanently", moved, Location="/x"))
    )
    with ApiClient(api.url) as client:
        for name in ("..", ".", ""):
            with pytest.raises(ContainerNotFound):
                client.containers.remove(name)
            with pytest.raises(ContainerNotFound):
                client.containers.kill(name)


def test_an_answer_without_end_can_be_stopped(caller):
    def answer(_, client):
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            client.sendall(b"y\n" * 4096)

    asked, _ = caller(answer)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        _read_all(asked, stop, began + PATIENCE_S)


def _read_all(asked, stop, deadline):
    with asked.asked("GET", "/y", cancelled=stop) as found:
        for _ in found[0].pieces(found[1]):
            assert time.monotonic() < deadline


def test_sending_to_somebody_who_does_not_read_can_be_stopped(caller):
    over = threading.Event()
    asked, _ = caller(lambda *_: over.wait(PATIENCE_S))
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    body = iter(lambda: bytes(1 << 20), None)
    with pytest.raises(Cancelled), asked.asked("POST", "/load", body=body, cancelled=stop):
        pass
    over.set()
    assert time.monotonic() < began + PATIENCE_S


def test_a_body_that_cannot_be_read_is_no_fault_of_the_api(caller):
    def body():
        yield b"x"
        raise ConnectionResetError("of somebody else")

    asked, _ = caller(lambda *_: None)
    with pytest.raises(ConnectionResetError, match="somebody else"):
        asked.done("POST", "/load", body=body())
    with pytest.raises(InvalidOption, match="cannot read /nobody/made/this"):
        ApiClient(asked.address.url).images.load("/nobody/made/this")


def test_who_accepts_and_says_nothing_does_not_answer(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(calling, "_PING_S", 0.1)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "mute"))
        door.listen()
        with (
            ApiClient(f"unix://{tmp_path}/mute") as client,
            pytest.raises(NeighbourUnreachable, match="says nothing to a ping"),
        ):
            client.about()


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "a\0b"])
def test_a_name_that_no_machine_can_have(host):
    with ApiClient(f"tcp://{host}:1") as client, pytest.raises(NeighbourUnreachable):
        client.about()


def test_a_client_that_was_closed_opens_nothing(talker, http):
    api = talker(lambda _, client: client.sendall(http("200 OK", b"[]", Connection="keep-alive")))
    client = ApiClient(api.url)
    assert client.containers.list() == ()
    client.close()
    with pytest.raises(NeighbourUnreachable, match="was let go of"):
        client.containers.list()
    assert api.connections == 1


def test_a_stop_that_is_over_stops_no_later_request(caller, http):
    """The connection is used again, and what it was told to look at is not."""
    asked, api = caller(
        lambda _, client: client.sendall(http("200 OK", b"{}", Connection="keep-alive"))
    )
    stop = threading.Event()
    with asked.asked("GET", "/first", cancelled=stop) as found:
        assert b"".join(found[0].pieces(found[1])) == b"{}"
    stop.set()
    connection, answer = asked.begun("POST", "/wait", kind="")
    assert b"".join(connection.pieces(answer)) == b"{}"
    connection.close()
    assert api.connections == 1


def test_names_that_are_no_text_are_asked_for_as_they_are(caller, http):
    asked, api = caller(
        lambda _, client: client.sendall(http("200 OK", b"{}", Connection="keep-alive"))
    )
    asked.document("GET", "/x", query={"path": os.fsdecode(b"/a\xff")})
    assert api.heard[-1] == "GET /v1.41/x?path=%2Fa%FF"


def test_what_goes_wrong_in_a_log_is_told():
    said = b"Error grabbing logs: unexpected EOF\n"
    frames = Frames(tty=False).feed(struct.pack(">BxxxI", 3, len(said)) + said)
    with pytest.raises(NeighbourError, match="Error grabbing logs: unexpected EOF"):
        list(frames)


def test_many_are_asked_together_and_told_in_order():
    meet = threading.Barrier(4)

    def ask(number):
        if number < 4:
            meet.wait(PATIENCE_S)
        return None if number == 2 else number * 10

    assert asked_together(ask, range(6), most=4) == [0, 10, 30, 40, 50]
    assert asked_together(ask, []) == []


def test_one_of_many_that_fails_is_not_passed_over():
    def ask(number):
        if number == 3:
            raise NeighbourError("broke off")
        return number

    with pytest.raises(NeighbourError):
        asked_together(ask, range(8))


def test_a_large_file_of_a_context_is_not_held_in_memory(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    total = sum(map(len, packed(BuildOptions(context=str(tmp_path), dockerfile="FROM x"), "D")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 64 << 20
    assert peak < 8 << 20
