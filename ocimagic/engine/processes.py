"""The processes of containers: one more, those there are, and what they use."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.bundle.convert import environment
from ocimagic.engine.attachment import Attachment
from ocimagic.engine.register import Register
from ocimagic.engine.timeline import Ticks
from ocimagic.engine.usage import Sample, from_cgroup, from_processes, links
from ocimagic.errors import Cancelled, HostLacks, InvalidOption, InvalidState, unpack
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.report import ContainerStats, ExecResult, ProcessTable
from ocimagic.model.state import ALIVE, Status, Verb
from ocimagic.shim import protocol
from ocimagic.spec.capability import CAPABILITY_NAMES
from ocimagic.spec.runtime import USER_ANNOTATION

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence

    from ocimagic.model.request import ExecOptions
    from ocimagic.shim.client import Connection
    from ocimagic.store.containers import ContainerRecord

_PS_S = 10.0
FIRST_WINDOW_S = 0.1


class Processes(Register):
    """Verbs on processes; ``name`` is a name or an ID, whole or its first digits."""

    # -- exec --------------------------------------------------------------------

    def exec(
        self,
        name: str,
        options: ExecOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ExecResult | None:
        """Run one more command in a running container and wait for its end, unless detached.

        Args:
            name: the container.
            options: the command, and how it runs.
            stdin: bytes to write, or a descriptor to copy from, for ``interactive``.
            on_event: is given ``Output`` while it writes.
            cancelled: ends the command when set.

        Raises:
            InvalidState: the container does not run.
            CommandNotFound: exit code 127.
            CommandNotExecutable: exit code 126.
            Cancelled: the command was ended.
        """
        began = time.monotonic()
        with self.exec_attached(name, options) as attachment:
            if options.detach:
                return None
            if options.interactive:
                attachment.feed(stdin)
            out, err = attachment.follow(on_event, cancelled)
            if attachment.exit is None:
                attachment.end()
                raise Cancelled(f"stopped by you: the command in container {attachment.name} ended")
        return ExecResult(
            container_id=attachment.container_id,
            name=attachment.name,
            exit_code=attachment.exit.code,
            stdout=out,
            stderr=err,
            duration_s=time.monotonic() - began,
            exec_id=attachment.exec_id,
        )

    def exec_attached(self, name: str, options: ExecOptions, *, exec_id: str = "") -> Attachment:
        """Start one more command in a running container, with its streams in hand.

        Args:
            name: the container.
            options: the command, and how it runs.
            exec_id: 64 hexadecimal digits that no other command has; "" for new ones.

        Raises:
            InvalidState: the container does not run.
            CommandNotFound, CommandNotExecutable, StartFailed: the runtime says why.
        """
        ticks = Ticks()
        ticks.note("asked", asked_for(options))
        record = self.find(name)
        self.check(record, Verb.EXEC)
        process = self._process(record, options)
        ticks.note("process")
        connection = self.connect(record)
        exec_id = exec_id or os.urandom(32).hex()
        ticks.note("connected", os.getpid())
        try:
            connection.execute(
                exec_id,
                process,
                stdin=options.interactive,
                detach=options.detach,
                console_size=options.console_size,
                engine=ticks.encode(),
            )
            pid = wait_started(connection)
        except BaseException:
            connection.close()
            raise
        return Attachment(
            connection,
            container_id=record.container_id,
            name=record.name,
            tty=options.tty,
            interactive=options.interactive,
            exec_id=exec_id,
            pid=pid,
        )

    def _process(self, record: ContainerRecord, options: ExecOptions) -> dict[str, object]:
        """Return the runtime-spec process object: the container's own, changed as asked.

        Raises:
            InvalidOption: no command, or one that makes no sense.
        """
        config = self.runtime_config(record)
        if not options.command or any("\0" in word for word in options.command):
            raise InvalidOption("no command specified", hint="write one after the container")
        if options.working_dir and not options.working_dir.startswith("/"):
            raise InvalidOption(f"the working directory {options.working_dir!r} is not absolute")
        own = config.process
        hostname = dict(each.partition("=")[::2] for each in own.env).get("HOSTNAME", "")
        sets = own.capabilities
        if options.privileged:
            everything = tuple(CAPABILITY_NAMES)
            sets = dict.fromkeys(("bounding", "effective", "permitted"), everything)
        process = replace(
            own,
            args=options.command,
            env=environment(own.env, options.env, hostname=hostname, tty=options.tty),
            cwd=options.working_dir or own.cwd,
            terminal=options.tty,
            capabilities=sets,
        )
        who = config.annotations.get(USER_ANNOTATION, "") if options.user is None else options.user
        user = {**process.user.to_json(), **_numbers(who), "username": who}
        return process.to_json() | {"user": user}

    # -- top ---------------------------------------------------------------------

    def top(self, name: str, ps_options: Sequence[str] = ()) -> ProcessTable:
        """List the processes of a running container as ``ps`` of this machine does.

        Args:
            name: the container.
            ps_options: for ps(1), ``-ef`` when there are none.

        Raises:
            InvalidState: it does not run.
            InvalidOption: ps does not understand the options, or shows no PID.
            HostLacks: this machine has no ps.
        """
        record = self.find(name)
        self.check(record, Verb.TOP)
        with self.connect(record) as connection:
            pids = set(connection.processes())
        table = _chosen(_ps(ps_options or ("-ef",)), pids)
        self.note(record, "top")
        return table

    # -- stats -------------------------------------------------------------------

    def stats(
        self,
        *names: str,
        all: bool = False,  # noqa: A002  docker's word
        interval_s: float = 1.0,
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[ContainerStats, ...]]:
        """Yield what containers use, again and again; the first after a tenth of a second.

        Args:
            *names: which containers; without names those that live.
            all: without names those that do not run, too.
            interval_s: from one to the next.
            cancelled: ends it when set.
        """
        import threading

        stop = cancelled or threading.Event()
        before = {each.container_id: self._sample(each) for each in self._watched(names, all=all)}
        window = min(FIRST_WINDOW_S, interval_s)
        while not stop.wait(window):
            now = {}
            rows = []
            for record in self._watched(names, all=all):
                sample = now[record.container_id] = self._sample(record)
                rows.append(self._stats(record, sample, before.get(record.container_id)))
            before = now
            yield tuple(rows)
            window = interval_s

    def _watched(self, names: Sequence[str], *, all: bool) -> list[ContainerRecord]:  # noqa: A002
        if names:
            return [self.find(name) for name in dict.fromkeys(names)]
        records = [each for each in self.store.containers.all() if not self.is_gone(each)]
        return [each for each in records if all or self.status(each)[0] in ALIVE]

    def _sample(self, record: ContainerRecord) -> Sample | None:
        """Look what a container has used; None if it does not run."""
        try:
            with self.connect(record) as connection:
                try:
                    sample = from_cgroup(connection.stats())
                except HostLacks:
                    sample = from_processes(connection.processes())
        except InvalidState:
            return None
        summary = self.summary(record)
        if summary.pid and summary.network not in ("host", "none"):
            with contextlib.suppress(OSError):  # it has just ended
                use = replace(sample.use, links=links(summary.pid))
                sample = replace(sample, use=use)
        return sample

    def _stats(
        self, record: ContainerRecord, sample: Sample | None, before: Sample | None
    ) -> ContainerStats:
        status = self.status(record)[0]
        taken = datetime.now(UTC)
        container_id, name = record.container_id, record.name
        if sample is None or status not in (Status.RUNNING, Status.PAUSED):
            return ContainerStats(container_id=container_id, name=name, status=status, taken=taken)
        return ContainerStats(
            container_id=container_id,
            name=name,
            status=status,
            taken=taken,
            cpu_percent=sample.cpu_percent(before) if before else 0.0,
            memory_bytes=sample.memory_bytes,
            memory_limit_bytes=sample.use.memory.limit_bytes,
            received_bytes=sample.received_bytes,
            sent_bytes=sample.sent_bytes,
            read_bytes=sample.read_bytes,
            written_bytes=sample.written_bytes,
            processes=sample.use.processes,
            now=sample.use,
            before=before.use if before else None,
        )


def asked_for(options: ExecOptions) -> dict[str, object]:
    """Return what was asked for, only what was; of variables their names."""
    asked = {each.name: getattr(options, each.name) for each in fields(options)}
    asked["env"] = [each.partition("=")[0] for each in options.env]
    return {name: value for name, value in asked.items() if value not in (None, "", (), [], False)}


def wait_started(connection: Connection) -> int:
    """Wait until a command began; return its pid.

    It may write before its shim says so: that is held for who reads.

    Raises:
        OcimagicError: why it did not.
    """
    early: list[tuple[bytes, bytes]] = []
    for kind, payload in connection.frames():
        if kind == protocol.MESSAGE:
            content = protocol.parse_message(payload)
            error = content.get("error")
            if isinstance(error, dict):
                raise unpack(error)
            if isinstance(started := content.get("started"), dict):
                connection.hold(early)
                return int(str(started.get("pid", 0)))
        early.append((kind, payload))
    raise InvalidState("the container has just ended", hint="start it, and try again")


def _numbers(user: str) -> Mapping[str, int]:
    """Return the ids in a user's text for runtimes that do not look names up."""
    uid, _, gid = user.partition(":")
    return {
        key: int(text)
        for key, text in (("uid", uid), ("gid", gid))
        if text.isascii() and text.isdigit() and len(text) <= 10
    }


def _ps(options: Sequence[str]) -> list[str]:
    """Run this machine's ps; the first line is its heads."""
    program = shutil.which("ps")
    if program is None:
        raise HostLacks(
            "this machine has no ps to list processes with",
            hint="install procps, or run ps in the container: %container_exec NAME ps",
        )
    done = subprocess.run(
        [program, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PS_S,
        check=False,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        raise InvalidOption(f"ps does not understand {' '.join(options)}", why=lines[0] or None)
    return done.stdout.decode(errors="replace").splitlines()


def _chosen(lines: Sequence[str], pids: set[int]) -> ProcessTable:
    """Keep the lines of some processes; the last column may hold blanks."""
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise InvalidOption("ps shows no PID column", hint="add pid to -o")
    column = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(maxsplit=len(titles) - 1)
        if len(fields) > column and fields[column].isdigit() and int(fields[column]) in pids:
            rows.append(tuple(fields) + ("",) * (len(titles) - len(fields)))
    return ProcessTable(titles, tuple(rows))
