"""Connections that both sides use as they like, and clients that vanish from whatever they do."""

import json
import socket
import struct
import time
from contextlib import closing, contextmanager, suppress

import pytest
from talk import connected, files_now, rest, serving, settled, threads_now, whole


@pytest.fixture(scope="module")
def server(shared, tmp_path_factory):
    with serving(shared, tmp_path_factory.mktemp("api")) as server:
        yield server


def request(method, path, document=None, *, upgrade=False, connection=""):
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"{method} /v1.50{path} HTTP/1.1", "Host: d", f"Content-Length: {len(body)}"]
    lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else []
    lines += [f"Connection: {connection}"] if connection else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def call(server, method, path, document=None):
    """Return the document of an answer."""
    with closing(connected(server)) as client:  # who closes a half of it is taken for gone
        client.sendall(request(method, path, document, connection="close"))
        [(status, _, body)] = whole(rest(client))
    assert status < 300, body
    return json.loads(body) if body else None


def made(server, command, **more):
    config = {"Image": "busybox", "Cmd": ["sh", "-c", command]} | more
    return call(server, "POST", "/containers/create", config)["Id"]


@contextmanager
def container(server, command, *, starts=True, **more):
    name = made(server, command, **more)
    if starts:
        call(server, "POST", f"/containers/{name}/start")
    try:
        yield name
    finally:
        call(server, "DELETE", f"/containers/{name}?force=1")


def taken(server, path, document=None):
    """Return a connection that was taken over, and the head of the answer."""
    client = connected(server)
    client.sendall(request("POST", path, document, upgrade=True))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = client.recv(1)
        assert data, head
        head += data
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n"), head + rest(client)
    return client


def unframed(data):
    """Return what was said on stdout and on stderr."""
    found = {1: b"", 2: b""}
    while data:
        number, length = struct.unpack(">BxxxI", data[:8])
        found[number] += data[8 : 8 + length]
        assert len(data) >= 8 + length
        data = data[8 + length :]
    return found[1], found[2]


def until(client, words):
    """Read until something was said."""
    found = b""
    while words not in found:
        data = client.recv(1 << 16)
        assert data, found
        found += data
    return found


BOTH = "stream=1&stdin=1&stdout=1&stderr=1"


def test_a_client_that_says_no_more_still_hears(server):
    """What docker's client does as soon as its own input ends."""
    streams = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
    with container(server, "cat; echo end; echo no >&2", starts=False, **streams) as name:
        with closing(taken(server, f"/containers/{name}/attach?{BOTH}")) as client:
            client.sendall(b"early ")
            call(server, "POST", f"/containers/{name}/start")
            client.sendall(b"late\n")
            client.shutdown(socket.SHUT_WR)
            assert unframed(rest(client)) == (b"early late\nend\n", b"no\n")
        assert call(server, "POST", f"/containers/{name}/wait")["StatusCode"] == 0


def test_what_comes_right_after_the_request_is_input(server):
    streams = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
    with (
        container(server, "cat", starts=False, **streams) as name,
        closing(connected(server)) as client,
    ):
        client.sendall(request("POST", f"/containers/{name}/attach?{BOTH}", upgrade=True) + b"hi\n")
        until(client, b"\r\n\r\n")
        call(server, "POST", f"/containers/{name}/start")
        client.shutdown(socket.SHUT_WR)
        assert unframed(rest(client)) == (b"hi\n", b"")


def test_a_process_that_says_no_more_still_hears(server):
    """Its output is closed long before its input ends."""
    streams = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
    command = "exec >&- 2>&-; read a; read b; exit ${#b}"
    with container(server, command, starts=False, **streams) as name:
        with closing(taken(server, f"/containers/{name}/attach?{BOTH}")) as client:
            call(server, "POST", f"/containers/{name}/start")
            client.sendall(b"a\n")
            client.sendall(b"four\n")
            assert rest(client) == b""
        assert call(server, "POST", f"/containers/{name}/wait")["StatusCode"] == 4


