"""Websockets: what opens one, and what a client may send on it, byte by byte."""

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.api.http import BadRequest, Request
from ocimagic.api.websocket import MAX_FRAME, WebSocket, accepted

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
HANDSHAKE = {
    "host": "localhost:2375",
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
}
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
MASK = b"\x01\x02\x03\x04"


def frame(first, payload=b"", *, mask=MASK, length=None):
    """Return a client's frame; ``length`` is written as it is said."""
    masked = bytes(each ^ mask[at % 4] for at, each in enumerate(payload))
    said = written(len(payload), 0x80) if length is None else length
    return bytes((first,)) + said + mask + masked


def written(size, bit):
    """Return a length as it is written; the first bit says whether there is a mask."""
    if size < 126:
        return bytes((bit | size,))
    if size < 1 << 16:
        return struct.pack(">BH", bit | 126, size)
    return struct.pack(">BQ", bit | 127, size)


def heard(*frames, is_text=False, early=b"", said=()):
    """Return what the server makes of frames, and the frames that it answers."""
    ours, door = socket.socketpair()
    with ours, door:
        ours.settimeout(10)
        web = WebSocket(door, early, is_text=is_text)
        for each in said:
            web.send(each)

        def send():
            for each in frames:
                ours.sendall(each)
            ours.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        found = b"".join(web.received())
        sender.join()
        door.shutdown(socket.SHUT_WR)
        answer = b""
        while data := ours.recv(1 << 16):
            answer += data
    return found, answer


def closing(code):
    return b"\x88\x02" + struct.pack(">H", code)


def test_the_key_of_the_rfc_is_accepted():
    headers = accepted(Request("GET", "/", {}, HANDSHAKE))
    assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("upgrade", "tcp", 400),
        ("connection", "close", 400),
        ("sec-websocket-version", "8", 426),
        ("sec-websocket-key", "", 400),
        ("sec-websocket-key", "c2hvcnQ=", 400),
        ("sec-websocket-key", "#" * 24, 400),
        ("origin", "http://elsewhere.example", 403),
        ("origin", "null", 403),
    ],
)
def test_what_does_not_open_a_websocket(header, value, status):
    with pytest.raises(BadRequest) as refused:
        accepted(Request("GET", "/", {}, HANDSHAKE | {header: value}))
    assert refused.value.status == status
    assert (refused.value.headers == {"Sec-WebSocket-Version": "13"}) == (status == 426)


def test_a_page_of_the_same_place_may_open_one():
    headers = HANDSHAKE | {"origin": "http://LocalHost:2375"}
    assert accepted(Request("GET", "/", {}, headers))
    with pytest.raises(BadRequest, match="no websocket"):
        accepted(Request("GET", "/", {}, HANDSHAKE, is_old=True))


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8), st.binary(min_size=4, max_size=4))
def test_what_a_client_says_arrives(parts, mask):
    """In one frame each, and as fragments of one message with pings in between."""
    whole = b"".join(parts)
    assert heard(*(frame(BINARY, each, mask=mask) for each in parts)) == (whole, b"")
    more = [frame(0x02 if at == 0 else 0x00, each, mask=mask) for at, each in enumerate(parts)]
    asked = [piece for each in more for piece in (each, frame(PING, b"?", mask=mask))]
    last = frame(0x80, b"!", mask=mask)
    assert heard(*asked, last) == (whole + b"!", b"\x8a\x01?" * len(parts))


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300_001])
def test_frames_of_all_lengths(size):
    data = bytes(range(256)) * (size // 256 + 1)
    payload = data[:size]
    assert heard(frame(BINARY, payload)) == (payload, b"")
    ours, door = socket.socketpair()
    with ours, door:
        writer = threading.Thread(
            target=lambda: (WebSocket(door, b"", is_text=False).send(payload), door.close())
        )
        writer.start()
        answer = b""
        while got := ours.recv(1 << 16):
            answer += got
        writer.join()
    head = b"\x82" + written(size, 0)
    assert answer == (head + payload if size else b"")


def test_what_came_with_the_handshake_is_heard_first():
    both = frame(BINARY, b"early")
    assert heard(both[3:], frame(BINARY, b" late"), early=both[:3])[0] == b"early late"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"\x88\x00"),
        (struct.pack(">H", 1000) + b"bye", closing(1000)),
        (struct.pack(">H", 1001), closing(1001)),
        (struct.pack(">H", 4999), closing(4999)),
        (b"\x03", closing(1002)),
        (struct.pack(">H", 1005), closing(1002)),
        (struct.pack(">H", 1006), closing(1002)),
        (struct.pack(">H", 999), closing(1002)),
        (struct.pack(">H", 5000), closing(1002)),
        (struct.pack(">H", 1000) + b"\xff", closing(1007)),
    ],
)
def test_goodbyes(sent, answer):
    """After one nothing is heard."""
    assert heard(frame(CLOSE, sent), frame(BINARY, b"late")) == (b"", answer)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"\x82\x05hello", 1002),  # no mask
        (frame(0xC2, b"x"), 1002),  # RSV1: permessage-deflate, which nobody agreed to
        (frame(0x83, b"x"), 1002),
        (frame(0x8B, b""), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(0x09, b"x"), 1002),  # a ping in parts
        (frame(0x80, b"x"), 1002),  # goes on with nothing
        (frame(0x02, b"a") + frame(BINARY, b"b"), 1002),
        (frame(BINARY, b"x", length=struct.pack(">BH", 0xFE, 1)), 1002),
        (frame(BINARY, b"x", length=struct.pack(">BQ", 0xFF, 1)), 1002),
        (frame(BINARY, b"x", length=struct.pack(">BQ", 0xFF, 1 << 63)), 1002),
        (frame(BINARY, b"x", length=struct.pack(">BQ", 0xFF, MAX_FRAME + 1)), 1009),
        (frame(BINARY, b"x", length=struct.pack(">BQ", 0xFF, (1 << 63) - 1)), 1009),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, "é".encode()[:1]), 1007),
        (frame(0x01, "é".encode()[:1]) + frame(0x80, b"x"), 1007),
    ],
)
def test_what_is_no_frame_ends_it_with_a_reason(bad, code):
    found, answer = heard(frame(BINARY, b"good "), bad, frame(BINARY, b"late"))
    assert answer == closing(code)
    assert b"late" not in found
    assert found.startswith(b"good ")


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_refused(data):
    _, answer = heard(data)
    assert answer == b"" or answer[0] in (CLOSE, PONG)


def test_text_is_always_text():
    """Half a character waits for the other half; what never was one is replaced."""
    _, answer = heard(is_text=True, said=["é".encode()[:1], "é".encode()[1:] + b"\xff!"])
    text = "é\ufffd!".encode()
    assert answer == bytes((TEXT, len(text))) + text
    assert heard(frame(0x01, "é".encode()[:1]) + frame(0x80, "é".encode()[1:]))[0] == "é".encode()
