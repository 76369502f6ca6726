"""Verbs on containers as their callers see them, and what it is to be attached to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from ocimagic.model.event import OnEvent, ignore

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from ocimagic.model.insides import BundleView, ContainerNamespaces
    from ocimagic.model.options import RunOptions
    from ocimagic.model.overview import Overview
    from ocimagic.model.own_layer import ContainerLayers
    from ocimagic.model.report import (
        Committed,
        ContainerStats,
        Copied,
        ExecResult,
        FileChange,
        PathInfo,
        PortBinding,
        ProcessTable,
        Pruned,
    )
    from ocimagic.model.request import CommitOptions, ExecOptions, UpdateOptions
    from ocimagic.model.result import (
        ContainerDetails,
        ContainerSummary,
        ExitStatus,
        RunResult,
    )


class AttachmentAPI(Protocol):
    """The streams of one process in a container; closing them lets go of it.

    Attributes:
        container_id: of its container.
        name: of its container.
        tty: it has a terminal: one stream, and keys instead of lines.
        exec_id: of a command that was executed; "" for the container's first process.
        pid: of the process, where a command began with this; else 0.
        exit: how it ended; None while it lives, and after letting go of it.
    """

    container_id: str
    name: str
    tty: bool
    exec_id: str
    pid: int
    exit: ExitStatus | None

    def __enter__(self) -> Self:
        """Close it at the end of a with-block."""
        ...

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        ...

    def chunks(
        self, *, cancelled: threading.Event | None = None, deadline: float | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the name of a stream and bytes of it until the process ends, or an end is set."""
        ...

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        ...

    def close_input(self) -> None:
        """Let its standard input end."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal how large the window is."""
        ...

    def follow(
        self, on_event: OnEvent, cancelled: threading.Event | None = None
    ) -> tuple[bytes, bytes]:
        """Pass on what it writes until it ends; return all of both streams."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def end(self) -> None:
        """End the process: SIGTERM, then SIGKILL."""
        ...

    def feed(self, stdin: int | bytes | None) -> None:
        """Send bytes, or copy a descriptor until its end, beside the reading."""
        ...

    def terminal(self, detach_keys: str = "") -> TerminalAPI:
        """Return it as a terminal drives it."""
        ...


class TerminalAPI(Protocol):
    """A process with a terminal as a person drives it: keys in, one stream out."""

    @property
    def detached(self) -> bool:
        """Say whether the keys for letting go were typed."""
        ...

    def write(self, data: bytes) -> None:
        """Send what was typed; the keys for letting go end ``output``."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Tell how large the window is."""
        ...

    def output(self) -> Iterator[bytes]:
        """Yield what it writes until it ends, or is let go of."""
        ...

    def leave(self) -> None:
        """Let go of it, as the keys do."""
        ...

    def ending(self) -> str:
        """Say in a few words how it ended."""
        ...


