"""What containers write and read: logs, and being attached."""

from __future__ import annotations

import contextlib
import signal
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.engine import run as running
from ocimagic.engine.lifecycle import Lifecycle
from ocimagic.engine.logfiles import LogEntry, LogFiles
from ocimagic.engine.record import Document
from ocimagic.errors import InvalidState, OcimagicError
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.moment import nanoseconds
from ocimagic.model.state import Verb

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ocimagic.engine.attachment import Attachment
    from ocimagic.model.options import RunOptions
    from ocimagic.model.result import ExitStatus
    from ocimagic.shim.client import Connection
    from ocimagic.store.containers import ContainerRecord


class Streams(Lifecycle):
    """Verbs on streams; ``name`` is a name or an ID, whole or its first digits."""

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[LogEntry]:
        """Yield ``(RFC 3339 time, stdout or stderr, bytes)`` from the container's log.

        Args:
            name: which container.
            follow: go on until the container ends.
            tail: only the last so many records; of those, what the times leave.
            since_ns: nothing older, in nanoseconds since 1970.
            until_ns: nothing newer.
            cancelled: ends following when set.
        """
        record = self.find(name)
        entries = self._entries(record, follow=follow, tail=tail, cancelled=cancelled)
        return _between(entries, since_ns, until_ns)

    def _entries(
        self,
        record: ContainerRecord,
        *,
        follow: bool,
        tail: int | None,
        cancelled: threading.Event | None,
    ) -> Iterator[LogEntry]:
        driver = Document.decode(record.document).options.log.driver
        if driver == "none":
            raise InvalidState(
                f"container {record.name} keeps no log",
                why="its log driver is none",
                hint="leave --log-driver none out when it is made",
            )
        with contextlib.ExitStack() as stack:
            connection: Connection | None = None
            if follow:
                # Before the file is read, so that nothing is written unnoticed in between.
                with contextlib.suppress(InvalidState):
                    connection = stack.enter_context(self.connect(record))
                    connection.attach()
            files = stack.enter_context(LogFiles(self.log_path(record.container_id)))
            yield from files.records(tail)
            if connection is not None:
                for _ in connection.frames(cancelled=cancelled):
                    yield from files.more()
                yield from files.more()

    def open_attached(
        self, name: str, *, stdin: bool = True, from_start: bool = False
    ) -> Attachment:
        """Connect to the streams of a running container.

        Args:
            name: which container.
            stdin: it is sent what the caller sends.
            from_start: begin with what its shim still knows, and not now.

        Raises:
            InvalidState: it does not run.
        """
        record = self.find(name)
        self.check(record, Verb.ATTACH)
        connection = self.connect(record)
        connection.attach(offsets={"stdout": 0, "stderr": 0} if from_start else None)
        self.note(record, "attach")
        return self.attachment(record, connection, stdin=stdin)

    def resize(self, name: str, rows: int, columns: int) -> None:
        """Tell the terminal of a running container how large the window is.

        Raises:
            InvalidState: it does not run.
        """
        record = self.find(name)
        self.check(record, Verb.ATTACH)
        with self.connect(record) as connection:
            connection.resize(rows, columns)

    def start_attached(self, name: str, *, stdin: bool = False) -> Attachment:
        """Start a container with its streams in hand from the first byte on.

        Raises:
            InvalidState: it runs already.
            CommandNotFound, CommandNotExecutable, StartFailed: the runtime says why.
        """
        record = self.find(name)
        return self.attachment(record, running.start(self, record, attach=True), stdin=stdin)

    def run_attached(self, options: RunOptions, *, on_event: OnEvent = ignore) -> Attachment:
        """Create and start a container with its streams in hand from the first byte on.

        Raises:
            OcimagicError: as ``create`` and ``start``; nothing is left then of one that was to
                be removed at its end.
        """
        made = self.create(options, on_event=on_event)
        try:
            return self.start_attached(made.container_id, stdin=options.interactive)
        except BaseException:
            if options.remove:
                with contextlib.suppress(OcimagicError):
                    self.remove(made.container_id, force=True)
            raise

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

        Args:
            name: which container.
            stdin: bytes to write, or a descriptor to copy from, for one that listens.
            sig_proxy: cancelling interrupts the container first.
            on_event: is given ``Output``.
            cancelled: lets go of it when set.

        Raises:
            InvalidState: it does not run.
            Cancelled: it goes on without us.
        """
        with self.open_attached(name, stdin=stdin is not None) as attachment:
            if attachment.interactive:
                attachment.feed(stdin)
            interrupt = partial(attachment.kill, signal.SIGINT) if sig_proxy else None
            return attachment.attend(on_event, cancelled, interrupt)


def _between(
    entries: Iterator[LogEntry], since_ns: int | None, until_ns: int | None
) -> Iterator[LogEntry]:
    for entry in entries:
        when = 0 if since_ns is None and until_ns is None else nanoseconds(entry[0])
        if until_ns is not None and when > until_ns:
            return
        if since_ns is None or when >= since_ns:
            yield entry
