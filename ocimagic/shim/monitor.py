"""The shim: keeps one container, alive as long as it.

It keeps the streams open, writes the log and the exit record, passes signals on, starts again
what is to be started again, and tells whoever is connected.  It may be killed at any moment:
what it knows is in memory it shares with its holder, who also has its descriptors; the next
shim goes on where it was (``takeover``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState, OcimagicError, StartFailed, pack
from ocimagic.linux import notes
from ocimagic.linux.identity import identify
from ocimagic.shim import events, timeline
from ocimagic.shim import life as lives
from ocimagic.shim.clients import Client, Clients, listen
from ocimagic.shim.ending import Ending, reap_strangers
from ocimagic.shim.execs import Execs
from ocimagic.shim.finale import Finale
from ocimagic.shim.health import Health
from ocimagic.shim.holder import RENEW
from ocimagic.shim.life import Life, replace_file, replace_text
from ocimagic.shim.logs import LogWriter
from ocimagic.shim.loop import READ, Alarm, Loop
from ocimagic.shim.memory import Blob
from ocimagic.shim.networks import Networks
from ocimagic.shim.outcome import STATE_NAME, TIMELINE_NAME
from ocimagic.shim.process import Process
from ocimagic.shim.records import timestamp
from ocimagic.shim.removal import remove_path
from ocimagic.shim.requests import Requests
from ocimagic.shim.takeover import TakeOver

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.linux.identity import ProcessIdentity
    from ocimagic.shim.holder import Keeper
    from ocimagic.shim.memory import Buffer
    from ocimagic.shim.own import Made, OwnRuntime
    from ocimagic.shim.task import Task

_REST_S = 1.0
_ASKED_S = 0.05
_REAP_S = (0.0, 0.1, 0.5)
_BLOB = 0
_LOG = _BLOB + Blob.size(lives.BLOB_CAPACITY)
_PROCESS = _LOG + LogWriter.size()
MEMORY_BYTES = _PROCESS + Process.size()


class Monitor:
    """Keeps one container; ``run`` returns when it is over and everything is told.

    Args:
        task: what is asked.
        runtime: makes it.
        keeper: where descriptors are safe.
        buffer: shared memory: zeros, or what an earlier shim left there.

    Attributes:
        life: how far the container has come.
        process: its first one.
        first: the client that asked for the container, while it is connected.
        over: everything is told.
    """

    def __init__(self, task: Task, runtime: OwnRuntime, keeper: Keeper, buffer: Buffer) -> None:
        self.task = task
        self.runtime = runtime
        self.keeper = keeper
        self.loop = Loop()
        self._blob = Blob(buffer, _BLOB, lives.BLOB_CAPACITY)
        self.life = Life.load(self._blob)
        self.requests = Requests(self)
        self.clients = Clients(self.loop, self.requests.hear, self._gone)
        self.log = LogWriter(task.log_path, task.log, buffer, _LOG)
        self.process = Process("", self.loop, keeper, self, buffer, _PROCESS, traced=task.traced)
        self.execs = Execs(self)
        self.health = Health(self)
        self.finale = Finale(self)
        self.networks = Networks(self, task.network)
        self.first: Client | None = None
        self.over = False
        self._rest: Alarm | None = None
        self._door: socket.socket | None = None
        self._keepers: tuple[ProcessIdentity, ProcessIdentity] | None = None

    def run(self) -> None:
        """Start the container or take it over, keep it, and see it off."""
        self.loop.watch(self.keeper.pidfd, READ, lambda _: self._holder_died())
        TakeOver(self).begin()
        while not self.over:
            self.loop.turn()
            # Output that somebody must have is not read while they are far behind.
            for process in (self.process, *self.execs.running()):
                process.hold(held=self.clients.is_waited_for(process.tape))
            self.execs.sweep()
        self.clients.flush_all()
        self.networks.close()

    # -- beginning -------------------------------------------------------------

    def admit_first(self) -> None:
        """Let in who asked for the container: attached before it is made, it misses nothing."""
        group = self.keeper.groups.get("first")
        if group is not None:
            attached = self.task.attached
            tape = self.process.tape if attached else None
            self.first = Client(
                socket.socket(fileno=group["fd"]), tape, patient=attached, sender=self.task.sender
            )
            self.clients.admit(self.first)

    def begin(self) -> None:
        """Make the container and start it."""
        if self.task.engine:  # an engine that notes nothing wants nothing told
            notes.begin()
            notes.note("asked")
        self._attempt(lambda: self.start(self._make()))

    def start(self, made: Made) -> None:
        """Start what was made."""
        self._attempt(lambda: self._start(made))

    def serve(self) -> None:
        """Listen to the process and to whoever comes."""
        if self._door is None:
            self._door = socket.socket(fileno=os.dup(self.keeper.groups["door"]["fd"]))
            self._door.setblocking(False)
            door = self._door
            self.loop.watch(door.fileno(), READ, lambda _: self._accept(door))
        if self.process.pidfd >= 0:
            self.process.watch()

    def tell_started(self) -> None:
        """Answer the client that asked for the container, once."""
        if not self.life.told:
            if self.first is not None:
                self.clients.say(self.first, {"started": self._state()})
            self.life.told = True
            self.note_audience()
        self.keeper.keep({"first": {}, "channel": {}})

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OcimagicError as err:
            self._fail(err)
        except OSError as err:
            self._fail(StartFailed("cannot start the container", why=str(err)))

    def _make(self) -> Made:
        task, groups = self.task, self.keeper.groups
        self._take_lease()
        self.life.phase, self.life.is_cleaned = lives.MAKING, False
        self.save()
        stdio = self.process.open_streams(interactive=task.interactive, terminal=task.terminal)
        try:
            made = self.runtime.create(stdio, self._make_ready, self.networks.hold)
        finally:
            self.process.close_theirs()
        notes.note("made")
        self.process.made(made.pid, made.pidfd, made.console, interactive=task.interactive)
        self._open_door()
        self.life.phase = lives.CREATED
        self.life.pid, self.life.start_ticks = made.pid, self.process.identity.start_ticks
        self.life.cgroup_paths = dict(self.runtime.state.cgroup_paths)
        self.networks.attach()
        notes.note("networks")
        self.life.started = timestamp()
        self.save()
        kept = {name: groups[name] for name in ("door", "lease")}
        self.keeper.keep(self.process.kept() | kept | {"channel": {"fd": made.channel_fd}})
        # While the command still waits: a container that runs is one that engines can find.
        self.publish()
        notes.note("published")
        return made

    def _make_ready(self) -> None:
        """Do what the start would wait for, while the first process furnishes its root."""
        self._open_door()
        self._state()

    def _open_door(self) -> None:
        groups = self.keeper.groups
        if "door" not in groups:
            groups["door"] = {"fd": listen(self.task.run_directory).detach()}

    def _start(self, made: Made) -> None:
        notes.note("start")
        made.start()
        notes.note("executed")
        self.life.phase = lives.RUNNING
        self.life.began_s = time.monotonic()
        self.life.is_light = False
        self.save()
        self.serve()
        self.health.start()
        self.expect_rest()
        events.tell_of_volumes(self, "mount")
        events.tell(self, "start")
        self.tell_started()
        self._tell_timeline(made.told)

    def _tell_timeline(self, told: str) -> None:
        """Tell how the container began; nobody waits for that any more.

        Whatever became of its first process meanwhile, it is still there to be looked at.
        """
        if not notes.are_taken():  # an earlier shim made it
            return
        text = timeline.make(self, told)
        if not self.task.remove:
            self.write(TIMELINE_NAME, text)
            return
        if self.first is not None:
            self.clients.say(self.first, {"timeline": text})
        # Most are gone before anybody else could ask.
        self.loop.at(time.monotonic() + _ASKED_S, lambda: self.write(TIMELINE_NAME, text))

    def write(self, name: str, text: str) -> None:
        """Write something of the container down that can be done without."""
        with contextlib.suppress(OSError):  # a full disk: then it cannot be told later
            replace_text(os.path.join(self.task.directory, name), text, durable=False)

    def _take_lease(self) -> None:
        """Lock the container's directory: while shim or holder live, somebody keeps it."""
        if "lease" not in self.keeper.groups:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            fd = os.open(self.task.directory, flags)
            self.keeper.groups["lease"] = {"fd": fd}
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise InvalidState("another shim keeps this container") from err

    def release_lease(self) -> None:
        """Let another shim keep the container from now on."""
        lease = self.keeper.groups.get("lease")
        if lease is not None:
            # The holder's copy is the same lock.
            fcntl.flock(lease["fd"], fcntl.LOCK_UN)

    def _fail(self, err: OcimagicError) -> None:
        """See off a container that could not be started."""
        notes.end()
        self.process.signal(signal.SIGKILL)
        self.process.close()
        self.runtime.clean_up()
        self.networks.detach()
        if self.life.told:  # it ran before: its end is a record, and perhaps another try
            self.life.error = str(err)
            self.life.ended(Ending(err.exit_code, None), timestamp())
            self.finale.conclude()
            return
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.task.directory, STATE_NAME))
        with contextlib.suppress(OSError):
            remove_path(self.task.run_directory)
        self.life.failure = pack(err)
        self.life.is_recorded = True
        self.save()
        self.release_lease()
        self.say_failed()

    def say_failed(self) -> None:
        """Tell why the container could not be started, and be over."""
        self.clients.tell({"error": self.life.failure})
        self.over = True

    # -- what is known ---------------------------------------------------------

    def save(self) -> None:
        """Make sure that the next shim would know what this one knows."""
        self.life.save(self._blob)

    def publish(self) -> None:
        """Save, and let engines know too."""
        self.save()
        if self.life.is_recorded:  # the files may be another shim's by now
            return
        with contextlib.suppress(OSError):  # a full disk; who asks us is still told
            path = os.path.join(self.task.directory, STATE_NAME)
            replace_file(path, self._state(), durable=False)

    def _state(self) -> dict[str, object]:
        if self._keepers is None:
            self._keepers = identify(os.getpid()), identify(os.getppid())
        return self.life.state(self.task.run_directory, *self._keepers)

    # -- what happens ----------------------------------------------------------

    def on_output(self, process: Process, stream: int, data: bytes) -> None:
        """Log what a process wrote and pass it on."""
        if process is self.process:
            self.log.write(stream, data, process.tape.head)
        self.clients.pass_on(process.tape)

    def on_stdin(self, process: Process) -> None:
        """Say how much of a client's input has arrived, and listen to it as it is read."""
        stdin = process.stdin
        for client in self.clients.senders(process.exec_id):
            is_open = stdin is not None and stdin.is_open
            self.clients.hold(client, held=is_open and stdin is not None and stdin.is_full)
            if stdin is None or stdin.sender != client.sender or client.queue:
                continue
            if client.acknowledged < stdin.delivered:
                client.acknowledged = stdin.delivered
                self.clients.say(client, {"stdin": stdin.delivered})

    def on_quiet(self, process: Process) -> None:
        """See a process off."""
        if process is not self.process:
            self.execs.on_quiet(process)
        self.finale.on_quiet()

    def is_quiet(self) -> bool:
        """Say whether all processes have ended and all they wrote is there."""
        return self.process.is_over and self.execs.are_quiet()

    def process_of(self, client: Client) -> Process | None:
        """Return whom a client talks to; None when it is over."""
        return self.execs.find(client.exec_id) if client.exec_id else self.process

    def kill_all(self) -> None:
        """End the container at once."""
        self.process.signal(signal.SIGKILL)
        self.thaw()

    def thaw(self) -> None:
        """Let a paused container go on; frozen, it could not even die."""
        if self.life.is_paused:
            self.runtime.resume()
            self.life.is_paused = False
            self.publish()

    def reap_soon(self) -> None:
        """Wait for what a runtime that failed may have left to us: crun's child that found nothing.

        As long as nobody has, the container's pid namespace cannot end.
        """
        for delay_s in _REAP_S:
            self.loop.at(time.monotonic() + delay_s, self._reap)

    def _reap(self) -> None:
        reap_strangers({self.process.identity.pid, *self.execs.pids()})

    def close_process(self) -> None:
        """Close what belonged to a process that has ended."""
        self.health.stop()
        for process in self.execs.running():
            process.silence()
            self.execs.conclude(process)
        self.process.close()
        self.log.flush()
        self.networks.detach()
        self.runtime.clean_up()
        self.life.is_cleaned = True
        self.save()

    def _accept(self, door: socket.socket) -> None:
        self.clients.accept(door)
        self.note_audience()

    def _gone(self, client: Client) -> None:
        if client is self.first:
            self.first = None
            self.leave_first()
        process = self.process_of(client)
        if client.exec_id and client.sends_stdin and process is not None and process.stdin:
            process.stdin.feed(client.sender, b"")
        self.note_audience()

    def first_returns(self, client: Client) -> None:
        """Wait again for the client that asked for the container: it knows us now."""
        self.first = client
        client.patient = self.task.attached
        self.clients.first_is_back()
        self.note_audience()

    def leave_first(self) -> None:
        """Do what is to be done when the client that asked for the container is gone."""
        if self.task.tied:
            self.kill_all()
        once = self.task.attached and not self.task.terminal
        if once and self.process.stdin is not None:
            self.process.stdin.feed(0, b"")

    def note_audience(self) -> None:
        """Remember how many the next shim should wait for."""
        # Who was cut off by a killed shim counts until it is back, or is not expected any more.
        before = self.life.audience if self.clients.are_expected else 0
        self.life.audience = max(before, len(self.clients))
        self.life.is_followed = self.first is not None
        self.save()

    def expect_rest(self) -> None:
        """Give memory back when there is nothing to do for a while.

        Making a container writes to many pages that shim and holder could share.  A shim that
        the holder forks anew has written to hardly any.
        """
        if self._rest is not None:
            self._rest.cancel()
        self._rest = self.loop.at(time.monotonic() + _REST_S, self._renew)

    def _renew(self) -> None:
        self.execs.write()
        stdin = self.process.stdin
        is_quiet = not len(self.clients) and not self.execs.running()
        is_quiet = is_quiet and (stdin is None or not stdin.is_waiting)
        if self.life.phase != lives.RUNNING or self.life.is_light or self.task.health:
            return
        if not is_quiet:
            self.expect_rest()
            return
        self.life.is_light = True
        self.save()
        if self.keeper.renew():
            os._exit(RENEW)
        self.life.is_light = False
        self.save()

    def _holder_died(self) -> None:
        self.loop.forget(self.keeper.pidfd)
        self.keeper.succeed(self._leave)
        self._keepers = None
        self.loop.watch(self.keeper.pidfd, READ, lambda _: self._holder_died())
        self.publish()

    def _leave(self) -> None:
        """Close, as the holder to be, what only a shim has."""
        self.clients.abandon()
        if self._door is not None:
            self._door.close()