class ContainersAPI(Protocol):
    """Verbs on containers; ``name`` is a name or a container ID, whole or its first digits."""

    # -- life ----------------------------------------------------------------------

    def create(self, options: RunOptions, *, on_event: OnEvent = ignore) -> ContainerSummary:
        """Make a container without starting it."""
        ...

    def start(self, name: str) -> ContainerSummary:
        """Start a container that was created or has exited; nothing if it runs."""
        ...

    def run_options(
        self,
        options: RunOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> RunResult | ContainerSummary:
        """Create and start; wait for the end unless detached.

        ``stdin`` is bytes to write, or a file descriptor to copy from, for ``interactive``.
        ``cancelled`` stops the container as ``stop`` would.
        """
        ...

    def wait(self, name: str, *, cancelled: threading.Event | None = None) -> ExitStatus:
        """Wait for the exit; returns at once if it has exited."""
        ...

    def stop(
        self, name: str, *, grace_s: float | None = None, signal: str | None = None
    ) -> ExitStatus | None:
        """Send the stop signal, after ``grace_s`` seconds SIGKILL; None if it never ran."""
        ...

    def restart(
        self, name: str, *, grace_s: float | None = None, signal: str | None = None
    ) -> ContainerSummary:
        """Stop a container as ``stop`` does, if it runs, and start it."""
        ...

    def kill(self, name: str, *, signal: str = "KILL") -> None:
        """Send a signal to the init process."""
        ...

    def pause(self, name: str) -> None:
        """Stop all processes of a container where they are."""
        ...

    def unpause(self, name: str) -> None:
        """Let the processes of a paused container go on."""
        ...

    def rename(self, name: str, new_name: str) -> ContainerSummary:
        """Give a container another name."""
        ...

    def update(self, name: str, options: UpdateOptions) -> tuple[str, ...]:
        """Change limits and restart policy; returns what the kernel did not take."""
        ...

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container with its files and log; ``force`` kills a running one first.

        ``volumes`` removes its volumes, too, that nobody named and no other container uses.
        """
        ...

    def unlink(self, name: str) -> None:
        """Take a link away, ``CONTAINER/NAME``, and no container."""
        ...

    def prune(self, keep: Callable[[ContainerSummary], bool] = ...) -> Pruned:
        """Remove all containers that do not run, except those that ``keep`` says to keep."""
        ...

    # -- looking -------------------------------------------------------------------

    def list(self, *, all: bool = False, size: bool = False) -> tuple[ContainerSummary, ...]:  # noqa: A002
        """List containers, newest first; only those that live unless ``all``."""
        ...

    def get(self, name: str) -> ContainerSummary:
        """Return one container as it is now."""
        ...

    def inspect(self, name: str, *, size: bool = False) -> ContainerDetails:
        """Return everything known of one container."""
        ...

    def ports(self, name: str) -> tuple[PortBinding, ...]:
        """Return the published ports."""
        ...

    # -- streams and processes -----------------------------------------------------

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
        ...

    def open_attached(
        self, name: str, *, stdin: bool = True, from_start: bool = False
    ) -> AttachmentAPI:
        """Connect to the streams of a running container, from now on or as far back as known."""
        ...

    def resize(self, name: str, rows: int, columns: int) -> None:
        """Tell the terminal of a running container how large the window is."""
        ...

    def start_attached(self, name: str, *, stdin: bool = False) -> AttachmentAPI:
        """Start a container with its streams in hand from the first byte on."""
        ...

    def run_attached(self, options: RunOptions, *, on_event: OnEvent = ignore) -> AttachmentAPI:
        """Create and start a container with its streams in hand."""
        ...

    def attach(
        self,
        name: str,
        *,
        stdin: int | bytes | None = None,
        sig_proxy: bool = True,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ExitStatus:
        """Pass on a running container's output, and input to it, until it ends."""
        ...

    def exec(
        self,
        name: str,
        options: ExecOptions,
        *,
        stdin: int | bytes | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ExecResult | None:
        """Run one more command in a running container; None when detached."""
        ...

    def exec_attached(self, name: str, options: ExecOptions, *, exec_id: str = "") -> AttachmentAPI:
        """Start one more command in a running container, with its streams in hand."""
        ...

    def top(self, name: str, ps_options: Sequence[str] = ()) -> ProcessTable:
        """List the processes of a running container as ``ps`` does."""
        ...

    def namespaces(self, name: str) -> ContainerNamespaces:
        """Return the namespaces, control groups and processes of a running container."""
        ...

    def bundle(self, name: str) -> BundleView:
        """Return the bundle that a container is made from, running or not."""
        ...

    def stats(
        self,
        *names: str,
        all: bool = False,  # noqa: A002
        interval_s: float = 1.0,
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[ContainerStats, ...]]:
        """Yield what containers use, again and again."""
        ...

    def watch(
        self,
        *,
        all: bool = False,  # noqa: A002
        interval_s: float = 2.0,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Overview]:
        """Yield all containers now, at each change, and when they were sampled again."""
        ...

    # -- files ---------------------------------------------------------------------

    def copy_from(
        self,
        name: str,
        path: str,
        target: str,
        *,
        follow_link: bool = False,
        archive: bool = False,
    ) -> Copied:
        """Copy a file or directory of a container to the machine."""
        ...

    def copy_to(self, name: str, source: str, path: str, *, follow_link: bool = False) -> Copied:
        """Copy a file or directory of the machine into a container."""
        ...

    def stat(self, name: str, path: str, *, follow_link: bool = False) -> PathInfo:
        """Look at a path in a container."""
        ...

    def names(self, name: str, path: str, *, limit: int = ...) -> tuple[str, ...]:
        """List a directory of a container, sorted; directories end with a slash."""
        ...

    def read_archive(
        self, name: str, path: str, out: Callable[[bytes], object], *, follow_link: bool = False
    ) -> int:
        """Give a file or directory of a container as a tar; returns its size."""
        ...

    def write_archive(self, name: str, path: str, stdin: int | bytes) -> int:
        """Unpack a tar into a directory of a container; returns its size."""
        ...

    def diff(self, name: str) -> tuple[FileChange, ...]:
        """Return what changed in a container's files since it was made."""
        ...

    def layers(self, name: str) -> ContainerLayers:
        """Return a container's changes over the read-only layers of its image."""
        ...

    def export(self, name: str, out: Callable[[bytes], object]) -> int:
        """Give all files of a container as a tar; returns its size."""
        ...

    def commit(self, name: str, options: CommitOptions) -> Committed:
        """Make an image of a container."""
        ...
