"""Commands executed in a container beside its first process: any number, each with its streams.

What is known of each is kept until the container is started again; of those that are over only
the last hundred.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import time
from typing import TYPE_CHECKING

from ocimagic.errors import Conflict, InvalidState, OcimagicError
from ocimagic.linux import notes
from ocimagic.linux.identity import ProcessIdentity, boot_id
from ocimagic.shim import events, timeline
from ocimagic.shim import life as lives
from ocimagic.shim.outcome import exec_timeline_name
from ocimagic.shim.process import Process
from ocimagic.shim.records import timestamp
from ocimagic.shim.task import number_in, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.shim.clients import Client
    from ocimagic.shim.ending import Ending
    from ocimagic.shim.monitor import Monitor
    from ocimagic.shim.process import Owner

_REMEMBERED = 100
_DRAIN_S = 2.0
_TOGETHER_S = 0.02
PROBE = "probe-"  # how the ids of health checks begin

Entry = dict[str, object]


class Execs:
    """All commands executed in a container."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._running: dict[str, Process] = {}
        # Over, but somebody has not had all of their output yet.
        self._lingering: dict[str, Process] = {}
        self._untold: dict[str, Entry] = {}
        self._unwritten: dict[str, Entry] = {}

    def find(self, exec_id: str) -> Process | None:
        """Return a command whose output is still there; None if it is gone, or never was."""
        return self._running.get(exec_id) or self._lingering.get(exec_id)

    def running(self) -> list[Process]:
        """Return all that are not over, health checks left out."""
        return [each for name, each in self._running.items() if not name.startswith(PROBE)]

    def are_quiet(self) -> bool:
        """Say whether all have ended and all they wrote is there."""
        return all(each.is_over for each in self.running())

    def pids(self) -> set[int]:
        """Return who is waited for."""
        return {each.identity.pid for each in self._running.values()}

    def record(self, exec_id: str) -> Mapping[str, object] | None:
        """Return how a command ended; None if nobody knows of it, or it is not over."""
        found = self._monitor.life.execs.get(exec_id, {}).get("exit")
        return found if isinstance(found, dict) else None

    # -- beginning -------------------------------------------------------------

    def start(self, client: Client, request: Mapping[str, object]) -> None:
        """Execute what a client asks for; it gets the output from its first byte on.

        Raises:
            OcimagicError: why it cannot be; the client then goes on as before.
        """
        exec_id = str(request.get("exec_id", ""))
        document = request.get("process")
        if not exec_id or not isinstance(document, dict):
            raise InvalidState("a command needs an id and a process")
        client.exec_id = exec_id
        client.sender = number_in(request, "sender")
        detach = bool(request.get("detach"))
        engine = str(request.get("engine", ""))
        if engine:
            notes.begin()
            notes.note("asked")
        try:
            process = self.begin(exec_id, document, self._monitor, request)
        except (OcimagicError, OSError):
            client.exec_id = ""
            notes.end()
            raise
        if not detach:
            client.tape, client.position, client.patient = process.tape, 0, True
        started = {"pid": process.identity.pid, "exec_id": exec_id}
        self._monitor.clients.say(client, {"started": started})
        if engine:
            self._tell_timeline(process, document, engine)

    def _tell_timeline(self, process: Process, document: Mapping[str, object], engine: str) -> None:
        """Keep how a command began, to be written down at rest, or when somebody asks."""
        ids = process.exec_id, process.identity.pid
        told, process.told = process.told, ""
        self._unwritten[exec_timeline_name(process.exec_id)] = timeline.make_exec(
            self._monitor, told, engine=engine, ids=ids, process=document
        )

    def write(self) -> None:
        """Write down how commands began; who looks for it finds files."""
        for name, told in self._unwritten.items():
            self._monitor.write(name, json.dumps(told))
        self._unwritten.clear()

    def begin(
        self,
        exec_id: str,
        document: Mapping[str, object],
        owner: Owner,
        request: Mapping[str, object],
    ) -> Process:
        """Execute a command; ``owner`` is told what it does.

        Args:
            exec_id: not used before.
            document: ``process`` as in config.json.
            owner: of its output and its end.
            request: ``stdin``, ``detach`` and ``console_size``.

        Raises:
            OcimagicError: why it cannot be.
        """
        life = self._monitor.life
        self._check(exec_id)
        life.is_light = False
        self._monitor.expect_rest()
        terminal, stdin = bool(document.get("terminal")), bool(request.get("stdin"))
        size = request.get("console_size")
        silent = bool(request.get("detach")) and not terminal
        process = self._process(exec_id, owner)
        try:
            stdio = (-1, -1, -1)
            if not silent:
                stdio = process.open_streams(interactive=stdin, terminal=terminal)
                notes.note("streams", ["terminal"] if terminal else ["pipes"])
            made = self._monitor.runtime.execute(
                document, stdio, parse_size(size) if size else None
            )
            process.made(made.pid, made.pidfd, made.console, interactive=stdin)
            process.told = made.told
            notes.note("made")
        except BaseException:
            process.close()
            self._monitor.keeper.drop(f"tape:{exec_id}")
            self._monitor.reap_soon()
            raise
        finally:
            process.close_theirs()
        if not exec_id.startswith(PROBE):
            life.execs[exec_id] = {
                "pid": made.pid,
                "start_ticks": process.identity.start_ticks,
                "started": timestamp(),
                "exit": None,
            }
        self._monitor.save()
        channel = {f"channel:{exec_id}": {"fd": made.channel_fd}}
        self._monitor.keeper.keep(process.kept() | channel)
        notes.note("kept")
        if not exec_id.startswith(PROBE):
            self._tell_begun(exec_id, document)
        self._run(exec_id, process, made.start)
        return process

    def _tell_begun(self, exec_id: str, document: Mapping[str, object]) -> None:
        words = document.get("args")
        first, *rest = map(str, words) if isinstance(words, list | tuple) else [""]
        command = f"{first} {' '.join(rest)}"  # with a blank at the end if that is all, as docker
        for action in ("exec_create", "exec_start"):
            events.tell(self._monitor, f"{action}: {command}", execID=exec_id)

    def _run(self, exec_id: str, process: Process, start: Callable[[], None]) -> None:
        self._running[exec_id] = process
        notes.note("start")
        try:
            start()
            notes.note("executed")
        except OcimagicError:
            process.wait()
            del self._running[exec_id]
            process.close()
            self._close_tape(exec_id, process)
            self._monitor.life.execs.pop(exec_id, None)
            self._monitor.save()
            raise
        self._monitor.keeper.keep({f"channel:{exec_id}": {}})
        process.watch()
        if not exec_id.startswith(PROBE):
            self._monitor.publish()

    def _check(self, exec_id: str) -> None:
        life = self._monitor.life
        if exec_id in life.execs:
            raise Conflict("this exec has run already", hint="ask with another exec_id")
        if life.phase != lives.RUNNING:
            raise InvalidState("the container is not running")
        if life.is_paused:
            raise InvalidState("the container is paused", hint="unpause it before exec")

    def _process(self, exec_id: str, owner: Owner) -> Process:
        """Return a process to be, in memory that the holder has too."""
        monitor, group = self._monitor, f"tape:{exec_id}"
        names = monitor.keeper.groups.get(group)
        if names is None:
            memory = os.memfd_create("ocimagic-exec", os.MFD_CLOEXEC)
            os.ftruncate(memory, Process.size())
            reader, writer = os.pipe2(os.O_CLOEXEC)
            names = monitor.keeper.groups[group] = {"r": reader, "w": writer, "memory": memory}
        buffer = mmap.mmap(names["memory"], Process.size())
        traced = monitor.task.traced
        return Process(exec_id, monitor.loop, monitor.keeper, owner, buffer, traced=traced)

    # -- after another shim ----------------------------------------------------

    def take_over(self) -> None:
        """Go on with the commands that a shim kept that is dead."""
        groups, life = self._monitor.keeper.groups, self._monitor.life
        for exec_id in [name[5:] for name in groups if name.startswith("tape:")]:
            entry = life.execs.get(exec_id)
            if entry is None:
                self._abandon(exec_id)
                continue
            if f"process:{exec_id}" not in groups:
                self._lingering[exec_id] = self._process(exec_id, self._monitor)
                continue
            process = self._process(exec_id, self._monitor)
            pid, ticks = int(str(entry["pid"])), int(str(entry["start_ticks"]))
            process.found(ProcessIdentity(pid, ticks, boot_id()))
            self._running[exec_id] = process
            channel = groups.pop(f"channel:{exec_id}", None)
            if channel is not None:
                self._resume_start(exec_id, process, channel["fd"])
            else:
                process.watch()

    def _resume_start(self, exec_id: str, process: Process, channel_fd: int) -> None:
        try:
            self._run(exec_id, process, self._monitor.runtime.adopt_executed(channel_fd))
        except OcimagicError as err:
            # Its client comes back for it and is told then.
            self._monitor.life.execs[exec_id] = {"exit": _record(err.exit_code, None, str(err))}

    def _abandon(self, exec_id: str) -> None:
        """Kill what nobody waits for any more."""
        groups = self._monitor.keeper.groups
        pidfd = groups.get(f"process:{exec_id}", {}).get("pidfd", -1)
        if pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        names = (f"{kind}:{exec_id}" for kind in ("process", "stdin", "tape", "channel"))
        self._monitor.keeper.drop(*(name for name in names if name in groups))

    # -- ending ----------------------------------------------------------------

    def on_quiet(self, process: Process) -> None:
        """See a command off when it has ended, and all it wrote is there or not to be had."""
        if process.is_over and process.ending is not None:
            if process.ending.signal == signal.SIGKILL:
                # Perhaps the whole container is being killed.  It cannot end before this is
                # waited for; who hears of this end then finds the container over, too.
                process.bury()
                when = time.monotonic() + _TOGETHER_S
                self._monitor.loop.at(when, lambda: self.conclude(process))
            else:
                self.conclude(process)
        elif process.ending is not None:
            # What it left behind may have its streams for ever.
            when = time.monotonic() + _DRAIN_S
            self._monitor.loop.at(when, lambda: self.conclude(process))

    def conclude(self, process: Process) -> None:
        """Tell how a command ended whose output is all there, or is not waited for."""
        exec_id, ending = process.exec_id, process.ending
        if exec_id not in self._running or ending is None:
            return
        del self._running[exec_id]
        process.silence()
        record = ended(ending)
        self._monitor.life.execs.setdefault(exec_id, {})["exit"] = record
        events.tell(self._monitor, "exec_die", execID=exec_id, exitCode=str(record["code"]))
        self._trim()
        self._monitor.publish()
        process.bury()
        process.close()
        self._lingering[exec_id] = process
        self._untold[exec_id] = record
        if self._monitor.process.ending is None:
            self.tell()

    def tell(self) -> None:
        """Tell how commands ended; of those that end with the container just before that."""
        for exec_id, record in self._untold.items():
            self._monitor.clients.tell({"exit": record}, exec_id=exec_id)
        self._untold.clear()

    def release(self, process: Process) -> None:
        """Let go of a command that nobody is to hear of, a health check."""
        self._running.pop(process.exec_id, None)
        process.bury()
        process.close()
        self._close_tape(process.exec_id, process)

    def sweep(self) -> None:
        """Let go of output that all have had who are there, or can still come back."""
        if self._lingering and not self._monitor.clients.are_expected:
            for exec_id, process in list(self._lingering.items()):
                if not any(each.is_behind for each in self._monitor.clients.readers(process.tape)):
                    del self._lingering[exec_id]
                    self._close_tape(exec_id, process)

    def clear(self) -> None:
        """Forget all that are over: the container is started again."""
        self._monitor.life.execs.clear()

    def _close_tape(self, exec_id: str, process: Process) -> None:
        for client in self._monitor.clients.readers(process.tape):
            client.tape, client.position = None, 0
        process.tape.close()
        self._monitor.keeper.drop(f"tape:{exec_id}")

    def _trim(self) -> None:
        execs = self._monitor.life.execs
        over = [exec_id for exec_id, entry in execs.items() if entry.get("exit")]
        for exec_id in over[:-_REMEMBERED]:
            del execs[exec_id]


def ended(ending: Ending) -> Entry:
    """Return the exit record of a command that has ended just now."""
    error = "" if ending.known else "nobody saw the exit code"
    return _record(ending.code, ending.signal, error)


def _record(code: int, signal: int | None, error: str) -> Entry:
    return {"code": code, "signal": signal, "finished": timestamp(), "error": error}
