"""Containers behind an API from making one to removing it.

Spec: Docker Engine API v1.41, "Container".
"""

from __future__ import annotations

import math
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from ocimagic.client.ending import Ending
from ocimagic.client.looking import KIND
from ocimagic.client.refusing import undone
from ocimagic.client.streams import Streams
from ocimagic.errors import (
    Cancelled,
    ImageNotFound,
    InvalidOption,
    InvalidState,
    OcimagicError,
    StorageError,
)
from ocimagic.model.event import Notice, OnEvent, ignore
from ocimagic.model.options import FOREVER_S, PullPolicy
from ocimagic.model.report import Pruned
from ocimagic.model.result import RunResult
from ocimagic.model.state import ALIVE, STOPPED, Status
from ocimagic.wire.requests import create_body, network_word
from ocimagic.wire.sent import update_body

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from ocimagic.client.attachment import RemoteAttachment
    from ocimagic.client.calling import Caller
    from ocimagic.model.options import RunOptions
    from ocimagic.model.request import UpdateOptions
    from ocimagic.model.result import ContainerSummary, ExitStatus
    from ocimagic.spec.platform import Platform

    Pull = Callable[[str, Platform | None, OnEvent], object]

_SIGNAL_SINCE = (1, 42)  # stop and restart take a signal


