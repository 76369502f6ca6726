"""Containers: the CRUD of the class notes' "containerd".

What was asked for is in the database; what became of it is in files that shims write, so
the truth is the same for every engine, and still there when none runs.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ocimagic.engine import run as running
from ocimagic.engine.record import Document
from ocimagic.errors import HostLacks, InvalidOption, InvalidState
from ocimagic.home.locks import locked
from ocimagic.model.engine import split_command
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.options import NetworkMode, RunOptions
from ocimagic.model.result import (
    ContainerDetails,
    ContainerSummary,
    ExitStatus,
    RunResult,
)
from ocimagic.model.state import ALLOWED, Status, Verb
from ocimagic.shim import client as shim
from ocimagic.shim import protocol
from ocimagic.shim.logs import parse_record

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from ocimagic.engine.images import Images
    from ocimagic.shim.client import Connection, Launcher
    from ocimagic.store.containers import ContainerRecord
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker

LOST = 255
_KILL = 9
_SETTLE_S = 5.0


class Containers:
    """Verbs on containers; ``name`` is a name or an ID, whole or its first digits."""

    def __init__(
        self, store: Store, unpacker: Unpacker, launcher: Launcher | None, images: Images
    ) -> None:
        self.store = store
        self.unpacker = unpacker
        self.images = images
        self._launcher = launcher

    @property
    def launcher(self) -> Launcher:
        """Return the launcher.

        Raises:
            HostLacks: this is no Linux.
        """
        if self._launcher is None:
            raise HostLacks(
                "this machine cannot run containers",
                why="containers need a Linux kernel",
                hint="everything but running works here: pull, build without RUN, inspect, layers",
            )
        return self._launcher

    # -- life ------------------------------------------------------------------

    def run(
        self,
        image: str,
        command: Sequence[str] | str | None = None,
        *,
        network: NetworkMode | str = NetworkMode.DEFAULT,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
        **options: Any,  # noqa: ANN401  the dataclass refuses unknown names and says which
    ) -> RunResult | ContainerSummary:
        """Create and start a container, and wait for its end unless ``detach=True``.

        Args:
            image: a reference or an image ID.
            command: words to run instead of the image's CMD.
            network: ``none`` or ``host``.
            stdin: bytes to write, or a descriptor to copy from.
            on_event: is given ``Output`` while the container writes.
            cancelled: stops the container when set.
            **options: any other field of ``RunOptions``: ``remove=True``, ``env=("A=1",)``.

        Raises:
            CommandNotFound: exit code 127.
            CommandNotExecutable: exit code 126.
            OcimagicError: any other reason it could not be made; exit code 125.
        """
        request = RunOptions(
            image=image,
            command=split_command(command),
            network=NetworkMode(network),
            **options,
        )
        return self.run_options(request, stdin=stdin, on_event=on_event, cancelled=cancelled)

    def run_options(
        self,
        options: RunOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> RunResult | ContainerSummary:
        """Create and start, see ``run``."""
        return running.run(self, options, stdin=stdin, on_event=on_event, cancelled=cancelled)

    def create(self, options: RunOptions, *, on_event: OnEvent = ignore) -> ContainerSummary:
        """Make a container without starting it."""
        return self.summary(running.create(self, options, on_event))

    def start(self, name: str) -> ContainerSummary:
        """Start a container that was created or has exited.

        Raises:
            InvalidState: it runs.
        """
        record = self.find(name)
        running.start(self, record, attach=False).close()
        return self.summary(record)

    def wait(self, name: str, *, cancelled: threading.Event | None = None) -> ExitStatus:
        """Wait for the exit; returns at once if it has exited."""
        record = self.find(name)
        with contextlib.suppress(InvalidState), self.connect(record) as connection:
            for kind, payload in connection.frames(cancelled=cancelled):
                if kind == protocol.MESSAGE and (ended := shim.exit_of(payload)):
                    return exit_status(ended)
        return self._ended(record)

    def stop(self, name: str, *, grace_s: float | None = None) -> ExitStatus | None:
        """Send the stop signal, after ``grace_s`` seconds SIGKILL; None if it never ran."""
        record = self.find(name)
        document = Document.decode(record.document)
        signal = self._stop_signal(document)
        grace = document.options.stop_timeout_s if grace_s is None else grace_s
        try:
            connection = self.connect(record)
        except InvalidState:
            return self.status(record)[1]
        with connection:
            for number, patience in ((signal, grace), (_KILL, _SETTLE_S)):
                connection.kill(number)
                deadline = time.monotonic() + patience
                for kind, payload in connection.frames(deadline=deadline):
                    if kind == protocol.MESSAGE and (ended := shim.exit_of(payload)):
                        return exit_status(ended)
        return self._ended(record)

    def kill(self, name: str, *, signal: str = "KILL") -> None:
        """Send a signal to the first process.

        Raises:
            InvalidState: the container does not run.
        """
        number = shim.signal_number(signal)
        record = self.find(name)
        self.check(record, Verb.KILL)
        with self.connect(record) as connection:
            connection.kill(number)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a container with its files and log; ``force`` kills a running one first.

        Raises:
            InvalidState: it runs and ``force`` was not given.
        """
        record = self.find(name)
        if force and self.status(record)[0] is Status.RUNNING:
            self.stop(record.container_id, grace_s=0.0)
        with self.locked(record):
            self.check(record, Verb.REMOVE, hint=f"%container_stop {record.name}, or rm -f")
            self.discard(record)

    # -- looking ---------------------------------------------------------------

    def list(self, *, all: bool = False) -> tuple[ContainerSummary, ...]:  # noqa: A002  docker's word
        """List containers, newest first; only running ones unless ``all``."""
        found = []
        for record in self.store.containers.all():
            summary = self.summary(record)
            # Asked last: what goes while it is described is not to be shown.
            if self._is_gone(record):
                continue
            if all or summary.status is Status.RUNNING:
                found.append(summary)
        return tuple(found)

    def get(self, name: str) -> ContainerSummary:
        """Return one container as it is now."""
        return self.summary(self.find(name))

    def inspect(self, name: str) -> ContainerDetails:
        """Return everything known of one container."""
        record = self.find(name)
        document = Document.decode(record.document)
        directory = self.directory(record.container_id)
        config = json.loads((directory / "bundle" / "config.json").read_bytes())
        lowers = [self.store.snapshots.directory(each) / "fs" for each in document.layers]
        return ContainerDetails(
            summary=self.summary(record),
            options=document.options,
            hostname=document.hostname,
            bundle_path=str(directory / "bundle"),
            log_path=str(self.log_path(record.container_id)),
            upper_dir=str(directory / "rw" / "upper"),
            lower_dirs=tuple(str(each) for each in reversed(lowers)),
            runtime_config=config,
        )

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[str, str, bytes]]:
        """Yield ``(RFC 3339 time, stdout or stderr, bytes)`` from the container's log.

        Args:
            name: which container.
            follow: go on until the container ends.
            tail: only the last so many records.
            cancelled: ends following when set.
        """
        record = self.find(name)
        return self._log_records(record, follow=follow, tail=tail, cancelled=cancelled)

    def _log_records(
        self,
        record: ContainerRecord,
        *,
        follow: bool,
        tail: int | None,
        cancelled: threading.Event | None,
    ) -> Iterator[tuple[str, str, bytes]]:
        path = self.log_path(record.container_id)
        with contextlib.ExitStack() as stack:
            connection: Connection | None = None
            if follow:
                # Before the file is read, so that nothing is written unnoticed in between.
                with contextlib.suppress(InvalidState):
                    connection = stack.enter_context(self.connect(record))
                    connection.attach()
            try:
                file = stack.enter_context(path.open("rb"))
            except FileNotFoundError:
                return  # never started, or removed meanwhile
            lines = _whole_lines(file)
            yield from _records(lines if tail is None else lines[max(0, len(lines) - tail) :])
            if connection is not None:
                for _ in connection.frames(cancelled=cancelled):
                    yield from _records(_whole_lines(file))
                yield from _records(_whole_lines(file))

    # -- for the rest of this room ---------------------------------------------

    def directory(self, container_id: str) -> Path:
        """Return where a container keeps what survives a reboot."""
        return self.store.home.containers / container_id

    def run_directory(self, container_id: str) -> Path:
        """Return where a container's socket is while it runs."""
        return self.store.home.run / container_id[:12]

    def log_path(self, container_id: str) -> Path:
        """Return a container's log file."""
        return self.directory(container_id) / f"{container_id}-json.log"

    def locked(self, record: ContainerRecord) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of one container."""
        return locked(self.store.home.locks, f"container-{record.container_id[:12]}")

    def connect(self, record: ContainerRecord) -> Connection:
        """Connect to a running container's shim.

        Raises:
            InvalidState: it does not run.
        """
        # As its shim says: another session of this account may have another run root.
        state = _read_json(self.directory(record.container_id) / "state.json") or {}
        usual = self.run_directory(record.container_id)
        return shim.connect(Path(str(state.get("run_directory", usual))))

    def check(self, record: ContainerRecord, verb: Verb, hint: str | None = None) -> None:
        """Ask the state table.

        Raises:
            InvalidState: the verb is not for this status.
        """
        status = self.status(record)[0]
        if status not in ALLOWED[verb]:
            raise InvalidState(
                f"cannot {verb.value} container {record.name}",
                why=f"it is {status.value}",
                hint=hint,
            )

    def status(self, record: ContainerRecord) -> tuple[Status, ExitStatus | None]:
        """Return where a container is in its life, from what its shim wrote."""
        directory = self.directory(record.container_id)
        ended = _read_json(directory / "exit.json")
        if ended is not None:
            return Status.EXITED, exit_status(shim.Exit.from_message(ended))
        state = _read_json(directory / "state.json")
        if state is None:
            return Status.CREATED, None
        started = shim.Started.from_message(state)
        if started.shim.is_alive():
            return Status.RUNNING, None
        # Its shim was killed, or the machine went down: nobody saw the exit code.
        ended = _read_json(directory / "exit.json")
        if ended is not None:
            return Status.EXITED, exit_status(shim.Exit.from_message(ended))
        try:
            when = datetime.fromtimestamp((directory / "state.json").stat().st_mtime, UTC)
        except FileNotFoundError:
            return Status.CREATED, None  # it is being removed
        started.init.kill()
        return Status.EXITED, ExitStatus(code=LOST, signal=None, finished=when)

    def summary(self, record: ContainerRecord) -> ContainerSummary:
        """Describe a container as it is now."""
        document = Document.decode(record.document)
        status, ended = self.status(record)
        state = _read_json(self.directory(record.container_id) / "state.json")
        started = shim.Started.from_message(state) if state else None
        return ContainerSummary(
            container_id=record.container_id,
            name=record.name,
            image=document.options.image,
            image_id=self.images.parse_id(document.image_id),
            command=document.command,
            created=datetime.fromtimestamp(record.created, UTC),
            started=parse_time(started.started) if started else None,
            status=status,
            pid=started.init.pid if started and status is Status.RUNNING else None,
            exit=ended,
            network=document.network,
            labels=document.options.labels,
        )

    def discard(self, record: ContainerRecord) -> None:
        """Take a container's files and row away; the caller holds its lock."""
        directory = self.directory(record.container_id)
        gone = directory.with_suffix(".gone")
        # At once gone for whoever looks, its shim perhaps doing the same; then bit by bit.
        with contextlib.suppress(FileNotFoundError):
            directory.rename(gone)
        doomed = [gone, self.run_directory(record.container_id)]
        self.unpacker.remove_trees([path for path in doomed if path.exists()])
        self.store.containers.remove(record.container_id)

    def find(self, name: str) -> ContainerRecord:
        """Return a container by name or ID, those left out that their shims have removed.

        Raises:
            ContainerNotFound: none, or more than one.
        """
        while True:
            record = self.store.containers.find(name)
            if not self._is_gone(record):
                return record

    def users_of(self, manifest: str) -> Sequence[ContainerSummary]:
        """Return the containers made from an image."""
        return [
            self.summary(record)
            for record in self.store.containers.all()
            if record.manifest == manifest and not self._is_gone(record)
        ]

    def _is_gone(self, record: ContainerRecord) -> bool:
        """Forget a container that its shim has removed, as ``--rm`` asked."""
        if self.directory(record.container_id).exists():
            document = Document.decode(record.document)
            ended = self.status(record)[0] is Status.EXITED
            if not (document.options.remove and ended):
                return False
            # The shim did not live to do it.
            with self.locked(record):
                self.discard(record)
        self.store.containers.remove(record.container_id)
        return True

    def _ended(self, record: ContainerRecord) -> ExitStatus:
        status, ended = self.status(record)
        if ended is None:
            raise InvalidState(f"container {record.name} is {status.value}, it has no exit code")
        return ended

    def _stop_signal(self, document: Document) -> int:
        """Return the number of the stop signal: what was asked for, the image's, or TERM."""
        if document.options.stop_signal:
            return shim.signal_number(document.options.stop_signal)
        # An image's nonsense must not make its containers unstoppable; docker says TERM too.
        with contextlib.suppress(InvalidOption):
            return shim.signal_number(self.images.stop_signal(document.image_id) or "TERM")
        return shim.signal_number("TERM")


def exit_status(ended: shim.Exit) -> ExitStatus:
    """Return a shim's exit record as the model's value."""
    return ExitStatus(code=ended.code, signal=ended.signal, finished=parse_time(ended.finished))


def parse_time(text: str) -> datetime:
    """Read RFC 3339 with nanoseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).astimezone(UTC)


def _read_json(path: Path) -> dict[str, object] | None:
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _records(lines: Sequence[bytes]) -> Iterator[tuple[str, str, bytes]]:
    for line in lines:
        with contextlib.suppress(ValueError, KeyError):  # half a line, left by a crash
            yield parse_record(line)


def _whole_lines(file: BinaryIO) -> Sequence[bytes]:
    """Read what is there, leaving a last line that is still being written for the next time."""
    lines = file.readlines()
    if lines and not lines[-1].endswith(b"\n"):
        file.seek(-len(lines.pop()), 1)
    return lines
