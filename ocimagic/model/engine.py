"""The engine as its callers see it: the same verbs in-process and, later, over a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ocimagic.model.event import OnEvent, ignore

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from ocimagic.model.options import BuildOptions, RunOptions
    from ocimagic.model.result import (
        BuildResult,
        ContainerDetails,
        ContainerSummary,
        ExitStatus,
        HistoryLine,
        ImageDetails,
        ImageSummary,
        LayerReport,
        PullResult,
        Removed,
        RunResult,
        SystemInfo,
    )
    from ocimagic.spec.platform import Platform


class ImagesAPI(Protocol):
    """Verbs on images; ``name`` is a reference or an image ID, whole or its first digits."""

    def pull(
        self,
        reference: str,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> PullResult:
        """Fetch an image from its registry, verify and unpack it."""
        ...

    def list(self, name: str | None = None, *, all: bool = False) -> tuple[ImageSummary, ...]:  # noqa: A002
        """List images, newest first; ``name`` keeps one repository or reference."""
        ...

    def inspect(self, name: str) -> ImageDetails:
        """Return everything known of one image."""
        ...

    def history(self, name: str) -> tuple[HistoryLine, ...]:
        """Return how an image was made, newest step first."""
        ...

    def layers(self, *names: str) -> LayerReport:
        """Compare the layers of one or more images."""
        ...

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name."""
        ...

    def remove(self, *names: str, force: bool = False) -> Removed:
        """Take names away, and images that have none left."""
        ...

    def build(
        self,
        options: BuildOptions,
        *,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildResult:
        """Build an image from a Dockerfile."""
        ...


class ContainersAPI(Protocol):
    """Verbs on containers; ``name`` is a name or a container ID, whole or its first digits."""

    def create(self, options: RunOptions, *, on_event: OnEvent = ignore) -> ContainerSummary:
        """Make a container without starting it."""
        ...

    def start(self, name: str) -> ContainerSummary:
        """Start a container that was created or has exited."""
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

    def list(self, *, all: bool = False) -> tuple[ContainerSummary, ...]:  # noqa: A002
        """List containers, newest first; only running ones unless ``all``."""
        ...

    def get(self, name: str) -> ContainerSummary:
        """Return one container as it is now."""
        ...

    def inspect(self, name: str) -> ContainerDetails:
        """Return everything known of one container."""
        ...

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[str, str, bytes]]:
        """Yield ``(RFC 3339 time, stdout or stderr, bytes)`` from the container's log."""
        ...

    def wait(self, name: str, *, cancelled: threading.Event | None = None) -> ExitStatus:
        """Wait for the exit; returns at once if it has exited."""
        ...

    def stop(self, name: str, *, grace_s: float | None = None) -> ExitStatus | None:
        """Send the stop signal, after ``grace_s`` seconds SIGKILL; None if it never ran."""
        ...

    def kill(self, name: str, *, signal: str = "KILL") -> None:
        """Send a signal to the init process."""
        ...

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a container with its files and log; ``force`` kills a running one first."""
        ...


class SystemAPI(Protocol):
    """Verbs on the engine itself."""

    def info(self) -> SystemInfo:
        """Return what this machine and this version can do."""
        ...


class EngineAPI(Protocol):
    """One engine over one data root."""

    @property
    def images(self) -> ImagesAPI:
        """Return the verbs on images."""
        ...

    @property
    def containers(self) -> ContainersAPI:
        """Return the verbs on containers."""
        ...

    @property
    def system(self) -> SystemAPI:
        """Return the verbs on the engine."""
        ...

    def close(self) -> None:
        """Let go of the launcher and the database; containers stay."""
        ...


def split_command(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return a command as a tuple; a text is one word, as in exec form."""
    if text is None:
        return ()
    return (text,) if isinstance(text, str) else tuple(text)
