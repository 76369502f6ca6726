"""The streams of containers behind an API: attached, logged, and of commands in them.

Spec: Docker Engine API v1.41, ContainerAttach, ContainerLogs, ContainerExec, ExecStart.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.client.attachment import Frames, RemoteAttachment
from ocimagic.client.calling import part
from ocimagic.client.connection import Stopped
from ocimagic.client.ending import Ending
from ocimagic.client.failures import failure
from ocimagic.client.looking import KIND, Looking
from ocimagic.errors import Cancelled
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.report import ExecResult
from ocimagic.model.result import ExitStatus
from ocimagic.model.state import Verb, refusal
from ocimagic.wire.sent import exec_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.client.connection import Connection, IsOver
    from ocimagic.model.request import ExecOptions
    from ocimagic.model.result import ContainerSummary
    from ocimagic.spec.codec import Fields

_NOT_BEGUN = (126, 127)
# What dockerd 20.10 and podman write where the output of a command would be that cannot begin.
_REFUSALS = (b"OCI runtime exec failed", b"OCI runtime attempted", b"OCI permission denied")
_LOOK_S, _MOST_S = 0.02, 1.0
_SECOND_NS = 1_000_000_000


class Streams(Looking):
    """Verbs on streams."""

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[str, str, bytes]]:
        """Yield ``(RFC 3339 time, stdout or stderr, bytes)`` from the container's log."""
        document = self._document(name)
        query = {"stdout": "1", "stderr": "1", "timestamps": "1"}
        query["tail"] = "all" if tail is None else str(tail)
        query |= {"follow": "1"} if follow else {}
        query |= {"since": seconds(since_ns)} if since_ns else {}
        query |= {"until": seconds(until_ns)} if until_ns else {}
        return self._logged(document, query, cancelled)

    def _logged(
        self, document: Fields, query: dict[str, str], cancelled: threading.Event | None
    ) -> Iterator[tuple[str, str, bytes]]:
        tty = document.child("Config").flag("Tty")
        frames, lines = Frames(tty=tty), _Lines()
        path = self.at(document.text("Id"), "logs")
        with (
            suppress(Cancelled),
            self._caller.asked("GET", path, kind=KIND, query=query, cancelled=cancelled) as found,
        ):
            connection, answer = found
            for piece in connection.pieces(answer):
                for stream, data in frames.feed(piece):
                    for line in lines.feed(data) if tty else (data,):
                        yield _entry(stream, line)
            if line := lines.rest():
                yield _entry("stdout", line)

    # -- attached ------------------------------------------------------------------

    def open_attached(
        self, name: str, *, stdin: bool = True, from_start: bool = False
    ) -> RemoteAttachment:
        """Connect to the streams of a running container, from now on or as far back as known.

        Raises:
            InvalidState: it does not run.
        """
        document = self._document(name)
        found = self.get(document.text("Id"))
        if refused := refusal(Verb.ATTACH, found.status, found.name):
            raise refused
        return self._attached(document, found, stdin=stdin, logs=from_start, is_new=False)

    def start_attached(self, name: str, *, stdin: bool = False) -> RemoteAttachment:
        """Start a container with its streams in hand from the first byte on.

        Raises:
            CommandNotFound, CommandNotExecutable, StartFailed: the API says why.
        """
        document = self._document(name)
        found = self.get(document.text("Id"))
        attachment = self._attached(document, found, stdin=stdin, logs=False, is_new=True)
        try:
            self._caller.done("POST", self.at(found.container_id, "start"), kind="start")
        except BaseException:
            attachment.close()
            raise
        return attachment

    def _attached(
        self,
        document: Fields,
        found: ContainerSummary,
        *,
        stdin: bool,
        logs: bool,
        is_new: bool,
    ) -> RemoteAttachment:
        container_id = found.container_id
        wanted = {"stream": "1", "stdout": "1", "stderr": "1"}
        wanted |= {"stdin": "1"} if stdin else {}
        wanted |= {"logs": "1"} if logs else {}
        # Of one that is removed podman has forgotten the exit code.
        removes = document.child("HostConfig").flag("AutoRemove") and not self._caller.is_podman
        condition = "removed" if removes else "next-exit" if is_new else "not-running"
        path = self.at(container_id, "attach")
        # podman makes a container as it is attached to, and says then what the runtime says.
        kind = "start" if is_new else KIND
        connection = self._caller.taken_over(path, kind=kind, query=wanted)
        try:
            ending = Ending(self._caller, container_id, condition)
        except BaseException:
            connection.close()
            raise
        attachment = RemoteAttachment(
            connection,
            container_id=container_id,
            name=found.name,
            tty=document.child("Config").flag("Tty"),
            # podman keeps no StdinOnce, and goes on writing.
            once=document.child("Config").flag("StdinOnce") or self._caller.is_podman,
            ended=ending.status,
            resized=partial(self._resize, self.at(container_id, "resize")),
            stop=partial(self._kill, container_id, "KILL"),
            close=ending.close,
        )
        attachment.network = found.network
        return attachment

    def resize(self, name: str, rows: int, columns: int) -> None:
        """Tell the terminal of a running container how large the window is."""
        self._resize(self.at(name, "resize"), rows, columns)

    def _kill(self, container_id: str, signal: str) -> None:
        path = self.at(container_id, "kill")
        self._caller.done("POST", path, kind=KIND, query={"signal": signal})

    def _resize(self, path: str, rows: int, columns: int) -> None:
        self._caller.done("POST", path, kind=KIND, query={"h": str(rows), "w": str(columns)})

    def attach(
        self,
        name: str,
        *,
        stdin: int | bytes | None = None,
        sig_proxy: bool = True,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ExitStatus:
        """Pass on a running container's output, and input to it, until it ends.

        Raises:
            InvalidState: it does not run.
            Cancelled: it goes on without us.
        """
        with self.open_attached(name, stdin=stdin is not None) as attachment:
            if stdin is not None:
                attachment.feed(stdin)
            interrupt = partial(self._kill, attachment.container_id, "INT") if sig_proxy else None
            return attachment.attend(on_event, cancelled, interrupt)

    # -- exec ----------------------------------------------------------------------

    def exec(
        self,
        name: str,
        options: ExecOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ExecResult | None:
        """Run one more command in a running container; None when detached.

        Raises:
            InvalidState: the container does not run.
            CommandNotFound, CommandNotExecutable: it could not begin.
            Cancelled: nobody waits for the command any more; an API cannot end it.
        """
        began = time.monotonic()
        if options.detach:
            exec_id = self._exec(self.get(name).container_id, options)
            self._begin_detached(exec_id, options)
            return None
        with self.exec_attached(name, options) as attachment:
            if options.interactive:
                attachment.feed(stdin)
            out, err = attachment.follow(on_event, cancelled)
        if attachment.exit is None:
            raise Cancelled(
                f"detached by you: the command in container {attachment.name} goes on",
                why="a Docker API cannot end a command",
            )
        code = attachment.exit.code
        if code in _NOT_BEGUN and (said := _refusal(out, err)):
            raise failure(400, said, "start", self._caller.address.url)
        return ExecResult(
            container_id=attachment.container_id,
            name=attachment.name,
            exit_code=code,
            stdout=out,
            stderr=err,
            duration_s=time.monotonic() - began,
        )

    def exec_attached(
        self, name: str, options: ExecOptions, *, exec_id: str = ""
    ) -> RemoteAttachment:
        """Start one more command in a running container, with its streams in hand.

        Args:
            name: the container.
            options: the command, and how it runs.
            exec_id: of a command that the API knows already; "" for a new one.
        """
        found = self.get(name)
        known = exec_id or self._exec(found.container_id, options)
        connection = self._begin(known, options)
        return RemoteAttachment(
            connection,
            container_id=found.container_id,
            name=found.name,
            tty=options.tty,
            exec_id=known,
            ended=partial(self._exec_ended, known),
            resized=partial(self._resize, f"/exec/{part(known)}/resize"),
        )

    def _exec(self, container_id: str, options: ExecOptions) -> str:
        path, body = self.at(container_id, "exec"), exec_body(options)
        return self._caller.document("POST", path, kind=KIND, body=body).text("Id")

    def _begin(self, exec_id: str, options: ExecOptions) -> Connection:
        body = {"Detach": False, "Tty": options.tty}
        return self._caller.taken_over(f"/exec/{part(exec_id)}/start", kind="start", body=body)

    def _begin_detached(self, exec_id: str, options: ExecOptions) -> None:
        body = {"Detach": True, "Tty": options.tty}
        self._caller.done("POST", f"/exec/{part(exec_id)}/start", kind="start", body=body)

    def _exec_ended(self, exec_id: str, is_over: IsOver) -> ExitStatus:
        """Return how a command ended; its streams may end a moment before it."""
        look, patience_s = threading.Event(), _LOOK_S
        while True:
            found = self._caller.document("GET", f"/exec/{part(exec_id)}/json", kind="exec")
            if not found.flag("Running"):
                code = found.integer("ExitCode", 0, least=-1)
                return ExitStatus(code=code, signal=None, finished=datetime.now(UTC))
            if is_over():
                raise Stopped
            look.wait(patience_s)
            patience_s = min(2 * patience_s, _MOST_S)


class _Lines:
    """Puts lines together that come in pieces."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now."""
        *whole, self._held = (self._held + data).split(b"\n")
        return [each + b"\n" for each in whole]

    def rest(self) -> bytes:
        """Return what came after the last of them."""
        return self._held


def _entry(stream: str, line: bytes) -> tuple[str, str, bytes]:
    """Take the time from the beginning of a line of a log."""
    moment, _, text = line.partition(b" ")
    return moment.decode(errors="replace"), stream, text


def _refusal(out: bytes, err: bytes) -> str:
    """Return what an API wrote in place of a command's output, "" if it did not."""
    for each in (out, err):
        if any(text in each for text in _REFUSALS):
            return each.decode(errors="replace")
    return ""


def seconds(moment_ns: int) -> str:
    """Write a time as docker's queries have it."""
    whole, rest = divmod(moment_ns, _SECOND_NS)
    return f"{whole}.{rest:09}"
