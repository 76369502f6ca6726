"""The process beside a busy server: what it answers, what it hands over, and when it is gone."""

import os
import signal
import socket
import threading
import time
from contextlib import closing

import pytest
from talk import connected, said, serving, settled, whole

from ocimagic.api.kept_door import KeptDoor
from ocimagic.api.server import Address, Server

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
VERSION = b"GET /v1.41/version HTTP/1.1\r\nHost: d\r\n\r\n"
IMAGES = b"GET /v1.41/images/json HTTP/1.1\r\nHost: d\r\n\r\n"


@pytest.fixture
def kept(tmp_path):
    """A doorkeeper that knows one answer, of a server that never has time unless it is asked."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        door = KeptDoor(listener, {b"GET /_ping HTTP/1.1": b"HTTP/1.1 200 OK\r\n\r\nknown"})
        yield door
        door.close()


@pytest.fixture
def client(kept, tmp_path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        client.settimeout(20)
        yield client


@pytest.mark.parametrize(
    "more", [b"", b"User-Agent: x/1 (y)\r\n", b"Connection: keep-alive\r\nContent-Length: 0\r\n"]
)
def test_what_is_known_is_answered_without_the_server(client, more):
    for _ in range(3):
        client.sendall(PING[:-2] + more + b"\r\n")
        assert client.recv(1 << 16) == b"HTTP/1.1 200 OK\r\n\r\nknown"


@pytest.mark.parametrize(
    "asked",
    [
        PING[:-1],
        PING + PING,
        PING.replace(b"/_ping", b"/_pong"),
        PING.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PING.replace(b"Host: d\r\n", b""),
        PING[:-2] + b"Connection: close\r\n\r\n",
        PING[:-2] + b"Content-Length: 3\r\n\r\nabc",
        PING[:-2] + b"Content-Length: 0x\r\n\r\n",
        PING[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
        PING[:-2] + b"Upgrade: h2c\r\n\r\n",
        PING[:-2] + b"no header\r\n\r\n",
    ],
)
def test_all_else_is_the_server_s_whole(kept, client, asked):
    client.sendall(asked)
    mine, early = kept.accept()
    with mine:
        assert early == asked
        mine.sendall(b"from the server")
        assert client.recv(100) == b"from the server"


def test_a_silent_connection_is_the_server_s(kept, client):
    mine, early = kept.accept()
    mine.close()
    assert early == b""
    assert client.recv(1) == b""


def test_who_asks_on_and_on_is_the_server_s(kept, client):
    answered = 0
    while True:
        client.sendall(PING)
        if answered == 16:
            break
        assert client.recv(1 << 16).endswith(b"known")
        answered += 1
    mine, early = kept.accept()
    mine.close()
    assert early == PING


def test_a_busy_server_says_what_it_says_otherwise(engine, tmp_path):
    rooms = [tmp_path / name for name in ("a", "b")]
    with (
        serving(engine, rooms[0]) as alone,
        serving(engine, rooms[1], is_busy=True) as busy,
    ):
        for asked in (PING, PING.replace(b"GET", b"HEAD"), VERSION, IMAGES, VERSION + IMAGES):
            answer = said(busy, asked)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer == said(alone, asked)
        # As docker's client does it: one connection, first what is known, then what is not.
        with closing(connected(busy)) as client:
            for asked in (PING, VERSION, IMAGES, PING):
                client.sendall(asked)
                assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")


def test_many_clients_at_once_are_all_served(engine, tmp_path):
    with serving(engine, tmp_path / "s", is_busy=True) as busy:
        found = []

        def ask(data):
            found.extend(status for status, _, _ in whole(said(busy, data)))

        asking = [threading.Thread(target=ask, args=(each,)) for each in (PING, IMAGES) * 40]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        assert found == [200] * 80


def test_a_server_whose_doorkeeper_was_killed_goes_on(engine, tmp_path):
    with Server(engine, Address(path=str(tmp_path / "s")), is_busy=True) as server:
        assert said(server, PING)
        os.kill(server._kept.pid, signal.SIGKILL)
        for asked in (PING, IMAGES):
            assert said(server, asked).startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_doorkeeper_ends_with_its_server(engine, tmp_path):
    server = Server(engine, Address(path=str(tmp_path / "s")), is_busy=True)
    with closing(connected(server)) as client:
        client.sendall(PING)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 10
        assert client.recv(1) == b""
    assert not os.path.exists(f"/proc/{server._kept.pid}")
    assert not (tmp_path / "s").exists()
    settled(lambda: server._kept._process.returncode == 0, "the doorkeeper")
