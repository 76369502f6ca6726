"""The socket and what leads from it to the services: gRPC's part of it, and nobody else's.

Needs the extra ``ocimagic[grpc]``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimagic.engine.crud.room import Refused, check_identifier
from ocimagic.errors import (
    BadInput,
    Cancelled,
    Conflict,
    DiskFull,
    HostLacks,
    Mismatch,
    NotBuiltYet,
    NotFound,
    OcimagicError,
    StorageError,
)
from ocimagic.home.doorway import make_way

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # only the launcher forks
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # nothing on a notebook's stderr

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_THREADS = 256  # as many may wait at a time for tasks and events
_MESSAGE_BYTES = 16 << 20  # as containerd's default
_LAST_S = 2.0

Message = Any  # their classes are made when this is loaded

UNARY, TELLS, TALKS = "unary", "tells", "talks"


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service.

    Attributes:
        request: class of its messages; ``answer`` likewise.
        call: is given the request, or an iterator of them, and the ``Caller``.
        kind: ``UNARY``, ``TELLS`` (many answers) or ``TALKS`` (many of both).
    """

    request: Message
    answer: Any
    call: Callable[[Any, Caller], Any]
    kind: str = UNARY


class Caller:
    """Who asks: what came with the request, and whether they are still there."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context
        self._said = {
            str(key): value if isinstance(value, str) else value.decode(errors="replace")
            for key, value in context.invocation_metadata() or ()
        }

    @property
    def namespace(self) -> str:
        """Return the namespace it asks in.

        Raises:
            Refused: it names none.
            BadInput: that is no name.
        """
        found = self._said.get("containerd-namespace", "")
        if not found:
            raise Refused("namespace is required")
        return check_identifier(found, "namespace")

    @property
    def lease(self) -> str:
        """Return the lease that keeps what it makes, "" for none."""
        return self._said.get("containerd-lease", "")

    @property
    def is_there(self) -> bool:
        """Say whether it still waits for the answer."""
        return bool(self._context.is_active())


class Door(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server on a socket of this account.

    Args:
        path: where; a socket that nobody listens at is replaced.
        services: service name to method name to method.

    Raises:
        PortTaken, InvalidOption, StorageError: there can be no socket.
    """

    def __init__(self, path: str, services: Mapping[str, Mapping[str, Method]]) -> None:
        self._services = services
        self.path = os.path.abspath(path)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ocimagic-containerd")
        self._server = grpc.server(
            self._threads,
            handlers=(self,),
            options=(
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ),
        )
        self._own = _bound(self._server, Path(self.path))
        self._server.start()

    def close(self) -> None:
        """Stop listening, and end all answers."""
        with contextlib.suppress(OSError):
            if _identity(Path(self.path)) == self._own:
                os.unlink(self.path)
        self._server.stop(_LAST_S).wait()
        self._threads.shutdown(wait=False)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return what answers a method; one that nobody has says so."""
        _, service, name = details.method.split("/")
        method = self._services.get(service, {}).get(name)
        if method is None:
            return _refused(service, name)
        make = {
            UNARY: grpc.unary_unary_rpc_method_handler,
            TELLS: grpc.unary_stream_rpc_method_handler,
            TALKS: grpc.stream_stream_rpc_method_handler,
        }[method.kind]
        call = _one(method) if method.kind == UNARY else _many(method)
        return make(
            call,
            request_deserializer=method.request.FromString,
            response_serializer=method.answer.SerializeToString,
        )


def _one(method: Method) -> Callable[[Any, grpc.ServicerContext], Any]:
    def call(request: Message, context: grpc.ServicerContext) -> Message:
        with _refusing(context):
            answer = method.call(request, Caller(context))
            return method.answer() if answer is None else answer

    return call


def _many(method: Method) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    def call(request: Message, context: grpc.ServicerContext) -> Iterator[Any]:
        with _refusing(context):
            yield from method.call(request, Caller(context))

    return call


def _refused(service: str, name: str) -> grpc.RpcMethodHandler:
    def call(_request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"ocimagic does not do {name} of {service}: not built"
        )
        return b""

    return grpc.unary_unary_rpc_method_handler(call)


@contextlib.contextmanager
def _refusing(context: grpc.ServicerContext) -> Iterator[None]:
    """Say what went wrong in gRPC's words, as containerd's clients expect them."""
    try:
        yield
    except OcimagicError as err:
        context.abort(
            status_of(err), " ".join(filter(None, (err.what, err.why and f"({err.why})")))
        )
    except OSError as err:  # a disk or a client's stream that is not as it was
        context.abort(grpc.StatusCode.INTERNAL, str(err))


def status_of(err: OcimagicError) -> grpc.StatusCode:
    """Return the code that containerd gives for such an error."""
    found = getattr(err, "grpc_code", "")
    if found:
        return grpc.StatusCode[found]
    codes = (
        (BadInput, "INVALID_ARGUMENT"),
        (NotFound, "NOT_FOUND"),
        (Conflict, "FAILED_PRECONDITION"),
        (Mismatch, "FAILED_PRECONDITION"),
        (NotBuiltYet, "UNIMPLEMENTED"),
        (HostLacks, "UNIMPLEMENTED"),
        (Cancelled, "CANCELLED"),
        (DiskFull, "RESOURCE_EXHAUSTED"),
    )
    for kind, code in codes:
        if isinstance(err, kind):
            return grpc.StatusCode[code]
    return grpc.StatusCode.UNKNOWN


def _bound(server: grpc.Server, path: Path) -> tuple[int, int]:
    """Bind the server to a socket that only this account ever could reach.

    gRPC gives no hold of the socket, so it is made where nobody else may look, and moved when it
    has its mode; a connection asks for no more then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_way(path)
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as room:
            made = Path(room, "s")
            server.add_insecure_port(f"unix:{made}")
            made.chmod(0o600)
            made.rename(path)
        return _identity(path)
    except (OSError, RuntimeError) as err:
        raise StorageError(
            f"cannot make the socket {path}",
            why=getattr(err, "strerror", None) or str(err),
            hint="choose another path: --containerd /tmp/containerd.sock",
        ) from err


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
