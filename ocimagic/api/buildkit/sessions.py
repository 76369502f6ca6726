"""Sessions: connections on which a client of BuildKit's is the server, and answers a build.

Source: moby/buildkit session/manager.go and session.go; ``POST /session`` with ``Upgrade: h2c``.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocimagic.api.buildkit.splice import Junction, accepted, private_directory
from ocimagic.errors import InvalidOption, InvalidState, NeighbourError, NotFound
from ocimagic.wire.buildkit import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service

_MOST = 64
_IDLE_S = 600.0  # without a build
_LOOK_S = 5.0
_FIND_S = 5.0  # docker's, too
_ASK_S = 60.0
_MAX_MESSAGE = 16 << 20
HEADER = "x-docker-expose-session-"
_NAME = re.compile(r"[!-~]{1,256}")
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.default_authority", "localhost"),
)


class SessionLost(NeighbourError):
    """A client that was asked during its build is gone, or answers what makes no sense."""


class Session:
    """One client that can be asked.

    Args:
        session_id: as the client calls it.
        methods: what it answers, ``/package.Service/Method`` in lower case.
        channel: of grpcio.
        name: what its client calls itself.

    Attributes:
        ended: set when it is gone.
    """

    def __init__(self, session_id: str, methods: frozenset[str], channel: Any) -> None:  # noqa: ANN401
        self.session_id = session_id
        self.ended = threading.Event()
        self._methods = methods
        self._channel = channel
        self._lock = threading.Lock()
        self._users = 0
        self._since = time.monotonic()
        self._on_end: list[threading.Event] = []

    @property
    def is_idle(self) -> bool:
        """Say whether no build has used it for long."""
        with self._lock:
            return not self._users and time.monotonic() - self._since > _IDLE_S

    @contextmanager
    def used(self, stop: threading.Event) -> Iterator[None]:
        """Keep it for a build.

        Args:
            stop: set when the session ends meanwhile.
        """
        with self._lock:
            self._users += 1
            self._on_end.append(stop)
            if self.ended.is_set():
                stop.set()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._since = time.monotonic()
                self._on_end.remove(stop)

    def end(self) -> None:
        """Tell all who use it that it is gone."""
        with self._lock:
            self.ended.set()
            for each in self._on_end:
                each.set()
        self._channel.close()

    def answers(self, method: str) -> bool:
        """Say whether the client has a method."""
        return method.lower() in self._methods

    def ask(self, method: str, request: Any, answer: Any) -> Any:  # noqa: ANN401  messages
        """Return the answer to one request; None if the client has no such thing.

        Args:
            method: of gRPC.
            request: a message.
            answer: the class of the answer.

        Raises:
            SessionLost: the client is gone, or refuses.
        """
        import grpc

        if not self.answers(method):
            return None
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return call(request, timeout=_ASK_S)
        except grpc.RpcError as err:
            if err.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED):
                return None
            raise lost(method, err) from err
        except ValueError as err:  # the channel was closed
            raise lost(method, err) from err

    def stream(
        self,
        method: str,
        requests: Iterator[Any],
        answer: Any,  # noqa: ANN401
        metadata: list[tuple[str, str]],
    ) -> Any:  # noqa: ANN401
        """Begin a call of grpcio's that goes both ways.

        Args:
            method: of gRPC.
            requests: messages.
            answer: the class of what comes back.
            metadata: of the call.

        Raises:
            SessionLost: the client is gone, or has no such method.
        """
        if not self.answers(method):
            raise lost(method, "the client does not offer it")
        call = self._channel.stream_stream(
            method,
            request_serializer=lambda each: each.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            return call(requests, metadata=metadata)
        except ValueError as err:
            raise lost(method, err) from err


def lost(method: str, why: Exception | str) -> SessionLost:
    """Return the error of a call that did not come to its end."""
    details: Callable[[], str] | None = getattr(why, "details", None)
    said = (details() if details else "") or str(why)
    doing = method.rpartition(".")[2].replace("/", ".")
    return SessionLost(f"the client does not answer {doing}", why=said)


class Sessions:
    """The sessions of one server, by their names."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._known: dict[str, Session | None] = {}  # None is one that is about to begin

    def find(self, session_id: str) -> Session:
        """Return a session, which may be about to begin.

        Raises:
            NotFound: there is none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._known.get(session_id), _FIND_S)
            found = self._known.get(session_id)
        if found is None:
            raise NotFound(f"no active session for {session_id or 'this build'}")
        return found

    @contextmanager
    def keeping(self, session_id: str) -> Iterator[Callable[[Session], None]]:
        """Keep a name; yields what has its session be found, until it ends.

        Raises:
            InvalidState: the name is in use, or there are too many.
        """
        with self._changed:
            if session_id in self._known:
                raise InvalidState(f"session {session_id} already exists")
            if len(self._known) >= _MOST:
                raise InvalidState(
                    f"{_MOST} sessions are open, and no more are allowed", hint="try again later"
                )
            self._known[session_id] = None

        def begun(session: Session) -> None:
            with self._changed:
                self._known[session_id] = session
                self._changed.notify_all()

        try:
            yield begun
        finally:
            with self._changed:
                found = self._known.pop(session_id)
            if found is not None:
                found.end()


def session(service: Service, exchange: Exchange) -> None:
    """Take a client's connection over, and keep it as a session until either side ends it."""
    messages()  # 501 rather than a connection that nobody can use
    upgrade = exchange.request.header("upgrade")
    if not upgrade:
        raise InvalidOption("no upgrade proto in request")
    if upgrade.lower() != "h2c":
        raise InvalidOption(f"protocol {upgrade} not supported", hint="h2c is")
    session_id = exchange.request.header(f"{HEADER}uuid")
    methods = methods_of(exchange.request.header(f"{HEADER}grpc-method"))
    serve_session(
        service, session_id, methods, lambda: (exchange.take_over(tty=True), exchange.early())
    )


def methods_of(listed: str) -> frozenset[str]:
    """Return what a client answers, in lower case, of a list with commas."""
    return frozenset(each.strip().lower() for each in listed.split(",") if each.strip())


def serve_session(
    service: Service,
    session_id: str,
    methods: frozenset[str],
    take: Callable[[], tuple[socket.socket, bytes]],
) -> None:
    """Keep a connection as a session until either side ends it, or nobody uses it for long.

    Args:
        service: whose session it is.
        session_id: its name.
        methods: what the client answers, in lower case.
        take: gives the connection, and what the client has sent already.

    Raises:
        InvalidOption: the session has no name.
        InvalidState: the name is in use, or there are too many.
    """
    if not _NAME.fullmatch(session_id):
        raise InvalidOption("the session has no name that can be used")
    with service.sessions.keeping(session_id) as begun:
        far, early = take()
        channel, near = _dialled()
        junction = Junction(far, near, early)
        try:
            begun(found := Session(session_id, methods, channel))
            while not junction.ended.wait(_LOOK_S) and not found.is_idle:
                if service.over.is_set():
                    break
        finally:
            channel.close()
            junction.close()
            near.close()


def _dialled() -> tuple[Any, socket.socket]:
    """Return a channel of grpcio's, and the other end of its one connection."""
    import grpc

    with private_directory() as room, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{room}/s")
        door.listen(1)
        channel = grpc.insecure_channel(f"unix:{room}/s", options=_OPTIONS)
        try:
            ready = grpc.channel_ready_future(channel)  # it dials now, and once
            near = accepted(door)
            ready.cancel()
        except BaseException:
            channel.close()
            raise
    return channel, near
