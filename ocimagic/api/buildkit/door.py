"""``POST /grpc``: a connection on which our side is the server of gRPC.

grpcio listens in a private directory as long as somebody is connected.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ocimagic.api.buildkit.splice import Junction, private_directory
from ocimagic.errors import InvalidOption
from ocimagic.wire.buildkit import messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service

_THREADS = 32
_LOOK_S = 1.0
_MAX_MESSAGE = 16 << 20


class Door:
    """The gRPC server of one server of the API: there while somebody is connected."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo = ExitStack()
        self._path = ""

    @contextmanager
    def opened(self, service: Service) -> Iterator[str]:
        """Yield the path of a socket that gRPC is spoken at."""
        with self._lock:
            if not self._users:
                try:
                    self._path = self._begin(service)
                except BaseException:
                    self._undo.close()
                    raise
            self._users += 1
        try:
            yield self._path
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._undo.close()

    def _begin(self, service: Service) -> str:
        import grpc

        from ocimagic.api.buildkit.control import Control

        path = f"{self._undo.enter_context(private_directory())}/s"
        pool = self._undo.enter_context(ThreadPoolExecutor(_THREADS, "ocimagic-api-grpc"))
        options = [("grpc.max_receive_message_length", _MAX_MESSAGE)]
        server = grpc.server(pool, options=options)
        for name, handlers in Control(service).handlers().items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        server.add_insecure_port(f"unix:{path}")
        server.start()
        self._undo.callback(lambda: server.stop(None).wait())
        return path


def calls(service: Service, exchange: Exchange) -> None:
    """Take a client's connection over, and answer what it calls."""
    messages()  # 501 rather than a connection that nobody can use
    if exchange.request.header("upgrade").lower() != "h2c":
        raise InvalidOption("gRPC needs the header Upgrade: h2c")
    with service.door.opened(service) as path, socket.socket(socket.AF_UNIX) as near:
        near.connect(path)
        far = exchange.take_over(tty=True)
        junction = Junction(far, near, exchange.early())
        try:
            while not junction.ended.wait(_LOOK_S) and not service.over.is_set():
                continue
        finally:
            junction.close()
