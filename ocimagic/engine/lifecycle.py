"""From making a container to removing it: the verbs that change what it is."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ocimagic.engine import run as running
from ocimagic.engine.exits import exit_in
from ocimagic.engine.links import unlink
from ocimagic.engine.names import check_name
from ocimagic.engine.record import Document
from ocimagic.engine.register import Register
from ocimagic.engine.supervision import stop_signal
from ocimagic.engine.update import update
from ocimagic.errors import ContainerNotFound, InvalidOption, InvalidState, OcimagicError
from ocimagic.model.engine import split_command
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.network import NetworkChoice
from ocimagic.model.options import NetworkMode, RunOptions, network_choice
from ocimagic.model.report import Pruned
from ocimagic.model.state import ALIVE, STOPPED, Status, Verb
from ocimagic.shim import client as shim
from ocimagic.shim import protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from ocimagic.model.request import UpdateOptions
    from ocimagic.model.result import ContainerSummary, ExitStatus, RunResult
    from ocimagic.store.containers import ContainerRecord

_KILL = 9
_SETTLE_S = 5.0


class Lifecycle(Register):
    """Verbs of a container's life; ``name`` is a name or an ID, whole or its first digits."""

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
            network: ``none``, ``host``, ``container:NAME`` or the name of a network.
            stdin: bytes to write, or a descriptor to copy from.
            on_event: is given ``Output`` while the container writes.
            cancelled: stops the container when set.
            **options: any other field of ``RunOptions``: ``remove=True``, ``env=("A=1",)``.

        Raises:
            CommandNotFound: exit code 127.
            CommandNotExecutable: exit code 126.
            OcimagicError: any other reason it could not be made; exit code 125.
        """
        if isinstance(network, str):
            network, name = network_choice(network)
            if network is NetworkMode.NETWORK:
                options.setdefault("networks", (NetworkChoice(network=name),))
            options["network_container"] = name if network is NetworkMode.CONTAINER else ""
        request = RunOptions(
            image=image, command=split_command(command), network=network, **options
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
        """Start a container that was created or has exited; nothing if it runs, as in docker.

        Raises:
            InvalidState: it is paused.
        """
        record = self.find(name)
        if self.status(record)[0] not in (Status.RUNNING, Status.RESTARTING):
            running.start(self, record, attach=False).close()
        return self.summary(record)

    def wait(self, name: str, *, cancelled: threading.Event | None = None) -> ExitStatus:
        """Wait for the exit; returns at once if it has exited."""
        record = self.find(name)
        with contextlib.suppress(InvalidState), self.connect(record) as connection:
            for kind, payload in connection.frames(cancelled=cancelled):
                if kind == protocol.MESSAGE and (ended := exit_in(payload)):
                    return ended
        status, known = self.status(record)
        if known is None:
            raise InvalidState(f"container {record.name} is {status.value}, it has no exit code")
        return known

    def stop(
        self, name: str, *, grace_s: float | None = None, signal: str | None = None
    ) -> ExitStatus | None:
        """Send the stop signal, after ``grace_s`` seconds SIGKILL; None if it never ran."""
        record = self.find(name)
        number = shim.signal_number(signal) if signal else None
        return self._stop(record, grace_s, number)

    def kill(self, name: str, *, signal: str = "KILL") -> None:
        """Send a signal to the first process.

        Raises:
            InvalidState: the container does not run.
            InvalidOption: no such signal.
        """
        number = shim.signal_number(signal)
        record = self.find(name)
        self.check(record, Verb.KILL)
        with self.connect(record) as connection:
            connection.kill(number)

    def restart(
        self, name: str, *, grace_s: float | None = None, signal: str | None = None
    ) -> ContainerSummary:
        """Stop a container as ``stop`` does, if it runs, and start it."""
        record = self.find(name)
        number = shim.signal_number(signal) if signal else None
        self.check(record, Verb.RESTART)
        self._stop(record, grace_s, number)
        started = self.start(record.container_id)
        self.note(record, "restart")
        return started

    def pause(self, name: str) -> None:
        """Stop all processes of a container where they are.

        Raises:
            InvalidState: it does not run, or is paused already.
            HostLacks: this machine has no freezer for it.
        """
        record = self.find(name)
        self.check(record, Verb.PAUSE)
        with self.connect(record) as connection:
            connection.pause()
        self.note(record, "pause")

    def unpause(self, name: str) -> None:
        """Let the processes of a paused container go on.

        Raises:
            InvalidState: it is not paused.
        """
        record = self.find(name)
        self.check(record, Verb.UNPAUSE)
        with self.connect(record) as connection:
            connection.resume()
        self.note(record, "unpause")

    def rename(self, name: str, new_name: str) -> ContainerSummary:
        """Give a container another name.

        Raises:
            InvalidOption: not a name, or the name it has.
            NameInUse: another container has it.
        """
        record = self.find(name)
        self.check(record, Verb.RENAME)
        new_name = new_name.removeprefix("/")
        if new_name == record.name:
            raise InvalidOption(f"container {new_name} has this name already")
        with contextlib.suppress(ContainerNotFound):
            self.find(new_name)  # one that its shim has removed is not in the way
        others = {each.name for each in self.store.containers.all()}
        check_name(new_name, others)
        self.store.containers.rename(record.container_id, new_name)
        renamed = replace(record, name=new_name)
        with contextlib.suppress(InvalidState), self.connect(record) as connection:
            connection.rename(new_name)
        self.note(renamed, "rename", oldName=f"/{record.name}")
        return self.summary(renamed)

    def update(self, name: str, options: UpdateOptions) -> tuple[str, ...]:
        """Change limits and restart policy; return what this machine cannot keep.

        Raises:
            InvalidOption: limits that make no sense, alone or with those it has.
            HostLacks: this machine cannot set them.
        """
        record = self.find(name)
        self.check(record, Verb.UPDATE)
        warnings = update(self, record, options)
        self.note(record, "update")
        return warnings

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container with its files and log.

        Args:
            name: its name or ID.
            force: kill it first if it runs.
            volumes: remove its volumes, too, that nobody named and no other container uses.

        Raises:
            InvalidState: it runs and ``force`` was not given.
        """
        record = self.find(name)
        if force and self.status(record)[0] in ALIVE:
            self._stop(record, 0.0, _KILL, tells=False)
        with self.locked(record):
            self.check(record, Verb.REMOVE)
            self.discard(record, volumes=volumes)
        self.note(record, "destroy")

    def unlink(self, name: str) -> None:
        """Take a link away, ``CONTAINER/NAME``, and no container.

        Raises:
            InvalidOption: it is the name of a container.
            ContainerNotFound: there is no such link.
        """
        unlink(self, name)

    def prune(self, keep: Callable[[ContainerSummary], bool] = lambda _: False) -> Pruned:
        """Remove all containers that do not run, except those that ``keep`` says to keep."""
        gone, freed = [], 0
        for record in self.store.containers.all():
            if self.is_gone(record) or self.status(record)[0] not in STOPPED:
                continue
            if keep(self.summary(record)):
                continue
            size = self.changed_bytes(record)
            # Somebody may have started or removed it meanwhile: it is not in the way then.
            with contextlib.suppress(OcimagicError):
                self.remove(record.container_id)
                gone.append(record.container_id)
                freed += size
        return Pruned(containers=tuple(gone), freed_bytes=freed)

    def _stop(
        self,
        record: ContainerRecord,
        grace_s: float | None,
        signal: int | None,
        *,
        tells: bool = True,
    ) -> ExitStatus | None:
        """End a container by agreement, by force after a time; ``tells`` that it was stopped."""
        document = Document.decode(record.document)
        usual = document.stop_signal or stop_signal(document.options, "")
        number = usual if signal is None else signal
        grace = document.options.stop_timeout_s if grace_s is None else grace_s
        try:
            connection = self.connect(record)
        except InvalidState:
            return self.status(record)[1]
        with connection:
            # It may just have ended: then the frames say so.
            with contextlib.suppress(InvalidState):
                connection.stop(number, grace)
            deadline = time.monotonic() + grace + _SETTLE_S
            for kind, payload in connection.frames(deadline=deadline):
                if kind == protocol.MESSAGE and (ended := exit_in(payload)):
                    if tells:
                        self.note(record, "stop")
                    return ended
        return self.status(record)[1]