class Life(Streams):
    """Verbs that make, start, end and remove.

    Args:
        caller: asks the API.
        pull: brings an image to it.
    """

    def __init__(self, caller: Caller, pull: Pull) -> None:
        super().__init__(caller)
        self._pull = pull

    def create(self, options: RunOptions, *, on_event: OnEvent = ignore) -> ContainerSummary:
        """Make a container without starting it; its image is pulled if it is not there."""
        return self.get(self._create(options, on_event))

    def _create(self, options: RunOptions, on_event: OnEvent) -> str:
        with _id_file(options.cidfile) as write:
            if options.pull is PullPolicy.ALWAYS:
                self._pull(options.image, options.platform, on_event)
            try:
                made = self._made(options, on_event)
            except ImageNotFound:
                if options.pull is not PullPolicy.MISSING:
                    raise
                self._pull(options.image, options.platform, on_event)
                made = self._made(options, on_event)
            write(made)
        return made

    def _made(self, options: RunOptions, on_event: OnEvent) -> str:
        query = {"name": options.name or "", "platform": str(options.platform or "")}
        document = self._caller.document(
            "POST",
            "/containers/create",
            kind="image",
            query={key: text for key, text in query.items() if text},
            body=create_body(options, network_word(options)),
        )
        for text in document.texts("Warnings"):
            on_event(Notice(text))
        return document.text("Id")

    def start(self, name: str) -> ContainerSummary:
        """Start a container; nothing if it runs."""
        self._caller.done("POST", self.at(name, "start"), kind="start")
        return self.get(name)

    def run_options(
        self,
        options: RunOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> RunResult | ContainerSummary:
        """Create and start; wait for the end unless detached."""
        began = time.monotonic()
        container_id = self._create(options, on_event)
        streams = _streams(options)
        try:
            if not streams:
                return self.start(container_id)
            with self._started(container_id, options, streams) as attachment:
                if streams == {"stdin"}:
                    attachment.copy_input(stdin)
                    return self.get(container_id)
                if "stdin" in streams:
                    attachment.feed(stdin)
                out, err = attachment.follow(on_event, cancelled, streams=streams)
        except BaseException as failure:
            self._give_up(container_id, options, failure)
            raise
        if attachment.exit is None:
            error = _cancelled(attachment.name, options)
            self._give_up(container_id, options, error)
            raise error
        return RunResult(
            container_id=container_id,
            name=attachment.name,
            image=options.image,
            exit_code=attachment.exit.code,
            stdout=out,
            stderr=err,
            duration_s=time.monotonic() - began,
            removed=options.remove,
            network=attachment.network,
        )

    def _started(
        self, container_id: str, options: RunOptions, streams: set[str]
    ) -> RemoteAttachment:
        attachment = self.start_attached(container_id, stdin="stdin" in streams)
        if options.tty and options.console_size:
            with suppress(OcimagicError):  # it may have ended
                attachment.resize(*options.console_size)
        return attachment

    def _give_up(self, container_id: str, options: RunOptions, failure: BaseException) -> None:
        """Leave nothing running behind a run that its caller will not see the end of."""
        if not options.sig_proxy and isinstance(failure, Cancelled):
            return
        with suppress(OcimagicError):
            if self.get(container_id).status in ALIVE:
                self.stop(container_id, grace_s=1)
            if options.remove:
                self.remove(container_id, force=True, volumes=True)

    def run_attached(self, options: RunOptions, *, on_event: OnEvent = ignore) -> RemoteAttachment:
        """Create and start a container with its streams in hand."""
        container_id = self._create(options, on_event)
        try:
            return self._started(container_id, options, _streams(options))
        except BaseException:
            if options.remove:
                with suppress(OcimagicError):
                    self.remove(container_id, force=True)
            raise

    def wait(self, name: str, *, cancelled: threading.Event | None = None) -> ExitStatus:
        """Wait for the exit; returns at once if it has exited.

        Raises:
            InvalidState: it has not begun.
            Cancelled: ``cancelled``.
        """
        found = self.get(name)
        if found.status is Status.CREATED:
            raise InvalidState(f"container {found.name} is created, it has no exit code")
        if found.status in STOPPED and found.exit is not None:
            return found.exit
        with Ending(self._caller, found.container_id, "not-running") as ending:
            return ending.until(cancelled.is_set if cancelled else lambda: False)

    def stop(
        self, name: str, *, grace_s: float | None = None, signal: str | None = None
    ) -> ExitStatus | None:
        """Send the stop signal, after ``grace_s`` seconds SIGKILL; None if it never ran."""
        found = self.get(name)
        query = self._how(grace_s, signal)
        if found.status not in ALIVE:
            self._caller.done("POST", self.at(found.container_id, "stop"), kind=KIND, query=query)
            return found.exit
        with Ending(self._caller, found.container_id, "not-running") as ending:
            self._caller.done("POST", self.at(found.container_id, "stop"), kind=KIND, query=query)
            return ending.status()

    def _how(self, grace_s: float | None, signal: str | None) -> dict[str, str]:
        if signal and self._caller.version < _SIGNAL_SINCE:
            raise undone("choose the signal of a stop before version 1.42", "%container_kill -s")
        query = {"signal": signal} if signal else {}
        if grace_s is not None:
            query["t"] = "-1" if grace_s >= FOREVER_S else str(math.ceil(grace_s))
        return query

    def restart(
        self, name: str, *, grace_s: float | None = None, signal: str | None = None
    ) -> ContainerSummary:
        """Stop a container as ``stop`` does, if it runs, and start it."""
        query = self._how(grace_s, signal)
        self._caller.done("POST", self.at(name, "restart"), kind="start", query=query)
        return self.get(name)

    def kill(self, name: str, *, signal: str = "KILL") -> None:
        """Send a signal to the init process."""
        self._caller.done("POST", self.at(name, "kill"), kind=KIND, query={"signal": signal})

    def pause(self, name: str) -> None:
        """Stop all processes of a container where they are."""
        self._caller.done("POST", self.at(name, "pause"), kind=KIND)

    def unpause(self, name: str) -> None:
        """Let the processes of a paused container go on."""
        self._caller.done("POST", self.at(name, "unpause"), kind=KIND)

    def rename(self, name: str, new_name: str) -> ContainerSummary:
        """Give a container another name."""
        container_id = self.get(name).container_id
        path = self.at(container_id, "rename")
        self._caller.done("POST", path, kind=KIND, query={"name": new_name})
        return self.get(container_id)

    def update(self, name: str, options: UpdateOptions) -> tuple[str, ...]:
        """Change limits and restart policy; returns what the API warns of."""
        path, body = self.at(name, "update"), update_body(options)
        return self._caller.document("POST", path, kind=KIND, body=body).texts("Warnings")

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container with its files and log; ``force`` kills a running one first."""
        query = {key: "1" for key, said in (("force", force), ("v", volumes)) if said}
        self._caller.done("DELETE", self.at(name, "").rstrip("/"), kind=KIND, query=query)

    def unlink(self, name: str) -> None:
        """Take a link away, ``CONTAINER/NAME``, and no container."""
        path = self.at(name.strip("/"), "").rstrip("/")
        self._caller.done("DELETE", path, kind=KIND, query={"link": "1"})

    def prune(self, keep: Callable[[ContainerSummary], bool] = lambda _: False) -> Pruned:
        """Remove all containers that do not run, except those that ``keep`` says to keep."""
        gone, freed = [], 0
        for each in self.list(all=True, size=True):
            if each.status not in STOPPED or keep(each):
                continue
            # Somebody may have started or removed it meanwhile: it is not in the way then.
            with suppress(OcimagicError):
                self.remove(each.container_id)
                gone.append(each.container_id)
                freed += each.size.changed_bytes if each.size else 0
        return Pruned(containers=tuple(gone), freed_bytes=freed)


def _streams(options: RunOptions) -> set[str]:
    """Return which streams the caller follows."""
    if options.detach:
        return set()
    chosen = {"stdout", "stderr"} if options.attach is None else set(options.attach)
    return chosen | ({"stdin"} if options.interactive else set())


def _cancelled(name: str, options: RunOptions) -> Cancelled:
    if not options.sig_proxy:
        return Cancelled(
            f"detached by you: container {name} goes on",
            hint=f"%container_attach {name} comes back to it, %container_stop {name} ends it",
        )
    return Cancelled(
        f"stopped by you: container {name} was stopped",
        hint=None if options.remove else f"%container_logs {name} shows what it wrote",
    )


def _into(file: TextIO) -> Callable[[str], None]:
    def write(text: str) -> None:
        file.write(text)

    return write


@contextmanager
def _id_file(path: str | None) -> Iterator[Callable[[str], None]]:
    """Give what writes an ID to the file that was asked for; it goes again if there is none."""
    if not path:
        yield lambda _: None
        return
    try:
        file = open(path, "x", encoding="ascii")  # noqa: SIM115  closed below
    except FileExistsError as err:
        raise InvalidOption(f"the container ID file {path} is there already") from err
    except OSError as err:
        raise StorageError(f"cannot write {path}", why=err.strerror) from err
    with file:
        try:
            yield _into(file)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
