"""A websocket on a connection that was taken over: its opening, its frames, its end.

Spec: RFC 6455.  Extensions and subprotocols are none of ours, so a client that offers some is
answered without.  What a message holds is passed on as it comes: nothing is kept until it is
whole, so how long it is does not matter, but a frame of more than ``MAX_FRAME`` bytes is refused.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ocimagic.api.http import BadRequest

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from ocimagic.api.http import Request

MAX_FRAME = 64 << 20
GOING, PROTOCOL_ERROR, NOT_TEXT, TOO_BIG = 1000, 1002, 1007, 1009
_NO_CODE = 1005
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_VERSION = "13"
_MORE, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_LAST, _RESERVED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_MOST_CONTROL = 125
_PIECE = 1 << 16
_FIRST_OF_OTHERS, _FIRST_OF_NOBODY = 3000, 5000
# Those that an endpoint may send, section 7.4.1 and IANA's list.
_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class NoFrame(Exception):
    """What a client sent is no frame of a websocket.

    Args:
        code: to close with.
        why: in a few words.
    """

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def accepted(request: Request) -> dict[str, str]:
    """Return the headers that open a websocket.

    Raises:
        BadRequest: the request does not ask for one, or for one of another version; or a page of
            another place asks, which only uses that the browser reaches this one.
    """
    if request.is_old or "websocket" not in _words(request, "upgrade"):
        raise BadRequest(400, "this is no websocket handshake: no Upgrade: websocket")
    if "upgrade" not in _words(request, "connection"):
        raise BadRequest(400, "this is no websocket handshake: no Connection: Upgrade")
    if request.header("sec-websocket-version") != _VERSION:
        known = {"Sec-WebSocket-Version": _VERSION}
        raise BadRequest(426, f"only version {_VERSION} of websockets is spoken here", known)
    key = request.header("sec-websocket-key")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key:
        raise BadRequest(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    origin = request.header("origin")
    if origin and urlsplit(origin).netloc.lower() != request.header("host").lower():
        raise BadRequest(403, f"a page of {origin} may not attach here")
    made = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(made).decode(),
    }


def _words(request: Request, name: str) -> set[str]:
    return {each.strip().lower() for each in request.header(name).split(",")}


class WebSocket:
    """The server's side; one thread may receive while others send.

    Args:
        door: of the client.
        early: what came right behind its request.
        is_text: send text, not bytes; what is no UTF-8 is replaced.
    """

    def __init__(self, door: socket.socket, early: bytes, *, is_text: bool) -> None:
        self._door = door
        self._buffer = bytearray(early)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace") if is_text else None
        self._sending = threading.Lock()
        self._is_closed = False

    def send(self, data: bytes) -> None:
        """Send a message.

        Raises:
            OSError: nobody is there.
        """
        if self._decoder is not None:
            data = self._decoder.decode(data).encode()
        if data:
            self._send(_BINARY if self._decoder is None else _TEXT, data)

    def close(self, code: int = GOING) -> None:
        """Say that nothing more comes; again does nothing."""
        with suppress(OSError):
            self._send(_CLOSE, b"" if code == _NO_CODE else struct.pack(">H", code))

    def _send(self, opcode: int, data: bytes) -> None:
        length = len(data)
        head = bytes((_LAST | opcode,))
        if length <= _MOST_CONTROL:
            head += bytes((length,))
        elif length < 1 << 16:
            head += struct.pack(">BH", 126, length)
        else:
            head += struct.pack(">BQ", 127, length)
        with self._sending:
            if not self._is_closed:  # nothing may follow a close frame
                self._is_closed = opcode == _CLOSE
                self._door.sendall(head + data)

    # -- what a client sends -------------------------------------------------------

    def received(self) -> Iterator[bytes]:
        """Yield what messages hold, in pieces, until either side has had enough.

        Pings are answered, and so is a client's goodbye; to what is no frame that is said.
        """
        try:
            yield from self._messages()
        except NoFrame as err:
            self.close(err.code)
        except (OSError, EOFError):  # it went without a word
            return

    def _messages(self) -> Iterator[bytes]:
        begun = False
        check: codecs.IncrementalDecoder | None = None
        while True:
            opcode, length, mask, is_last = self._head()
            if opcode >= _CLOSE:
                if not self._control(opcode, _unmasked(self._exactly(length), mask)):
                    return
                continue
            if begun != (opcode == _MORE):
                raise NoFrame(PROTOCOL_ERROR, "a message in the middle of another one, or of none")
            if not begun:
                is_text = opcode == _TEXT
                check = codecs.getincrementaldecoder("utf-8")("strict") if is_text else None
            for piece in self._payload(length, mask):
                _check_text(check, piece, is_last=False)
                yield piece
            begun = not is_last
            if is_last:
                _check_text(check, b"", is_last=True)

    def _head(self) -> tuple[int, int, bytes, bool]:
        """Read what is before a payload: its kind, its length, its mask, whether it is the last."""
        first, second = self._exactly(2)
        opcode, length, is_last = first & _OPCODE, second & _LENGTH, bool(first & _LAST)
        if first & _RESERVED:
            raise NoFrame(PROTOCOL_ERROR, "an extension that nobody agreed to")
        if opcode not in (_MORE, _TEXT, _BINARY, _CLOSE, _PING, _PONG):
            raise NoFrame(PROTOCOL_ERROR, f"no kind of frame has number {opcode}")
        if not second & _MASKED:
            raise NoFrame(PROTOCOL_ERROR, "a client's frame without a mask")
        if opcode >= _CLOSE and (length > _MOST_CONTROL or not is_last):
            raise NoFrame(PROTOCOL_ERROR, "a control frame that is long, or in parts")
        least = 0
        if length > _MOST_CONTROL:
            size, least = (2, 126) if length == 126 else (8, 1 << 16)
            length = int.from_bytes(self._exactly(size))
        if length < least or length >> 63:
            raise NoFrame(PROTOCOL_ERROR, "a length that is not written as it should be")
        if length > MAX_FRAME:
            raise NoFrame(TOO_BIG, f"a frame of more than {MAX_FRAME} bytes")
        return opcode, length, self._exactly(4), is_last

    def _payload(self, length: int, mask: bytes) -> Iterator[bytes]:
        while length:
            # A multiple of the mask's length, but for the last one: each begins with its first.
            piece = self._exactly(min(length, _PIECE))
            length -= len(piece)
            yield _unmasked(piece, mask)

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Answer a control frame; say whether anything may follow."""
        if opcode == _PING:
            self._send(_PONG, payload)
        if opcode != _CLOSE:
            return True
        code = int.from_bytes(payload[:2]) if payload else _NO_CODE
        is_code = code in _CODES or _FIRST_OF_OTHERS <= code < _FIRST_OF_NOBODY
        if payload and (len(payload) == 1 or not is_code):
            raise NoFrame(PROTOCOL_ERROR, "a goodbye for no known reason")
        _check_text(codecs.getincrementaldecoder("utf-8")("strict"), payload[2:], is_last=True)
        self.close(code)
        return False

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self._door.recv(_PIECE)
            if not data:
                raise EOFError
            self._buffer += data
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found


def _unmasked(data: bytes, mask: bytes) -> bytes:
    """Take a mask off; in one number, for bytes one by one are slow."""
    size = len(data)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(whole)).to_bytes(size)


def _check_text(check: codecs.IncrementalDecoder | None, data: bytes, *, is_last: bool) -> None:
    if check is None:
        return
    try:
        check.decode(data, final=is_last)
    except UnicodeDecodeError as err:
        raise NoFrame(NOT_TEXT, "text that is no UTF-8") from err
