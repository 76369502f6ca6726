"""Streams of a process to and from a client that took its connection over.

Spec: Docker Engine API v1.50, ContainerAttach, "Stream format": without a terminal each piece
has eight bytes before it, of which stream it is and how long.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState
from ocimagic.model.keys import KeyWatch, parse_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ocimagic.model.containers import AttachmentAPI

_HEAD = struct.Struct(">BxxxI")
_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}
_RECEIVE = 1 << 16
_REST_S = 30.0  # for a process to read what its client left behind


def framed(stream: str, data: bytes) -> bytes:
    """Return a piece of a stream with its head."""
    return _HEAD.pack(_NUMBERS[stream], len(data)) + data


class Attaching:
    """One client and one process.

    Args:
        door: of the client.
        early: what it has sent already.
        streams: of stdin, stdout and stderr, what it wants.
        tty: bytes go as they are, as of a terminal.
        detach_keys: what typed in a row lets go of a terminal, "" is docker's; None for none.
        gone: set when the client goes.
    """

    def __init__(
        self,
        door: socket.socket,
        early: bytes,
        streams: Collection[str],
        *,
        tty: bool,
        detach_keys: str | None,
        gone: threading.Event,
    ) -> None:
        self._door = door
        self._early = early
        self._streams = streams
        self._tty = tty
        self._watch = None if detach_keys is None else KeyWatch(parse_keys(detach_keys))
        self._gone = gone
        self._heard = threading.Event()  # that the client sends no more
        self._heard.set()

    def write(self, stream: str, data: bytes) -> None:
        """Send a piece of a stream, if the client wants it.

        Raises:
            OSError: nobody is there.
        """
        if stream in self._streams or self._tty:
            self._door.sendall(data if self._tty else framed(stream, data))

    def follow(self, attachment: AttachmentAPI, *, once: bool) -> None:
        """Pass everything on, both ways, until the process ends or the client has enough.

        Args:
            attachment: of the process.
            once: its input ends with the client's.
        """
        if "stdin" in self._streams:
            self._heard.clear()
            threading.Thread(
                target=self._listen,
                args=(attachment,),
                kwargs={"once": once},
                name="ocimagic-api-stdin",
                daemon=True,
            ).start()
        self._pass_on(attachment)

    def _pass_on(self, attachment: AttachmentAPI) -> None:
        """Send to the client what the process writes, until it ends."""
        # The shim may have been killed: what it wrote until then was sent.
        with suppress(InvalidState):
            with suppress(OSError):
                for stream, data in attachment.chunks(cancelled=self._gone):
                    self.write(stream, data)
            # What a client sent before it went is still for the process, which may write, too.
            deadline = time.monotonic() + _REST_S
            if attachment.exit is None:
                for _ in attachment.chunks(cancelled=self._heard, deadline=deadline):
                    continue

    def _listen(self, attachment: AttachmentAPI, *, once: bool) -> None:
        """Send to the process what the client sends."""
        try:
            with suppress(OSError):
                for data in self._received():
                    if not self._typed(attachment, data):
                        self._gone.set()
                        return
                if once:
                    attachment.close_input()
        finally:
            self._heard.set()

    def _typed(self, attachment: AttachmentAPI, data: bytes) -> bool:
        """Send a piece of input to the process; say whether the client stays attached."""
        attachment.send(self._watch.feed(data) if self._watch else data)
        return self._watch is None or not self._watch.detached

    def _received(self) -> Iterator[bytes]:
        if self._early:
            yield self._early
        while data := self._door.recv(_RECEIVE):
            yield data

    def close(self) -> None:
        """Say that nothing more comes; who still sends is told so, too."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
