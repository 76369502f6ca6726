"""Who waits for a container to start: docker's client attaches and waits before it starts one.

So the first byte of a container's output is for somebody who is there already, and a start
that fails is an end for who waits.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocimagic.errors import ContainerNotFound
from ocimagic.model.state import ALIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocimagic.model.containers import AttachmentAPI, ContainersAPI
    from ocimagic.model.result import ContainerSummary

_LOOK_S = 0.2  # another process may start it, which nobody tells us


class Expected:
    """One who waits for a start.

    Attributes:
        attachment: its streams from the first byte on, for one of all who wait for them.
        failure: the exit code that docker gives a start that failed; None as long as none did.
    """

    def __init__(self, begun_here: Callable[[], bool], *, wants_streams: bool) -> None:
        self._begun_here = begun_here
        self.wants_streams = wants_streams
        self.attachment: AttachmentAPI | None = None
        self.failure: int | None = None
        self._told = threading.Event()

    def tell(self) -> None:
        """Wake who waits."""
        self._told.set()

    def wait(
        self, containers: ContainersAPI, found: ContainerSummary, gone: threading.Event
    ) -> bool:
        """Wait for the start; say whether it came, and not the end of the client or of all.

        Args:
            containers: where to look whether another process started it.
            found: the container, as it was before.
            gone: ends it when set.
        """
        began: bool | None = None
        while not gone.is_set():
            if not self._told.wait(_LOOK_S):
                began = _looked(containers, found)
                # A start here tells when it is done, and has the streams: nobody may run ahead.
                if began is None or self._begun_here():
                    continue
            if self._told.is_set():
                return self.failure is None
            return bool(began)
        return False


def _looked(containers: ContainersAPI, found: ContainerSummary) -> bool | None:
    """Say whether a container began; False for one that is gone, None for not yet."""
    try:
        now = containers.get(found.container_id)
    except ContainerNotFound:
        return False
    has_begun = now.status in ALIVE or now.started != found.started  # and perhaps ended
    return True if has_begun else None


class Starts:
    """All who wait for containers to start; safe to be asked by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Expected]] = {}
        self._beginning: dict[str, int] = {}

    @contextmanager
    def expecting(self, container_id: str, *, wants_streams: bool) -> Iterator[Expected]:
        """Wait for a container from now on."""
        expected = Expected(lambda: self._is_beginning(container_id), wants_streams=wants_streams)
        with self._lock:
            self._waiting.setdefault(container_id, []).append(expected)
        try:
            yield expected
        finally:
            with self._lock:
                waiting = self._waiting.get(container_id, [])
                if expected in waiting:
                    waiting.remove(expected)
                if not waiting:
                    self._waiting.pop(container_id, None)
            if expected.attachment is not None:
                expected.attachment.close()

    @contextmanager
    def beginning(self, container_id: str) -> Iterator[None]:
        """Start a container: until that is told, nobody looks for themselves."""
        with self._lock:
            self._beginning[container_id] = self._beginning.get(container_id, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._beginning[container_id] -= 1
                if not self._beginning[container_id]:
                    del self._beginning[container_id]

    def _is_beginning(self, container_id: str) -> bool:
        with self._lock:
            return container_id in self._beginning

    def wants_streams(self, container_id: str) -> bool:
        """Say whether anybody waits for the streams of a container."""
        with self._lock:
            return any(each.wants_streams for each in self._waiting.get(container_id, []))

    def began(self, container_id: str, attachment: AttachmentAPI | None) -> None:
        """Tell that a container began; the first who wants its streams gets them."""
        with self._lock:
            waiting = list(self._waiting.get(container_id, []))
            for each in waiting:
                if each.wants_streams and attachment is not None:
                    each.attachment, attachment = attachment, None
        for each in waiting:
            each.tell()
        if attachment is not None:  # who wanted them has left
            attachment.close()

    def failed(self, container_id: str, code: int) -> None:
        """Tell that a container could not be started."""
        with self._lock:
            waiting = list(self._waiting.get(container_id, []))
        for each in waiting:
            each.failure = code
            each.tell()
