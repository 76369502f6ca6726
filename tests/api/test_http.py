"""Requests read from a socket: every way to split one, and every way to be none."""

import socket
import threading

import pytest

from ocimagic.api import http
from ocimagic.api.http import BadRequest, Body, Gone, Request, Stream, read_request

PLAIN = b"POST /v1.50/x?a=1&b=%20&a=2 HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;name=value\r\nhel\r\n02 ; q\r\nlo\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\n"
)


@pytest.fixture
def pair():
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def read(pair, *pieces, closes=True):
    """Return the stream and the request of what a client sends."""
    here, there = pair
    for each in pieces:
        there.sendall(each)
    if closes:
        there.shutdown(socket.SHUT_WR)
    stream = Stream(here)
    return stream, read_request(stream, 5)


def asked(pair, *pieces):
    return read(pair, *pieces)[1]


@pytest.mark.parametrize("data", [PLAIN, CHUNKED], ids=["length", "chunks"])
def test_a_request_may_be_split_anywhere(data):
    for at in range(1, len(data)):
        here, there = socket.socketpair()
        with here, there:

            def send(there=there, at=at):
                there.sendall(data[:at])
                there.sendall(data[at:])

            sender = threading.Thread(target=send)
            sender.start()
            stream = Stream(here)
            request = read_request(stream, 5)
            body = Body(stream, request.headers)
            assert body.read() == b"hello", at
            assert body.is_over
            sender.join()


def test_a_request_may_come_byte_by_byte(pair):
    here, there = pair
    data = CHUNKED + PLAIN
    sender = threading.Thread(
        target=lambda: [there.sendall(data[i : i + 1]) for i in range(len(data))]
    )
    sender.start()
    stream = Stream(here)
    for _ in range(2):
        assert Body(stream, read_request(stream, 5).headers).read() == b"hello"
    sender.join()


def test_what_a_request_says(pair):
    request = asked(pair, PLAIN)
    assert (request.method, request.path) == ("POST", "/v1.50/x")
    assert request.query == {"a": ("1", "2"), "b": (" ",)}
    assert request.headers == {"host": "d", "content-length": "5"}
    assert not request.is_last
    assert not request.is_old


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a%2Fb%20c", "/a/b c"),
        (b"http://docker/v1.50/x", "/v1.50/x"),
        (b"http://docker", "/"),
        (b"/caf%C3%A9", "/café"),
        (b"/%ff", "/\ufffd"),
        (b"/%zz%", "/%zz%"),
        (b"//x", "//x"),
        (b"*", "*"),
    ],
)
def test_paths(pair, target, path):
    assert asked(pair, b"GET %b HTTP/1.1\r\nHost: d\r\n\r\n" % target).path == path


