"""The sockets of the API, and a thread for each client."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ocimagic.api.connection import serve
from ocimagic.api.gone import Watcher
from ocimagic.api.kept_door import KeptDoor, standing_answers
from ocimagic.api.routes import Routes
from ocimagic.api.secured import in_clear
from ocimagic.api.service import Service
from ocimagic.api.table import TABLE
from ocimagic.api.turns import short_turns
from ocimagic.errors import PortTaken, StorageError
from ocimagic.home.doorway import make_way
from ocimagic.linux.identity import peer_uid

if TYPE_CHECKING:
    import ssl

    from ocimagic.model.engine import EngineAPI

_BACKLOG = 4096  # clients that do not wait are refused when it is full, docker's too
_MOST = 1024  # clients at a time; more wait in the kernel
_LAST_S = 30.0  # for the answers under way when the server closes
_FAREWELL_S = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        path: of a socket in the file system; "" for TCP.
        host: an address of this machine, for TCP.
        port: 0 for a free one.
        tls: what clients are asked for over TCP; None only where that is allowed.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class Server:
    """The API over one engine, until it is closed; containers stay.

    Args:
        engine: whose verbs it offers; it stays its owner's.
        address: where to listen.
        is_busy: this process computes as well, so that another one answers what does not need it
            (see ``doorkeeper.py``); not over TCP.

    Attributes:
        url: as DOCKER_HOST takes it.

    Raises:
        StorageError: there can be no socket.
        InvalidOption: something else is at its path.
        PortTaken: somebody listens there.
    """

    def __init__(self, engine: EngineAPI, address: Address, *, is_busy: bool = False) -> None:
        self._address = address
        self._routes = Routes(TABLE)
        self._slots = threading.BoundedSemaphore(_MOST)
        self._lock = threading.Lock()
        self._clients: dict[int, socket.socket] = {}
        self._is_over = threading.Event()
        self._door = _listen(address)
        self._own = os.stat(address.path) if address.path else None
        self.url = self._url()
        self._service = Service(engine, self.url)
        self._watcher = Watcher()
        self._undo = contextlib.ExitStack()
        self._undo.enter_context(short_turns())
        self._kept: KeptDoor | None = None
        if is_busy and address.path:
            answers = standing_answers(self._service, self._routes, self._watcher)
            self._kept = KeptDoor(self._door, answers)
        self._thread = threading.Thread(target=self._accept, name="ocimagic-api", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_served(self) -> bool:
        """Say whether it still listens."""
        return not self._is_over.is_set()

    @property
    def clients(self) -> int:
        """Return how many clients are connected."""
        with self._lock:
            return len(self._clients)

    @property
    def hint(self) -> str:
        """Return a command that lets docker's client use it."""
        return f"export DOCKER_HOST={self.url}"

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        if not self.is_served:
            return f"docker's API was served at {self.url}"
        return f"docker's API at {self.url}\n  in a terminal: {self.hint}"

    def close(self) -> None:
        """Stop listening, and end all answers."""
        if self._is_over.is_set():
            return
        self._is_over.set()
        self._service.over.set()
        self._unlink()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        if self._kept is not None:
            self._kept.shut()
        self._thread.join()
        if self._kept is not None:
            self._kept.close()
        self._door.close()
        with self._lock:
            for each in self._clients.values():
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + _LAST_S
        for _ in range(_MOST):  # until the last of them is over
            self._slots.acquire(timeout=max(0.0, until - time.monotonic()))
        self._watcher.close()
        self._undo.close()

    def _unlink(self) -> None:
        """Take the socket away, unless somebody else's is there by now."""
        if self._own is not None:
            with contextlib.suppress(OSError):
                now = os.stat(self._address.path)
                if (now.st_dev, now.st_ino) == (self._own.st_dev, self._own.st_ino):
                    os.unlink(self._address.path)

    def _url(self) -> str:
        if self._address.path:
            return f"unix://{os.path.abspath(self._address.path)}"
        host, port = self._door.getsockname()[:2]
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def _accept(self) -> None:
        while True:
            self._slots.acquire()
            try:
                client, early = self._next()
            except OSError:
                self._slots.release()
                if self._is_over.is_set():
                    return
                self._is_over.wait(0.05)  # out of descriptors: some will be free again
                continue
            try:
                threading.Thread(
                    target=self._serve,
                    args=(client, early),
                    name="ocimagic-api-client",
                    daemon=True,
                ).start()
            except RuntimeError:  # there can be no more threads for now
                client.close()
                self._slots.release()

    def _next(self) -> tuple[socket.socket, bytes]:
        """Wait for a client; return it, and what it has sent already."""
        return self._kept.accept() if self._kept else (self._door.accept()[0], b"")

    def _serve(self, client: socket.socket, early: bytes) -> None:
        try:
            with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
                undo.callback(client.close)
                if self._address.path and peer_uid(client) not in (0, os.geteuid()):
                    return
                door = undo.enter_context(self._secured(client))
                with self._lock:
                    self._clients[threading.get_ident()] = door
                if not self._is_over.is_set():
                    serve(door, self._service, self._routes, self._watcher, early)
                    _see_off(door)
        finally:
            with self._lock:
                self._clients.pop(threading.get_ident(), None)
            self._slots.release()

    def _secured(self, client: socket.socket) -> socket.socket:
        """Return what a client is talked to by: for TCP with TLS, what is in clear of it."""
        if self._address.path:
            return client
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return in_clear(client, self._address.tls) if self._address.tls else client


def _see_off(door: socket.socket) -> None:
    """Say that nothing more comes, and let a client that still sends read the answer first.

    A connection that is closed while something unread is in it is reset, RFC 9112 section 9.6.
    """
    door.shutdown(socket.SHUT_WR)
    door.settimeout(_FAREWELL_S)
    until = time.monotonic() + _FAREWELL_S
    while time.monotonic() < until and door.recv(1 << 16):
        continue


def _listen(address: Address) -> socket.socket:
    if address.path:
        return _listen_here(Path(address.path))
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((address.host, address.port))
        door.listen(_BACKLOG)
    except OSError as err:
        door.close()
        raise PortTaken(
            f"cannot listen at {address.host}:{address.port}",
            why=err.strerror,
            hint="choose another port, or 0 for a free one",
        ) from err
    return door


def _listen_here(path: Path) -> socket.socket:
    """Listen at a path, for this account only; a socket that nobody listens at is replaced."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_way(path)
        door.bind(str(path))
        path.chmod(0o600)  # nobody can connect before the next line
        door.listen(_BACKLOG)
    except OSError as err:
        door.close()
        raise StorageError(
            f"cannot make the socket {path}",
            why=err.strerror or str(err),
            hint="choose another path: --host unix:///tmp/ocimagic.sock",
        ) from err
    except BaseException:
        door.close()
        raise
    return door
