"""A server that nobody hurts, whatever is sent to it: what it answers, and what is left of it."""

import os
import random
import resource
import socket
import struct
import threading
from contextlib import closing, suppress

import pytest
from talk import connected, files_now, rest, said, serving, settled, statuses, threads_now, whole

from ocimagic.api import connection, http
from ocimagic.api import server as rooms

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
REAL = (
    PING,
    (b"HEAD /_ping HTTP/1.1\r\nHost: api.moby.localhost\r\nUser-Agent: Docker-Client/28\r\n\r\n"),
    (b"GET /v1.50/version HTTP/1.1\r\nHost: d\r\n\r\n"),
    (b'GET /v1.50/containers/json?all=1&filters={"name":{"a":true}} HTTP/1.1\r\nHost: d\r\n\r\n'),
    (b"GET /v1.50/containers/nobody/json HTTP/1.1\r\nHost: d\r\n\r\n"),
    (b"GET /v1.50/containers/nobody/logs?stdout=1&tail=5&since=0 HTTP/1.1\r\nHost: d\r\n\r\n"),
    (b"GET /v1.50/events?since=0&until=1 HTTP/1.1\r\nHost: d\r\n\r\n"),
    (b"GET /v1.50/images/json?all=1 HTTP/1.1\r\nHost: d\r\n\r\n"),
    (b"GET /v1.50/networks HTTP/1.1\r\nHost: d\r\n\r\n"),
    (b"GET /v1.50/volumes HTTP/1.1\r\nHost: d\r\n\r\n"),
    (b"DELETE /v1.50/images/nothing?force=1 HTTP/1.1\r\nHost: d\r\n\r\n"),
    (
        b"POST /v1.50/containers/create?name=a HTTP/1.1\r\n"
        b"Host: d\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 46\r\n\r\n"
        b'{"Image":"nothing","Env":["A=b"],"Tty":false}\n'
    ),
    (
        b"POST /v1.50/exec/nobody/start HTTP/1.1\r\n"
        b"Host: d\r\n"
        b"Connection: Upgrade\r\n"
        b"Upgrade: tcp\r\n"
        b"Content-Length: 30\r\n\r\n"
        b'{"Detach":false,"Tty":false}\r\n'
    ),
    (
        b"POST /v1.50/containers/nobody/attach?stream=1&stdout=1 HTTP/1.1\r\n"
        b"Host: d\r\n"
        b"Connection: Upgrade\r\n"
        b"Upgrade: tcp\r\n"
        b"Content-Length: 0\r\n\r\n"
    ),
    (b"POST /v1.50/containers/nobody/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n"),
    (
        b"POST /v1.50/images/load?quiet=1 HTTP/1.1\r\n"
        b"Host: d\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    ),
    (
        b"PUT /v1.50/containers/nobody/archive?path=/ HTTP/1.1\r\n"
        b"Host: d\r\n"
        b"Expect: 100-continue\r\n"
        b"Content-Length: 3\r\n\r\n"
        b"abc"
    ),
)


@pytest.fixture
def server(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "BODY_S", 2.0)
    with serving(engine, tmp_path) as server:
        yield server
        assert statuses(said(server, PING)) == [200], "it does not answer any more"


def test_requests_in_a_row_are_answered_in_their_order(server):
    """Pipelined: all are there before the first is answered."""
    answers = whole(said(server, b"".join(REAL[:5]).replace(b"HEAD", b"GET")))
    assert [each[0] for each in answers] == [200, 200, 200, 200, 404]
    assert answers[0][2] == b"OK"


def test_a_connection_is_kept(server):
    with closing(connected(server)) as client:
        for _ in range(3):
            client.sendall(PING)
            assert client.recv(4096).endswith(b"OK")


@pytest.mark.parametrize("more", [b"HTTP/1.0\r\n\r\n", b"HTTP/1.1\r\nConnection: close\r\n\r\n"])
def test_a_last_request_is_the_last(server, more):
    with closing(connected(server)) as client:
        client.sendall(b"GET /_ping " + more + PING)
        [(status, headers, _)] = whole(rest(client))
    assert status == 200
    assert headers["connection"] == "close"


def test_a_client_of_http_1_0_gets_no_chunks(server):
    answer = said(server, b"GET /events?since=0&until=1 HTTP/1.0\r\n\r\n")
    [(status, headers, body)] = whole(answer)
    assert (status, body) == (200, b"")
    assert "transfer-encoding" not in headers


def test_a_head_has_no_body(server):
    answer = said(server, REAL[1])
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 2\r\n" in answer


def test_a_path_as_to_a_proxy(server):
    assert statuses(said(server, PING.replace(b"/_ping", b"http://docker/v1.50/_ping"))) == [200]


def test_a_name_with_escapes(server):
    [(status, _, body)] = whole(said(server, REAL[4].replace(b"nobody", b"no%2fbody%20%C3%A9")))
    assert status == 404
    assert b"page not found" in body or "no/body é".encode() in body


def test_an_empty_answer_is_empty(server):
    """RFC 9110 section 15.3.5: 204 has neither a body nor a length."""
    made = REAL[11].replace(b"containers/create?name=a", b"volumes/create")
    made = made.replace(b'{"Image":"nothing","Env":["A=b"],"Tty":false}\n', b'{"Name":"mine"}')
    made = made.replace(b"Length: 46", b"Length: 15")
    gone = b"DELETE /volumes/mine HTTP/1.1\r\nHost: d\r\n\r\n"
    answers = whole(said(server, made + gone + PING))
    assert [each[0] for each in answers] == [201, 204, 200]
    assert "content-length" not in answers[1][1]


def test_a_body_that_nobody_waited_for_is_passed_over(server):
    data = b"GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000
    assert statuses(said(server, data + PING)) == [200, 200]


def test_a_body_that_never_ends_ends_the_connection(server):
    """The answer can be read although the client still sends."""
    with closing(connected(server)) as client:
        client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: 100000000\r\n\r\n")
        client.sendall(b"x" * (3 << 20))
        assert statuses(rest(client)) == [200]


def test_a_bad_body_that_nobody_wanted_ends_the_connection(server):
    """Which is no reason for a thread to fall over; pytest tells of one that does."""
    data = PING.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n")
    assert statuses(said(server, data + PING)) == [200]


def test_who_waits_for_a_word_and_is_refused_is_told_at_once(server):
    head = REAL[-1].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with closing(connected(server)) as client:
        client.sendall(head)
        assert statuses(rest(client)) == [404]


@pytest.mark.parametrize(
    ("document", "said_of_it"),
    [
        (b"[]", b"no JSON object"),
        (b"{", b"invalid JSON"),
        (b"[" * 100_000, b"invalid JSON"),
        (b'{"Image":"a\\u0000b"}', b"NUL"),
        (b'{"Image":"busybox","Env":["A=\\ud800"]}', b"half a character"),
        (b'{"\\udfff":1}', b"half a character"),
        (b"\xff\xfe{}", b"invalid JSON"),
        (b'{"Image":1}', b"Image"),
        (b'{"Image":"x","HostConfig":[]}', b"HostConfig"),
    ],
    ids=range(9),
)
def test_documents_that_are_none(server, document, said_of_it):
    head = b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n"
    [(status, _, body)] = whole(said(server, head % len(document) + document))
    assert status == 400
    assert said_of_it in body, body


def test_text_with_every_escape_is_text(server):
    document = b'{"Name":"a","Labels":{"k":"\\ud83d\\ude00 \\u00e9 \\\\u0000"}}'
    head = b"POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n"
    [(status, _, body)] = whole(said(server, head % len(document) + document))
    assert status == 201, body
    assert b"\\ud83d\\ude00" in body


def test_a_head_that_trickles_is_given_up(engine, tmp_path, monkeypatch):
    """A hundred of them, and the server answers others all the while."""
    monkeypatch.setattr(http, "HEAD_S", 0.5)
    with serving(engine, tmp_path) as server:
        slow = [connected(server) for _ in range(100)]
        for each in slow:
            each.sendall(PING[:10])
        assert statuses(said(server, PING)) == [200]
        assert [statuses(rest(each)) for each in slow] == [[408]] * 100
        for each in slow:
            each.close()


def test_who_asks_nothing_is_let_go(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "IDLE_S", 0.2)
    with serving(engine, tmp_path) as server, closing(connected(server)) as client:
        assert rest(client) == b""


def test_who_comes_when_all_places_are_taken_waits(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "_MOST", 3)
    with serving(engine, tmp_path) as server:
        kept = [connected(server) for _ in range(3)]
        with closing(connected(server)) as late:
            late.sendall(PING)
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.recv(1)
            late.settimeout(20)
            kept.pop().close()
            assert late.recv(4096).endswith(b"OK")
        for each in kept:
            each.close()


def test_a_server_without_descriptors_goes_on_later(engine, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        serving(engine, tmp_path) as server,
        closing(connected(server)) as client,
        closing(socket.socket(socket.AF_UNIX)) as early,
        closing(socket.socket(socket.AF_UNIX)) as late,
    ):
        client.sendall(PING)
        assert client.recv(4096).endswith(b"OK")
        resource.setrlimit(resource.RLIMIT_NOFILE, (files_now() + 20, hard))
        taken = []
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(client.fileno()))
            for each in (early, late):  # the kernel has a number ready for the first
                each.connect(server.url.removeprefix("unix://"))
                each.sendall(PING)
            assert early.recv(4096).endswith(b"OK")
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.recv(1)
        finally:
            for each in taken:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        late.settimeout(20)
        assert late.recv(4096).endswith(b"OK")


