"""Streams of a container by a websocket, which is what programs in a browser can speak.

Spec: Docker Engine API v1.50, ContainerAttachWebsocket.  There are no heads in the stream: both
outputs come in messages of bytes, since version 1.28; older clients get text.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ocimagic.api.attaching import Attaching
from ocimagic.api.streams import STREAMS, attachable, connected
from ocimagic.api.websocket import WebSocket, accepted
from ocimagic.errors import InvalidState

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service
    from ocimagic.model.containers import AttachmentAPI

_BYTES_SINCE = (1, 28)
_CHOSEN_SINCE = (1, 42)  # before, all streams are meant
_FAREWELL_S = 2.0


def attach(service: Service, exchange: Exchange, container: str) -> None:
    """Connect a client with a container, see ``streams.attach``."""
    found = attachable(service.engine.containers, container)
    chosen = exchange.version >= _CHOSEN_SINCE
    streams = {each for each in STREAMS if not chosen or exchange.query.flag(each)}
    headers = accepted(exchange.request)

    connected(
        service,
        exchange,
        found,
        streams,
        take_over=lambda: exchange.switch(headers),
        kind=partial(_WebAttaching, is_text=exchange.version < _BYTES_SINCE),
    )


class _WebAttaching(Attaching):
    """One client and one process, see ``Attaching``; the client is heard from the beginning.

    It may ask whether somebody is there, or say goodbye, while its container does not run yet.
    """

    def __init__(
        self,
        door: socket.socket,
        early: bytes,
        streams: Collection[str],
        *,
        is_text: bool,
        **more: Any,  # noqa: ANN401  those of Attaching
    ) -> None:
        super().__init__(door, b"", streams, **more)
        self._socket = WebSocket(door, early, is_text=is_text)
        self._attachment: AttachmentAPI | None = None
        self._once = False
        self._has_begun = threading.Event()
        self._hearing = threading.Thread(
            target=self._hear, name="ocimagic-api-websocket", daemon=True
        )
        self._hearing.start()

    def write(self, stream: str, data: bytes) -> None:
        """Send a piece of a stream, if the client wants it.

        Raises:
            OSError: nobody is there.
        """
        if stream in self._streams:
            self._socket.send(data)

    def follow(self, attachment: AttachmentAPI, *, once: bool) -> None:
        """Pass everything on, both ways, see ``Attaching.follow``."""
        self._attachment, self._once = attachment, once
        self._has_begun.set()
        self._pass_on(attachment)

    def close(self) -> None:
        """Say goodbye, and let the client answer before nothing is heard any more."""
        self._has_begun.set()  # who has input for a container that never ran waits no more
        self._socket.close()
        self._hearing.join(_FAREWELL_S)
        super().close()

    def _hear(self) -> None:
        is_deaf = "stdin" not in self._streams
        # To its end also when nobody wants it: the client is still to say goodbye.
        for data in self._socket.received():
            if is_deaf or self._gone.is_set():
                continue
            self._has_begun.wait()
            try:
                if self._attachment and not self._typed(self._attachment, data):
                    self._gone.set()
            except (InvalidState, OSError):  # the process has ended
                is_deaf = True
        if self._once and self._attachment:
            with suppress(InvalidState, OSError):
                self._attachment.close_input()
        self._gone.set()
