"""BuildKit's own API as far as ``docker buildx build`` has it.

The frontend ``dockerfile.v0`` is our own builder; there is no LLB.

Sources: moby/buildkit control/control.go, control/gateway/gateway.go, frontend/gateway/pb.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.api.buildkit.building import Solve, output_kind
from ocimagic.api.buildkit.records import Record, Records
from ocimagic.api.buildkit.sessions import HEADER, methods_of, serve_session
from ocimagic.errors import NotBuiltYet, OcimagicError
from ocimagic.spec.platform import host_platform
from ocimagic.version import VERSION
from ocimagic.wire.asked_solve import FRONTEND
from ocimagic.wire.asked_solve import solve as asked_solve
from ocimagic.wire.buildkit import messages
from ocimagic.wire.failure import failure_status
from ocimagic.wire.solving import SolveProgress, solve_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import SimpleNamespace
    from typing import Any

    from ocimagic.api.service import Service
    from ocimagic.model.built import BuildResult

_CONTROL, _BRIDGE = "moby.buildkit.v1.Control", "moby.buildkit.v1.frontend.LLBBridge"
_BUILD_ID = "buildkit-controlapi-buildid"
_CAPABILITIES = ("solve.base", "return", "returnmap")
_PIECE = 1 << 15


class Control:
    """What is answered, method by method.

    Args:
        service: that builds.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._records = Records()
        self._kinds: SimpleNamespace = messages()["moby.buildkit.v1"]
        self._bridge: SimpleNamespace = messages()["moby.buildkit.v1.frontend"]

    def handlers(self) -> dict[str, dict[str, Any]]:
        """Return what grpcio calls, by service and method."""
        import grpc

        kinds, bridge = self._kinds, self._bridge
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        both = grpc.stream_stream_rpc_method_handler
        rows = (
            (_CONTROL, "ListWorkers", one, self._workers, kinds.ListWorkersRequest),
            (_CONTROL, "Info", one, self._info, kinds.InfoRequest),
            (_CONTROL, "Status", many, self._status, kinds.StatusRequest),
            (_CONTROL, "Solve", one, self._solve, kinds.SolveRequest),
            (_CONTROL, "Session", both, self._session, kinds.BytesMessage),
            (_BRIDGE, "Ping", one, self._ping, bridge.PingRequest),
            (_BRIDGE, "Solve", one, self._bridge_solve, bridge.SolveRequest),
            (_BRIDGE, "Return", one, self._return, bridge.ReturnRequest),
        )
        found: dict[str, dict[str, Any]] = {}
        for service, name, form, method, kind in rows:
            found.setdefault(service, {})[name] = form(
                _told(method, streams=form is not one), kind.FromString, _written
            )
        return found

    # -- Control ---------------------------------------------------------------

    def _workers(self, _request: Any, _context: Any) -> Any:  # noqa: ANN401
        return self._kinds.ListWorkersResponse(record=[self._worker()])

    def _worker(self) -> Any:  # noqa: ANN401
        host = host_platform()
        platform = messages()["pb"].Platform(
            OS=host.os, Architecture=host.architecture, Variant=host.variant or ""
        )
        kind = messages()["moby.buildkit.v1.types"].WorkerRecord
        labels = {"org.mobyproject.buildkit.worker.executor": "ocimagic"}
        return kind(ID="ocimagic", Labels=labels, platforms=[platform])

    def _info(self, _request: Any, _context: Any) -> Any:  # noqa: ANN401
        kind = messages()["moby.buildkit.v1.types"].BuildkitVersion
        version = kind(package="ocimagic", version=f"v{VERSION}", revision="")
        return self._kinds.InfoResponse(buildkitVersion=version)

    def _status(self, request: Any, _context: Any) -> Iterator[Any]:  # noqa: ANN401
        yield from self._records.find(request.Ref).told()

    def _solve(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """Build, or wait for what the client has its frontend build meanwhile."""
        exporter, attributes = request.ExporterDeprecated, request.ExporterAttrsDeprecated
        if len(request.Exporters) > 1:
            raise NotBuiltYet("several outputs of one build are not built yet")
        for each in request.Exporters:
            exporter, attributes = each.Type, each.Attrs
        record = Record(request.Session, exporter, dict(attributes))
        for each in (record.stop, record.returned):
            if not context.add_callback(each.set):  # the client has gone already
                each.set()
        with self._records.keeping(request.Ref, record):
            if request.Frontend:
                self._built(record, request.Frontend, dict(request.FrontendAttrs))
            else:
                record.returned.wait()
                if record.failure:
                    raise Unsolved(record.failure)
        digests = ("containerimage.digest", "containerimage.config.digest")
        response = dict.fromkeys(digests, record.image_id) if record.image_id else {}
        if name := record.attributes.get("name"):
            response["image.name"] = name
        return self._kinds.SolveResponse(ExporterResponse=response)

    def _session(self, pieces: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: ANN401
        """Carry a session in messages."""
        told = dict(context.invocation_metadata())
        listed = [
            value for key, value in context.invocation_metadata() if key == f"{HEADER}grpc-method"
        ]
        near, far = socket.socketpair()

        def listen() -> None:
            with suppress(Exception):  # whatever ends the call ends the session
                for each in pieces:
                    near.sendall(each.data)
            with suppress(OSError):
                near.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with far, suppress(OcimagicError):
                methods = methods_of(",".join(listed))
                serve_session(
                    self._service, told.get(f"{HEADER}uuid", ""), methods, lambda: (far, b"")
                )

        threads = [threading.Thread(target=each, daemon=True) for each in (listen, serve)]
        for each in threads:
            each.start()
        with near, suppress(OSError):
            while data := near.recv(_PIECE):
                yield self._kinds.BytesMessage(data=data)

    # -- LLBBridge -------------------------------------------------------------

    def _ping(self, _request: Any, context: Any) -> Any:  # noqa: ANN401
        self._of(context)
        kind = messages()["moby.buildkit.v1.apicaps"].APICap
        able = [kind(ID=each, Enabled=True) for each in _CAPABILITIES]
        return self._bridge.PongResponse(FrontendAPICaps=able, Workers=[self._worker()])

    def _bridge_solve(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        record = self._of(context)
        self._built(record, request.Frontend, dict(request.FrontendOpt))
        if not request.allowResultReturn:
            return self._bridge.SolveResponse(ref=record.image_id)
        result = self._bridge.Result(refDeprecated=record.image_id)
        return self._bridge.SolveResponse(result=result)

    def _return(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        record = self._of(context)
        if request.HasField("error"):
            record.failure = request.error.message or "the frontend failed"
        record.returned.set()
        return self._bridge.ReturnResponse()

    def _of(self, context: Any) -> Record:  # noqa: ANN401
        told = dict(context.invocation_metadata())
        return self._records.find(told.get(_BUILD_ID, ""))

    def _built(self, record: Record, frontend: str, attributes: dict[str, str]) -> BuildResult:
        """Build.

        Raises:
            OcimagicError: why not.
        """
        if frontend != FRONTEND:
            raise NotBuiltYet(
                f"frontend {frontend or 'of LLB'} is not built yet", hint=f"{FRONTEND} is"
            )
        options = asked_solve(attributes, record.exporter, record.attributes)
        session = self._service.sessions.find(record.session) if record.session else None
        progress = SolveProgress(record.tell)
        solve = Solve(self._service, options, progress, record.stop, session)
        solve.output = output_kind(record.exporter)
        try:
            result = solve.run()
        except OcimagicError as err:
            raise Unsolved(solve_message(err, has_begun=progress.has_begun)) from err
        record.image_id = "" if solve.output else str(result.image_id)
        return result


class Unsolved(OcimagicError):
    """A build that failed, in BuildKit's words."""


_CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 409: "ALREADY_EXISTS", 501: "UNIMPLEMENTED"}


def _told(method: Callable[[Any, Any], Any], *, streams: bool) -> Callable[[Any, Any], Any]:
    """Have errors be told as gRPC does."""

    def abort(context: Any, err: OcimagicError) -> None:  # noqa: ANN401
        import grpc

        code = getattr(grpc.StatusCode, _CODES.get(failure_status(err), "UNKNOWN"))
        context.abort(code, " ".join(filter(None, (err.what, err.why))))

    def once(request: Any, context: Any) -> Any:  # noqa: ANN401
        try:
            return method(request, context)
        except OcimagicError as err:
            abort(context, err)

    def many(request: Any, context: Any) -> Iterator[Any]:  # noqa: ANN401
        try:
            yield from method(request, context)
        except OcimagicError as err:
            abort(context, err)

    return many if streams else once


def _written(message: Any) -> bytes:  # noqa: ANN401
    raw: bytes = message.SerializeToString()
    return raw