def test_clients_that_vanish_anywhere(server):
    """Closed at once after each byte, and reset where there is something unread."""
    threads = threads_now()
    for data in REAL:
        for at in range(1, len(data), 7):
            client = connected(server)
            client.sendall(data[:at])
            client.close()
    settled(lambda: server.clients == 0, "clients")
    settled(lambda: threads_now() <= threads, "threads")


def test_ten_thousand_requests_that_are_hurt(server):
    """Nothing hangs, nothing is left, nothing is a defect, and each answer is one."""
    chance = random.Random(20)
    threads = threads_now()
    defects = []

    def send(seed):
        own = random.Random(seed)
        for _ in range(1250):
            data = _hurt(own)
            with closing(connected(server)) as client:
                try:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    answer = rest(client)
                except (BrokenPipeError, ConnectionResetError):
                    continue
            if b"a defect of ocimagic" in answer or b"the engine cannot do this" in answer:
                defects.append((data, answer))

    crowd = [threading.Thread(target=send, args=(chance.random(),)) for _ in range(8)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert not defects, (len(defects), sorted({each[1].partition(b"{")[2] for each in defects}))
    settled(lambda: server.clients == 0, "clients")
    settled(lambda: threads_now() <= threads, "threads")


def _hurt(chance):
    """Change a real request, or several in a row, at some places."""
    data = bytearray(b"".join(chance.choices(REAL, k=chance.choice([1, 1, 1, 2, 3]))))
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(data))
        match chance.randrange(7):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 20)]
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 20))
            case 3:
                data[at:at] = data[at : at + chance.randrange(1, 200)]
            case 4:
                del data[at:]
            case 5:
                data[at:at] = chance.choice(
                    [b"%00", b"%", b"\r\n", b"0", b"-", b"..%2f", b"\0", b"&", b"{", b"}", b"/"]
                )
            case 6:
                data[at:at] = struct.pack(">I", chance.randrange(1 << 32))
        if not data:
            return b"\r\n"
    return bytes(data)