def test_without_the_word_upgrade_it_is_200(server):
    with (
        container(server, "echo hi", starts=False) as name,
        closing(connected(server)) as client,
    ):
        client.sendall(request("POST", f"/containers/{name}/attach?stream=1&stdout=1"))
        head = until(client, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length" not in head
        call(server, "POST", f"/containers/{name}/start")
        assert unframed(rest(client)) == (b"hi\n", b"")


def test_a_command_and_its_half_closed_client(server):
    with container(server, "sleep 100") as name:
        asked = {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
        exec_id = call(server, "POST", f"/containers/{name}/exec", asked)["Id"]
        how = {"Detach": False, "Tty": False}
        with closing(taken(server, f"/exec/{exec_id}/start", how)) as client:
            data = b"x" * 300_000
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert unframed(rest(client)) == (data, b"")
        assert call(server, "GET", f"/exec/{exec_id}/json")["ExitCode"] == 0


def begun(server, data, words=b"\r\n\r\n"):
    """Return a connection whose answer has begun."""
    client = connected(server)
    client.sendall(data)
    until(client, words)
    return client


def vanishing(server, name):
    """Yield (what it is, a client that is in the middle of it)."""
    path = f"/containers/{name}"
    yield "logs", begun(server, request("GET", f"{path}/logs?stdout=1&follow=1"), b"tick")
    yield "events", begun(server, request("GET", "/events"))
    yield "wait", begun(server, request("POST", f"{path}/wait"))
    yield "wait for the next", begun(server, request("POST", f"{path}/wait?condition=next-exit"))
    yield "removed", begun(server, request("POST", f"{path}/wait?condition=removed"))
    yield "stats", begun(server, request("GET", f"{path}/stats?stream=1"), b"cpu_stats")
    yield "attach", taken(server, f"{path}/attach?stream=1&stdout=1")
    half = taken(server, f"{path}/attach?stream=1&stdout=1")
    half.shutdown(socket.SHUT_WR)
    yield "attach, half closed", half
    asked = {"Cmd": ["sleep", "100"], "AttachStdin": True, "AttachStdout": True}
    exec_id = call(server, "POST", f"{path}/exec", asked)["Id"]
    yield "exec", taken(server, f"/exec/{exec_id}/start", {"Detach": False})


def test_who_vanishes_from_whatever_leaves_nothing(server):
    """No thread, no descriptor, no place: and the container goes on."""
    settled(lambda: server.clients == 0, "clients")
    with (
        container(server, "while :; do echo tick; sleep 0.1; done") as name,
        container(server, "true", starts=False) as other,
    ):
        threads, files = threads_now(), files_now()
        for what, client in vanishing(server, name):
            client.close()
            settled(lambda: server.clients == 0, f"clients of {what}")
        for path in ("attach?stream=1&stdout=1", "attach?stream=1&stdin=1&stdout=1"):
            taken(server, f"/containers/{other}/{path}").close()
            settled(lambda: server.clients == 0, "clients that wait for a start")
        begun(server, request("POST", f"/containers/{other}/wait?condition=next-exit")).close()
        settled(lambda: server.clients == 0, "clients that wait for an end")
        assert call(server, "GET", f"/containers/{name}/json")["State"]["Running"]
        execs = call(server, "GET", f"/containers/{name}/json")["ExecIDs"]
        assert execs is not None, "the command goes on without its client"
        call(server, "POST", f"/containers/{name}/kill")
        call(server, "POST", f"/containers/{name}/wait")
        settled(lambda: threads_now() <= threads, "threads")
        settled(lambda: files_now() <= files, "descriptors")


def test_an_end_that_was_told_before_the_log_was_on_disk_is_heard(server, shared, monkeypatch):
    """A shim tells of an end first, then writes its log: who asks in between has missed it."""
    with container(server, "sleep 0.3; exit 5") as name:
        running = shared.containers.get(name)
        assert call(server, "POST", f"/containers/{name}/wait")["StatusCode"] == 5
        real = type(shared.containers).get

        def get(self, asked):
            return running if asked == name else real(self, asked)

        monkeypatch.setattr(type(shared.containers), "get", get)
        for how in ("", "?condition=next-exit"):
            assert call(server, "POST", f"/containers/{name}/wait{how}")["StatusCode"] == 5
        monkeypatch.undo()


def test_a_run_that_another_process_began_and_that_is_over_was_one(server, shared):
    with (
        container(server, "exit 6", starts=False) as name,
        closing(
            begun(
                server,
                request("POST", f"/containers/{name}/wait?condition=next-exit", connection="close"),
            )
        ) as client,
    ):
        shared.containers.start(name)  # nobody tells the server
        assert b'"StatusCode":6' in rest(client)


def test_clients_that_hear_nothing_hold_nobody_up(server):
    """A client that does not read is its own affair, and the server's end ends it."""
    threads = threads_now()
    with container(server, "while :; do echo tick; done") as name:
        deaf = [begun(server, request("GET", f"/containers/{name}/logs?stdout=1&follow=1"))]
        deaf.append(taken(server, f"/containers/{name}/attach?stream=1&stdout=1"))
        time.sleep(0.3)
        began = time.monotonic()
        assert call(server, "GET", "/version")["Platform"]["Name"] == "ocimagic"
        assert time.monotonic() - began < 20
        for each in deaf:
            each.close()
        settled(lambda: threads_now() <= threads, "threads")


def test_the_end_of_the_server_ends_every_answer(shared, tmp_path):
    threads = threads_now()
    with serving(shared, tmp_path) as server:
        name = made(server, "while :; do echo tick; sleep 0.1; done")
        call(server, "POST", f"/containers/{name}/start")
        clients = [client for _, client in vanishing(server, name)]
        server.close()
        for each in clients:
            with closing(each), suppress(ConnectionResetError):
                rest(each)
    assert shared.containers.get(name).status.value == "running"
    shared.containers.remove(name, force=True)
    settled(lambda: threads_now() <= threads, "threads")