@pytest.mark.parametrize(
    ("head", "is_last"),
    [
        (b"HTTP/1.1\r\n", False),
        (b"HTTP/1.1\r\nConnection: close\r\n", True),
        (b"HTTP/1.1\r\nConnection: Upgrade, Close\r\n", True),
        (b"HTTP/1.0\r\n", True),
        (b"HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_which_request_is_the_last(pair, head, is_last):
    assert asked(pair, b"GET / " + head + b"\r\n").is_last is is_last


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\nHost: d\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: d\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: d\r\nHost: e\r\n\r\n",
        b"GET / HTTP/1.1\r\nnothing\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\n\r\n",
        b"GET /?a=%00 HTTP/1.1\r\n\r\n",
        b"GET /?%00=a HTTP/1.1\r\n\r\n",
        b"GET /?" + b"&".join([b"a=1"] * 1001) + b" HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_request(pair, head):
    with pytest.raises(BadRequest) as caught:
        asked(pair, head)
    assert caught.value.status == 400


def test_an_empty_line_before_a_request_is_passed_over(pair):
    """RFC 9112 section 2.2."""
    assert asked(pair, b"\r\nGET / HTTP/1.1\r\nHost: d\r\n\r\n").path == "/"


def test_a_head_is_not_endless(pair):
    here, there = pair
    data = b"GET / HTTP/1.1\r\nA: " + b"a" * (2 * http.MAX_HEAD) + b"\r\n\r\n"
    sender = threading.Thread(target=there.sendall, args=(data,))
    sender.start()
    with pytest.raises(BadRequest) as caught:
        read_request(Stream(here), 5)
    assert caught.value.status == 431
    here.shutdown(socket.SHUT_RDWR)
    here.close()
    sender.join()


def test_a_large_head_is_one(pair):
    value = b"a" * (http.MAX_HEAD - 40)
    request = asked(pair, b"GET / HTTP/1.1\r\nA: " + value + b"\r\n\r\n")
    assert request.header("a") == value.decode()


def test_a_head_that_trickles_is_given_up(pair, monkeypatch):
    monkeypatch.setattr(http, "HEAD_S", 0.2)
    with pytest.raises(BadRequest) as caught:
        read(pair, b"GET / HTTP/1.1\r\n", closes=False)
    assert caught.value.status == 408


def test_a_body_that_stops_is_given_up(pair, monkeypatch):
    monkeypatch.setattr(http, "BODY_S", 0.1)
    for size in (1, 1 << 20):
        here, there = socket.socketpair()
        with here, there:
            stream, request = read((here, there), PLAIN[:-1], closes=False)
            body = Body(stream, request.headers)
            assert body.read(4) == b"hell"
            with pytest.raises(BadRequest) as caught:
                body.read(size)
            assert caught.value.status == 408


def test_nobody_asks_any_more(pair):
    here, _there = pair
    with pytest.raises(Gone):
        read_request(Stream(here), 0.01)


@pytest.mark.parametrize("data", [PLAIN, CHUNKED], ids=["length", "chunks"])
def test_who_leaves_in_between_is_gone(data):
    for at in range(len(data)):
        here, there = socket.socketpair()
        with here, there:
            there.sendall(data[:at])
            there.close()
            stream = Stream(here)
            with pytest.raises(Gone):
                Body(stream, read_request(stream, 5).headers).read()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": "5", "transfer-encoding": "chunked"}, 400),
        ({"content-length": "-1"}, 400),
        ({"content-length": "+5"}, 400),
        ({"content-length": "5, 5"}, 400),
        ({"content-length": ""}, 400),
        ({"content-length": "0x5"}, 400),
        ({"content-length": "\u0665"}, 400),
        ({"content-length": "9" * 40}, 400),
        ({"transfer-encoding": "gzip, chunked"}, 501),
        ({"transfer-encoding": "identity"}, 501),
        ({"transfer-encoding": ""}, 501),
    ],
)
def test_lengths_that_nobody_knows(pair, headers, status):
    with pytest.raises(BadRequest) as caught:
        Body(Stream(pair[0]), headers)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"x\r\n", 400),
        (b"\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x1\r\n", 400),
        (b"11111111111111111\r\n", 400),
        (b"1\r\nab\r\n", 400),
        (b"1 a\r\n", 400),
        (b"1;" + b"x" * 2 * http.MAX_LINE + b"\r\na\r\n", 431),
        (b"0\r\n" + b"A: b\r\n" * 1000 + b"\r\n", 431),
    ],
)
def test_chunks_that_are_none(pair, data, status):
    here, there = pair
    there.sendall(data)
    there.shutdown(socket.SHUT_WR)
    body = Body(Stream(here), {"transfer-encoding": "chunked"})
    with pytest.raises(BadRequest) as caught:
        body.read()
    assert caught.value.status == status


def test_a_huge_size_reads_what_is_there(pair):
    """Who asks for a gigabyte at once is not given so much memory."""
    here, there = pair
    there.sendall(b"abc")
    body = Body(Stream(here), {"content-length": str(1 << 40)})
    assert body.read(1 << 40) == b"abc"
    assert body.length == (1 << 40) - 3


def test_a_client_that_waits_for_a_word_gets_it_once(pair):
    here, there = pair
    headers = {"content-length": "4", "expect": "100-Continue"}
    there.sendall(b"abcd")
    body = Body(Stream(here), headers)
    assert body.read(2) == b"ab"
    assert body.read(2) == b"cd"
    here.shutdown(socket.SHUT_WR)
    assert there.recv(100) + there.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_client_that_waits_for_a_word_nobody_said_has_sent_nothing(pair):
    body = Body(Stream(pair[0]), {"content-length": "4", "expect": "100-continue"})
    assert not body.drain(100)


def test_what_nobody_wanted_is_read_up_to_a_limit(pair):
    here, there = pair
    there.sendall(b"a" * 1000)
    assert Body(Stream(here), {"content-length": "1000"}).drain(1 << 20)
    there.sendall(b"a" * 1000)
    assert not Body(Stream(here), {"content-length": str(1 << 30)}).drain(100)


def test_what_came_early_is_handed_over(pair):
    stream, request = read(pair, PLAIN + b"early")
    assert Body(stream, request.headers).read() == b"hello"
    assert stream.taken() == b"early"
    assert stream.taken() == b""


def test_a_header_that_is_not_there():
    assert Request("GET", "/", {}, {}).header("x") == ""
